"""Anthropic messages, whole and streamed, and token counting and models.

https://docs.anthropic.com/en/api/messages
https://docs.anthropic.com/en/docs/build-with-claude/streaming
https://docs.anthropic.com/en/api/messages-count-tokens
https://docs.anthropic.com/en/api/models-list
"""

import json
from typing import Any

from . import hosted, requests, sse
from .answers import Answer, ToolUse, braid
from .reading import member
from .requests import Call

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "stop_sequence": "stop_sequence",
}


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
        **_details(answer, output),
        "service_tier": "standard",
        "inference_geo": "not_available",
    }


def _details(answer: Answer, output: int) -> dict[str, Any]:
    """How much of the output was thinking; the first count of a stream does not say."""
    thought = answer.usage.reasoning
    return {"output_tokens_details": {"thinking_tokens": thought}} if thought and thought <= output else {}


def _shown_thinking(answer: Answer, call: Call) -> str:
    """The thinking, unless the request wants it left out: then its signature alone comes."""
    omitted = member(call.fields.get("thinking"), "display") == "omitted"
    return "" if omitted else answer.reasoning


def _blocks(answer: Answer, call: Call) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if answer.reasoning and answer.redacted:
        out.append({"type": "redacted_thinking", "data": answer.seals.seal("redacted", answer.reasoning)})
    elif answer.reasoning:
        signature = answer.seals.seal("thinking", answer.reasoning)
        thinking = _shown_thinking(answer, call)
        out.append({"type": "thinking", "thinking": thinking, "signature": signature})
    out += hosted.executed_blocks(answer, call)
    if answer.spoken:
        out.append({"type": "text", "text": answer.spoken, **_cited(answer)})
    out += [
        {"type": "tool_use", "id": f"toolu_{tool.id}", "name": tool.name, "input": tool.value}
        for tool in answer.tools
    ]
    return out


def _cited(answer: Answer) -> dict[str, Any]:
    """As its own web search has them."""
    found = [
        {
            "type": "web_search_result_location",
            "url": cited.url,
            "title": cited.title or None,
            "cited_text": cited.quote,
            "encrypted_index": answer.seals.seal("encrypted", cited.url),
        }
        for cited in answer.citations
    ]
    return {"citations": found} if found else {}


def _stop(answer: Answer) -> dict[str, Any]:
    stop: dict[str, Any] = {"stop_reason": _STOP[answer.finish], "stop_sequence": answer.stop_sequence}
    if stop["stop_reason"] == "refusal":
        stop["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
    return stop


def whole(answer: Answer, call: Call) -> dict[str, Any]:
    """A message object."""
    return {
        "model": answer.model,
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "content": _blocks(answer, call),
        **_stop(answer),
        **_container(answer, call),
        "usage": _usage(answer, answer.usage.output),
    }


def _container(answer: Answer, call: Call) -> dict[str, Any]:
    found = hosted.container(answer, call)
    return {"container": found} if found else {}


_EMPTY: dict[str, dict[str, Any]] = {
    "thinking": {"thinking": "", "signature": ""},
    "redacted_thinking": {},
    "text": {"text": ""},
    "tool_use": {"input": {}},
    "server_tool_use": {"input": {}},
}


def _deltas(block: dict[str, Any], answer: Answer, tool: ToolUse | None) -> list[dict[str, Any]]:
    if tool is not None:
        return [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *tool.pieces)]
    if block["type"] == "redacted_thinking" or block["type"] not in _EMPTY:
        return []  # comes whole with its start
    if block["type"] == "server_tool_use":
        return [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    if block["type"] == "thinking":
        said = [{"type": "thinking_delta", "thinking": block["thinking"]}] if block["thinking"] else []
        return [*said, {"type": "signature_delta", "signature": block["signature"]}]
    cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations", ())]
    return [*({"type": "text_delta", "text": piece} for piece in answer.spoken_pieces), *cited]


def _block_events(
    index: int, block: dict[str, Any], answer: Answer, tool: ToolUse | None
) -> list[dict[str, Any]]:
    started = {
        **block,
        **_EMPTY.get(block["type"], {}),
        **({"citations": []} if "citations" in block else {}),
    }
    out = [{"type": "content_block_start", "index": index, "content_block": started}]
    if index == 0:
        out.append({"type": "ping"})
    out += [
        {"type": "content_block_delta", "index": index, "delta": delta}
        for delta in _deltas(block, answer, tool)
    ]
    return [*out, {"type": "content_block_stop", "index": index}]


def payloads(answer: Answer, call: Call) -> list[dict[str, Any]]:
    """What the stream's events say, message_start to message_stop.

    The first output count is 1, the last one the truth.
    """
    done = whole(answer, call)
    started = {k: v for k, v in done.items() if k not in ("stop_details", "container")}
    started |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(answer, 1)}
    out: list[dict[str, Any]] = [{"type": "message_start", "message": started}]
    tools = iter(answer.tools)
    plain: list[dict[str, Any]] = []
    strands: list[list[dict[str, Any]]] = []
    for index, block in enumerate(done["content"]):
        tool = next(tools) if block["type"] == "tool_use" else None
        made = _block_events(index, block, answer, tool)
        if tool is None:
            plain += made
        else:
            strands.append(made)
    out += plain + braid(strands, answer.interleave)
    used = answer.usage
    usage = {
        "input_tokens": used.input,
        "cache_creation_input_tokens": used.cache_write,
        "cache_read_input_tokens": used.cache_read,
        "output_tokens": used.output,
        **_details(answer, used.output),
    }
    delta = _stop(answer) | _container(answer, call)
    return [*out, {"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]


def events(answer: Answer, call: Call) -> list[bytes]:
    """The stream's events."""
    return [sse.event(payload, payload["type"]) for payload in payloads(answer, call)]


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
