"""Pools that want the cheapest member, and rules that ask what a call would cost."""

from __future__ import annotations

from collections.abc import Collection

from ..core.call import Decision, Facts
from ..core.catalog import Member, Pool
from ..policy import away
from ..policy.attempts import Outlook
from ..policy.cheapest import Costs, by_cost, cheapest, first_group
from ..policy.estimates import with_estimate
from .view import View


def priced(facts: Facts, view: View, at_s: float) -> Facts:
    """With what the call would cost, where a rule asks for it."""
    if not view.asks_cost:
        return facts
    return with_estimate(facts, view.catalog, view.state, view.estimates, at_s)


class ByCost:
    """What one call would cost at the members of one pool now: who is first, and who is next. `key` says what
    the call has in common with others (a conversation), "" where that is nothing; else `request_id` is what
    its lots are drawn from."""

    __slots__ = ("_draws", "_key", "_tolerance_ppm", "costs")

    def __init__(self, costs: Costs, pool: Pool, key: str, request_id: str) -> None:
        self.costs = costs
        self._tolerance_ppm = pool.routing.tolerance_ppm
        self._key = key or request_id
        self._draws = bool(key)

    @property
    def conversation(self) -> str:
        return self._key if self._draws else ""

    def first(self, members: Collection[Member], outlook: Outlook) -> Member | None:
        """None: Envoy picks by weight. Who is close to a limit gets fewer calls, but keeps conversations."""
        is_away = away(self._key, outlook.share_of if self._draws else outlook.eased_share_of)
        return cheapest(self._key, members, self.costs, self._tolerance_ppm, is_away, draws=self._draws)

    def candidates(self, members: Collection[Member], outlook: Outlook) -> tuple[Member, ...]:
        """Those of the members among whom weights decide who is first."""
        here = [member for member in members if outlook.eased_share_of(member) > 0] or list(members)
        first = min(member.priority for member in here)
        level = [member for member in here if member.priority == first]
        return first_group(level, self.costs, self._tolerance_ppm)

    def order(self, key: str, members: Collection[Member]) -> tuple[Member, ...]:
        """Of further attempts."""
        return by_cost(key, members, self.costs, self._tolerance_ppm)


def in_reach(pool: Pool, decision: Decision, costs: Costs) -> Decision:
    """With those alone that may have the first attempt while all are well, as its pool wants it."""
    first = min(member.priority for member in decision.eligible)
    level = tuple(member for member in decision.eligible if member.priority == first)
    if pool.routing.is_cheapest:
        level = first_group(level, costs, pool.routing.tolerance_ppm)
    return decision._replace(eligible=level)
