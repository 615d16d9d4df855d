"""What is told of prices and of budgets in dollars together: who has no price, and what affords no call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..core.budgets import DEFAULT_OUTPUT_TOKENS, DENY, NANO_DOLLARS, Budget, OnUnknown
from ..core.catalog import Member, Pool
from ..core.prices import MILLION, Price, PriceBook, dollars
from .budgets import may_hold
from .merge import Merged
from .problems import show
from .yamltext import Path

Places = Sequence[tuple[Path, Pool, Member]]


def warn_of_prices(
    merged: Merged,
    pools: Mapping[str, Pool],
    book: PriceBook,
    at_s: int,
    idle: Iterable[str],
    budgets: Iterable[Budget],
    *,
    everybody: bool,
) -> None:
    """One warning for each member whose calls' cost is unknown at `at_s`: for `everybody`, or only where a
    budget in dollars or the routing depends on it; and one for each budget in dollars that affords no call.
    `idle` are providers whose members serve no calls."""
    names, without = merged.names("pools"), set(idle)
    places = [
        (("pools", names[name], "members", i, "model"), pool, member)
        for name, pool in pools.items()
        for i, member in enumerate(pool.members)
        if member.provider not in without
    ]
    money = [one for one in budgets if one.unit == NANO_DOLLARS]
    _warn_of_unpriced(merged, places, book, at_s, money, everybody)
    _warn_of_small(merged, places, book, at_s, money)


def _warn_of_unpriced(
    merged: Merged, places: Places, book: PriceBook, at_s: int, money: Sequence[Budget], everybody: bool
) -> None:
    concerned = _concerned(places, money)
    denied = _concerned(places, [one for one in money if one.unknown_cost == OnUnknown.DENY])
    told: set[str] = set()
    for path, pool, member in places:
        is_last = pool.routing.is_cheapest
        if not (everybody or is_last or member.id in concerned) or (member.id in told and not is_last):
            continue
        told.add(member.id)
        if lacking := _lacking(book.find(member.provider, member.model, at_s), member):
            wrong = f"{member.id} has no {lacking}, so what its calls cost is unknown"
            if member.id in denied:
                wrong += ", and it gets none for which a budget in dollars holds"
            if is_last:
                wrong += ", and it is the last to be tried (routing: cheapest)"
            entry = f"{{provider: {member.provider}, model: {show(member.model)}, input: …, output: …}}"
            right = f"add to `prices`: - {entry} in dollars per million tokens, or commitment: true"
            merged.warn(path, wrong, right)


def _concerned(places: Places, budgets: Sequence[Budget]) -> set[str]:
    """The ids of the members of whose calls some may be in one of these budgets."""
    return {
        member.id for _, pool, member in places if any(_concerns(budget, pool, member) for budget in budgets)
    }


def _concerns(budget: Budget, pool: Pool, member: Member) -> bool:
    said = budget.conditions
    return may_hold(said, "pool", pool.name) and may_hold(said, "provider", member.provider)


def _lacking(price: Price | None, member: Member) -> str:
    """What is not there of a member's price; "" where there is all that every call needs."""
    if price is None:
        return "price"
    can = member.capabilities
    wanted = ["input"] if can.embeddings and not can.chat else ["input", "output"]
    lacking = [name for name in wanted if getattr(price.scale.rates, name) is None]
    return f"price of {' and '.join(lacking)}" if lacking else ""


def _warn_of_small(
    merged: Merged, places: Places, book: PriceBook, at_s: int, money: Sequence[Budget]
) -> None:
    """Who borrows or lends has other amounts to go by."""
    names = merged.names("budgets")
    lenders = {one.lender for one in money}
    for budget in money:
        most = next((budget.at(step) for step in budget.steps if step.action == DENY), None)
        if most is None or budget.lender or budget.name in lenders:
            continue
        costs = [
            (cost, member.id, tokens)
            for _, pool, member in places
            if _concerns(budget, pool, member)
            and (tokens := _answer(budget, member))
            and (cost := _output(book.find(member.provider, member.model, at_s), tokens)) is not None
        ]
        if not costs or min(costs)[0] <= most:
            continue
        cost, member_id, tokens = min(costs)
        wrong = (
            f"${dollars(most)} is less than one call of {tokens:,} tokens at {member_id} (${dollars(cost)}), "
            "the cheapest that it concerns, so that calls that give no maximum never fit"
        )
        right = f"give it a larger amount, or {'a smaller ' if budget.output_tokens else ''}reserve_output"
        merged.warn(("budgets", names[budget.name], "amount"), wrong, right)


def _answer(budget: Budget, member: Member) -> int:
    """Tokens that are reserved for the answer to a call that does not say how long it may be."""
    can = member.capabilities
    if can.chat is False or (can.embeddings and not can.chat):
        return 0
    tokens = budget.output_tokens or DEFAULT_OUTPUT_TOKENS
    return tokens if can.max_output_tokens is None else min(tokens, can.max_output_tokens)


def _output(price: Price | None, tokens: int) -> int | None:
    """Nano-dollars of so many tokens of an answer, each of the dearest kind; None: not known."""
    if price is None:
        return None
    if price.commitment:
        return 0
    rates = price.scale.rates
    if rates.output is None:
        return None
    return -(-tokens * max(rates.output, rates.reasoning or 0) // MILLION)
