"""What providers ask for their tokens, and since when: exact integers, found fast.

A rate is **nano-dollars per million units** (tokens; for `request` calls): $0.0375 a million tokens are
37,500,000. So every price that people write is a whole number, and n tokens at a rate r cost n·r/1,000,000
nano-dollars.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType

MILLION = 1_000_000
NANO = 1_000_000_000
DAY_S = 86_400

# Ways to be served that are priced apart. What providers call their usual one is in STANDARD.
SERVICE_TIERS = ("batch", "flex", "priority", "fast")
STANDARD = frozenset(("", "default", "standard", "standard_only", "on_demand"))


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars per million units of each bucket. None: not known; of `reasoning`, `audio_output` and the
    two of media, which are parts of `output` or `input`: they cost what the whole does."""

    input: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None  # a part of `input`
    audio_cache_read: int | None = None  # a part of `cache_read`
    audio_output: int | None = None
    media_input: int | None = None  # images and video
    media_output: int | None = None
    request: int | None = None  # a million calls; None: calls as such cost nothing
    web_searches: int | None = None  # a million of them

    def items(self) -> tuple[tuple[str, int], ...]:
        """(bucket, rate) of those that are known."""
        pairs = ((name, getattr(self, name)) for name in BUCKETS)
        return tuple((name, rate) for name, rate in pairs if rate is not None)

    def less(self, discount_ppm: int) -> Rates:
        """With so many parts of a million off; half a nano-dollar per million units is rounded to even."""
        keep = MILLION - discount_ppm
        return Rates(**{name: _rounded(rate * keep) for name, rate in self.items()})


BUCKETS = tuple(each.name for each in fields(Rates))
FREE = Rates(**dict.fromkeys(BUCKETS, 0))


def _rounded(value: int) -> int:
    """value / 1,000,000, half to even."""
    whole, rest = divmod(value, MILLION)
    return whole + (rest * 2 > MILLION or (rest * 2 == MILLION and whole % 2 == 1))


@dataclass(frozen=True, slots=True)
class Scale:
    """`rates`, and what they become for a large prompt: `above` are (tokens, rates) in rising order. All
    tokens of a call whose whole prompt, cached tokens included, holds more than so many are at these."""

    rates: Rates
    above: tuple[tuple[int, Rates], ...] = ()

    def at(self, prompt_tokens: int) -> Rates:
        found = self.rates
        for tokens, rates in self.above:
            if prompt_tokens <= tokens:
                break
            found = rates
        return found

    def less(self, discount_ppm: int) -> Scale:
        above = tuple((tokens, rates.less(discount_ppm)) for tokens, rates in self.above)
        return Scale(self.rates.less(discount_ppm), above)


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs at one provider, in a span of time.

    `from_s` (inclusive) and `until_s` (exclusive; None: no end) are Unix seconds, `daily` the part of each
    UTC day (seconds from its start, the end excluded) where the price depends on it: an end before the
    start is past midnight. `tiers` are the service tiers that are known. With `commitment` its calls are
    paid otherwise, and cost nothing by themselves. `source` tells where it is from, and is no part of it.
    """

    scale: Scale
    tiers: tuple[tuple[str, Scale], ...] = ()
    from_s: int = 0
    until_s: int | None = None
    daily: tuple[int, int] | None = None
    commitment: bool = False
    discount_ppm: int = 0  # taken off already
    source: str = field(default="", compare=False, repr=False)

    def holds(self, at_s: int) -> bool:
        if at_s < self.from_s or (self.until_s is not None and at_s >= self.until_s):
            return False
        if self.daily is None:
            return True
        start, end = self.daily
        second = at_s % DAY_S
        return start <= second < end if start <= end else second >= start or second < end

    def tier(self, service_tier: str) -> Scale | None:
        """By the provider's word for it; None where its rates are not known."""
        if service_tier in STANDARD or self.commitment:
            return self.scale
        return next((scale for name, scale in self.tiers if name == service_tier), None)

    def less(self, discount_ppm: int, source: str) -> Price:
        """With a discount. `source` is where that is said."""
        return replace(
            self,
            scale=self.scale.less(discount_ppm),
            tiers=tuple((name, scale.less(discount_ppm)) for name, scale in self.tiers),
            discount_ppm=discount_ppm,
            source=f"{self.source}, less {percent(discount_ppm)} ({source})",
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """Nano-dollars. `buckets` are disjoint, and hold those that are known and not 0; `total` is their sum, or
    None where something is `unknown`: buckets, or `usage`, `price`, `service_tier` as a whole, or `rest`:
    what was used behind the last word of usage."""

    total: int | None
    buckets: dict[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceTerm:
    """What a configuration says of the prices of a provider's models (`model` is a name or a pattern): a
    price of its own (`price`, which holds for the same span), or a discount on whatever applies below."""

    provider: str
    model: str
    price: Price | None = None
    discount_ppm: int = 0  # of a million
    from_s: int = 0
    until_s: int | None = None
    source: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PriceBook:
    """`revision` (12 hex digits) is the hash of all that is in it. `prices` are by (provider, model as
    members name it), in rising order of precedence."""

    revision: str
    prices: Mapping[tuple[str, str], tuple[Price, ...]]

    def span(self, provider: str, model: str, at_s: int) -> tuple[int, int]:
        """For how long what holds at `at_s` holds at least: from when on, and until when (exclusive)."""
        day_s = at_s - at_s % DAY_S
        edges = {day_s, day_s + DAY_S}
        for price in self.prices.get((provider, model), ()):
            edges.update(edge for edge in (price.from_s, price.until_s) if edge is not None)
            edges.update(day_s + second for second in price.daily or ())
        return max(edge for edge in edges if edge <= at_s), min(edge for edge in edges if edge > at_s)

    def find(self, provider: str, model: str, at_s: int) -> Price | None:
        """The price in effect at `at_s` (Unix seconds); None: not known."""
        for price in reversed(self.prices.get((provider, model), ())):
            if price.holds(at_s):
                return price
        return None


def book_of(prices: Mapping[tuple[str, str], tuple[Price, ...]]) -> PriceBook:
    """A book that holds these, named by their content."""
    kept = {key: prices[key] for key in sorted(prices) if prices[key]}
    revision = hashlib.sha256(repr(kept).encode()).hexdigest()[:12]
    return PriceBook(revision, MappingProxyType(kept))


NO_PRICES = book_of({})


def percent(ppm: int) -> str:
    """Parts of a million as people write them: `12.5%`."""
    return f"{_decimal(ppm, 4)}%"


def dollars(nano: int) -> str:
    """Nano-dollars in dollars, exactly: `0.0375`, `5`."""
    return _decimal(nano, 9)


def _decimal(value: int, digits: int) -> str:
    whole, rest = divmod(value, 10**digits)
    return f"{whole}.{rest:0{digits}d}".rstrip("0").rstrip(".")
