"""Reply → a Message, whole and as a stream, for a client of this dialect.

Source: Anthropic API reference, "Messages", "Streaming Messages"; the SDK's lib/streaming for how a client
puts a stream together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..blobs import tagged
from ..conversation import (
    Blob,
    Citation,
    DocumentCitation,
    Image,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from ..replies import Choice, Reply, Stop, Usage
from ..streaming import in_words
from ..translation import Context
from .content_out import input_of, located
from .wire import NO_BLOB, NO_INDEX, STOP_REASONS, attached

Wire = dict[str, Any]

_PREFIX = "msg_"
_TIERS = {"priority": "priority", "batch": "batch"}
_NO_CHOICE = Choice((), Stop.END)


def encode_reply(reply: Reply, context: Context) -> bytes:
    choice = reply.choices[0] if reply.choices else _NO_CHOICE
    content: list[Wire] = []
    for part in choice.parts:
        content += blocks_of(part)
    message = {
        "id": id_of(reply.id, context),
        "type": "message",
        "role": "assistant",
        "model": reply.model or context.model,
        "content": content,
        **stop_of(choice.stop, choice.stop_sequence, _refuses(choice.parts)),
        "usage": whole_usage(reply.usage, reply.service_tier),
    }
    return msgspec.json.encode(message)


def id_of(given: str, context: Context) -> str:
    """The provider's where it looks like Anthropic's own; else one of the call's."""
    return given if given.startswith(_PREFIX) else f"{_PREFIX}{context.request_id}"


def blocks_of(part: Part) -> list[Wire]:
    match part:
        case Text(text, _, citations, blob):
            block: Wire = {"type": "text", "text": text}
            if citations:
                block["citations"] = [citation_block(citation) for citation in citations]
            return [block, *_behind(blob)]
        case Refusal(text):
            return [{"type": "text", "text": text}]
        case Image():
            return [{"type": "text", "text": in_words(part)}]
        case Reasoning(text, blob, hidden):
            if hidden and blob is not None and not text:
                return [redacted_block(tagged(blob))]
            # Of reasoning of which nothing is shown and nothing can come back there is nothing to say.
            return [thinking_block(text, signature_of(blob))] if text or blob is not None else []
        case ToolCall(ident, name, arguments, blob, _, custom):
            wire = call_block(ident, name)
            wire["input"] = wrapped(arguments) if custom else input_of(arguments)
            return [wire, *_behind(blob)]
    return []


def _behind(blob: Blob | None) -> list[Wire]:
    """The block that keeps the blob of the block in front of it."""
    return [] if blob is None else [redacted_block(attached(blob))]


def redacted_block(data: str) -> Wire:
    return {"type": "redacted_thinking", "data": data}


def thinking_block(text: str, signature: str) -> Wire:
    return {"type": "thinking", "thinking": text, "signature": signature}


def call_block(ident: str, name: str) -> Wire:
    return {"type": "tool_use", "id": ident, "name": name, "input": {}}


def wrapped(arguments: str) -> msgspec.Raw:
    """Arguments that are no object, in one: this dialect knows nothing else."""
    return msgspec.Raw(msgspec.json.encode({"raw_arguments": arguments}))


def signature_of(blob: Blob | None) -> str:
    return tagged(blob) if blob is not None else NO_BLOB


def citation_block(citation: Citation) -> Wire:
    """What others found in the web is told as Anthropic tells what its own search found."""
    if isinstance(citation, DocumentCitation):
        return located(citation)
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title or None,
        "cited_text": citation.quote,
        "encrypted_index": NO_INDEX,
    }


def _refuses(parts: Sequence[Part]) -> bool:
    return any(isinstance(part, Refusal) for part in parts)


def stop_of(stop: Stop, sequence: str | None, refuses: bool) -> Wire:
    reason = "refusal" if refuses and stop is Stop.END else STOP_REASONS[stop]
    details = {"type": "refusal", "category": None, "explanation": None} if reason == "refusal" else None
    return {"stop_reason": reason, "stop_sequence": sequence, "stop_details": details}


def usage_counts(usage: Usage) -> Wire:
    """As the last event of a stream has them."""
    counts: Wire = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.reasoning is not None:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counts


def whole_usage(usage: Usage | None, tier: str) -> Wire:
    usage = usage or Usage()
    whole = usage_counts(usage)
    whole["cache_creation"] = by_ttl(usage)
    if tier:
        whole["service_tier"] = _TIERS.get(tier, "standard")
    return whole


def by_ttl(usage: Usage) -> Wire:
    return {
        "ephemeral_5m_input_tokens": usage.cache_write_5m,
        "ephemeral_1h_input_tokens": usage.cache_write_1h,
    }
