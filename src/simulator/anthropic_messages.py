"""Anthropic messages, whole and streamed, and token counting and models.

https://docs.anthropic.com/en/api/messages
https://docs.anthropic.com/en/docs/build-with-claude/streaming
https://docs.anthropic.com/en/api/messages-count-tokens
https://docs.anthropic.com/en/api/models-list
"""

import base64
import hashlib
import json
from typing import Any

from . import requests, sse
from .answers import Answer, ToolUse
from .requests import Call

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def _usage(answer: Answer, output: int) -> dict[str, Any]:
    used = answer.usage
    return {
        "input_tokens": used.input,
        "cache_creation_input_tokens": used.cache_write,
        "cache_read_input_tokens": used.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": used.cache_write,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output,
        "service_tier": "standard",
        "inference_geo": "not_available",
    }


def _signature(reasoning: str) -> str:
    # Opaque to clients, which send it back unchanged; here it only has to belong to its text.
    return base64.b64encode(hashlib.sha512(reasoning.encode("utf-8", "replace")).digest()).decode()


def _input(tool: ToolUse) -> Any:
    try:
        return json.loads(tool.arguments)
    except ValueError:
        return tool.arguments  # scripted to be wrong


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if answer.reasoning:
        thinking = {"thinking": answer.reasoning, "signature": _signature(answer.reasoning)}
        out.append({"type": "thinking", **thinking})
    if answer.text or not answer.tools:
        out.append({"type": "text", "text": answer.text})
    out += [
        {"type": "tool_use", "id": f"toolu_{tool.id}", "name": tool.name, "input": _input(tool)}
        for tool in answer.tools
    ]
    return out


def whole(answer: Answer, call: Call) -> dict[str, Any]:
    """A message object."""
    return {
        "model": answer.model,
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "content": _blocks(answer),
        "stop_reason": _STOP[answer.finish],
        "stop_sequence": None,
        "usage": _usage(answer, answer.usage.output),
    }


def _event(kind: str, **fields: Any) -> bytes:
    return sse.event({"type": kind, **fields}, kind)


def _deltas(block: dict[str, Any], answer: Answer, tool: ToolUse | None) -> list[dict[str, Any]]:
    if tool is not None:
        pieces = ["", *tool.pieces]
        return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    if block["type"] == "thinking":
        return [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    return [{"type": "text_delta", "text": piece} for piece in answer.pieces]


_EMPTY: dict[str, dict[str, Any]] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
}


def events(answer: Answer, call: Call) -> list[bytes]:
    """The stream, message_start to message_stop; the first output count is 1, the last one the truth."""
    done = whole(answer, call)
    started = {**done, "content": [], "stop_reason": None, "usage": _usage(answer, 1)}
    out = [_event("message_start", message=started)]
    tools = iter(answer.tools)
    for index, block in enumerate(done["content"]):
        kind = block["type"]
        out.append(_event("content_block_start", index=index, content_block={**block, **_EMPTY[kind]}))
        if index == 0:
            out.append(PING)
        tool = next(tools) if kind == "tool_use" else None
        out += [_event("content_block_delta", index=index, delta=d) for d in _deltas(block, answer, tool)]
        out.append(_event("content_block_stop", index=index))
    used = answer.usage
    usage = {
        "input_tokens": used.input,
        "cache_creation_input_tokens": used.cache_write,
        "cache_read_input_tokens": used.cache_read,
        "output_tokens": used.output,
    }
    stop = {"stop_reason": done["stop_reason"], "stop_sequence": None}
    return [*out, _event("message_delta", delta=stop, usage=usage), _event("message_stop")]


def count_tokens(call: Call) -> dict[str, Any]:
    """The answer of count_tokens: the same count that a message of this prompt reports."""
    return {"input_tokens": requests.input_tokens(call)}


def models(names: list[str]) -> dict[str, Any]:
    """The list of models."""
    edges = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
    return {"data": [model(name) for name in names], "has_more": False, **edges}


def model(name: str) -> dict[str, Any]:
    """One model."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2025-01-01T00:00:00Z",
        "lifecycle": "active",
    }
