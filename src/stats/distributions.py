"""Distribution functions that the standard library lacks. Pure.

The incomplete beta function by its continued fraction (Lentz's method; Press et al., Numerical Recipes, 6.4).
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_NORMAL = NormalDist()
_TINY = 1e-300
_STEPS = 500
_PRECISION = 1e-13


def normal_quantile(probability: float) -> float:
    """The standard normal's quantile; `probability` in (0, 1)."""
    return _NORMAL.inv_cdf(probability)


def beta_cdf(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b); a, b > 0."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 / _apart(1.0 - (a + b) * x / (a + 1.0))
    result = d
    # It converges within about the root of the greater parameter.
    for m in range(1, _STEPS + int(10 * math.sqrt(max(a, b)))):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d = 1.0 / _apart(1.0 + even * d)
        c = _apart(1.0 + even / c)
        result *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d = 1.0 / _apart(1.0 + odd * d)
        c = _apart(1.0 + odd / c)
        result *= d * c
        if abs(d * c - 1.0) < _PRECISION:
            break
    return result


def _apart(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def binomial_cdf(k: int, n: int, share: float) -> float:
    """The probability of at most `k` of `n`, each with probability `share`."""
    if k < 0:
        return 0.0
    return 1.0 if k >= n else beta_cdf(n - k, k + 1, 1.0 - share)


def t_cdf(t: float, degrees: float) -> float:
    """Student's distribution; `degrees` of freedom need not be whole."""
    tail = 0.5 * beta_cdf(degrees / 2.0, 0.5, degrees / (degrees + t * t))
    return tail if t < 0 else 1.0 - tail


@lru_cache(maxsize=4096)
def t_quantile(probability: float, degrees: float) -> float:
    """Student's quantile for a probability of at least one half."""
    if degrees > 1e7:
        return normal_quantile(probability)
    low, high = 0.0, 2.0
    while t_cdf(high, degrees) < probability:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = 0.5 * (low + high)
        if t_cdf(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
