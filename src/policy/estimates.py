"""What a call would cost at each member, before it is made. Pure but for what it keeps to be fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..core.call import Facts
from ..core.catalog import USUAL_OUTPUT_TOKENS, Catalog, Member, Pool
from ..core.prices import MILLION, NO_PRICES, Price, PriceBook, Scale
from .cheapest import Costs, first_group
from .decide import able_members, named_pool
from .eligible import State

COST_FACT = "cost.estimate"


class _Step(NamedTuple):
    """Of calls whose prompt holds more than `above` tokens: nano-dollars per million tokens (None: not
    known), and per million calls as such."""

    above: int
    input: int | None
    output: int | None
    request: int


class _Tariff(NamedTuple):
    """What one member costs from `from_s` until `until_s` (Unix seconds, exclusive); no steps: not known. The
    last step is that of the smallest prompts."""

    from_s: int
    until_s: int
    steps: tuple[_Step, ...]


def usual_tokens(facts: Facts, pool: Pool) -> tuple[int, int]:
    """(input, output) that the call is taken to have. An answer is as long as those of the pool are as a
    rule, or else as long as the call allows; never longer than that."""
    match facts.surface.operation:
        case "count":
            return 0, 0  # to count a prompt costs nothing
        case "embed":
            return facts.context_tokens, 0
    allowed, usual = facts.max_output_tokens, pool.routing.output_tokens
    if allowed is None:
        allowed = usual or USUAL_OUTPUT_TOKENS
    elif usual:
        allowed = min(allowed, usual)
    return facts.context_tokens, allowed * max(1, facts.choices)


class Estimates:
    """By one price book. What holds at a time is looked up once, and kept for as long as it does."""

    __slots__ = ("_book", "_tariffs")

    def __init__(self, book: PriceBook = NO_PRICES) -> None:
        self._book = book
        self._tariffs: dict[str, _Tariff] = {}

    def nano(self, member: Member, at_s: float, input_tokens: int, output_tokens: int) -> int | None:
        """Nano-dollars, the same as `prices.estimate`; None where the price does not say."""
        tariff = self._tariffs.get(member.id)
        if tariff is None or not tariff.from_s <= at_s < tariff.until_s:
            tariff = self._tariffs[member.id] = self._tariff(member, int(at_s))
        for above, input_rate, output_rate, request in tariff.steps:
            if input_tokens > above:
                if (input_rate is None and input_tokens) or (output_rate is None and output_tokens):
                    return None
                whole = input_tokens * (input_rate or 0) + output_tokens * (output_rate or 0) + request
                return (whole + MILLION // 2) // MILLION
        return None

    def costs(self, facts: Facts, pool: Pool, members: Iterable[Member], at_s: float) -> Costs:
        """Of the call at each of the members."""
        tokens = usual_tokens(facts, pool)
        return {member.id: self.nano(member, at_s, *tokens) for member in members}

    def _tariff(self, member: Member, at_s: int) -> _Tariff:
        price = self._book.find(member.provider, member.model, at_s)
        span = self._book.span(member.provider, member.model, at_s)
        return _Tariff(*span, () if price is None else _steps(price))


def _steps(price: Price) -> tuple[_Step, ...]:
    if price.commitment:
        return (_Step(-1, 0, 0, 0),)
    scale: Scale = price.scale
    steps = []
    for above, rates in reversed(((-1, scale.rates), *scale.above)):
        # Of all kinds of output the dearest, where there is a price of output at all.
        output = rates.output
        if output is not None:
            output = max(output, rates.reasoning or 0)
        steps.append(_Step(above, rates.input, output, rates.request or 0))
    return tuple(steps)


def asks_cost(catalog: Catalog) -> bool:
    """Does any rule want to know?"""
    return any(condition.fact == COST_FACT for rule in catalog.rules for condition in rule.conditions)


def with_estimate(facts: Facts, catalog: Catalog, state: State, estimates: Estimates, at_s: float) -> Facts:
    """The facts with `cost.estimate`: in the pool that the call itself asks for, whatever rules say, what the
    dearest of those members costs that may be the first to get it while all are well. Not known where one of
    them has no price, or where there is nobody."""
    named = named_pool(facts, catalog)
    if named is None:
        return facts
    pool, only_model = named
    _, eligible, _ = able_members(facts, only_model, pool, catalog, state)
    first = min((member.priority for member in eligible), default=0)
    members = tuple(member for member in eligible if member.priority == first)
    costs = estimates.costs(facts, pool, members, at_s)
    if pool.routing.is_cheapest:
        members = first_group(members, costs, pool.routing.tolerance_ppm)
    known = [cost for member in members if (cost := costs[member.id]) is not None]
    return facts._replace(cost_estimate=max(known) if known and len(known) == len(members) else None)
