"""Always-valid bounds: over whole paths, looked at all the time, they are crossed in no more than alpha of
the worlds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.stats import Bounded, Counts, difference, wilson

PATHS, LENGTH, ALPHA = 300, 2_000, 0.05
LOOKS = sorted({int(look) for look in np.geomspace(1, LENGTH, 40)})


@pytest.mark.parametrize(
    ("draw", "mean", "low", "high"),
    [
        pytest.param(lambda random: random.random(LENGTH) < 0.5, 0.5, 0.0, 1.0, id="coins"),
        pytest.param(lambda random: random.random(LENGTH) < 0.03, 0.03, 0.0, 1.0, id="rare"),
        pytest.param(lambda random: random.beta(8, 2, LENGTH), 0.8, 0.0, 1.0, id="scores"),
        pytest.param(
            lambda random: random.choice([-1.0, 0.0, 1.0], LENGTH, p=[0.1, 0.8, 0.1]),
            0.0,
            -1.0,
            1.0,
            id="pairs",
        ),
    ],
)
def test_a_mean_is_never_outside_in_more_than_alpha_of_the_paths(
    draw: Callable[[np.random.Generator], np.ndarray], mean: float, low: float, high: float
) -> None:
    random = np.random.default_rng(17)
    refuted = math.log(2 / ALPHA)
    crossed = 0
    for _ in range(PATHS):
        x = (draw(random) * 1.0 - low) / (high - low)
        totals, squares = np.cumsum(x), np.cumsum(x * x)
        so_far = [Bounded(low, high, n, float(totals[n - 1]), float(squares[n - 1])) for n in LOOKS]
        crossed += any(
            one.log_evidence_above(mean) >= refuted or one.log_evidence_below(mean) >= refuted
            for one in so_far
        )
    assert crossed / PATHS <= ALPHA


def test_what_differs_is_found_and_how_soon() -> None:
    """Scores that are worse by 0.1 where 20 % of the pairs differ: known within 600 calls in most worlds."""
    random = np.random.default_rng(19)
    soon = 0
    for _ in range(100):
        gaps = random.choice([-1.0, 0.0, 1.0], 600, p=[0.15, 0.8, 0.05])
        sums = Bounded(-1.0, 1.0)
        for value in (-1.0, 0.0, 1.0):
            sums = sums.add(value, int((gaps == value).sum()))
        soon += sums.at_most(ALPHA) < 0
    assert soon >= 90


def test_two_arms_of_the_same_kind_are_not_told_apart() -> None:
    random = np.random.default_rng(23)
    crossed = 0
    for _ in range(40):
        arms = random.random((2, 1_000)) < [[0.8], [0.8]]
        sums = np.cumsum(arms, axis=1)
        looks = [n for n in LOOKS if n <= 1_000][::4]
        crossed += any(
            not difference(
                Bounded(n=n, total=float(sums[0, n - 1]), squares=float(sums[0, n - 1])),
                Bounded(n=n, total=float(sums[1, n - 1]), squares=float(sums[1, n - 1])),
            ).contains(0.0)
            for n in looks
        )
    assert crossed / 40 <= ALPHA
    worse = difference(Bounded().add(1, 300).add(0, 200), Bounded().add(1, 4_000).add(0, 1_000))
    assert worse.high < 0
    assert worse.value == pytest.approx(-0.2)
    assert worse.n == 500


def test_a_quantile_is_never_outside_in_more_than_alpha_of_the_paths() -> None:
    random = np.random.default_rng(29)
    truth = math.exp(1.6448536 * 0.5)
    crossed = 0
    for _ in range(60):
        counts, seen, out = Counts.empty(1e-2, 1e2, 120), 0, False
        x = random.lognormal(0, 0.5, 1_000)
        for look in [n for n in LOOKS if n <= 1_000][::4]:
            added = np.histogram(x[seen:look], [-np.inf, *counts.edges, np.inf])[0]
            counts = counts.merged(Counts(counts.edges, tuple(int(count) for count in added)))
            seen = look
            found = counts.interval(0.95, ALPHA)
            assert found is not None
            out = out or not found.contains(truth)
        crossed += out
    assert crossed / 60 <= ALPHA


def test_a_quantile_comes_near() -> None:
    counts = Counts.empty()
    for step in range(2_000):
        counts = counts.add(1.0 + step / 2_000)
    found = counts.interval(0.95)
    assert found is not None
    assert found.value == pytest.approx(1.95, rel=0.06)
    assert 1.85 < found.low < 1.95 < found.high < 2.1
    assert Counts.empty().interval(0.95) is None
    with pytest.raises(ValueError, match="edges"):
        counts.merged(Counts.empty(1, 2))


observations = st.lists(st.floats(0, 1), max_size=60)


@given(observations, st.randoms())
def test_the_order_of_observations_is_nothing(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Bounded(), Bounded()
    for value in values:
        one = one.add(value)
    for value in shuffled:
        other = Bounded().add(value).merged(other)
    assert one.interval().low == pytest.approx(other.interval().low, abs=1e-9)
    assert one.interval().high == pytest.approx(other.interval().high, abs=1e-9)


@given(observations, st.floats(0.01, 0.98), st.floats(0.001, 0.5))
def test_evidence_falls_as_the_mean_it_speaks_against_grows(
    values: list[float], m: float, more: float
) -> None:
    sums = Bounded()
    for value in values:
        sums = sums.add(value)
    assert sums.log_evidence_above(min(1.0, m + more)) <= sums.log_evidence_above(m) + 1e-9


@given(observations)
def test_bounds_hold_the_mean_and_the_limits(values: list[float]) -> None:
    sums = Bounded()
    for value in values:
        sums = sums.add(value)
    found = sums.interval()
    assert -1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1 + 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.02, 0.98))
def test_the_sums_never_claim_more_than_the_bets_have_won(values: list[float], m: float) -> None:
    """The law that all hangs on: what is made of sums is below the product it stands for."""
    from modelbroker.stats.sequential import _STAKES

    sums = Bounded()
    for value in values:
        sums = sums.add(value)
    won = sum(math.prod(1 - stake + stake * value / m for value in values) for stake in _STAKES) / len(
        _STAKES
    )
    assert sums.log_evidence_above(m) <= math.log(won) + 1e-6


def test_bounds_at_every_moment_cost_less_than_twice_the_width() -> None:
    for n in (100, 1_000, 10_000):
        always = Bounded().add(1, n * 4 // 5).add(0, n // 5).interval()
        once = wilson(n * 4 // 5, n)
        assert once is not None
        assert 1.0 < (always.high - always.low) / (once.high - once.low) < 2.0


def test_what_is_outside_is_cut() -> None:
    assert Bounded(0, 10).add(50).mean == 10
    with pytest.raises(ValueError, match="limits"):
        Bounded(0, 10).merged(Bounded(0, 1))
