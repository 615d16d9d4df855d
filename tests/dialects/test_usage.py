"""What providers write of usage, in our buckets. The table was counted by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.usage import Beside, Usage
from modelbroker.dialects import Used, provider_usage, used_from, used_text

CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"
EMBEDDINGS = "openai-embeddings"


def run(kind: str, tokens: tuple[int, int], **more: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": tokens[0], "output_tokens": tokens[1], **more}


TABLE: list[tuple[str, str, dict[str, Any], Usage]] = [
    (
        "OpenAI: cached tokens are a part of the prompt",
        CHAT,
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 0},
        },
        Usage(input=86, cache_read=1920, output=300, reasoning=64),
    ),
    (
        "OpenAI: what was heard is a part of the input",
        CHAT,
        {
            "prompt_tokens": 64,
            "completion_tokens": 9,
            "total_tokens": 73,
            "prompt_tokens_details": {"audio_tokens": 44, "text_tokens": 20, "cached_tokens": 0},
        },
        Usage(input=64, output=9, audio_input=44),
    ),
    (
        "xAI: reasoning comes on top of the completion",
        CHAT,
        {
            "prompt_tokens": 30,
            "completion_tokens": 10,
            "total_tokens": 250,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 210},
        },
        Usage(input=26, cache_read=4, output=220, reasoning=210),
    ),
    (
        "OpenRouter: written tokens, searches",
        CHAT,
        {
            "prompt_tokens": 2300,
            "completion_tokens": 8,
            "total_tokens": 2308,
            "cost": 0.0193,
            "is_byok": False,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 2161},
            "completion_tokens_details": {"reasoning_tokens": 0},
            "server_tool_use_details": {"web_search_requests": 1},
        },
        Usage(input=139, cache_write_5m=2161, output=8, reasoning=0, web_searches=1),
    ),
    (
        "DeepSeek: hits and misses",
        CHAT,
        {
            "prompt_tokens": 563,
            "completion_tokens": 20,
            "total_tokens": 583,
            "prompt_cache_hit_tokens": 512,
            "prompt_cache_miss_tokens": 51,
        },
        Usage(input=51, cache_read=512, output=20),
    ),
    (
        "Mistral: cached tokens beside the rest",
        CHAT,
        {"prompt_tokens": 40, "completion_tokens": 3, "total_tokens": 43, "num_cached_tokens": 32},
        Usage(input=8, cache_read=32, output=3),
    ),
    (
        "Groq: times among the counts",
        CHAT,
        {
            "queue_time": 0.0049,
            "prompt_tokens": 304,
            "prompt_time": 0.0146,
            "completion_tokens": 49,
            "total_tokens": 353,
            "completion_tokens_details": {"reasoning_tokens": 23},
        },
        Usage(input=304, output=49, reasoning=23),
    ),
    (
        "Responses: read, written and neither",
        RESPONSES,
        {
            "input_tokens": 12848,
            "input_tokens_details": {"cached_tokens": 8320, "cache_write_tokens": 4418},
            "output_tokens": 441,
            "output_tokens_details": {"reasoning_tokens": 19},
            "total_tokens": 13289,
        },
        Usage(input=110, cache_read=8320, cache_write_5m=4418, output=441, reasoning=19),
    ),
    (
        "Anthropic: all stand beside each other, and written ones by their time",
        MESSAGES,
        {
            "input_tokens": 3,
            "cache_creation_input_tokens": 1500,
            "cache_read_input_tokens": 20443,
            "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 1000},
            "output_tokens": 353,
            "output_tokens_details": {"thinking_tokens": 80},
            "server_tool_use": {"web_fetch_requests": 4, "web_search_requests": 2},
        },
        Usage(3, 20443, 500, 1000, 353, reasoning=80, web_searches=2),
    ),
    (
        "Anthropic, before it told times",
        MESSAGES,
        {
            "input_tokens": 48,
            "cache_creation_input_tokens": 7,
            "cache_read_input_tokens": 0,
            "output_tokens": 42,
        },
        Usage(input=48, cache_write_5m=7, output=42),
    ),
    (
        "Anthropic: the message's own runs are in the sums, an advisor's model is not",
        MESSAGES,
        {
            "input_tokens": 2482,
            "output_tokens": 166,
            "iterations": [
                run("message", (1128, 155)),
                run("advisor_message", (2564, 99), model="claude-opus", cache_read_input_tokens=5),
                run("message", (1354, 11)),
            ],
        },
        Usage(
            input=2482,
            output=166,
            beside=(Beside("claude-opus", Usage(input=2564, cache_read=5, output=99)),),
        ),
    ),
    (
        "Anthropic: a compaction is in none of the sums",
        MESSAGES,
        {
            "input_tokens": 23_000,
            "output_tokens": 1_000,
            "iterations": [
                run("compaction", (180_000, 3_500), cache_read_input_tokens=10),
                run("message", (23_000, 1_000)),
            ],
        },
        Usage(input=203_000, cache_read=10, output=4_500),
    ),
    ("embeddings", EMBEDDINGS, {"prompt_tokens": 4, "total_tokens": 4}, Usage(input=4)),
]


@pytest.mark.parametrize(
    ("dialect", "told", "expected"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_a_hand_counted_table(dialect: str, told: dict[str, Any], expected: Usage) -> None:
    used = provider_usage(dialect, json.dumps(told))
    assert used == Used(expected)
    assert used_from(used_text(used)) == used


def test_in_anthropics_streams_the_last_word_of_each_count_holds() -> None:
    start = json.dumps(
        {
            "input_tokens": 9,
            "cache_read_input_tokens": 100,
            "cache_creation": {"ephemeral_1h_input_tokens": 6, "ephemeral_5m_input_tokens": 0},
            "cache_creation_input_tokens": 6,
            "output_tokens": 1,
            "service_tier": "priority",
        }
    )
    assert provider_usage(MESSAGES, "", start) == Used(Usage(9, 100, 0, 6, 1), "priority", False)
    end = '{"output_tokens": 50}'
    assert provider_usage(MESSAGES, end, start) == Used(Usage(9, 100, 0, 6, 50), "priority")
    thought = '{"output_tokens": 50, "output_tokens_details": {"thinking_tokens": 8}}'
    more = thought + ',{"output_tokens": 60, "input_tokens": 10}'
    assert provider_usage(MESSAGES, more, start) == Used(Usage(10, 100, 0, 6, 60, 8), "priority")


def test_the_last_word_of_others_is_all_of_it() -> None:
    one, two = '{"prompt_tokens": 1}', '{"prompt_tokens": 2, "completion_tokens": 3}'
    assert provider_usage(CHAT, two, one, "flex") == Used(Usage(input=2, output=3), "flex")
    assert provider_usage(CHAT, "", one) == Used(Usage(input=1), "", False)


@given(
    dialect=st.sampled_from((CHAT, RESPONSES, MESSAGES, EMBEDDINGS)),
    text=st.text() | st.just('{"input_tokens":"x"}'),
)
def test_what_is_no_usage_is_none(dialect: str, text: str) -> None:
    used = provider_usage(dialect, text)
    assert used is None or isinstance(used.usage, Usage)
    for odd in ("", "[]", "{", "null", '"x"', "[" * 5_000):
        assert provider_usage(dialect, odd) is None
    assert used_from(text) is None


def test_iterations_of_another_shape_do_not_hide_the_rest() -> None:
    for odd in ('{"model": "compaction"}', '["compaction"]', '[{"type": "compaction", "input_tokens": "7"}]'):
        text = f'{{"input_tokens": 5, "output_tokens": 6, "iterations": {odd}}}'
        assert provider_usage(MESSAGES, text) == Used(Usage(input=5, output=6))
