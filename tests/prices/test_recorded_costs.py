"""Real replies: what our dialects and prices make of their usage, against what genai-prices makes of it by
itself, from the same bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import extract_usage
from modelbroker.core.catalog import Provider
from modelbroker.dialects import provider_dialect
from modelbroker.dialects.replies import Reply
from modelbroker.policy.prices import Cost, cost_of
from modelbroker.prices.bundled import bundled
from support.dialects import Recorded, recorded, upstream

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
# Kind of recording → our provider, theirs, and the flavour of its API as they call it.
KINDS = {
    "anthropic-messages": ("anthropic", "anthropic", "default"),
    "gemini-generate-content": ("gemini", "google", "default"),
    "openai-chat": ("openai", "openai", "chat"),
    "openai-responses": ("openai", "openai", "responses"),
}


def good(kind: str) -> Iterator[tuple[Recorded, Reply]]:
    for row in recorded():
        if row.id.startswith(f"{kind}:") and row.status == 200 and not row.streamed:
            try:
                yield row, provider_dialect(row.dialect).decode_reply(row.reply, upstream(row.dialect))
            except ValueError:  # no finished reply, by its own word
                assert json.loads(row.reply)["status"] in ("queued", "in_progress", "failed")


def ours(provider: str, reply: Reply) -> Cost:
    found = bundled().find(Provider(provider, (), ""), reply.model)
    price = next((each for each in reversed(found) if each.holds(int(AT.timestamp()))), None)
    return cost_of(reply.usage, price, reply.service_tier)


@pytest.mark.skipif(not recorded(), reason="no recordings here")
@pytest.mark.parametrize("kind", KINDS)
def test_recorded_replies_cost_the_same(kind: str) -> None:
    provider, theirs, flavour = KINDS[kind]
    told: Counter[str] = Counter()
    for row, reply in good(kind):
        cost = ours(provider, reply)
        if cost.unknown:
            # Advisors and what was heard have no price in the list, or what of it was cached is not told.
            assert set(cost.unknown) <= {"audio_input", "audio_cache_read", "beside"}, row.id
            told["unknown"] += 1
            continue
        body = json.loads(row.reply)
        if kind == "gemini-generate-content":
            body["modelVersion"] = body["modelVersion"].removeprefix("models/")
        used = extract_usage(body, provider_id=theirs, api_flavor=flavour)
        context = {"service_tier": reply.service_tier} if reply.service_tier else None
        whole = used.calc_price(genai_request_timestamp=AT, price_context=context)
        nano = whole.total_price * 1_000_000_000
        assert cost.total is not None and abs(Decimal(cost.total) - nano) <= 4, row.id
        told["same"] += 1
    assert told["same"] > 50 and told["unknown"] <= 2
