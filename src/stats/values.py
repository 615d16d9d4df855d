"""What a statistic says: a value, and the bounds between which it is believed to lie."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """`value` and its bounds, of `n` observations. A bound that is not known is infinite."""

    low: float
    value: float
    high: float
    n: int

    def contains(self, value: float) -> bool:
        """Is `value` one of those that can't be excluded?"""
        return self.low <= value <= self.high

    def scaled(self, factor: float) -> Interval:
        """In another unit: every figure times `factor` (which may be negative, and turns the bounds)."""
        low, high = sorted((_times(self.low, factor), _times(self.high, factor)))
        return Interval(low, self.value * factor, high, self.n)

    def within(self, least: float, most: float) -> Interval:
        """The bounds cut at what the figure can be at all, as 0 and 1 for a share."""
        return Interval(min(max(self.low, least), most), self.value, max(min(self.high, most), least), self.n)

    def as_json(self) -> dict[str, float | int | None]:
        """JSON knows no infinity: a bound that is not known is null."""
        return {"low": _known(self.low), "value": _known(self.value), "high": _known(self.high), "n": self.n}


@dataclass(frozen=True, slots=True)
class Weighted:
    """A weighted mean. `effective_n`: how many unweighted observations would say as much (Kish): where it is
    far below `interval.n`, few observations carry most of the weight."""

    interval: Interval
    effective_n: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus baseline, and the two-sided p-value of "there is none"."""

    interval: Interval
    p_value: float


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _times(bound: float, factor: float) -> float:
    return 0.0 if factor == 0 else bound * factor
