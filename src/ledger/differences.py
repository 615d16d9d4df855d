"""What explains a difference between our ledger and a provider's invoice. Pure.

A difference in dollars is cut in parts that add up to it: what the difference in tokens costs at our price,
what our calls of unknown cost would at it, and what is left, which is another price. Neither a difference in
tokens nor another price is a cause by itself: the first needs calls that can have made it, the second has to
be a price that somebody might ask.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from ..core.prices import dollars
from .tables import COUNTS

Rates = Mapping[str, Fraction]  # nano-dollars a token, by bucket
_SAME = Fraction(5, 1000)  # of the price: less is rounding
_LIKELY = (Fraction(-3, 4), Fraction(1))  # discounts and tiers: from a quarter of our price to twice it
_MOST_TOKENS = 2_000_000  # no call uses more: the largest contexts


@dataclass(slots=True)
class Side:
    """One side's sums for a day and model. `cost` in nano-dollars; None: nobody tells. Of ours: `states` is
    how many of the attempts of `unknown` cost there are by what is known of their usage; `uncounted`: of how
    many attempts not all tokens are known; `priced` and `paid`: tokens of attempts of known cost, and what
    they cost; `extra`: what these cost for what is no token."""

    tokens: dict[str, int] | None = None
    cost: int | None = None
    attempts: int = 0
    unknown: int = 0
    uncounted: int = 0
    states: dict[str, int] = field(default_factory=dict)
    priced: dict[str, int] = field(default_factory=dict)
    paid: dict[str, int] = field(default_factory=dict)
    extra: int = 0

    def add(self, tokens: Mapping[str, int] | None, cost: int | None) -> None:
        if tokens is not None:
            before = self.tokens or dict.fromkeys(COUNTS, 0)
            self.tokens = {name: before[name] + tokens.get(name, 0) for name in COUNTS}
        if cost is not None:
            self.cost = (self.cost or 0) + cost

    @property
    def is_empty(self) -> bool:
        return not self.cost and not any((self.tokens or {}).values())

    def rates(self) -> dict[str, Fraction]:
        """What was paid for tokens, on the average, where there were some."""
        return {name: Fraction(self.paid[name], count) for name, count in self.priced.items() if count}


@dataclass(slots=True)
class Parts:
    """Of a difference, in nano-dollars: `tokens` at our price, what is of unknown cost here (`unpriced`), and
    by another `price`."""

    tokens: int
    unpriced: int
    price: int


@dataclass(slots=True)
class Entry:
    """`why`: in words. `tokens_open`, `money_open`: there is a difference that nothing explains. `doubt`:
    what of `why` holds while the tokens are not explained."""

    day: str
    model: str
    ours: Side
    theirs: Side
    why: list[str] = field(default_factory=list)
    parts: Parts | None = None
    tokens_open: bool = False
    money_open: bool = False
    doubt: str = ""

    def settle(self, why: str) -> None:
        """The tokens are explained."""
        self.why = [word for word in self.why if word != self.doubt] + [why]
        self.tokens_open, self.doubt = False, ""

    @property
    def is_open(self) -> bool:
        return self.tokens_open or self.money_open

    @property
    def difference(self) -> int | None:
        """Theirs less what is known of ours; None where one side tells no cost."""
        if self.theirs.cost is None or self.ours.cost is None:
            return None
        return self.theirs.cost - self.ours.cost

    def missing(self) -> dict[str, int]:
        """Tokens that they have and we have not, by bucket; negative: the other way round. {} where one side
        tells none."""
        if self.theirs.tokens is None or self.ours.tokens is None:
            return {}
        theirs, ours = self.theirs.tokens, self.ours.tokens
        return {name: theirs[name] - ours[name] for name in COUNTS if theirs[name] != ours[name]}


def explain(entry: Entry, lost: int, listed: Rates) -> None:
    """`lost`: calls of that day of which nobody knows the end. `listed`: rates of the price book, for buckets
    in which we have nothing."""
    ours, theirs, why = entry.ours, entry.theirs, entry.why
    if not ours.attempts:
        why.append("none of it is in the ledger: calls past the broker, or another name of the model")
        entry.tokens_open = not theirs.is_empty
        return
    if theirs.cost is None and theirs.tokens is None:
        why.append("not on the invoice: another account, or it is not complete yet")
        entry.tokens_open = not ours.is_empty
        return
    missing, difference = entry.missing(), entry.difference
    if not missing and not difference and not ours.unknown:
        return
    if ours.unknown:
        states = ", ".join(f"{count} of {state} usage" for state, count in sorted(ours.states.items()))
        why.append(f"{ours.unknown} attempts of unknown cost ({states})")
    if missing:
        _explain_tokens(entry, missing, lost)
    if lost and (missing or (difference or 0) > 0):
        why.append(f"{lost} calls of that day are lost: their usage is not known")
    if difference and theirs.tokens is None:
        _explain_money(entry, difference, lost)
    elif difference is not None and theirs.tokens is not None:
        _explain_price(entry, difference, missing, {**listed, **ours.rates()})


def _explain_tokens(entry: Entry, missing: Mapping[str, int], lost: int) -> None:
    why = entry.why
    shown = ", ".join(f"{count:+d} {name}" for name, count in missing.items())
    why.append(f"tokens there: {shown}")
    uncounted = lost + entry.ours.uncounted
    if any(count < 0 for count in missing.values()):
        entry.doubt = "no call that is lost or of unknown usage explains fewer of them there"
    elif not uncounted:
        entry.doubt = "calls that are not in the ledger"
    elif sum(missing.values()) > uncounted * _MOST_TOKENS:
        entry.doubt = f"more than {uncounted} calls of unknown usage can have used"
    if entry.doubt:
        why.append(entry.doubt)
        entry.tokens_open = True


def _explain_money(entry: Entry, difference: int, lost: int) -> None:
    """They tell no tokens."""
    if abs(difference) <= _SAME * (entry.ours.cost or 0):
        entry.why.append("rounding")
    else:
        entry.money_open = difference < 0 or not (entry.ours.unknown or lost)


def _explain_price(entry: Entry, difference: int, missing: Mapping[str, int], rates: Rates) -> None:
    ours, why = entry.ours, entry.why
    theirs = {name: count for name, count in (entry.theirs.tokens or {}).items() if count}
    if unknown := sorted(name for name in {*theirs, *missing} if name not in rates):
        if difference:
            why.append(f"our price of {', '.join(unknown)} is not known")
            entry.money_open = difference < 0 or not ours.unknown
        return
    expected = round(sum((count * rates[name] for name, count in theirs.items()), Fraction(ours.extra)))
    tokens = round(sum((count * rates[name] for name, count in missing.items()), Fraction(0)))
    unpriced = expected - tokens - (ours.cost or 0) if ours.unknown else 0
    parts = entry.parts = Parts(tokens, unpriced, difference - tokens - unpriced)
    if missing:
        why.append(f"these tokens cost {_signed(tokens)} at our price")
    if parts.unpriced:
        why.append(f"what is of unknown cost here costs {_signed(parts.unpriced)} at our price")
    if abs(parts.price) > _SAME * abs(expected):
        if not expected:
            why.append(f"the price differs: {_signed(parts.price)} for what costs nothing here")
            entry.money_open = True
            return
        share = Fraction(parts.price, abs(expected))
        entry.money_open = not _LIKELY[0] <= share <= _LIKELY[1]
        by = f" ({_signed(parts.price)})" if missing or ours.unknown else ""
        why.append(f"the price differs: the same tokens cost {float(share):+.1%} there{by}")
        if entry.money_open:
            why.append("no discount or tier is so far from our price")
    elif parts.price and not missing and not ours.unknown:
        why.append("rounding")


def _signed(nano: int) -> str:
    return f"{'-' if nano < 0 else '+'}{dollars(abs(nano))}"


def explain_boundaries(entries: Iterable[Entry]) -> None:
    """Calls that began before midnight and ended behind it are another day's there, or days are cut in
    another time zone. `entries` are of one model, in the order of days."""
    listed = list(entries)
    for one, other in itertools.pairwise(listed):
        here, there = one.missing(), other.missing()
        if here and {name: -count for name, count in here.items()} == there:
            one.settle(f"day boundary: the next day has it the other way round ({other.day})")
            other.settle(f"day boundary: with {one.day} together they agree")
    total: dict[str, int] = {}
    for entry in listed:
        for name, count in entry.missing().items():
            total[name] = total.get(name, 0) + count
    differ = [entry for entry in listed if entry.missing()]
    if len(differ) > 2 and not any(total.values()):
        for entry in differ:
            entry.settle("over all days they agree: another time zone? (--time-zone)")
