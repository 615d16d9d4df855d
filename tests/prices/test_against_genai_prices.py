"""Our table against genai-prices' own calculation: every model of every provider that we know by name, at
several dates, for several usages and service tiers. Only here is its calculation used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import types
from genai_prices.data import providers as theirs
from modelbroker.core.catalog import Provider
from modelbroker.core.prices import BUCKETS, SERVICE_TIERS, Price
from modelbroker.core.usage import Usage
from modelbroker.policy.prices import cost_of
from modelbroker.prices import extract
from modelbroker.prices.bundled import PriceList, bundled

THEIRS = {provider.id: provider for provider in theirs}
OURS = {  # our provider → theirs
    "anthropic": "anthropic",
    "azure-openai": "azure",
    "bedrock": "aws",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "vertex-anthropic": "google",
    "xai": "x-ai",
    "zai": "zai",
}
DATES = [
    datetime(2025, 3, 2, 2, tzinfo=UTC),
    datetime(2026, 9, 30, 12, tzinfo=UTC),
    datetime(2026, 11, 29, 3, tzinfo=UTC),
]
USAGES = [
    Usage(input=1_234, output=567, reasoning=89),
    Usage(input=12_345, cache_read=67_890, output=1_001, reasoning=0),
    Usage(input=99_001, cache_read=172_999, output=3, reasoning=1),  # 272,000: no tier above that yet
    Usage(input=400_003, cache_read=200_000, cache_write_5m=77, output=1, reasoning=0),
    Usage(input=7, cache_read=11, cache_write_5m=13, cache_write_1h=17, output=19, reasoning=0),
    Usage(input=5_000, audio_input=1_111, output=10, reasoning=0),
]
TIERS = {"": {}, **extract.CONTEXTS}


@pytest.fixture(scope="module")
def price_list() -> PriceList:
    return bundled()


def names(model: types.ModelInfo) -> list[str]:
    """All the names that its clauses spell out."""

    def spelled(clause: Any) -> Iterator[str]:
        for inner in getattr(clause, "or_", ()):
            yield from spelled(inner)
        for kind in ("equals", "starts_with", "contains"):
            if text := getattr(clause, kind, ""):
                yield text

    return list(dict.fromkeys((model.id, *spelled(model.match))))


def models_of(name: str) -> list[types.ModelInfo]:
    """Those of a provider of ours, its own and those that it serves, too; of a very long list some."""
    own = THEIRS[OURS[name]]
    others = (THEIRS[other] for other in own.fallback_model_providers or ())
    models = [*own.models, *(model for other in others for model in other.models)]
    return models[:: 1 + len(models) // 200]


@pytest.mark.parametrize("name", OURS)
def test_the_same_model_is_recognised(price_list: PriceList, name: str) -> None:
    provider, known = Provider(name, (), ""), 0
    spelled = (each for model in models_of(name) for each in names(model))
    forms = ("{}", "{}-20260102", "us.{}", "{}@20260102")
    for model in dict.fromkeys(form.format(each) for each in spelled for form in forms):
        wanted = THEIRS[OURS[name]].find_model(model, all_providers=theirs)
        found = price_list.find(provider, model)
        assert bool(found) == bool(wanted), model
        if wanted is not None:
            known += 1
            assert found[0].source.endswith(f"/{wanted.id})"), model
    assert known


def test_hours_of_the_day_are_no_older_than_their_price(price_list: PriceList) -> None:
    """`deepseek-v4-pro` has dearer hours since 2026-08-17, and was the same all day before that."""
    prices = price_list.find(Provider("deepseek", (), ""), "deepseek-v4-pro")

    def at(*moment: int) -> Price:
        when = int(datetime(*moment, tzinfo=UTC).timestamp())
        return next(each for each in reversed(prices) if each.holds(when))

    assert at(2026, 8, 16, 2) == at(2026, 8, 16, 12) == prices[0]
    assert at(2026, 8, 17, 2).daily == (1 * 3600, 4 * 3600)
    assert at(2026, 8, 17, 12).daily is None and at(2026, 8, 17, 12) != prices[0]


def test_the_table_has_all_that_a_price_may_have() -> None:
    assert tuple(extract.KEYS) == BUCKETS and tuple(extract.CONTEXTS) == SERVICE_TIERS


def their_usage(usage: Usage) -> TheirUsage:
    """Theirs is not disjoint."""
    counts = {
        "input_tokens": usage.prompt,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_write_1h_tokens": usage.cache_write_1h,
        "input_audio_tokens": usage.audio_input,
        "output_tokens": usage.output,
        "output_reasoning_tokens": usage.reasoning,
    }
    return TheirUsage(**{key: count for key, count in counts.items() if count})


def is_before_its_hours(model: types.ModelInfo, at: datetime) -> bool:
    """They have hours of the day that hold at all times, also before the price that has them: we don't."""
    if isinstance(model.prices, types.ModelPrice):
        return False
    constraints = [each.constraint for each in model.prices]
    dates = [c.start_date for c in constraints if isinstance(c, types.StartDateConstraint)]
    has_hours = any(isinstance(c, types.TimeOfDateConstraint) for c in constraints)
    return has_hours and bool(dates) and at.date() < max(dates)


