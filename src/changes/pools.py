"""What is different about a pool: whom it asks first and by what share, and all else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from ..core.catalog import Member, Pool
from ..core.trials import Rollout, Shadow, Stage, Trials
from .fields import differences
from .pairs import pairs
from .written import percent_of, value_of

_MEMBERS = frozenset(("members",))
_ID = frozenset(("provider", "model", "id", "weight", "priority"))


def of_pool(old: Pool | None, new: Pool | None) -> Iterator[str]:
    """A line each. A pool that is new, or goes, tells its members."""
    if old is None or new is None:
        pool = new or old
        if pool is not None:
            yield ", ".join(f"{one} {share}" for one, share in shares(pool).items()) or "no members"
        return
    yield from _of_members(old, new)
    yield from differences(old, new, _MEMBERS)


def _of_members(old: Pool, new: Pool) -> Iterator[str]:
    """Shares rather than weights: another weight of one is another share of all."""
    before, now = shares(old), shares(new)
    for member in {**before, **now}:
        if member not in before:
            yield f"{member} is new: {now[member]}"
        elif member not in now:
            yield f"{member} goes (had {before[member]})"
        elif before[member] != now[member]:
            yield f"{member}: {before[member]} → {now[member]}"
    old_members, new_members = ({one.id: one for one in pool.members} for pool in (old, new))
    said = False
    for member, one in new_members.items():
        if member in old_members:
            for words in differences(old_members[member], one, _ID):
                said = True
                yield f"{member}: {words}"
    if before == now and not said and old.members != new.members:
        yield from _of_bare_weights(old_members, new_members)


def _of_bare_weights(old: dict[str, Member], new: dict[str, Member]) -> Iterator[str]:
    """Weights or priorities that leave all shares as they are, or another order of the same members."""
    said = False
    for member, one in new.items():
        for field in ("weight", "priority"):
            a, b = getattr(old[member], field), getattr(one, field)
            if a != b:
                said = True
                yield f"{member}: {field} {a} → {b}, with the same share"
    if not said:
        yield f"members stand in another order: {', '.join(new)}"


def shares(pool: Pool) -> dict[str, str]:
    """Member → its share of first attempts: `70%`; of one that is asked when others are out: `then 100%`."""
    found: dict[str, str] = {}
    levels = groupby(sorted(pool.members, key=lambda one: one.priority), key=lambda one: one.priority)
    for place, (_, level) in enumerate(levels):
        members = list(level)
        total = sum(one.weight for one in members)
        for one in members:
            share = percent_of(one.weight, total)
            found[one.id] = share if not place else f"{share} of level {place + 1}"
    return found


def trials_of(old: Trials | None, new: Trials | None) -> Iterator[str]:
    before, now = old or Trials(), new or Trials()
    yield from _of_shadows(before.shadows, now.shadows)
    a, b = before.rollout, now.rollout
    if a == b:
        return
    if a is None or b is None:
        if b is not None:
            yield f"a rollout to {b.to} begins: {_stages(b)}"
        elif a is not None:
            yield f"the rollout to {a.to} ends"
    elif (a.to, a.name) != (b.to, b.name):
        yield f"the rollout to {a.to} ends, one to {b.to} begins anew: {_stages(b)}"
    else:
        said = f"{_stages(a)} → {_stages(b)}" if _stages(a) != _stages(b) else _stages(b)
        yield f"the rollout to {b.to} begins anew, with other stages: {said}"


def _stages(rollout: Rollout) -> str:
    return ", ".join(_stage(one) for one in rollout.stages)


def _stage(stage: Stage) -> str:
    return f"{stage.name} for {value_of('hold_ms', stage.hold_ms)}"


def _of_shadows(old: tuple[Shadow, ...], new: tuple[Shadow, ...]) -> Iterator[str]:
    before, now = ({one.name: one for one in shadows} for shadows in (old, new))
    for pair in pairs(before, now):
        to = pair.either.to
        if pair.old is not None and pair.new is not None:
            yield from (f"shadow {to}: {words}" for words in differences(pair.old, pair.new))
        elif pair.new is not None:
            yield f"{value_of('share_ppm', pair.new.share_ppm)} of its calls go to the shadow {to}, too"
        else:
            yield f"the shadow {to} ends"
    if before == now and old != new:
        yield "shadows stand in another order"
