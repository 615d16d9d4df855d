"""Bounds are found by few looks, and are what looking everywhere finds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.stats import Bounded, Counts, Interval

_HALVINGS = 60


def slow_at_least(sums: Bounded, alpha: float) -> float:
    """By halving."""
    if not sums.n:
        return sums.low
    low, high = sums.low, sums.mean
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if sums.log_evidence_above(middle) >= math.log(1.0 / alpha):
            low = middle
        else:
            high = middle
    return low


def slow_interval(counts: Counts, share: float, alpha: float) -> Interval | None:
    """By a look at each edge."""
    n = counts.n
    if not n:
        return None
    log_odds = math.log(2.0 / alpha)
    low, value, high = -math.inf, math.inf, math.inf
    below = 0

    def evidence(hits: int, mean: float) -> float:
        return Bounded(n=n, total=float(hits), squares=float(hits)).log_evidence_above(mean)

    for edge, count in zip(counts.edges, counts.counts, strict=False):
        below += count
        if below < share * n and evidence(n - below, 1.0 - share) >= log_odds:
            low = edge
        if below >= share * n and value == math.inf:
            value = edge
        if below > share * n and evidence(below, share) >= log_odds:
            high = edge
            break
    return Interval(low, value, high, n)


alphas = st.floats(1e-6, 0.6)
scores = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1), st.floats(0, 1e-9)),
        st.integers(1, 30_000),
    ),
    max_size=6,
)


@given(scores, alphas)
def test_a_bound_of_a_mean_is_that_of_halving(said: list[tuple[float, int]], alpha: float) -> None:
    sums = Bounded()
    for value, times in said:
        sums = sums.add(value, times)
    found, slow = sums.at_least(alpha), slow_at_least(sums, alpha)
    assert found == pytest.approx(slow, rel=1e-9, abs=2e-11)
    mirrored = Bounded(0.0, 1.0, sums.n, sums.n - sums.total, sums.n - 2 * sums.total + sums.squares)
    assert sums.at_most(alpha) == pytest.approx(1 - slow_at_least(mirrored, alpha), rel=1e-9, abs=2e-11)
    # It is on the safe side: what it names is refuted.
    if found > 0:
        assert sums.log_evidence_above(found) >= math.log(1.0 / alpha) - 1e-9


counts = st.lists(st.tuples(st.floats(1e-4, 1e4), st.integers(1, 5_000)), max_size=12)


@given(counts, st.sampled_from([0.5, 0.9, 0.95, 0.99]), alphas)
def test_a_quantile_is_that_of_a_look_at_each_edge(
    said: list[tuple[float, int]], share: float, alpha: float
) -> None:
    found = Counts.empty()
    for value, times in said:
        found = found.add(value, times)
    assert found.interval(share, alpha) == slow_interval(found, share, alpha)
