"""The path that a body is most likely for, told by what only one dialect has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from modelbroker.dialects import likely_path, surface_for_path
from modelbroker.dialects.guess import CHAT, EMBEDDINGS, MESSAGES, RESPONSES

HI = [{"role": "user", "content": "Hi"}]


def said(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [*HI, {"role": "user", "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (RESPONSES, {"input": "x", "tools": [{"type": "web_search"}]}),
        (RESPONSES, {"input": "x", "store": False}),
        (RESPONSES, {"input": "x", "previous_response_id": "resp_1"}),
        (RESPONSES, {"input": "x", "reasoning": {"effort": "low"}}),
        (RESPONSES, {"input": "x", "text": {"verbosity": "low"}}),
        (RESPONSES, {"input": "x", "max_output_tokens": 5}),
        (RESPONSES, {"input": "x", "stream": True}),
        (RESPONSES, {"input": HI}),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c", "output": "o"}]}),
        (RESPONSES, {"input": "x"}),
        (RESPONSES, {"input": "x", "user": "u"}),
        (RESPONSES, {"prompt": {"id": "pmpt_1"}}),
        (RESPONSES, {"conversation": "conv_1"}),
        (EMBEDDINGS, {"input": "x", "dimensions": 5}),
        (EMBEDDINGS, {"input": "x", "encoding_format": "float"}),
        (EMBEDDINGS, {"input": ["x", "y"]}),
        (EMBEDDINGS, {"input": [1, 2]}),
        (EMBEDDINGS, {"input": [[1, 2]], "user": "u"}),
        (EMBEDDINGS, {"input": "x", "model": "text-embedding-3-small"}),
        (MESSAGES, {"messages": HI, "max_tokens": 5, "thinking": {"type": "adaptive"}}),
        (MESSAGES, {"messages": HI, "max_tokens": 5, "system": "s"}),
        (MESSAGES, {"messages": HI, "anthropic_version": "bedrock-2023-05-31"}),
        (MESSAGES, {"messages": HI, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}),
        (MESSAGES, {"messages": HI, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        (MESSAGES, {"messages": HI, "tool_choice": {"type": "any"}}),
        (MESSAGES, said({"type": "tool_result", "tool_use_id": "t", "content": "r"})),
        (MESSAGES, said({"type": "image", "source": {"type": "url", "url": "https://x.example/i.png"}})),
        (MESSAGES, said({"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}})),
        (CHAT, {"messages": HI, "max_tokens": 5}),
        (CHAT, {"messages": [{"role": "system", "content": "s"}, *HI]}),
        (CHAT, {"messages": HI, "tools": [{"type": "function", "function": {"name": "f"}}]}),
        (CHAT, {"messages": HI, "tool_choice": "required"}),
        (CHAT, {"messages": HI, "reasoning_effort": "low"}),
        (CHAT, said({"type": "image_url", "image_url": {"url": "https://x.example/i.png"}})),
        (CHAT, {"messages": [*HI, {"role": "assistant", "tool_calls": []}]}),
        (CHAT, {"model": "m"}),
        (CHAT, {"messages": "no list", "tools": 3, "tool_choice": None}),
        (CHAT, []),
    ],
)
def test_what_one_dialect_alone_has_decides(path: str, body: Any) -> None:
    assert surface_for_path(path)
    asked = {"model": "big", **body} if isinstance(body, dict) else body
    assert likely_path(json.dumps(asked).encode()) == path


def test_what_is_no_json_is_taken_for_chat() -> None:
    assert likely_path(b'{"model": ') == CHAT
