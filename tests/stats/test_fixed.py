"""Intervals at a fixed number of observations cover what they promise, in seeded worlds."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.stats import (
    Interval,
    Moments,
    WeightedSums,
    bootstrap_mean,
    holm,
    mean_interval,
    paired_bootstrap,
    quantile_interval,
    score_interval,
    snips,
    wilson,
)
from modelbroker.stats.distributions import binomial_cdf, t_quantile

WORLDS = 2_000
Draw = Callable[[np.random.Generator, int], np.ndarray]


def covered(truth: float, worlds: int, interval: Callable[[np.random.Generator], Interval | None]) -> float:
    random = np.random.default_rng(20_261_129)
    found = [interval(random) for _ in range(worlds)]
    return sum(one is not None and one.contains(truth) for one in found) / worlds


@pytest.mark.parametrize("n", [20, 200])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        pytest.param(lambda random, n: random.normal(3, 2, n), 3.0, id="normal"),
        pytest.param(lambda random, n: random.exponential(2, n), 2.0, id="skewed"),
        pytest.param(lambda random, n: (random.random(n) < 0.3) * 1.0, 0.3, id="0 and 1"),
        pytest.param(lambda random, n: (random.random(n) < 0.9) * 1.0, 0.9, id="0 and 1, near an end"),
    ],
)
def test_a_mean_is_covered(draw: Draw, truth: float, n: int) -> None:
    share = covered(truth, WORLDS, lambda random: mean_interval(draw(random, n).tolist()))
    # A share of 20 has 21 values: no method is at 95 % for all of them.
    least, most = (0.93, 0.97) if n > 20 or truth > 1 else (0.92, 0.985)
    assert least <= share <= most


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        pytest.param(lambda random, n: np.where(random.random(n) < 0.95, 1.0, 0.08), 0.954, id="rarely bad"),
        pytest.param(lambda random, n: random.beta(8, 2, n), 0.8, id="about 0.8"),
        pytest.param(lambda random, n: (random.random(n) < 0.9) * 1.0, 0.9, id="0 and 1"),
    ],
)
def test_the_mean_of_scores_is_covered(draw: Draw, truth: float, n: int) -> None:
    share = covered(truth, WORLDS, lambda random: score_interval(draw(random, n).tolist()))
    assert (0.91 if n == 20 else 0.93) <= share <= 0.98


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_scores_stay_between_0_and_1(values: list[float]) -> None:
    found = score_interval(values)
    assert found is not None
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1
    if set(values) <= {0.0, 1.0}:
        assert found == wilson(sum(values), len(values))


def test_long_tails_want_a_hundred_observations() -> None:
    truth = math.exp(0.5)

    def share(n: int) -> float:
        return covered(truth, WORLDS, lambda random: mean_interval(random.lognormal(0, 1, n).tolist()))

    assert 0.93 <= share(150) <= 0.97
    assert 0.90 <= share(20) <= 0.945


def test_the_bootstrap_of_a_mean_is_covered() -> None:
    share = covered(
        2.0, 500, lambda random: bootstrap_mean(random.exponential(2, 60).tolist(), resamples=500)
    )
    assert 0.92 <= share <= 0.98


@pytest.mark.parametrize(("share_of_all", "n"), [(0.5, 40), (0.95, 100), (0.95, 400)])
def test_a_quantile_is_covered(share_of_all: float, n: int) -> None:
    truth = math.exp(NormalDist().inv_cdf(share_of_all))
    share = covered(
        truth, WORLDS, lambda random: quantile_interval(random.lognormal(0, 1, n).tolist(), share_of_all)
    )
    # At least: ranks are whole numbers.
    assert 0.94 <= share <= 0.99


def test_a_bound_that_few_observations_cannot_have_is_infinite() -> None:
    few = quantile_interval([float(x) for x in range(71)], 0.95)
    enough = quantile_interval([float(x) for x in range(72)], 0.95)
    assert few is not None
    assert enough is not None
    assert few.high == math.inf
    assert few.as_json()["high"] is None
    assert enough.high == 71.0


@pytest.mark.parametrize("n", [200, 600])
def test_a_weighted_mean_is_covered(n: int) -> None:
    """Weights that hang together with values: the plain mean is 3, that of the other policy 3.3."""

    def world(random: np.random.Generator) -> Interval:
        weights = random.lognormal(0, 1, n)
        found = snips((random.normal(3, 1, n) + 0.3 * np.log(weights)).tolist(), weights.tolist())
        assert found is not None
        assert found.effective_n < n
        return found.interval

    assert 0.92 <= covered(3.3, 600, world) <= 0.97


def test_what_has_no_weight_says_nothing() -> None:
    assert snips([1.0, 2.0], [0.0, 0.0]) is None
    one = snips([1.0, 2.5], [0.0, 3.0])
    assert one is not None
    assert one.interval == Interval(-math.inf, 2.5, math.inf, 2)
    assert one.effective_n == pytest.approx(1.0)
    with pytest.raises(ValueError, match="weight"):
        snips([1.0], [-1.0])


@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0.01, 50)), min_size=2, max_size=30),
    st.integers(1, 29),
)
def test_weighted_sums_merge(pairs: list[tuple[float, float]], cut: int) -> None:
    def sums(some: list[tuple[float, float]]) -> WeightedSums:
        total = WeightedSums()
        for value, weight in some:
            total = total.add(value, weight)
        return total

    merged = sums(pairs[:cut]).merged(sums(pairs[cut:]))
    assert merged.value == pytest.approx(sums(pairs).value, abs=1e-6)
    assert merged.effective_n == pytest.approx(sums(pairs).effective_n)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(0, 40))
def test_moments_merge(values: list[float], cut: int) -> None:
    whole, parts = Moments.of(values), Moments.of(values[:cut]).merged(Moments.of(values[cut:]))
    scale = max(1.0, max(abs(value) for value in values))
    assert parts.n == whole.n
    assert parts.mean == pytest.approx(whole.mean, abs=1e-9 * scale)
    assert parts.second == pytest.approx(whole.second, abs=1e-9 * scale**2 * len(values))
    assert parts.third == pytest.approx(whole.third, abs=1e-8 * scale**3 * len(values))


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=40))
def test_bounds_never_cross(values: list[float]) -> None:
    found = mean_interval(values)
    assert found is not None
    assert found.low <= found.value <= found.high


def test_skewness_opens_the_long_side() -> None:
    found = mean_interval(np.random.default_rng(1).exponential(1, 50).tolist())
    assert found is not None
    assert found.high - found.value > found.value - found.low


@pytest.mark.parametrize(
    ("n", "gained", "lost"), [(30, 0.05, 0.05), (100, 0.01, 0.01), (100, 0.1, 0.1), (100, 0.2, 0.1)]
)
def test_paired_differences_are_covered_and_found_only_where_they_are(
    n: int, gained: float, lost: float
) -> None:
    random = np.random.default_rng(7)
    worlds, inside, found = 500, 0, 0
    for seed in range(worlds):
        lot = random.random(n)
        candidate = (lot < 0.7 + gained) * 1.0
        baseline = ((lot < 0.7) | ((lot >= 0.7 + gained) & (lot < 0.7 + gained + lost))) * 1.0
        difference = paired_bootstrap(candidate.tolist(), baseline.tolist(), seed=seed, resamples=400)
        assert difference is not None
        inside += difference.interval.contains(gained - lost)
        found += difference.p_value <= 0.05
    assert inside / worlds >= 0.925
    if gained == lost:
        assert found / worlds <= 0.07


def test_pairs_are_worth_more_than_two_heaps() -> None:
    """What both share goes away: 0.1 is found under a scatter of 5."""
    random = np.random.default_rng(3)
    shared = random.normal(0, 5, 100)
    found = paired_bootstrap((shared + 0.1 + random.normal(0, 0.1, 100)).tolist(), shared.tolist())
    assert found is not None
    assert found.interval.low > 0.05
    assert found.p_value < 0.001


def test_the_same_seed_gives_the_same_figures() -> None:
    random = np.random.default_rng(5)
    one, other = random.normal(0, 1, 50).tolist(), random.normal(0, 1, 50).tolist()
    assert paired_bootstrap(one, other, seed=4) == paired_bootstrap(one, other, seed=4)
    assert paired_bootstrap(one, other, seed=4) != paired_bootstrap(one, other, seed=5)


def test_nothing_is_known_of_nothing() -> None:
    assert mean_interval([]) is None
    assert wilson(0, 0) is None
    assert quantile_interval([], 0.5) is None
    assert snips([], []) is None
    assert paired_bootstrap([], []) is None
    assert mean_interval([4.0]) == Interval(-math.inf, 4.0, math.inf, 1)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([]) == ()
    assert holm([0.9, 0.8]) == (1.0, 1.0)


def test_holm_keeps_the_chance_of_even_one_false_find() -> None:
    random = np.random.default_rng(11)
    false = sum(min(holm(random.random(12).tolist())) <= 0.05 for _ in range(WORLDS))
    assert false / WORLDS <= 0.065


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_never_makes_a_p_value_smaller_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(after >= before for after, before in zip(adjusted, p_values, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_distributions_are_those_of_the_tables() -> None:
    """Tables of Student's t; binomial sums by hand."""
    assert t_quantile(0.975, 1) == pytest.approx(12.7062, abs=1e-4)
    assert t_quantile(0.975, 10) == pytest.approx(2.22814, abs=1e-5)
    assert t_quantile(0.95, 30) == pytest.approx(1.69726, abs=1e-5)
    by_hand = sum(math.comb(50, k) * 0.3**k * 0.7 ** (50 - k) for k in range(13))
    assert binomial_cdf(12, 50, 0.3) == pytest.approx(by_hand, abs=1e-12)
    assert binomial_cdf(500_000, 1_000_000, 0.5) == pytest.approx(0.5004, abs=1e-4)


def test_numbers_that_are_nearly_nothing_have_bounds() -> None:
    """Their cubes are nothing at all."""
    found = mean_interval([0.0, 2.4310214341299043e-129])
    assert found is not None and found.low <= found.value <= found.high