@pytest.mark.parametrize("name", OURS)
def test_the_same_cost(price_list: PriceList, name: str) -> None:
    """Where we know a cost it is theirs, but for the rounding of each bucket; where we don't they have no
    rate either, and take another for it."""
    their_provider, provider, told = THEIRS[OURS[name]], Provider(name, (), ""), Counter[str]()

    def find(model: str) -> types.ModelInfo | None:
        return their_provider.find_model(model, all_providers=theirs)

    for found in models_of(name):
        # Not all go by what they are called in the list; some by what no other clause spells out.
        goes_by = (each for each in names(found) if find(each) is found)
        model = next(goes_by, None)
        if model is None:
            continue
        prices = price_list.find(provider, model)
        for at in DATES:
            if is_before_its_hours(found, at):
                continue
            price = next(each for each in reversed(prices) if each.holds(int(at.timestamp())))
            for tier, context in TIERS.items():
                for usage in USAGES:
                    told[compare(price, usage, tier, found, their_provider, at, context)] += 1
    assert told["known"] > 10 and set(told) <= {"known", "unknown", "no tier"}


def compare(
    price: Price,
    usage: Usage,
    tier: str,
    model: types.ModelInfo,
    provider: types.Provider,
    at: datetime,
    context: Any,
) -> str:
    cost = cost_of(usage, price, tier)
    variants = [v for v in model.price_variants or () if v.constraint is None or v.constraint.active(at)]
    is_own = any(model is one for one in provider.models)
    is_priced = is_own and any(variant.when.items() <= context.items() for variant in variants)
    assert (cost.unknown == ("service_tier",)) == bool(tier and not is_priced), (model.id, tier)
    if tier and not is_priced:
        return "no tier"
    used = model.get_prices(at, context if is_own else None)
    rates = {key for key, value in vars(used).items() if value is not None}
    if cost.unknown:
        for bucket in cost.unknown:
            # Rates that are there, for parts that usage does not tell; else: rates that are not there.
            is_untold = bucket in ("audio_output", "media_input", "media_output")
            assert any(key in rates for key in extract.KEYS[bucket]) == is_untold, (model.id, bucket)
        return "unknown"
    whole = model.calc_price(their_usage(usage), provider, genai_request_timestamp=at, price_context=context)
    nano = whole.total_price * 1_000_000_000
    # Half a nano-dollar a bucket, and half a nano-dollar a million tokens where theirs has more decimals.
    assert cost.total is not None
    assert abs(Decimal(cost.total) - nano) <= 4, (model.id, tier, usage, at)
    return "known"
