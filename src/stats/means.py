"""Means and shares at a fixed number of observations. Pure; from sums that can be merged.

Who looks again and again, and stops when he likes what he sees, needs `stats.sequential`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .distributions import normal_quantile, t_quantile
from .values import Interval, Weighted

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Moments:
    """Observations as sums about their own mean (Pébay, SAND2008-6212): they merge without loss.

    `binary`: all were 0 or 1 so far.
    """

    n: int = 0
    mean: float = 0.0
    second: float = 0.0
    third: float = 0.0
    binary: bool = True

    @classmethod
    def of(cls, values: Iterable[float]) -> Moments:
        """In two passes: exact where the mean is great and the scatter small."""
        known = [float(value) for value in values]
        if not known:
            return cls()
        mean = math.fsum(known) / len(known)
        return cls(
            len(known),
            mean,
            math.fsum((value - mean) ** 2 for value in known),
            math.fsum((value - mean) ** 3 for value in known),
            all(value in (0.0, 1.0) for value in known),
        )

    def add(self, value: float) -> Moments:
        """With one observation more."""
        return self.merged(Moments(1, float(value), 0.0, 0.0, value in (0, 1)))

    def merged(self, other: Moments) -> Moments:
        """Of all observations of both."""
        if not self.n or not other.n:
            return other if not self.n else self
        n, gap = self.n + other.n, other.mean - self.mean
        product = self.n * other.n / n
        return Moments(
            n,
            self.mean + gap * other.n / n,
            self.second + other.second + gap**2 * product,
            self.third
            + other.third
            + gap**3 * product * (self.n - other.n) / n
            + 3.0 * gap * (self.n * other.second - other.n * self.second) / n,
            self.binary and other.binary,
        )

    def interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """Of the mean (see `mean_interval`); None of no observations."""
        if self.n == 0:
            return None
        if self.binary:
            return wilson(round(self.mean * self.n), self.n, confidence)
        if self.n == 1:
            return Interval(-math.inf, self.mean, math.inf, 1)
        error = math.sqrt(self.second / (self.n - 1) / self.n)
        skew = 0.0
        if (cubed := self.second**1.5) > 0:  # not so of numbers so small that their cubes are none
            skew = math.sqrt(self.n) * self.third / cubed
        quantile = t_quantile(0.5 + confidence / 2.0, self.n - 1.0)
        return Interval(
            self.mean - error * _unskewed(quantile, skew, self.n),
            self.mean,
            self.mean - error * _unskewed(-quantile, skew, self.n),
            self.n,
        )


def _unskewed(quantile: float, skew: float, n: int) -> float:
    """Hall's transformation (J. R. Statist. Soc. B 54, 1992, 221-228), inverted: which studentised mean is at
    this quantile when the observations are skewed. Monotone, so that bounds never cross."""
    a = skew / 3.0 / math.sqrt(n)
    if abs(a) < 1e-6:
        return quantile
    inner = 1.0 + 3.0 * a * (quantile - skew / 6.0 / math.sqrt(n))
    return (math.copysign(abs(inner) ** (1.0 / 3.0), inner) - 1.0) / a


def mean_interval(values: Iterable[float], confidence: float = CONFIDENCE) -> Interval | None:
    """The mean of independent observations: Wilson's score for 0 and 1, else Student's t with Hall's
    correction for skewness. None of no observations.

    Measured in 2,000 seeded worlds: 95 % cover 93 to 97 % from 20 observations on where they are normal or
    exponential (plain t: 92 % at 20). For tails as long as those of latency and cost (log-normal, sigma 1)
    they cover 92 to 93 % at 20 (plain t: 87 %) and 93 to 95 % from 50 on (plain t: from 200 on).
    """
    return Moments.of(values).interval(confidence)


def score_interval(values: Iterable[float], confidence: float = CONFIDENCE) -> Interval | None:
    """The mean of scores from 0 to 1: Wilson's, of as many shares as would scatter as little. It holds near
    the ends, where few scores that are far off make Student's t useless; of 0 and 1 it is Wilson's own.
    Measured: 95 % cover 92 to 96 % at 20 observations, 94 to 97 % from 65 on. None of no observations.
    """
    moments = Moments.of(values)
    n, mean = moments.n, moments.mean
    most = mean * (1.0 - mean)
    if n < 2 or most <= 0.0 or moments.second <= 0.0:
        return wilson(mean * n, n, confidence)
    effective = n * max(1.0, min(most * (n - 1) / moments.second, float(n)))
    found = wilson(mean * effective, effective, confidence)
    return Interval(found.low, mean, found.high, n) if found is not None else None


def wilson(successes: float, n: float, confidence: float = CONFIDENCE) -> Interval | None:
    """A share of `n` (Wilson 1927): holds at 0 and at 1, and with few. `n` may be an effective number."""
    if n <= 0:
        return None
    z = normal_quantile(0.5 + confidence / 2.0)
    share = successes / n
    middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n)
    half = z / (1.0 + z * z / n) * math.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    return Interval(min(max(0.0, middle - half), share), share, max(min(1.0, middle + half), share), int(n))


@dataclass(frozen=True, slots=True)
class WeightedSums:
    """Weighted observations as sums, for the self-normalised mean. They merge."""

    n: int = 0
    weight: float = 0.0
    weight2: float = 0.0
    value: float = 0.0
    value2: float = 0.0
    square2: float = 0.0
    binary: bool = True

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> WeightedSums:
        """Of (value, weight) of each; a weight is a number from 0 on."""
        n, weight, weight2, total, total2, square2, binary = 0, 0.0, 0.0, 0.0, 0.0, 0.0, True
        for v, w in pairs:
            if not 0 <= w < math.inf:
                raise ValueError(f"a weight is a number from 0 on: {w}")
            n += 1
            weight += w
            weight2 += w * w
            total += w * v
            total2 += w * w * v
            square2 += w * w * v * v
            binary = binary and v in (0, 1)
        return cls(n, weight, weight2, total, total2, square2, binary)

    def add(self, value: float, weight: float) -> WeightedSums:
        """With one observation more; a weight of 0 can say nothing, and counts in `n` alone."""
        return self.merged(WeightedSums.of([(value, weight)]))

    def merged(self, other: WeightedSums) -> WeightedSums:
        """Of all observations of both."""
        return WeightedSums(
            self.n + other.n,
            self.weight + other.weight,
            self.weight2 + other.weight2,
            self.value + other.value,
            self.value2 + other.value2,
            self.square2 + other.square2,
            self.binary and other.binary,
        )

    @property
    def effective_n(self) -> float:
        """Kish's: (sum of weights)^2 / sum of their squares."""
        return self.weight**2 / self.weight2 if self.weight2 > 0 else 0.0

    def estimate(self, confidence: float = CONFIDENCE) -> Weighted | None:
        """See `snips`."""
        if self.weight <= 0:
            return None
        value, effective = self.value / self.weight, self.effective_n
        share = wilson(value * effective, effective, confidence) if self.binary else None
        if share is not None:
            return Weighted(Interval(share.low, value, share.high, self.n), effective)
        if effective <= 1.0 + 1e-9:
            return Weighted(Interval(-math.inf, value, math.inf, self.n), effective)
        scatter = max(0.0, self.square2 - 2.0 * value * self.value2 + value * value * self.weight2)
        error = math.sqrt(scatter * effective / (effective - 1.0)) / self.weight
        half = error * t_quantile(0.5 + confidence / 2.0, round(effective - 1.0, 2) or 0.01)
        return Weighted(Interval(value - half, value, value + half, self.n), effective)


def snips(
    values: Iterable[float], weights: Iterable[float], confidence: float = CONFIDENCE
) -> Weighted | None:
    """The self-normalised weighted mean (Swaminathan & Joachims 2015): what `values` would have been under
    another policy, where `weights` are the new policy's chance of what was done over the old policy's. The
    error is the delta method's, with Student's t at the effective number of observations. None where no
    observation has weight: no overlap. Measured with log-normal weights (sigma 1: a third of the observations
    count): 95 % cover 92 % at 50, 94 % from 200 on.
    """
    return WeightedSums.of(zip(values, weights, strict=True)).estimate(confidence)
