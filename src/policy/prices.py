"""What a call cost, and what it would: exact integers of nano-dollars, or unknown; never zero for want of a
price."""

from __future__ import annotations

from ..core.prices import MILLION, Cost, Price, Rates
from ..core.usage import Usage

_PLAIN = ("cache_read", "cache_write_5m", "cache_write_1h")


NO_COST = Cost(0)
BESIDE = "beside"  # the bucket of what other models used on the way


def cost_of(usage: Usage | None, price: Price | None, service_tier: str = "") -> Cost:
    """What a call with this usage cost by the price that was in effect for it. `service_tier` is the one that
    the reply names, by the provider's word; "" where it names none.

    Each bucket is rounded to the nearest nano-dollar, half up. A bucket with no tokens needs no rate. Parts
    are paid once: where `reasoning` has a price of its own it is taken out of `output`, and so is audio.
    Where a part has a price of its own and the usage does not say how large it is, it is unknown.
    """
    if price is None:
        return Cost(None, unknown=("price",))
    if price.commitment:
        return NO_COST
    if usage is None:
        return Cost(None, unknown=("usage",))
    scale = price.tier(service_tier)
    if scale is None:
        return Cost(None, unknown=("service_tier",))
    rates = scale.at(usage.prompt)
    counts, unknown = _counts(usage, rates)
    buckets: dict[str, int] = {}
    for bucket, count in counts.items():
        rate = getattr(rates, bucket)
        if rate is None:
            unknown.append(bucket)
        elif cost := (count * rate + MILLION // 2) // MILLION:
            buckets[bucket] = cost
    total = None if unknown else sum(buckets.values())
    return Cost(total, buckets, tuple(unknown))


def _counts(usage: Usage, rates: Rates) -> tuple[dict[str, int], list[str]]:
    """Units in disjoint buckets, without those of none; and the parts that can't be told."""
    unknown: list[str] = []
    counts = {"input": usage.input, "output": usage.output}
    counts |= {bucket: getattr(usage, bucket) for bucket in _PLAIN}
    # No count of heard tokens means none: providers that take audio count it.
    heard = min(usage.audio_input or 0, usage.input)
    if heard and rates.audio_input != rates.input:
        counts |= {"input": usage.input - heard, "audio_input": heard}
    if usage.output and rates.reasoning not in (None, rates.output):
        if usage.reasoning is None:
            unknown.append("reasoning")
        else:
            reasoned = min(usage.reasoning, usage.output)
            counts |= {"output": usage.output - reasoned, "reasoning": reasoned}
    # Usage does not tell how much of the cached prompt was heard; None says that nothing was heard at all.
    if usage.cache_read and usage.audio_input is not None and rates.audio_cache_read != rates.cache_read:
        unknown.append("audio_cache_read")
    # Nor does it tell spoken tokens, images and video from text.
    for bucket, whole in (
        ("audio_output", "output"),
        ("media_input", "input"),
        ("media_output", "output"),
    ):
        if counts[whole] and getattr(rates, bucket) not in (None, getattr(rates, whole)):
            unknown.append(bucket)
    if rates.request is not None:
        counts["request"] = 1
    if usage.web_searches:
        counts["web_searches"] = usage.web_searches
    if usage.beside:  # theirs are other prices than this one: records/pricing.py
        unknown.append(BESIDE)
    return {bucket: count for bucket, count in counts.items() if count}, unknown


def estimate(
    price: Price | None, input_tokens: int, output_tokens: int, service_tier: str = ""
) -> int | None:
    """Nano-dollars of a call before it is made, as if nothing of it were cached and each token of output
    cost as much as the dearest kind; None where the price does not say."""
    if price is None:
        return None
    if price.commitment:
        return 0
    scale = price.tier(service_tier)
    if scale is None:
        return None
    rates = scale.at(input_tokens)
    outputs = [rate for rate in (rates.output, rates.reasoning) if rate is not None]
    if (input_tokens and rates.input is None) or (output_tokens and rates.output is None):
        return None
    whole = input_tokens * (rates.input or 0) + output_tokens * max(outputs, default=0)
    return (whole + (rates.request or 0) + MILLION // 2) // MILLION
