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
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate

from .quantiles import first_of
from .values import Interval

ALPHA = 0.05
_STAKES = tuple(0.9 * 0.5**step for step in range(12))
_LOG_STAKES = math.log(len(_STAKES))
# Of each stake: what 0 leaves as a log, the price of a square, and where Fan's bound is best.
_BETS = tuple(
    (stake, rest, -rest - stake, (2.0 * -rest - stake) / (2.0 * (-rest - stake)))
    for stake, rest in ((stake, math.log1p(-stake)) for stake in _STAKES)
)
_NEAR = 1e-11  # a bound is found to that part of the mean
_MOST_STEPS = 200


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
    inverse = 1.0 / m
    if squares == total:  # zeros and ones: the chord is exact
        rests = n - total
        logs = [total * math.log(1.0 - bet[0] + bet[0] * inverse) + rests * bet[1] for bet in _BETS]
    else:
        logs = _logs_of_scores(n, total, squares, inverse)
    most = max(logs)
    return most + math.log(sum([math.exp(log - most) for log in logs])) - _LOG_STAKES


def _logs_of_scores(n: int, total: float, squares: float, inverse: float) -> list[float]:
    rests, best = n - total, total / squares if squares > 0.0 else math.inf
    logs = []
    for stake, rest, price, peak in _BETS:
        # Fan's: log(1 + s*y) >= s*y + (log(1 - s) + s)*y^2 for y = x/m - 1 >= -1. The bound at a greater m
        # holds for a smaller one too, since the product falls with m: so the best of those.
        u = min(inverse, best * peak)
        fan = stake * (u * total - n) - price * (u * (u * squares - 2.0 * total) + n)
        chord = total * math.log(1.0 - stake + stake * inverse) + rests * rest
        logs.append(max(chord, fan))
    return logs


def _lower(n: int, total: float, squares: float, log_odds: float) -> float:
    """The least m that is not refuted."""
    if total <= n * 1e-100:  # nothing, or as good as that
        return 0.0
    mean = total / n
    # Where many observations end up, to begin with.
    width = math.sqrt(2.0 * max(squares / n - mean * mean, 0.0) * log_odds / n)
    return _last(lambda m: _log_capital(n, total, squares, m) - log_odds, mean, mean - width)


def _last(falling: Callable[[float], float], most: float, guess: float) -> float:
    """The greatest x of 0 to `most` where `falling` is not yet below 0; `guess` is near it, or not."""
    high, at_high = most, falling(most)
    if at_high >= 0.0:
        return most
    low = guess if 0.5 * most < guess < most else 0.5 * most
    while (at_low := falling(low)) < 0.0:
        high, at_high = low, at_low
        low = low - 2.0 * (most - low) if 3.0 * low > 2.5 * most else 0.5 * low
        if low < most * 1e-15:  # as good as nothing
            return 0.0
    # Between the two by a chord, whose end is weighed less where it stays (Illinois).
    tolerance, before = _NEAR * most, 0
    for step in range(_MOST_STEPS):
        if high - low <= tolerance:
            break
        x = 0.5 * (low + high)
        if math.isfinite(at_low) and step % 8 != 7:
            chord = high - at_high * (high - low) / (at_high - at_low)
            x = min(max(chord, low + 0.5 * tolerance), high - 0.5 * tolerance)
        at = falling(x)
        if at >= 0.0:
            low, at_low = x, at
            at_high = 0.5 * at_high if before > 0 else at_high
        else:
            high, at_high = x, at
            at_low = 0.5 * at_low if before < 0 else at_low
        before = 1 if at >= 0.0 else -1
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
        below = list(accumulate(self.counts[: len(self.edges)]))  # how many are at most each edge
        # Evidence that the quantile is above an edge falls from edge to edge; that it is not, grows.
        reached = bisect_left(below, share * n)
        above = first_of(0, reached, lambda i: _evidence(n, n - below[i], 1.0 - share) < log_odds)
        passed = bisect_right(below, share * n)
        last = len(below)
        under = first_of(passed, last, lambda i: _evidence(n, below[i], share) >= log_odds)
        return Interval(
            self.edges[above - 1] if above else -math.inf,
            self.edges[reached] if reached < last else math.inf,
            self.edges[under] if under < last else math.inf,
            n,
        )


def _evidence(n: int, hits: int, share: float) -> float:
    """Against "no more than `share` of all hit"."""
    return _log_capital(n, hits, hits, share)
