"""What `explain` says of shadows and rollouts: who gets the call beside, or instead of, the pool's
members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.call import Decision, Facts
from ..core.errors import CallError
from ..core.trials import ALL_PPM
from ..exchange import View
from ..exchange.trying import may_be_copied
from ..policy import holds
from ..policy.decide import decide_in


def trials_story(view: View, facts: Facts, decision: Decision) -> dict[str, Any] | None:
    """None: nothing is tried beside the pool. How far a rollout is only its running broker knows."""
    trials = view.catalog.trials.get(decision.pool)
    if trials is None or facts.caller.purpose:
        return None
    shadows = [
        {
            "to": one.to,
            "share": one.share_ppm / ALL_PPM,
            "copied": may_be_copied(facts) and all(holds(said, facts) for said in one.conditions),
            "why_not": _why_not(view, facts, one.target),
        }
        for one in trials.shadows
    ]
    rollout = trials.rollout
    told = None
    if rollout is not None:
        told = {
            "rollout": rollout.name,
            "to": rollout.to,
            "stages": [stage.name for stage in rollout.stages],
            "why_not": _why_not(view, facts, rollout.target),
        }
    return {"shadows": shadows, "rollout": told}


def _why_not(view: View, facts: Facts, target: str) -> str | None:
    """Why the target can't take the call; None: it can."""
    try:
        decide_in(target, "", facts, view.catalog, view.state)
    except CallError as error:
        return error.message
    return None


def trials_lines(story: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    for one in story["shadows"]:
        if one["why_not"]:
            yield f"shadow: none at {one['to']}: {one['why_not']}"
        elif one["copied"]:
            yield f"shadow: {100 * one['share']:g} % of such calls are also sent to {one['to']}"
        else:
            yield f"shadow: such calls are not sent to {one['to']}"
    if (rollout := story["rollout"]) is None:
        return
    if rollout["why_not"]:
        who = f"{rollout['rollout']}, for {rollout['to']} can't take it"
        yield f"rollout: no part of {who}: {rollout['why_not']}"
        return
    stages = " → ".join(rollout["stages"])
    yield f"rollout: part of {rollout['rollout']} to {rollout['to']} ({stages})"
