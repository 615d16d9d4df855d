"""Is the answer to a call scored for a rollout?"""

from __future__ import annotations

from collections.abc import Mapping

from ..core.call import Facts
from ..core.trials import CANDIDATE, Rollout, Stage, ToScore
from ..policy.capturing import is_exempt
from ..policy.lots import is_drawn
from .errand import Errand
from .trying import Arm, Standing, standing_of, uncopied
from .view import View


def to_score(
    view: View,
    facts: Facts,
    request_id: str,
    arm: Arm,
    served_by: str,
    standings: Mapping[str, Standing],
    errand: Errand | None,
) -> ToScore | None:
    """None: it is not. `served_by`: the pool that it goes to. Calls are drawn by lot, always the same; never
    those of callers who are exempt from capture, nor those that are the broker's own, but for copies of
    calls that are scored. What others answer in the candidate's place says nothing of how good it is."""
    if errand is not None:
        if not errand.is_scored:
            return None
        name, arm_name, first = errand.rollout, CANDIDATE, errand.shadow_of
    else:
        name, arm_name, first = arm.rollout, arm.arm, request_id
    if not name or facts.surface.operation != "chat" or facts.hosted_tools:
        return None
    found = _stage(view, name, standings)
    if found is None:
        return None
    rollout, stage = found
    scores, shadow = stage.scores, stage.shadow
    if scores is None or (errand is not None) != (shadow is not None and arm_name == CANDIDATE):
        return None
    if errand is not None:
        return ToScore(scores, name, arm_name, first, True)
    if facts.caller.purpose or is_exempt(view.catalog.capture, facts.caller.name):
        return None
    if arm_name == CANDIDATE and served_by != rollout.target:
        return None
    if not is_drawn(f"scores of {name}", request_id, scores.share_ppm):
        return None
    if shadow is not None and uncopied(view, facts, shadow, served_by, request_id) is not None:
        return None
    return ToScore(scores, name, arm_name, first, shadow is not None)


def _stage(view: View, name: str, standings: Mapping[str, Standing]) -> tuple[Rollout, Stage] | None:
    """Of the rollout of that name, while its gates are looked at."""
    found = (trials.rollout for trials in view.catalog.trials.values())
    rollout = next((one for one in found if one is not None and one.name == name), None)
    standing = standing_of(rollout, standings) if rollout is not None else None
    if rollout is None or standing is None or standing.is_done:
        return None
    return rollout, rollout.stages[min(standing.stage, len(rollout.stages) - 1)]
