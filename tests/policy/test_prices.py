"""What a usage costs: hand-made tables, and what holds for all prices and usages."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.prices import BUCKETS, FREE, MILLION, Price, Rates, Scale
from modelbroker.core.usage import Usage
from modelbroker.policy.prices import Cost, cost_of, estimate

D = 1_000_000_000  # nano-dollars of a dollar
# Claude Opus 4.7's list price, and GPT-5.4's with its tier above 272,000 tokens.
OPUS = Price(Scale(Rates(5 * D, D // 2, 6_250_000_000, 10 * D, 25 * D)))
LONG = Rates(input=5 * D, cache_read=D // 2, output=22_500_000_000)
FLEX = Scale(Rates(input=1_250_000_000, cache_read=130_000_000, output=7_500_000_000))
GPT = Price(
    Scale(Rates(input=2_500_000_000, cache_read=250_000_000, output=15 * D), ((272_000, LONG),)),
    (("flex", FLEX),),
)
HEARS = Price(Scale(Rates(input=300_000_000, audio_input=D, output=2_500_000_000, cache_read=30_000_000)))
THINKS = Price(Scale(Rates(input=2 * D, output=8 * D, reasoning=3 * D, request=5_000 * D)))
DRAWS = Price(Scale(Rates(input=300_000_000, output=2_500_000_000, media_output=30 * D)))
SPEAKS = Price(Scale(Rates(input=2_500_000_000, output=10 * D, audio_output=64 * D)))


@pytest.mark.parametrize(
    ("price", "usage", "tier", "buckets"),
    [
        # 1,000 tokens at $5 a million are half a cent: 5,000,000 nano-dollars.
        (OPUS, Usage(input=1000, output=100), "", {"input": 5_000_000, "output": 2_500_000}),
        (
            OPUS,
            Usage(input=3, cache_read=100_000, cache_write_5m=2_000, cache_write_1h=1_000, output=7),
            "standard",
            {
                "input": 15_000,
                "cache_read": 50_000_000,
                "cache_write_5m": 12_500_000,
                "cache_write_1h": 10_000_000,
                "output": 175_000,
            },
        ),
        (OPUS, Usage(), "", {}),
        # Reasoning is a part of output, and costs the same here.
        (OPUS, Usage(output=100, reasoning=60), "", {"output": 2_500_000}),
        (
            THINKS,
            Usage(input=10, output=100, reasoning=60),
            "",
            {"input": 20_000, "output": 320_000, "reasoning": 180_000, "request": 5_000_000},
        ),
        # A whole call is at the rates of its size; cached tokens are prompt, and 272,000 are not above.
        (
            GPT,
            Usage(input=72_000, cache_read=200_000, output=10),
            "default",
            {"input": 180_000_000, "cache_read": 50_000_000, "output": 150_000},
        ),
        (
            GPT,
            Usage(input=72_001, cache_read=200_000, output=10),
            "default",
            {"input": 360_005_000, "cache_read": 100_000_000, "output": 225_000},
        ),
        (
            GPT,
            Usage(input=1_000, cache_read=1_000, output=10),
            "flex",
            {"input": 1_250_000, "cache_read": 130_000, "output": 75_000},
        ),
        (
            HEARS,
            Usage(input=1_000, audio_input=400, output=1),
            "",
            {"input": 180_000, "audio_input": 400_000, "output": 2_500},
        ),
        (HEARS, Usage(input=1_000, output=1), "", {"input": 300_000, "output": 2_500}),
        (HEARS, Usage(input=1_000, cache_read=1_000), "", {"input": 300_000, "cache_read": 30_000}),
        # Half a nano-dollar is rounded up, less is rounded down.
        (Price(Scale(Rates(input=500_000))), Usage(input=1), "", {"input": 1}),
        (Price(Scale(Rates(input=499_999))), Usage(input=1), "", {}),
        # No cost is not no price.
        (Price(Scale(Rates(input=0, output=0))), Usage(input=9, output=9), "", {}),
    ],
)
def test_what_it_costs(price: Price, usage: Usage, tier: str, buckets: dict[str, int]) -> None:
    assert cost_of(usage, price, tier) == Cost(sum(buckets.values()), buckets)


@pytest.mark.parametrize(
    ("price", "usage", "tier", "unknown"),
    [
        (None, Usage(input=1), "", ["price"]),
        (None, None, "", ["price"]),
        (OPUS, None, "", ["usage"]),
        (OPUS, Usage(input=1), "priority", ["service_tier"]),
        (OPUS, Usage(input=1), "auto", ["service_tier"]),  # what it came to be is not said
        (GPT, Usage(input=1, cache_write_5m=1, cache_write_1h=1), "", ["cache_write_5m", "cache_write_1h"]),
        # A part that is priced otherwise, and whose size the usage does not tell.
        (THINKS, Usage(input=1, output=1), "", ["reasoning"]),
        (DRAWS, Usage(input=1, output=1), "", ["media_output"]),
        (SPEAKS, Usage(input=1, output=1), "", ["audio_output"]),
        (SPEAKS, Usage(input=2, audio_input=1), "", ["audio_input"]),
        # Some of what was read from the cache may be audio, for something was heard.
        (HEARS, Usage(input=2, cache_read=1, audio_input=0), "", ["audio_cache_read"]),
    ],
)
def test_what_is_not_known(price: Price | None, usage: Usage | None, tier: str, unknown: list[str]) -> None:
    cost = cost_of(usage, price, tier)
    assert (cost.total, list(cost.unknown)) == (None, unknown)


def test_what_is_known_of_an_unknown_cost_is_told() -> None:
    cost = cost_of(Usage(input=1_000, cache_write_5m=1), GPT)
    assert (cost.total, cost.buckets, cost.unknown) == (None, {"input": 2_500_000}, ("cache_write_5m",))


@pytest.mark.parametrize("usage", [None, Usage(input=5, output=5, reasoning=1)])
@pytest.mark.parametrize("tier", ["", "priority"])
def test_what_is_paid_otherwise_costs_nothing(usage: Usage | None, tier: str) -> None:
    assert cost_of(usage, Price(Scale(FREE), commitment=True), tier) == Cost(0)


@pytest.mark.parametrize(
    ("price", "asked", "nano"),
    [
        (OPUS, (1_000, 100), 7_500_000),
        (GPT, (272_001, 0), 1_360_005_000),
        (GPT, (1_000, 10, "flex"), 1_325_000),
        (GPT, (1_000, 10, "batch"), None),
        (THINKS, (0, 100), 5_800_000),
        (None, (1, 1), None),
        (Price(Scale(Rates(input=1))), (10, 1), None),
        (Price(Scale(Rates(input=D))), (10, 0), 10_000),
        (Price(Scale(FREE), commitment=True), (10, 10), 0),
    ],
)
def test_an_estimate(price: Price | None, asked: Any, nano: int | None) -> None:
    assert estimate(price, *asked) == nano


TOKENS = st.integers(0, 2_000_000)
RATE = st.integers(0, 10**12)
USAGES = st.builds(
    lambda reasoned, heard, **counts: Usage(
        **counts,
        reasoning=reasoned and min(reasoned, counts["output"]),
        audio_input=heard and min(heard, counts["input"]),
    ),
    reasoned=st.none() | TOKENS,
    heard=st.none() | TOKENS,
    input=TOKENS,
    cache_read=TOKENS,
    cache_write_5m=TOKENS,
    cache_write_1h=TOKENS,
    output=TOKENS,
)
ALL_RATES = st.builds(Rates, **dict.fromkeys(BUCKETS, st.none() | RATE))
# What a provider of text and audio has: every rate that a usage can be told by.
WHOLE = st.builds(Rates, **dict.fromkeys(BUCKETS[:7], RATE)).map(
    lambda rates: replace(rates, audio_cache_read=rates.cache_read)
)


@given(USAGES, ALL_RATES)
def test_a_cost_is_the_sum_of_its_buckets_and_never_negative(usage: Usage, rates: Rates) -> None:
    cost = cost_of(usage, Price(Scale(rates)))
    assert all(nano > 0 for nano in cost.buckets.values())
    assert cost.total == (None if cost.unknown else sum(cost.buckets.values()))


@given(USAGES, ALL_RATES)
def test_a_bucket_without_a_rate_is_unknown_and_never_free(usage: Usage, rates: Rates) -> None:
    cost = cost_of(usage, Price(Scale(rates)))
    for bucket in ("cache_read", "cache_write_5m", "cache_write_1h"):
        if getattr(usage, bucket) and getattr(rates, bucket) is None:
            assert cost.total is None and bucket in cost.unknown
    if usage.input > (usage.audio_input or 0) and rates.input is None:
        assert "input" in cost.unknown
    if usage.audio_input and rates.audio_input is None and rates.input is not None:
        assert "audio_input" in cost.unknown
    if usage.output and rates.output is None and rates.reasoning is None:
        assert "output" in cost.unknown


@given(USAGES, USAGES, WHOLE)
def test_costs_add_up_but_for_the_rounding(one: Usage, other: Usage, rates: Rates) -> None:
    def whole(*usages: Usage) -> Usage:
        names = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
        counts = {name: sum(getattr(usage, name) for usage in usages) for name in names}
        parts = {
            name: sum(getattr(usage, name) or 0 for usage in usages) for name in ("reasoning", "audio_input")
        }
        return Usage(**counts, **parts)

    price = Price(Scale(rates))
    apart = [cost_of(whole(usage), price).total for usage in (one, other)]
    together = cost_of(whole(one, other), price).total
    assert together is not None and None not in apart
    # Each of 7 buckets is off by at most half a nano-dollar, three times.
    assert abs(together - sum(map(int, apart))) <= 7 * 1.5  # type: ignore[arg-type]


@given(USAGES, WHOLE)
def test_each_token_is_paid_once(usage: Usage, rates: Rates) -> None:
    usage = replace(usage, reasoning=usage.reasoning or 0)
    heard, reasoned = usage.audio_input or 0, usage.reasoning or 0
    exact = {
        "input": (usage.input - heard) * rates.input + heard * rates.audio_input,  # type: ignore[operator]
        "cache_read": usage.cache_read * rates.cache_read,  # type: ignore[operator]
        "cache_write_5m": usage.cache_write_5m * rates.cache_write_5m,  # type: ignore[operator]
        "cache_write_1h": usage.cache_write_1h * rates.cache_write_1h,  # type: ignore[operator]
        "output": (usage.output - reasoned) * rates.output + reasoned * rates.reasoning,  # type: ignore[operator]
    }
    total = cost_of(usage, Price(Scale(rates))).total
    assert total is not None
    assert abs(total - Fraction(sum(exact.values()), MILLION)) <= Fraction(7, 2)


@given(USAGES, WHOLE, st.none() | TOKENS)
def test_reasoning_that_costs_as_output_does_changes_nothing(
    usage: Usage, rates: Rates, reasoned: int | None
) -> None:
    for same in (None, rates.output):
        price = Price(Scale(replace(rates, reasoning=same)))
        assert cost_of(usage, price) == cost_of(replace(usage, reasoning=reasoned), price)


@given(USAGES, ALL_RATES, st.sampled_from(("", "flex", "x")))
def test_an_estimate_is_what_an_uncached_call_costs_at_most(usage: Usage, rates: Rates, tier: str) -> None:
    price = Price(Scale(rates), (("flex", Scale(rates.less(500_000))),))
    text = replace(usage, cache_read=0, cache_write_5m=0, cache_write_1h=0, audio_input=None)
    cost, guess = cost_of(text, price, tier).total, estimate(price, text.input, text.output, tier)
    if cost is not None and guess is not None:
        assert cost <= guess + 2
