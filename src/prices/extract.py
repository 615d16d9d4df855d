"""genai-prices → our table: `python -m modelbroker.prices.extract` prints it as JSON.

Only this module imports genai-prices, and it runs in a process of its own: the import takes 0.2 s and 30 MB.
Only its rates are taken, not its calculation: its input tokens include the cached ones, ours do not, and
what it has no rate for it takes for something else (audio for text, tokens of a tier for the usual ones).

The table: `version`, and by the provider's id `pattern` (of base URLs, a regular expression), `fallback` (ids
whose models it serves, too), and `models`: name, clause that recognises the model's name (matching.py), and
prices in rising order of precedence. A price is `from_s`, `daily`, `scale` and `tiers` as core.prices has
them, without what is empty.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec
from genai_prices import __version__, types
from genai_prices.data import providers

from ..core.prices import DAY_S, NANO

# Bucket → the keys of its price, the first that is there wins. What is written to a cache for an hour is
# never taken for what is written for five minutes.
KEYS: Mapping[str, tuple[str, ...]] = {
    "input": ("input_mtok",),
    "cache_read": ("cache_read_mtok",),
    "cache_write_5m": ("cache_write_5m_mtok", "cache_write_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok",),
    "output": ("output_mtok",),
    "reasoning": ("output_reasoning_mtok",),
    "audio_input": ("input_audio_mtok",),
    "audio_cache_read": ("cache_audio_read_mtok",),
    "audio_output": ("output_audio_mtok",),
    "media_input": ("input_image_mtok", "input_video_mtok"),
    "media_output": ("output_image_mtok", "output_video_mtok"),
    "request": ("requests_kcount",),
    "web_searches": ("web_searches_kcount",),
}
_PER = {"request": 1_000, "web_searches": 1_000}  # of a million: how many of what its price is for
# Service tier → the facts of a call that its prices hang on, in genai-prices' words.
CONTEXTS: Mapping[str, Mapping[str, str]] = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}

Found = Mapping[str, Any]  # key of a price → Decimal or TieredPrices
Tree = dict[str, Any]


def table() -> Tree:
    """The whole of it, as plain data."""
    return {"version": __version__, "providers": {each.id: _provider(each) for each in providers}}


def _provider(provider: types.Provider) -> Tree:
    models = [[model.id, _clause(model.match), _prices(model)] for model in provider.models]
    return {
        "pattern": provider.api_pattern,
        "fallback": list(provider.fallback_model_providers or ()),
        "models": models,
    }


def _clause(clause: Any) -> list[Any]:
    match clause:
        case types.ClauseOr():
            return ["or", *map(_clause, clause.or_)]
        case types.ClauseAnd():
            return ["and", *map(_clause, clause.and_)]
        case types.ClauseRegex():
            return ["regex", clause.regex]
        case types.ClauseStartsWith():
            return ["starts_with", clause.starts_with.lower()]
        case types.ClauseEndsWith():
            return ["ends_with", clause.ends_with.lower()]
        case types.ClauseContains():
            return ["contains", clause.contains.lower()]
        case types.ClauseEquals():
            return ["equals", clause.equals.lower()]
    raise TypeError(f"a clause of an unknown kind: {type(clause).__name__}")


def _prices(model: types.ModelInfo) -> list[Tree]:
    """In genai-prices the last condition that holds wins, as in our table."""
    if isinstance(model.prices, types.ModelPrice):
        conditional: Sequence[Any] = [types.ConditionalPrice(prices=model.prices)]
    else:
        conditional = model.prices
    found: list[Tree] = []
    begins = 0
    for each in conditional:
        # The hours of a day have no date of their own: they belong to the price that stands before them, and
        # are no news of the times before it.
        begins = max(begins, _from_s(each.constraint)) if _is_daily(each) else _from_s(each.constraint)
        found += _spans(model, each, begins)
    return found


def _is_daily(each: types.ConditionalPrice) -> bool:
    return isinstance(each.constraint, types.TimeOfDateConstraint)


def _spans(model: types.ModelInfo, each: types.ConditionalPrice, begins: int) -> Iterator[Tree]:
    """One price, anew whenever that of a service tier begins."""
    variants = [(_from_s(variant.constraint), variant) for variant in model.price_variants or ()]
    usual = _found(each.prices)
    for start in sorted({begins, *(since for since, _ in variants if since > begins)}):
        active = [variant for since, variant in variants if since <= start]
        price: Tree = {"from_s": start} if start else {}
        if isinstance(each.constraint, types.TimeOfDateConstraint):
            price["daily"] = [_second(each.constraint.start_time), _second(each.constraint.end_time)]
        price["scale"] = _scale(usual)
        tiers = {tier: _over(usual, active, context) for tier, context in CONTEXTS.items()}
        if known := {tier: _scale(found) for tier, found in tiers.items() if found is not None}:
            price["tiers"] = known
        yield price


def _over(usual: Found, variants: Sequence[Any], context: Mapping[str, str]) -> Found | None:
    """The prices of a service tier: of each key the first variant wins, then the usual one. None where there
    is no variant: genai-prices would take the usual price for it."""
    found: dict[str, Any] = {}
    is_known = False
    for variant in variants:
        if all(context.get(key) == value for key, value in variant.when.items()):
            is_known = True
            for key, value in _found(variant.prices).items():
                found.setdefault(key, value)
    return {**usual, **found} if is_known else None


def _found(prices: Any) -> Found:
    return {
        key: value for key, value in vars(prices).items() if value is not None and not key.startswith("_")
    }


def _scale(found: Found) -> Tree:
    starts = {tier.start for value in found.values() if _is_tiered(value) for tier in value.tiers}
    scale: Tree = {"rates": _rates(found, -1)}
    if starts:
        scale["above"] = [[start, _rates(found, start)] for start in sorted(starts)]
    return scale


def _rates(found: Found, above: int) -> dict[str, int]:
    """Of a prompt of more than `above` tokens, but no more than the next threshold."""
    rates: dict[str, int] = {}
    for bucket, keys in KEYS.items():
        for key in keys:
            if key not in found:
                continue
            value = found[key]
            if _is_tiered(value):
                price = value.base
                for tier in value.tiers:  # in rising order
                    price = tier.price if tier.start <= above else price
                value = price
            rates[bucket] = _nano(value * _PER.get(bucket, 1))
            break
    return rates


def _is_tiered(value: Any) -> bool:
    return isinstance(value, types.TieredPrices)


def _nano(dollars: Decimal) -> int:
    return int((dollars * NANO).to_integral_value(ROUND_HALF_EVEN))


def _from_s(constraint: Any) -> int:
    """The start of the day, in UTC as genai-prices has it."""
    if not isinstance(constraint, types.StartDateConstraint):
        return 0
    day = constraint.start_date
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _second(moment: time) -> int:
    """Of the day, in UTC."""
    zone = moment.utcoffset()
    second = moment.hour * 3600 + moment.minute * 60 + moment.second
    return (second - (int(zone.total_seconds()) if zone else 0)) % DAY_S


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(table()))
