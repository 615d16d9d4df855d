"""What a simulation says of rollouts and shadows, as a tree of plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..core.catalog import Catalog
from ..core.prices import dollars
from ..core.trials import Shadow
from ..stats import Interval
from .learning import Learned
from .stages import AT, RECORDED, Assumed
from .trial_sums import NEW, OLD, CopySums, TriedSums
from .tried import OVER, PAUSED, SENT, UNFIT

# Of fewer copies their scatter is not known.
LEAST_COPIES = 10
Tree = dict[str, Any]
Said = tuple[Catalog, Mapping[str, Assumed]]


class Sides(NamedTuple):
    """`old` None: what was recorded. Not `is_whole`: figures are of some calls alone, and whose copies were
    recorded is not known."""

    new: Said
    old: Said | None
    is_whole: bool


def rollout_figures(sums: TriedSums, sides: Sides, learned: Learned) -> list[Tree]:
    """Of each: where it is taken to be on either side, and how many calls are part of it. `calls` and
    `candidate` are of those that figures are about; the latter is what is expected."""
    names = {*sides.new[1], *(sides.old[1] if sides.old is not None else learned.arms.names())}
    names.update(name for _, name in sums.arms)
    return [
        {
            "rollout": name,
            "old": _standing(name, OLD, sides.old, sums, learned),
            "new": _standing(name, NEW, sides.new, sums, learned),
        }
        for name in sorted(names)
    ]


def _standing(name: str, side: str, said: Said | None, sums: TriedSums, learned: Learned) -> Tree | None:
    """None: there is no such rollout."""
    assumed = said[1].get(name) if said is not None else None
    if (assumed is None and said is not None) or (said is None and name not in learned.arms.names()):
        return None
    calls, candidates = sums.arms.get((side, name), (0.0, 0.0))
    how = assumed.how if assumed is not None else RECORDED
    stages: list[str] = []
    if how == RECORDED:
        stages = learned.arms.stages_of(name)
    elif how == AT and assumed is not None and assumed.stage is not None:
        stages = [assumed.stage.name]
    told: Tree = {"how": how, "stages": stages, "calls": round(calls), "candidate": round(candidates, 1)}
    return told | ({"to": assumed.rollout.to} if assumed is not None else {"to": None})


def shadow_figures(sums: TriedSums, sides: Sides, learned: Learned) -> list[Tree]:
    """Of each: what becomes of copies and what they cost. None of it is in any other figure."""
    new = _shadows(sides.new, learned)
    old = _shadows(sides.old, learned) if sides.old is not None else {}
    names = sorted({*new, *old, *(name for _, name in sums.copies)})
    told = []
    for name in names:
        shadow = new.get(name) or old.get(name)
        is_known = sides.old is not None or sides.is_whole
        told.append(
            {
                "shadow": name,
                "to": shadow.to if shadow is not None else None,
                "rollout": (shadow.rollout or None) if shadow is not None else None,
                "old": _copies(sums.copies.get((OLD, name)), learned) if is_known else None,
                "new": _copies(sums.copies.get((NEW, name)), learned),
            }
        )
    return told


def _shadows(said: Said, learned: Learned) -> dict[str, Shadow]:
    """Those that get copies where rollouts are taken to be."""
    catalog, assumed = said
    found = {shadow.name: shadow for one in catalog.trials.values() for shadow in one.shadows}
    for one in assumed.values():
        names = [one.stage.name] if one.stage is not None else []
        if one.how == RECORDED:
            names = learned.arms.stages_of(one.rollout.name)
        copying = [stage.shadow for stage in one.rollout.stages if stage.name in names]
        found.update({shadow.name: shadow for shadow in copying if shadow is not None})
    return found


def copies_interval(sums: CopySums, learned: Learned) -> Interval | None:
    """Of what copies cost, in nano-dollars."""
    return sums.side.cost_interval(learned) if sums.side.sent >= LEAST_COPIES else None


def _copies(sums: CopySums | None, learned: Learned) -> Tree:
    """`sent` of them cost something, and of `unknown` of these that is not known. `low` to `high`: where the
    same calls come again, with other lots; null: too few to say."""
    sums = sums or CopySums()
    interval = copies_interval(sums, learned)
    return {
        **{name: sums.results.get(name, 0) for name in (SENT, OVER, PAUSED, UNFIT)},
        "cost": round(sums.side.cost),
        "cost_usd": dollars(round(sums.side.cost)),
        "low": round(interval.low) if interval is not None else None,
        "high": round(interval.high) if interval is not None else None,
        "unknown": sums.side.unknown,
        "assumed": round(sums.side.assumed(learned)),
        "by_mean": round(sums.side.by_mean),
    }
