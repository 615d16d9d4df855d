"""The order of members by what a call would cost at them. Pure.

Priorities come first. Within one, members stand in groups: the cheapest with those that cost at most the
tolerance more, then the cheapest of the rest with those near it, and so on; whose cost is not known are the
last group. Within a group weights decide, by lot, as anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from ..core.catalog import Member
from ..core.prices import MILLION
from .affinity import preference

Costs = Mapping[str, int | None]  # member id → nano-dollars, None where that is not known


def first_group(members: Iterable[Member], costs: Costs, tolerance_ppm: int) -> tuple[Member, ...]:
    """Of members of one priority, the cheapest and those that cost at most the tolerance more, in the given
    order; where no cost is known, all of them."""
    members = tuple(members)
    known = [cost for member in members if (cost := costs[member.id]) is not None]
    if not known:
        return members
    most = min(known) * (MILLION + tolerance_ppm)
    return tuple(
        member for member in members if (cost := costs[member.id]) is not None and cost * MILLION <= most
    )


def by_cost(key: str, members: Iterable[Member], costs: Costs, tolerance_ppm: int) -> tuple[Member, ...]:
    """All of the members in the order of trying. `key` is what the lots are drawn from."""
    result: list[Member] = []
    left = list(preference(key, members))
    while left:
        level = [member for member in left if member.priority == left[0].priority]
        group = first_group(level, costs, tolerance_ppm)
        result += group
        left = [member for member in left if member not in group]
    return tuple(result)


def cheapest(
    key: str,
    members: Collection[Member],
    costs: Costs,
    tolerance_ppm: int,
    is_away: Callable[[Member], bool],
    *,
    draws: bool,
) -> Member | None:
    """Who of the members (one or more) is first: of the first priority that has one which is not away. None:
    weights decide among all that could be, and that is Envoy's to do; with `draws` it is done here."""
    here = [member for member in members if not is_away(member)] or list(members)
    first = min(member.priority for member in here)
    level = [member for member in here if member.priority == first]
    group = first_group(level, costs, tolerance_ppm)
    if len(group) == 1:
        return group[0]
    is_all = len(here) == len(members) and len(group) == len(level)
    return None if is_all and not draws else preference(key, group)[0]


def chances(members: Collection[Member]) -> dict[Member, float]:
    """Of each of the members that weights decide between."""
    total = sum(member.weight for member in members)
    return {member: member.weight / total for member in members}
