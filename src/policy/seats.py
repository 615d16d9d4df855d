"""Which accounts a call falls into, and what it may cost at most in each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

from ..core.budgets import TOKENS, Budget, OnUnknown
from ..core.call import Caller
from ..core.catalog import Member
from .budgets import Claim, Seat, degrades_left, seat_of
from .ceilings import Ceiling, Ceilings, Size
from .match import holds

# Callers are few; users and customers that callers name may be many.
_MOST_KEPT = 20_000
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Plan:
    """The budgets of one configuration. `budgets` as in the catalog: who borrows before its lender."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self._budgets = budgets
        self._depend = [
            "provider" in one.by or any(condition.fact == "provider" for condition in one.conditions)
            for one in budgets
        ]
        self.names_providers = any(self._depend)  # does any budget go by who answers?
        self._seats: dict[tuple[Caller, str, str], tuple[Seat, ...]] = {}
        self._by_provider: dict[tuple[Caller, str], bool] = {}

    def depends_on_provider(self, caller: Caller, pool: str) -> bool:
        """Then the member has to be known before the call is let go."""
        if not self.names_providers:
            return False
        key = (caller, pool)
        if (found := self._by_provider.get(key)) is None:
            facts = _facts(caller, pool, "")
            found = any(
                depends
                and budget.purpose == caller.purpose
                and all(holds(one, facts) for one in budget.conditions if one.fact != "provider")
                and all(facts.get(fact) for fact in budget.by if fact != "provider")
                for budget, depends in zip(self._budgets, self._depend, strict=True)
            )
            _keep(self._by_provider, key, found)
        return found

    def seats(self, caller: Caller, pool: str, provider: str) -> tuple[Seat, ...]:
        """`provider` is "" where it is not known, and then what depends on it is left out."""
        key = (caller, pool, provider)
        if (found := self._seats.get(key)) is None:
            found = self._find(_facts(caller, pool, provider), bool(provider), caller.purpose)
            _keep(self._seats, key, found)
        return found

    def _find(self, facts: Mapping[str, str], knows_provider: bool, purpose: str) -> tuple[Seat, ...]:
        """What is no client's call is in the budgets of its own purpose, and in no other."""
        scopes: dict[str, tuple[Budget, str, bool]] = {}  # by the name with the unit; in the catalog's order
        lenders: set[str] = set()
        for budget, depends in zip(self._budgets, self._depend, strict=True):
            if budget.purpose != purpose or (depends and not knows_provider):
                continue
            is_own = all(holds(one, facts) for one in budget.conditions)
            is_lender = budget.kind == "budget" and budget.name in lenders
            if not (is_own or is_lender) or not all(facts.get(fact) for fact in budget.by):
                continue
            scope = ",".join(f"{fact}={quote(facts[fact], safe=' @:/+')}" for fact in budget.by)
            scopes[f"{budget.name} {budget.unit}"] = budget, scope, is_own
            if budget.lender:
                lenders.add(budget.lender)
        places = {name: place for place, name in enumerate(scopes)}
        return tuple(
            seat_of(
                budget,
                scope,
                places.get(f"{budget.lender} {budget.unit}", -1) if budget.lender else -1,
                is_own,
            )
            for budget, scope, is_own in scopes.values()
        )


def _facts(caller: Caller, pool: str, provider: str) -> dict[str, str]:
    """Those that are known."""
    known = {
        "caller": caller.name,
        "agent": caller.agent,
        "user": caller.user,
        "team": caller.team,
        "customer": caller.customer,
        "feature": caller.feature,
        "tier": caller.tier,
        "pool": pool,
        "provider": provider,
    }
    return {name: value for name, value in known.items() if value}


def _keep(kept: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(kept) >= _MOST_KEPT:
        kept.clear()
    kept[key] = value


def claims_of(
    seats: Sequence[Seat],
    facts: Size,
    members: Sequence[Member],
    ceilings: Ceilings,
    now_s: float,
    attempts: int,
    entered: Sequence[str],
) -> tuple[tuple[Claim, ...], Sequence[Member]]:
    """What a call may cost at most at the dearest of `members`, made so many times side by side; and those of
    them whose cost can't be told, where a budget does not allow that: then the claims mean nothing.
    `entered` are pools that the call is in already: it is not degraded to them."""
    claims = []
    found: dict[int, Ceiling] = {}
    for seat in seats:
        amount = 0
        if seat.counts:
            amount = 1
        elif seat.is_own:
            budget = seat.budget
            most_output = budget.output_tokens
            if (ceiling := found.get(most_output)) is None:
                ceiling = found[most_output] = ceilings.dearest(members, now_s, facts, most_output)
            if budget.unit == TOKENS:
                amount = ceiling.tokens
            else:
                amount = ceiling.nano
                if ceiling.untold:
                    if budget.unknown_cost == OnUnknown.DENY:
                        return (), ceiling.untold
                    if isinstance(budget.unknown_cost, int):
                        amount = max(amount, budget.unknown_cost)
            if attempts > 1:
                amount *= attempts
        degrade = None
        if seat.degrades:
            left = degrades_left(seat.degrades, entered)
            degrade = left[0][0] if left else None
        claims.append(Claim(seat, amount, seat.most, degrade))
    return tuple(claims), ()
