"""Shares of calls, judged by the weights that they should follow."""

from __future__ import annotations

import math
from collections.abc import Mapping


def assert_split(calls: int, counts: Mapping[str, int], weights: Mapping[str, int]) -> None:
    """Each within four standard deviations of what its weight says of independent draws: of some hundred
    splits that the tests look at, three would be too few for one every other day."""
    assert sum(counts.values()) == calls
    whole = sum(weights.values())
    for name, weight in weights.items():
        share = weight / whole
        expected, deviation = calls * share, math.sqrt(calls * share * (1 - share))
        assert abs(counts.get(name, 0) - expected) <= 4 * deviation, (name, counts)
