"""What recorded replies of real providers cost, against a table that was reckoned by hand: each bucket, whole
and streamed, where the reply passes and where it is translated."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.dialects import PROVIDER_KINDS, Recorded, recorded
from support.records import record_of
from support.simulators import Simulators

_FOLDER = Path(os.environ.get("MODELBROKER_RECORDINGS", Path(__file__).parents[3] / "shared" / "recordings"))
MODELS: Mapping[str, str] = {"gemini": "gemini-2.5-pro", "bedrock-converse": "anthropic.claude-sonnet-4-5"}

# US dollars per million tokens; of calls with more than 20,000 tokens of prompt the ones in `above`.
CLAUDE = {"input": 3, "cache_read": 0.3, "cache_write_5m": 3.75, "output": 15, "web_searches": 10_000}
CLAUDE["above"] = {"20k": {"input": 6, "output": 22.5}}  # type: ignore[assignment]
GPT = {"input": 1.25, "cache_read": 0.125, "output": 10}
THINKER = {"input": 1.25, "output": 10, "reasoning": 12}
NANO = {"input": 0.05, "output": 0.4}
DEEPSEEK = {"input": 0.28, "cache_read": 0.028, "output": 0.42}
EAR = {"input": 2.5, "audio_input": 40, "output": 10}
FLASH = {"input": 0.3, "output": 2.5}


@dataclass(frozen=True)
class Case:
    """`says` is a piece of the recorded usage that no other reply of its kind has. `cost`: nano-dollars."""

    name: str
    kind: str
    stream: bool
    says: str
    prices: Mapping[str, Any]
    cost: Mapping[str, int]


CASES = [
    # 4 x 3,000; 9,134 x 300; 237 x 3,750; 156 x 15,000
    Case(
        "cache read and written",
        "anthropic-messages",
        False,
        '"cache_read_input_tokens": 9134',
        CLAUDE,
        {"input": 12_000, "cache_read": 2_740_200, "cache_write_5m": 888_750, "output": 2_340_000},
    ),
    # 10 x 3,000; 4,332 x 300; 4,513 x 3,750; 211 x 15,000
    Case(
        "more written than read",
        "anthropic-messages",
        False,
        '"cache_creation_input_tokens": 4513, "cache_read_input_tokens": 4332',
        CLAUDE,
        {"input": 30_000, "cache_read": 1_299_600, "cache_write_5m": 16_923_750, "output": 3_165_000},
    ),
    # A prompt above the step: 22,397 x 6,000; 637 x 22,500. Two searches at a cent.
    Case(
        "a large prompt and searches",
        "anthropic-messages",
        True,
        '"input_tokens":22397',
        CLAUDE,
        {"input": 134_382_000, "output": 14_332_500, "web_searches": 20_000_000},
    ),
    # 3 x 3,000; 1,712 x 300; 236 x 3,750; 121 x 15,000
    Case(
        "Bedrock's cache",
        "bedrock-converse",
        False,
        '"cacheReadInputTokens": 1712',
        CLAUDE,
        {"input": 9_000, "cache_read": 513_600, "cache_write_5m": 885_000, "output": 1_815_000},
    ),
    # 41 x 300; 10 said and 105 thought, x 2,500
    Case(
        "Gemini's thoughts",
        "gemini-generate-content",
        False,
        '"thoughtsTokenCount": 105, "totalTokenCount": 156',
        FLASH,
        {"input": 12_300, "output": 287_500},
    ),
    # 9,703 less 8,576 x 1,250; 8,576 x 125; 638 x 10,000
    Case(
        "a response that was mostly cached",
        "openai-responses",
        False,
        '"input_tokens": 9703',
        GPT,
        {"input": 1_408_750, "cache_read": 1_072_000, "output": 6_380_000},
    ),
    # 9,463 less 8,320 x 1,250; 8,320 x 125; 582 x 10,000
    Case(
        "the same as a stream",
        "openai-responses",
        True,
        '"input_tokens":9463',
        GPT,
        {"input": 1_428_750, "cache_read": 1_040_000, "output": 5_820_000},
    ),
    # 12 x 1,250; 1,880 less 1,536 x 10,000; 1,536 x 12,000
    Case(
        "reasoning with a price of its own",
        "openai-chat",
        False,
        '"reasoning_tokens": 1536',
        THINKER,
        {"input": 15_000, "output": 3_440_000, "reasoning": 18_432_000},
    ),
    # 12 x 50; 100 x 400
    Case(
        "nothing but reasoning",
        "openai-chat",
        True,
        '"prompt_tokens":12,"completion_tokens":100',
        NANO,
        {"input": 600, "output": 40_000},
    ),
    # 64 less 44 x 2,500; 44 heard x 40,000; 9 x 10,000
    Case(
        "what was heard",
        "openai-chat",
        False,
        '"audio_tokens": 44',
        EAR,
        {"input": 50_000, "audio_input": 1_760_000, "output": 90_000},
    ),
    # 563 less 512 x 280; 512 x 28; 116 x 420
    Case(
        "another's words for the cache",
        "openai-compatible-chat",
        False,
        '"prompt_cache_hit_tokens": 512',
        DEEPSEEK,
        {"input": 14_280, "cache_read": 14_336, "output": 48_720},
    ),
]


def dialect_of(case: Case) -> str:
    return PROVIDER_KINDS[case.kind]


def row_of(case: Case) -> Recorded:
    """The recorded reply that says so: a stream's bytes, or a whole reply as Python writes it."""
    for row in recorded():
        if row.id.startswith(f"{case.kind}:") and row.streamed is case.stream and row.status == 200:
            text = row.reply.decode("utf-8", "replace")
            if case.says in (text if case.stream else json.dumps(json.loads(text))):
                return row
    raise AssertionError(f"nothing recorded says {case.says}")


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    kinds = {case.kind for case in CASES}
    with Simulators(*sorted(kinds)) as simulators:
        for kind in kinds:
            simulators[kind].script(recordings=[str((_FOLDER / f"{kind}.jsonl").resolve())])
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    names = [f"case-{number}" for number in range(len(CASES))]
    by_name = dict(zip(names, CASES, strict=True))
    models = {name: MODELS.get(dialect_of(case), "m") for name, case in by_name.items()}
    config = {
        "providers": [
            provider(name, sims[case.kind].port, dialect_of(case), BASES.get(dialect_of(case), "/v1"))
            for name, case in by_name.items()
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": name, "failover": "none", "members": [{"provider": name, "model": models[name]}]}
            for name in names
        ],
        "prices": [
            {"provider": name, "model": models[name], **case.prices} for name, case in by_name.items()
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.mark.skipif(not recorded(), reason="no recordings here")
@pytest.mark.parametrize("client", ["openai-chat", "openai-responses", "anthropic-messages"])
@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name.replace(" ", "-") for case in CASES])
def test_a_recorded_reply_costs_what_was_reckoned_by_hand(broker: Broker, number: int, client: str) -> None:
    case = CASES[number]
    pin = {"x-mock-reply": json.dumps({"recording": row_of(case).id.partition(":")[2]})}
    (got,) = make(broker.url, [Ask(f"case-{number}", client, case.stream, headers=pin)])
    record = record_of(broker, got)
    assert got.status == 200, got
    assert record["usage_state"] == "exact"
    assert record["cost"] == {"total": sum(case.cost.values()), "buckets": dict(case.cost), "unknown": []}
