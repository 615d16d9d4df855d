"""Converse's replies as they stand on the wire, and what their smaller pieces say.

Source: Amazon Bedrock API reference, ConverseOutput, ConverseStreamOutput, TokenUsage, Citation.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..conversation import Citation, DocumentCitation, UrlCitation
from ..replies import Cause, Fault, ProviderFailed, Stop, Usage

_STOPS = {
    "end_turn": Stop.END,
    "tool_use": Stop.TOOL_CALLS,
    "max_tokens": Stop.MAX_TOKENS,
    "stop_sequence": Stop.STOP_SEQUENCE,
    "guardrail_intervened": Stop.CONTENT_FILTER,
    "content_filtered": Stop.CONTENT_FILTER,
    "model_context_window_exceeded": Stop.CONTEXT_WINDOW,
    # What Claude says itself, where Converse has no word for it.
    "refusal": Stop.REFUSAL,
    "pause_turn": Stop.PAUSE,
}
_MALFORMED = {
    "malformed_model_output": "the model's output was malformed",
    "malformed_tool_use": "the model's tool call was malformed",
}


class Said(msgspec.Struct):
    text: str | None = None


class Web(msgspec.Struct):
    url: str | None = None


class Span(msgspec.Struct):
    documentIndex: int = 0
    start: int = 0
    end: int = 0


class Location(msgspec.Struct):
    web: Web | None = None
    documentChar: Span | None = None
    documentPage: Span | None = None
    documentChunk: Span | None = None


class Cite(msgspec.Struct):
    title: str | None = None
    source: str | None = None
    sourceContent: list[Said] = []
    location: Location | None = None


class CacheDetail(msgspec.Struct):
    ttl: str = ""
    inputTokens: int = 0


class TokenUsage(msgspec.Struct):
    inputTokens: int = 0
    outputTokens: int = 0
    cacheReadInputTokens: int = 0
    cacheWriteInputTokens: int = 0
    cacheDetails: list[CacheDetail] = []


class Tier(msgspec.Struct):
    type: str = ""


def usage_of(usage: TokenUsage) -> Usage:
    """Converse's inputTokens hold no cached ones; what was written counts to the five minutes of the
    default where `cacheDetails` do not say otherwise."""
    hour = sum(detail.inputTokens for detail in usage.cacheDetails if detail.ttl == "1h")
    hour = min(hour, usage.cacheWriteInputTokens)
    return Usage(
        input=usage.inputTokens,
        cache_read=usage.cacheReadInputTokens,
        cache_write_5m=usage.cacheWriteInputTokens - hour,
        cache_write_1h=hour,
        output=usage.outputTokens,
    )


def stop_of(reason: str, has_calls: bool) -> Stop:
    """ProviderFailed where the model's output is of no use."""
    if words := _MALFORMED.get(reason):
        raise ProviderFailed(Fault(Cause.SERVER, 502, words, reason))
    stop = _STOPS.get(reason, Stop.END)
    # Not all models say that they stopped for a call.
    return Stop.TOOL_CALLS if has_calls and stop is Stop.END else stop


def stop_sequence_of(fields: msgspec.Raw, stop: Stop) -> str | None:
    """Out of additionalModelResponseFields, as requests_out.py asks for them."""
    if stop is not Stop.STOP_SEQUENCE or not bytes(fields):
        return None
    value: Any = msgspec.json.decode(fields)
    for holder in (value, value.get("delta") if isinstance(value, dict) else None):
        if isinstance(holder, dict) and isinstance(sequence := holder.get("stop_sequence"), str):
            return sequence
    return None


def citation_of(cite: Cite) -> Citation | None:
    """None: it names no place that another dialect could name."""
    title = cite.title or ""
    quote = "".join(said.text or "" for said in cite.sourceContent)
    place = cite.location or Location()
    if span := place.documentChar:
        return DocumentCitation(span.documentIndex, title, quote, "char", span.start, span.end)
    if span := place.documentChunk:
        return DocumentCitation(span.documentIndex, title, quote, "block", span.start, span.end)
    if span := place.documentPage:  # pages count from 1, as in Anthropic's page_location
        first, behind = max(0, span.start - 1), max(0, span.end - 1)
        return DocumentCitation(span.documentIndex, title, quote, "page", first, behind)
    url = (place.web.url if place.web else None) or cite.source
    return UrlCitation(url, title, quote=quote) if url else None
