"""Bounds that hold at every moment at once: who looks after each observation, and stops when he likes what he
sees, is wrong with a chance of at most `alpha` in all. Pure; from sums alone, which merge in any order.

They are bets (Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", 2024).
Whoever says that the mean is at most m offers fair odds at m; a capital that grows to 1/alpha against him
refutes him (Ville's inequality). A bettor who stakes the part `s` each time has the product of 1 - s + s*x/m.
That product is bounded from below in two ways, by sums alone: by the chord (what 0 and 1 would have given:
exact for shares) and by Fan's inequality (sharp where observations scatter little). The stakes of `_STAKES`
share the capital. Observations may depend on what was before, so long as the mean does not.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

from .values import Interval

ALPHA = 0.05
_STAKES = tuple(0.9 * 0.5**step for step in range(12))
_LOG_STAKES = math.log(len(_STAKES))
_HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Bounded:
    """Observations between `low` and `high` as sums. One outside is cut to that: the mean is that of what is
    cut."""

    low: float = 0.0
    high: float = 1.0
    n: int = 0
    total: float = 0.0
    """Of the observations on a scale from 0 to 1, as are the squares."""
    squares: float = 0.0

    def add(self, value: float, times: int = 1) -> Bounded:
        """With one observation more (or several equal ones)."""
        x = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return replace(
            self, n=self.n + times, total=self.total + times * x, squares=self.squares + times * x * x
        )

    def merged(self, other: Bounded) -> Bounded:
        """Of all observations of both, which have the same limits."""
        if (self.low, self.high) != (other.low, other.high):
            raise ValueError("observations of other limits can't be merged")
        return replace(
            self,
            n=self.n + other.n,
            total=self.total + other.total,
            squares=self.squares + other.squares,
        )

    @property
    def mean(self) -> float:
        """Of no observations, the middle."""
        share = self.total / self.n if self.n else 0.5
        return self.low + share * (self.high - self.low)

    def interval(self, alpha: float = ALPHA) -> Interval:
        """Both bounds together hold with 1 - alpha, at every moment at once."""
        return Interval(self.at_least(alpha / 2.0), self.mean, self.at_most(alpha / 2.0), self.n)

    def at_least(self, alpha: float = ALPHA) -> float:
        """One bound alone: the mean is not below it."""
        m = _lower(self.n, self.total, self.squares, math.log(1.0 / alpha))
        return self.low + m * (self.high - self.low)

    def at_most(self, alpha: float = ALPHA) -> float:
        """One bound alone: the mean is not above it."""
        m = 1.0 - _lower(*self._mirrored(), math.log(1.0 / alpha))
        return self.low + m * (self.high - self.low)

    def log_evidence_above(self, mean: float) -> float:
        """The log of an e-value against "the mean is at most `mean`": exp(-this) is an always-valid p-value
        once it is cut at 1."""
        m = (mean - self.low) / (self.high - self.low)
        return _log_capital(self.n, self.total, self.squares, min(max(m, 0.0), 1.0))

    def log_evidence_below(self, mean: float) -> float:
        """The log of an e-value against "the mean is at least `mean`"."""
        m = 1.0 - (mean - self.low) / (self.high - self.low)
        return _log_capital(*self._mirrored(), min(max(m, 0.0), 1.0))

    def _mirrored(self) -> tuple[int, float, float]:
        return self.n, self.n - self.total, self.n - 2.0 * self.total + self.squares


def _log_capital(n: int, total: float, squares: float, m: float) -> float:
    """The log of what was won against "the mean is at most m": falls as m grows."""
    if n == 0:
        return 0.0
    if m <= 0.0:
        return math.inf if total > 0.0 else 0.0
    logs = []
    for stake in _STAKES:
        rest = math.log1p(-stake)
        chord = total * math.log(1.0 - stake + stake / m) + (n - total) * rest
        # Fan's: log(1 + s*y) >= s*y + (log(1 - s) + s)*y^2 for y = x/m - 1 >= -1. The bound at a greater m
        # holds for a smaller one too, since the product falls with m: so the best of those.
        price = -rest - stake
        u = 1.0 / m
        if squares > 0.0:
            u = min(u, total * (stake + 2.0 * price) / (2.0 * price * squares))
        fan = stake * (u * total - n) - price * (u * u * squares - 2.0 * u * total + n)
        logs.append(max(chord, fan))
    most = max(logs)
    return most + math.log(sum(math.exp(log - most) for log in logs)) - _LOG_STAKES


def _lower(n: int, total: float, squares: float, log_odds: float) -> float:
    """The least m that is not refuted."""
    if n == 0:
        return 0.0
    low, high = 0.0, total / n
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if _log_capital(n, total, squares, middle) >= log_odds:
            low = middle
        else:
            high = middle
    return low


def difference(candidate: Bounded, baseline: Bounded, alpha: float = ALPHA) -> Interval:
    """Candidate minus baseline, where each call was in one of two arms. Always valid. For pairs (both served
    the same call) take `Bounded(-1, 1)` of the differences: it is much sharper."""
    first, second = candidate.interval(alpha / 2.0), baseline.interval(alpha / 2.0)
    return Interval(
        first.low - second.high,
        first.value - second.value,
        first.high - second.low,
        min(first.n, second.n),
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """Observations as counts between rising `edges`: `counts[i]` are at most `edges[i]` (and above the edge
    before), the last are above all. For quantiles of latency and cost, which know no greatest value."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def empty(cls, least: float = 1e-3, most: float = 1e3, steps: int = 240) -> Counts:
        """Edges that grow by the same factor (6 % by default) from `least` to `most`."""
        factor = (most / least) ** (1.0 / steps)
        return cls(tuple(least * factor**step for step in range(steps + 1)), (0,) * (steps + 2))

    @property
    def n(self) -> int:
        """Observations so far."""
        return sum(self.counts)

    def add(self, value: float, times: int = 1) -> Counts:
        """With one observation more (or several equal ones)."""
        counts = list(self.counts)
        counts[bisect_left(self.edges, value)] += times
        return replace(self, counts=tuple(counts))

    def merged(self, other: Counts) -> Counts:
        """Of all observations of both, which have the same edges."""
        if self.edges != other.edges:
            raise ValueError("counts between other edges can't be merged")
        return replace(self, counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    def interval(self, share: float, alpha: float = ALPHA) -> Interval | None:
        """Of the quantile that `share` of observations do not exceed; its value is the upper edge of where it
        lies. Always valid; None of no observations."""
        n = self.n
        if not n:
            return None
        log_odds = math.log(2.0 / alpha)
        low, value, high = -math.inf, math.inf, math.inf
        below = 0
        for edge, count in zip(self.edges, self.counts, strict=False):
            below += count
            if below < share * n and _log_capital(n, n - below, n - below, 1.0 - share) >= log_odds:
                low = edge
            if below >= share * n and value == math.inf:
                value = edge
            if below > share * n and _log_capital(n, below, below, share) >= log_odds:
                high = edge
                break
        return Interval(low, value, high, n)
