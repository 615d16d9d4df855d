"""A provider's whole replies → Reply; and the types that its streams share.

Source: Anthropic API reference, "Messages", "Stop reasons", "Citations".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from ...core.usage import Beside
from ..base import ABSENT, decode_json
from ..conversation import Blob, Citation, Part, Reasoning, Refusal, Text, ToolCall, Upstream
from ..replies import Choice, ProviderFailed, Reply, Stop, Usage
from . import blocks
from .content_in import citation_of
from .faults import stream_fault
from .wire import REDACTED, SIGNATURE, STOPS


class BlockOut(msgspec.Struct):
    """A block of a reply, whole or as it begins in a stream. Kinds that nobody asked for are passed over."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str | None = None
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = ABSENT
    citations: list[dict[str, Any]] | None = None


class CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class ServerTools(msgspec.Struct):
    web_search_requests: int | None = None


class UsageOut(msgspec.Struct):
    """In a stream's later events, what is None was said before. `iterations`: see `usage_of`."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None
    service_tier: str | None = None
    server_tool_use: ServerTools | None = None
    iterations: msgspec.Raw = ABSENT


class StopDetails(msgspec.Struct):
    explanation: str | None = None


class MessageOut(msgspec.Struct):
    content: list[BlockOut]
    id: str = ""
    model: str = ""
    type: str = "message"
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: UsageOut | None = None


_message = msgspec.json.Decoder(MessageOut)
_FIELDS_OF_CITATIONS: Mapping[object, frozenset[str]] = {
    kind.__struct_config__.tag: frozenset((*kind.__struct_encode_fields__, "type"))
    for kind in get_args(blocks.Citation)
}


def decode_reply(body: bytes, upstream: Upstream) -> Reply:
    """ValueError in words where the bytes are no message; ProviderFailed where they are an error."""
    try:
        message = _message.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        error = decode_json(body)
        if isinstance(error, dict) and error.get("error"):
            raise ProviderFailed(stream_fault(body)) from None
        raise ValueError(f"no message of Anthropic's: {wrong}") from None
    if message.type != "message":
        raise ValueError(f"no message of Anthropic's, but of type {message.type!r}")
    parts = [part for block in message.content if (part := part_of(block, upstream.provider)) is not None]
    if refusal := refusal_of(message.stop_details):
        parts.append(refusal)
    stop = stop_of(message.stop_reason, any(isinstance(part, ToolCall) for part in parts))
    usage = usage_of(message.usage) if message.usage is not None else None
    tier = (message.usage.service_tier if message.usage is not None else None) or ""
    choice = Choice(tuple(parts), stop, message.stop_sequence)
    return Reply(message.id, message.model, (choice,), usage, tier)


def part_of(block: BlockOut, issuer: str) -> Part | None:
    match block.type:
        case "text":
            return Text(block.text, None, citations_of(block.citations))
        case "thinking":
            blob = Blob(issuer, SIGNATURE, block.signature) if block.signature else None
            return Reasoning(block.thinking, blob)
        case "redacted_thinking":
            return Reasoning("", Blob(issuer, REDACTED, block.data), hidden=True)
        case "tool_use":
            if block.input is not ABSENT and not bytes(block.input).startswith(b"{"):
                raise ValueError("no message of Anthropic's: a tool's input is no object")
            return ToolCall(block.id, block.name, bytes(block.input).decode())
    return None


def citations_of(given: list[dict[str, Any]] | None) -> tuple[Citation, ...]:
    return tuple(one for value in given or () if (one := citation_from(value)) is not None)


def citation_from(value: Any) -> Citation | None:
    """None for one of a kind that is not known. Fields that came later are passed over."""
    kind = value.get("type") if isinstance(value, dict) else None
    known = _FIELDS_OF_CITATIONS.get(kind) if isinstance(kind, str) else None
    if known is None:
        return None
    try:
        return citation_of(
            msgspec.convert({name: value[name] for name in value.keys() & known}, blocks.Citation)
        )
    except msgspec.ValidationError:
        return None


def refusal_of(details: StopDetails | None) -> Refusal | None:
    """Why the provider stopped the model, in its own words."""
    return Refusal(details.explanation) if details is not None and details.explanation else None


def stop_of(reason: str | None, has_calls: bool) -> Stop:
    """Reasons that are not known ended the reply all the same. Not all that speak this dialect say that they
    stopped for a call."""
    stop = STOPS.get(reason or "", Stop.END)
    return Stop.TOOL_CALLS if has_calls and stop is Stop.END else stop


def added(usage: UsageOut, more: UsageOut) -> UsageOut:
    """Counts are of the whole message so far; what is not said again holds. `usage` itself changes."""
    for name in UsageOut.__struct_fields__:
        if (value := getattr(more, name)) is not None and value is not ABSENT:
            setattr(usage, name, value)
    return usage


class _Iteration(UsageOut):
    """One run of a model within a call."""

    type: str = ""
    model: str = ""


_iterations = msgspec.json.Decoder(list[_Iteration])


def usage_of(usage: UsageOut) -> Usage:
    """Cached tokens come beside input_tokens; written ones may be told by their time to live. What a
    compaction used and what another model used (an advisor) is told among the iterations alone."""
    counted = _counted(usage)
    if usage.iterations is ABSENT or not _is_more(bytes(usage.iterations)):
        return counted
    try:
        iterations = _iterations.decode(usage.iterations)
    except msgspec.DecodeError:
        return counted
    beside = tuple(Beside(one.model, _counted(one)) for one in iterations if one.model)
    for one in iterations:
        if one.type == "compaction" and not one.model:
            counted = _sum(counted, _counted(one))
    return dataclasses.replace(counted, beside=beside)


def _is_more(iterations: bytes) -> bool:
    return b'"compaction"' in iterations or b'"model"' in iterations


def _counted(usage: UsageOut) -> Usage:
    written = usage.cache_creation_input_tokens or 0
    by_ttl = usage.cache_creation
    hour = (by_ttl.ephemeral_1h_input_tokens if by_ttl is not None else None) or 0
    if by_ttl is not None:
        written = max(written, hour + (by_ttl.ephemeral_5m_input_tokens or 0))
    details, tools = usage.output_tokens_details, usage.server_tool_use
    return Usage(
        input=usage.input_tokens or 0,
        cache_read=usage.cache_read_input_tokens or 0,
        cache_write_5m=written - hour,
        cache_write_1h=hour,
        output=usage.output_tokens or 0,
        reasoning=details.thinking_tokens if details is not None else None,
        web_searches=(tools.web_search_requests if tools is not None else None) or None,
    )


def _sum(one: Usage, other: Usage) -> Usage:
    return dataclasses.replace(
        one,
        input=one.input + other.input,
        cache_read=one.cache_read + other.cache_read,
        cache_write_5m=one.cache_write_5m + other.cache_write_5m,
        cache_write_1h=one.cache_write_1h + other.cache_write_1h,
        output=one.output + other.output,
    )


class _Count(msgspec.Struct, rename={"bedrock": "inputTokens"}):
    input_tokens: int | None = None
    bedrock: int | None = None


def decode_count(body: bytes) -> int:
    """Input tokens, also of Bedrock's CountTokens. ValueError in words where the bytes are no such reply."""
    try:
        count = msgspec.json.decode(body, type=_Count)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"no count of tokens: {wrong}") from None
    tokens = count.input_tokens if count.input_tokens is not None else count.bedrock
    if tokens is None:
        raise ValueError(f"no count of tokens: {str(decode_json(body))[:60]}")
    return tokens
