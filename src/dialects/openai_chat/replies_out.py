"""Reply → a client's whole reply. Source: OpenAI API reference, "The chat completion object"."""

from __future__ import annotations

from typing import Any

import msgspec

from ..blobs import tagged
from ..conversation import Citation, Reasoning, Refusal, Text, ToolCall, UrlCitation
from ..replies import Choice, Reply, Stop, Usage
from ..translation import Context

FINISH = {
    Stop.END: "stop",
    Stop.STOP_SEQUENCE: "stop",
    Stop.PAUSE: "stop",
    Stop.MAX_TOKENS: "length",
    Stop.CONTEXT_WINDOW: "length",
    Stop.TOOL_CALLS: "tool_calls",
    Stop.REFUSAL: "content_filter",
    Stop.CONTENT_FILTER: "content_filter",
}


def encode_reply(reply: Reply, context: Context) -> bytes:
    return msgspec.json.encode(
        {
            "id": reply_id(reply.id, context),
            "object": "chat.completion",
            "created": context.now_s if reply.created_s is None else reply.created_s,
            "model": reply.model or context.model,
            "choices": [_choice(choice) for choice in reply.choices],
            "usage": None if reply.usage is None else usage_object(reply.usage),
            "service_tier": reply.service_tier or None,
            "system_fingerprint": None,
        }
    )


def reply_id(ident: str, context: Context) -> str:
    return ident if ident.startswith("chatcmpl-") else f"chatcmpl-{ident or context.request_id}"


def _choice(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    texts: list[str] = []
    refusals: list[str] = []
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for part in choice.parts:
        match part:
            case Text(text, _, citations):
                annotations += [a for c in citations if (a := annotation(c)) is not None]
                texts.append(text)
            case Refusal(text):
                refusals.append(text)
            case ToolCall():
                calls.append(call_object(part, part.arguments))
            case Reasoning():
                details.append(detail(part, len(details)))
    if texts:
        message["content"] = "".join(texts)
    if refusals:
        message["refusal"] = "".join(refusals)
    if annotations:
        message["annotations"] = annotations
    if calls:
        message["tool_calls"] = calls
    if details:
        reasoning = "\n\n".join(d["text"] for d in details if d.get("text"))
        if reasoning:
            message["reasoning_content"] = reasoning
        message["reasoning_details"] = details
    logprobs = None if choice.logprobs is None else {"content": list(choice.logprobs), "refusal": None}
    return {
        "index": choice.index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": FINISH[choice.stop],
    }


def call_object(call: ToolCall, arguments: str) -> dict[str, Any]:
    said: dict[str, Any] = {"id": call.id}
    if call.custom:
        said |= {"type": "custom", "custom": {"name": call.name, "input": arguments}}
    else:
        said |= {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    if call.blob is not None:
        said["extra_content"] = thought(tagged(call.blob))
    return said


def thought(signature: str) -> dict[str, Any]:
    return {"google": {"thought_signature": signature}}


def detail(part: Reasoning, index: int) -> dict[str, Any]:
    """In the form in which OpenRouter gives reasoning, which clients know how to send back."""
    if part.blob is not None and part.hidden:
        return {"type": "reasoning.encrypted", "data": tagged(part.blob), "format": "unknown", "index": index}
    said: dict[str, Any] = {"type": "reasoning.text", "text": part.text, "format": "unknown", "index": index}
    if part.blob is not None:
        said["signature"] = tagged(part.blob)
    return said


def annotation(citation: Citation) -> dict[str, Any] | None:
    """None: OpenAI has no word for a place in the client's own document."""
    if not isinstance(citation, UrlCitation):
        return None
    cited = {
        "url": citation.url,
        "title": citation.title,
        "start_index": citation.start or 0,
        "end_index": citation.end or 0,
    }
    return {"type": "url_citation", "url_citation": cited}


def usage_object(usage: Usage) -> dict[str, Any]:
    details: dict[str, Any] = {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_input or 0}
    if written := usage.cache_write_5m + usage.cache_write_1h:
        details["cache_write_tokens"] = written
    said: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output,
        "prompt_tokens_details": details,
    }
    if usage.reasoning is not None:
        said["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return said
