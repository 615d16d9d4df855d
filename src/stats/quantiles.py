"""Quantiles at a fixed number of observations, with no assumption on the distribution. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from .distributions import binomial_cdf
from .means import CONFIDENCE
from .values import Interval


def quantile(ordered: list[float], share: float) -> float:
    """The least observation that `share` of all do not exceed; `ordered` is sorted and not empty."""
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def quantile_interval(
    values: Iterable[float], share: float, confidence: float = CONFIDENCE
) -> Interval | None:
    """Bounds from two of the observations, by the binomial law of their ranks: they cover at least what they
    say. A bound that so few observations cannot have is infinite (the upper one of p95 wants 72 of them).
    None of no observations.
    """
    ordered = sorted(float(value) for value in values)
    n = len(ordered)
    if not n:
        return None
    tail = (1.0 - confidence) / 2.0
    below = first_of(0, n, lambda k: binomial_cdf(k, n, share) > tail)
    above = first_of(0, n, lambda k: binomial_cdf(k, n, share) >= 1.0 - tail)
    return Interval(
        ordered[below - 1] if below >= 1 else -math.inf,
        quantile(ordered, share),
        ordered[above] if above < n else math.inf,
        n,
    )


def first_of(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The least number from `low` to `high` (which is not asked) for which it holds, and stays so."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
