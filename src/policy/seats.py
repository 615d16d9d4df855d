"""Which accounts a call falls into, and what it may cost at most in each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

from ..core.budgets import (
    CALLS,
    CONCURRENCY,
    DEFAULT_OUTPUT_TOKENS,
    DEGRADE,
    NANO_DOLLARS,
    Budget,
)
from ..core.call import Caller, Facts
from ..core.catalog import Member
from ..core.prices import MILLION, Price, PriceBook
from .budgets import Claim, Seat, account_id, most_of
from .match import holds

# Callers are few; users and customers that callers name may be many.
_MOST_KEPT = 20_000
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_INPUTS = ("input", "cache_read", "cache_write_5m", "cache_write_1h")
_OUTPUTS = ("output", "reasoning")


class Plan:
    """The budgets of one configuration. `budgets` as in the catalog: who borrows before its lender."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self._budgets = budgets
        self._depend = [
            "provider" in one.by or any(condition.fact == "provider" for condition in one.conditions)
            for one in budgets
        ]
        self._seats: dict[tuple[Caller, str, str], tuple[Seat, ...]] = {}
        self._by_provider: dict[tuple[Caller, str], bool] = {}

    def depends_on_provider(self, caller: Caller, pool: str) -> bool:
        """Then the member has to be known before the call is let go."""
        if not any(self._depend):
            return False
        key = (caller, pool)
        if (found := self._by_provider.get(key)) is None:
            facts = _facts(caller, pool, "")
            found = any(
                depends
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
            found = self._find(_facts(caller, pool, provider), bool(provider))
            _keep(self._seats, key, found)
        return found

    def _find(self, facts: Mapping[str, str], knows_provider: bool) -> tuple[Seat, ...]:
        scopes: dict[str, tuple[Budget, str, bool]] = {}  # by the name with the unit; in the catalog's order
        lenders: set[str] = set()
        for budget, depends in zip(self._budgets, self._depend, strict=True):
            if depends and not knows_provider:
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
            Seat(
                budget,
                account_id(budget, scope),
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
    facts: Facts,
    members: Sequence[Member],
    book: PriceBook,
    now_s: float,
    attempts: int,
    entered: Sequence[str],
) -> tuple[tuple[Claim, ...], Sequence[Member]]:
    """What a call may cost at most at the dearest of `members`, made so many times side by side; and those of
    them whose cost can't be told, where a budget does not allow that: then the claims mean nothing.
    `entered` are pools that the call is in already: it is not degraded to them."""
    claims = []
    for seat in seats:
        budget = seat.budget
        amount = 0
        if seat.is_own:
            if budget.unit == NANO_DOLLARS:
                amount, untold = _money(budget, facts, members, book, int(now_s))
                if untold:
                    return (), untold
            elif budget.unit not in (CALLS, CONCURRENCY):
                amount = max(tokens_of(budget, facts, member) for member in members)
            amount = 1 if budget.unit in (CALLS, CONCURRENCY) else amount * attempts
        claims.append(Claim(seat, amount, most_of(budget), _degrade_from(seat, entered)))
    return tuple(claims), ()


def _degrade_from(seat: Seat, entered: Sequence[str]) -> int | None:
    if not seat.is_own:
        return None
    budget = seat.budget
    found = [budget.at(step) for step in budget.steps if step.action == DEGRADE and step.pool not in entered]
    return min(found, default=None)


def _money(
    budget: Budget, facts: Facts, members: Sequence[Member], book: PriceBook, now_s: int
) -> tuple[int, list[Member]]:
    most, untold = 0, []
    for member in members:
        price = book.find(member.provider, member.model, now_s)
        is_free = facts.surface.operation == "count"
        cost = 0 if is_free else dearest(price, *_sizes(budget, facts, member), facts.audio)
        if cost is not None:
            most = max(most, cost)
        elif isinstance(budget.unknown_cost, int):
            most = max(most, budget.unknown_cost)
        elif budget.unknown_cost == "deny":
            untold.append(member)
    return most, untold


def tokens_of(budget: Budget, facts: Facts, member: Member) -> int:
    """The most that a call is expected to use."""
    return 0 if facts.surface.operation == "count" else sum(_sizes(budget, facts, member))


def _sizes(budget: Budget, facts: Facts, member: Member) -> tuple[int, int]:
    """(input, output): the estimate of the one, and the bound of the other as far as it is reserved."""
    if facts.surface.operation != "chat":
        return facts.context_tokens, 0
    most = facts.max_output_tokens
    if most is None:
        most = budget.output_tokens or DEFAULT_OUTPUT_TOKENS
    elif budget.output_tokens:
        most = min(most, budget.output_tokens)
    can = member.capabilities.max_output_tokens
    if can is not None and can < most:
        most = can
    return facts.context_tokens, most * max(1, facts.choices)


def dearest(price: Price | None, input_tokens: int, output_tokens: int, hears: bool = False) -> int | None:
    """Nano-dollars of a call whose every token is of the dearest kind that the price knows; None where it
    does not say. `hears`: there is audio in it."""
    if price is None:
        return None
    if price.commitment:
        return 0
    rates = price.scale.at(input_tokens)
    if (input_tokens and rates.input is None) or (output_tokens and rates.output is None):
        return None
    inputs = max(getattr(rates, bucket) or 0 for bucket in _INPUTS)
    if hears:
        inputs = max(inputs, rates.audio_input or 0)
    outputs = max(getattr(rates, bucket) or 0 for bucket in _OUTPUTS)
    whole = input_tokens * inputs + output_tokens * outputs
    return -(-(whole + (rates.request or 0)) // MILLION)
