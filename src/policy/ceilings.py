"""The most that a call is taken to cost, before it is made. Pure but for what it keeps to be fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from ..core.budgets import DEFAULT_OUTPUT_TOKENS
from ..core.call import Surface
from ..core.catalog import Member
from ..core.prices import MILLION, NO_PRICES, Price, PriceBook

_INPUTS = ("input", "cache_read", "cache_write_5m", "cache_write_1h")


class _Step(NamedTuple):
    """Of calls whose prompt holds more than `above` tokens: the dearest nano-dollars per million tokens
    (None: not known), and per million calls as such."""

    above: int
    input: int | None
    heard: int  # the dearest where there is audio in the prompt
    output: int | None
    request: int


class _Tariff(NamedTuple):
    """What holds from `from_s` until `until_s` (Unix seconds, exclusive); no steps: not known. The last step
    is that of the smallest prompts."""

    from_s: float
    until_s: float
    steps: tuple[_Step, ...]


class Ceiling(msgspec.Struct, frozen=True, gc=False):
    """Of one call at the dearest of some members: tokens, and nano-dollars as far as they are known; `untold`
    are those of which they are not."""

    tokens: int
    nano: int
    untold: tuple[Member, ...]


class Size(Protocol):
    """What of a call's Facts its ceiling depends on."""

    @property
    def surface(self) -> Surface: ...
    @property
    def context_tokens(self) -> int: ...
    @property
    def max_output_tokens(self) -> int | None: ...
    @property
    def audio(self) -> bool: ...
    @property
    def choices(self) -> int: ...


class Ceilings:
    """By one price book. What holds at a time is looked up once, and kept for as long as it does."""

    __slots__ = ("_book", "_tariffs")

    def __init__(self, book: PriceBook = NO_PRICES) -> None:
        self._book = book
        self._tariffs: dict[str, _Tariff] = {}

    def nano(
        self, member: Member, at_s: float, input_tokens: int, output_tokens: int, hears: bool = False
    ) -> int | None:
        """Nano-dollars of a call whose every token is of the dearest kind that the price knows; None where it
        does not say. `hears`: there is audio in it."""
        tariff = self._tariffs.get(member.id)
        if tariff is None or not tariff.from_s <= at_s < tariff.until_s:
            tariff = self._tariffs[member.id] = self._tariff(member, int(at_s))
        for above, input_rate, heard_rate, output_rate, request in tariff.steps:
            if input_tokens > above:
                if (input_rate is None and input_tokens) or (output_rate is None and output_tokens):
                    return None
                rate = heard_rate if hears else input_rate or 0
                whole = input_tokens * rate + output_tokens * (output_rate or 0) + request
                return -(-whole // MILLION)
        return None

    def dearest(self, members: Sequence[Member], at_s: float, facts: Size, most_output: int) -> Ceiling:
        """The most that the call may take at any of the members."""
        tokens = nano = 0
        untold: tuple[Member, ...] = ()
        given, most = most_sizes(facts, most_output)
        hears, choices = facts.audio, facts.choices
        for member in members:
            can = member.capabilities.max_output_tokens
            output = most if can is None or can > most else can
            if choices > 1:
                output *= choices
            if given + output > tokens:
                tokens = given + output
            cost = self.nano(member, at_s, given, output, hears)
            if cost is None:
                if given or output:
                    untold += (member,)
            elif cost > nano:
                nano = cost
        return Ceiling(tokens, nano, untold)

    def _tariff(self, member: Member, at_s: int) -> _Tariff:
        price = self._book.find(member.provider, member.model, at_s)
        from_s, until_s = self._book.span(member.provider, member.model, at_s)
        return _Tariff(from_s, until_s, () if price is None else _steps(price))


def _steps(price: Price) -> tuple[_Step, ...]:
    if price.commitment:
        return (_Step(-1, 0, 0, 0, 0),)
    steps = []
    for above, rates in reversed(((-1, price.scale.rates), *price.scale.above)):
        given = rates.input
        if given is not None:
            given = max(getattr(rates, bucket) or 0 for bucket in _INPUTS)
        output = rates.output
        if output is not None:
            output = max(output, rates.reasoning or 0)
        heard = max(given or 0, rates.audio_input or 0)
        steps.append(_Step(above, given, heard, output, rates.request or 0))
    return tuple(steps)


def most_sizes(facts: Size, most_output: int) -> tuple[int, int]:
    """(input, output) in tokens, whoever answers: the estimate of the one, and the bound of a single answer.
    `most_output`: no more are taken for an answer; 0: as many as the call and the member allow."""
    operation = facts.surface.operation
    if operation != "chat":
        return (0, 0) if operation == "count" else (facts.context_tokens, 0)
    most = facts.max_output_tokens
    if most is None:
        most = most_output or DEFAULT_OUTPUT_TOKENS
    elif most_output and most_output < most:
        most = most_output
    return facts.context_tokens, most
