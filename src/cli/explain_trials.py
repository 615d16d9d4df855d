"""What `explain` says of shadows and rollouts: who gets the call beside, or instead of, the pool's
members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.call import Decision, Facts
from ..core.trials import ALL_PPM, Rollout, Shadow
from ..exchange import Inbound, View
from ..exchange.trying import Uncopied, candidates_decision, is_candidates, session_in, uncopied

_WHY_NOT = {
    "bound": "it holds ids of one account, runs tools at the provider, or counts tokens",
    "no_match": "no match",
    "share": "not drawn",
    "there": "it goes there itself",
}


def trials_story(
    view: View, facts: Facts, decision: Decision, inbound: Inbound, body: bytes, request_id: str
) -> dict[str, Any] | None:
    """None: nothing is tried beside the pool. How far a rollout is only its running broker knows: so told is
    from which stage on the call is the candidate's. `request_id` "": what is drawn by it is left open."""
    trials = view.catalog.trials.get(decision.pool)
    if trials is None or facts.caller.purpose:
        return None
    rollout, told = trials.rollout, None
    shadows = [(one, "") for one in trials.shadows]
    if rollout is not None:
        shadows += [(stage.shadow, stage.name) for stage in rollout.stages if stage.shadow is not None]
        fits = candidates_decision(view, facts, rollout, decision.rule)
        session = session_in(view.catalog.pools[decision.pool], facts, inbound.first, body)
        key = session.value if session is not None else request_id
        drawn_by = session.source if session is not None else "the request id" if request_id else None
        told = {
            "rollout": rollout.name,
            "to": rollout.to,
            "stages": [stage.name for stage in rollout.stages],
            "why_not": fits if isinstance(fits, str) else None,
            "drawn_by": drawn_by,
            "candidate_from": _candidate_from(rollout, key) if key else None,
        }
    copies = [_copy(view, facts, shadow, stage, decision.pool, request_id) for shadow, stage in shadows]
    return {"shadows": copies, "rollout": told}


def _candidate_from(rollout: Rollout, key: str) -> str | None:
    """The first stage at which the call would be the candidate's; at all behind it, it is, too."""
    its = (stage.name for stage in rollout.stages if is_candidates(rollout, stage.share_ppm, key))
    return next(its, None)


def _copy(view: View, facts: Facts, shadow: Shadow, stage: str, pool: str, request_id: str) -> dict[str, Any]:
    """`copied` None: a lot over its id decides."""
    found = uncopied(view, facts, shadow, pool, request_id)
    is_open = found is None and not request_id and shadow.share_ppm < ALL_PPM
    return {
        "to": shadow.to,
        "stage": stage or None,
        "share": shadow.share_ppm / ALL_PPM,
        "copied": None if is_open else found is None,
        "code": found.code if found is not None else None,
        "why_not": _why_not(found),
    }


def _why_not(found: Uncopied | None) -> str | None:
    return None if found is None else found.why or _WHY_NOT[found.code]


def trials_lines(story: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    for one in story["shadows"]:
        what = "rollout" if one["stage"] else "shadow"
        when = f", at its stage {one['stage']}" if one["stage"] else ""
        share = f"{100 * one['share']:g} %"
        if one["copied"]:
            yield f"{what}: the call is also sent to {one['to']}{when}"
        elif one["copied"] is None:
            yield f"{what}: {share} of such calls are also sent to {one['to']}{when}"
        elif one["code"] == "share":
            yield f"{what}: not sent to {one['to']}{when}: it is not among the {share} that are"
        elif one["code"] == "no_match":
            yield f"{what}: such calls are not sent to {one['to']}{when}"
        else:
            yield f"{what}: none at {one['to']}{when}: {one['why_not']}"
    if (rollout := story["rollout"]) is None:
        return
    if rollout["why_not"]:
        who = f"{rollout['rollout']}, for {rollout['to']} can't take it"
        yield f"rollout: no part of {who}: {rollout['why_not']}"
        return
    stages = " → ".join(rollout["stages"])
    yield f"rollout: part of {rollout['rollout']} to {rollout['to']} ({stages})"
    if rollout["drawn_by"] is None:
        yield "rollout: whose it is, is drawn for each call"
    elif rollout["candidate_from"] is None:
        yield f"rollout: the candidate's at no stage, drawn by {_by(rollout)}"
    else:
        yield f"rollout: the candidate's from {rollout['candidate_from']} on, drawn by {_by(rollout)}"


def _by(rollout: Mapping[str, Any]) -> str:
    return str(rollout["drawn_by"]).removeprefix("by ")
