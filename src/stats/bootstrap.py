"""Resampling, by numpy (the extra `evals`), which is imported when it is used. The same seed gives the same
figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .distributions import normal_quantile
from .means import CONFIDENCE, Moments
from .values import Difference, Interval

RESAMPLES = 4_000
# Fewer pairs that differ are not resampled.
FEW = 30
# So many figures at once: 64 MB.
_AT_ONCE = 4_000_000


class NoNumpy(ImportError):
    """What is asked for resamples by numpy, which is not installed."""

    def __init__(self) -> None:
        super().__init__("resampling needs numpy: pip install 'modelbroker[evals]'")


def bootstrap_mean(
    values: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """The mean by the bootstrap of Student's t (Efron & Tibshirani 1993, 12.5): the one whose two tails each
    cover what they say for skewed observations. None of no observations."""
    return _studentised(values, confidence, seed, resamples)[0]


def paired_bootstrap(
    candidate: Sequence[float],
    baseline: Sequence[float],
    confidence: float = CONFIDENCE,
    seed: int = 0,
    resamples: int = RESAMPLES,
    against: float = 0.0,
) -> Difference | None:
    """Candidate minus baseline, call by call: `candidate[i]` and `baseline[i]` are of the same call.

    The bootstrap of Student's t on the differences; the p-value is the share of resamples that are as far
    from their own centre as `against` is from the observed one. Scores from 0 to 1 of which fewer than `FEW`
    pairs differ, or all by as much, leave too little to draw from: there Agresti and Min's interval (Statist.
    Med. 24, 2005, 729-740) stands in, which knows that one more pair each way may differ. None of no pairs.
    """
    if len(candidate) != len(baseline):
        raise ValueError(f"pairs: {len(candidate)} of the candidate, {len(baseline)} of the baseline")
    gaps = [float(a) - float(b) for a, b in zip(candidate, baseline, strict=True)]
    differ = sum(gap != 0.0 for gap in gaps)
    if gaps and (differ < FEW or len(set(gaps)) == 1) and all(abs(gap) <= 1.0 for gap in gaps):
        return _few(gaps, confidence, against)
    interval, p_value = _studentised(gaps, confidence, seed, resamples, against)
    return None if interval is None else Difference(interval, p_value)


def _few(gaps: list[float], confidence: float, against: float) -> Difference:
    n = len(gaps) + 2
    middle = math.fsum(gaps) / n
    error = math.sqrt(((math.fsum(gap * gap for gap in gaps) + 1.0) / n - middle * middle) / n)
    half = normal_quantile(0.5 + confidence / 2.0) * error
    value = math.fsum(gaps) / len(gaps)
    interval = Interval(min(middle - half, value), value, max(middle + half, value), len(gaps))
    return Difference(interval, math.erfc(abs(middle - against) / error / math.sqrt(2.0)))


def _studentised(
    values: Sequence[float], confidence: float, seed: int, resamples: int, against: float = 0.0
) -> tuple[Interval | None, float]:
    np = _numpy()
    n = len(values)
    moments = Moments.of(values)
    if n < 2 or moments.second <= 1e-18 * max(1.0, moments.mean**2):
        return moments.interval(confidence) if n != 1 else _unknown(moments), 1.0
    drawn = _draws(np, np.asarray(values, dtype=float), seed, resamples)
    error = math.sqrt(moments.second / (n - 1) / n)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    observed = abs((moments.mean - against) / error)
    further = int((np.abs(drawn) >= observed).sum())
    interval = Interval(
        moments.mean - error * max(float(high), 0.0),
        moments.mean,
        moments.mean - error * min(float(low), 0.0),
        n,
    )
    return interval, (1 + further) / (resamples + 1)


def _draws(np: Any, values: Any, seed: int, resamples: int) -> Any:
    """The studentised means of resamples about the observed mean."""
    random = np.random.default_rng(seed)
    n, centre = len(values), values.mean()
    least = values.std(ddof=1) * 1e-3
    parts = []
    left = resamples
    while left > 0:
        rows = max(1, min(left, _AT_ONCE // n))
        sample = values[random.integers(0, n, size=(rows, n))]
        errors = np.maximum(sample.std(axis=1, ddof=1), least) / math.sqrt(n)
        parts.append((sample.mean(axis=1) - centre) / errors)
        left -= rows
    return np.concatenate(parts)


def _unknown(moments: Moments) -> Interval:
    return Interval(-math.inf, moments.mean, math.inf, moments.n)


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise NoNumpy from None
    return numpy
