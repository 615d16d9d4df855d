"""A whole Converse reply as the canonical one.

Source: Amazon Bedrock API reference, Converse, "Response Syntax".
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..base import ABSENT
from ..conversation import Blob, Image, Inline, Part, Reasoning, Text, ToolCall, Upstream
from ..replies import Choice, Reply
from ..streaming import in_words
from .blobs import redacted_kind, signature_kind
from .models import model_of
from .wire import Cite, Said, Tier, TokenUsage, citation_of, stop_of, stop_sequence_of, usage_of


class _ToolUse(msgspec.Struct):
    toolUseId: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")
    type: str = ""


class _ReasoningText(msgspec.Struct):
    text: str = ""
    signature: str | None = None


class _ReasoningContent(msgspec.Struct):
    reasoningText: _ReasoningText | None = None
    redactedContent: str | None = None


class _CitationsContent(msgspec.Struct):
    content: list[Said] = []
    citations: list[Cite] = []


class ImageBytes(msgspec.Struct):
    bytes: str = ""


class _Image(msgspec.Struct):
    format: str = "png"
    source: ImageBytes = msgspec.field(default_factory=ImageBytes)


class _Block(msgspec.Struct):
    text: str | None = None
    toolUse: _ToolUse | None = None
    toolResult: msgspec.Raw = ABSENT  # of a tool that ran at the provider
    image: _Image | None = None
    reasoningContent: _ReasoningContent | None = None
    citationsContent: _CitationsContent | None = None


class _Message(msgspec.Struct):
    content: list[_Block]


class _Output(msgspec.Struct):
    message: _Message


class _Reply(msgspec.Struct):
    output: _Output
    stopReason: str
    usage: TokenUsage | None = None
    serviceTier: Tier | None = None
    additionalModelResponseFields: msgspec.Raw = msgspec.Raw()


class _Count(msgspec.Struct):
    inputTokens: int


_decoder = msgspec.json.Decoder(_Reply)
_count_decoder = msgspec.json.Decoder(_Count)


def decode_reply(body: bytes, upstream: Upstream) -> Reply:
    try:
        wire = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"the provider's reply is no Converse reply: {wrong}") from None
    family = model_of(upstream.model, upstream.deviations).family
    parts: list[Part] = []
    for place, block in enumerate(wire.output.message.content):
        if (part := _part(block, family, upstream.provider)) is not None:
            parts.append(part)
        elif _is_unknown(block) and (kinds := _kinds(body, place)):
            parts.append(Text(in_words(kinds)))
    has_calls = any(isinstance(part, ToolCall) for part in parts)
    stop = stop_of(wire.stopReason, has_calls)
    sequence = stop_sequence_of(wire.additionalModelResponseFields, stop)
    return Reply(
        id="",
        model="",
        choices=(Choice(tuple(parts), stop, sequence),),
        usage=usage_of(wire.usage) if wire.usage else None,
        service_tier=wire.serviceTier.type if wire.serviceTier else "",
    )


def _part(block: _Block, family: str, provider: str) -> Part | None:
    """None: the block is empty, or unknown."""
    if block.text is not None:
        return Text(block.text) if block.text else None
    if (call := block.toolUse) is not None:
        # What ran at the provider is told by what the model answers.
        if call.type == "server_tool_use":
            return None
        return ToolCall(call.toolUseId, call.name, bytes(call.input).decode())
    if (reasoning := block.reasoningContent) is not None:
        return _reasoning(reasoning, family, provider)
    if (cited := block.citationsContent) is not None:
        text = "".join(said.text or "" for said in cited.content)
        citations = tuple(found for cite in cited.citations if (found := citation_of(cite)) is not None)
        return Text(text, citations=citations) if text or citations else None
    if block.image is not None and block.image.source.bytes:
        return drawn(block.image.format, block.image.source.bytes)
    return None


def drawn(form: str, data: str) -> Image:
    return Image(Inline(f"image/{form}", data))


def _reasoning(reasoning: _ReasoningContent, family: str, provider: str) -> Reasoning | None:
    if reasoning.redactedContent is not None:
        return Reasoning(blob=Blob(provider, redacted_kind(family), reasoning.redactedContent), hidden=True)
    said = reasoning.reasoningText or _ReasoningText()
    blob = Blob(provider, signature_kind(family), said.signature) if said.signature else None
    return Reasoning(said.text, blob) if said.text or blob else None


def _is_unknown(block: _Block) -> bool:
    return all(getattr(block, name) in (None, ABSENT) for name in _Block.__struct_fields__)


def _kinds(body: bytes, place: int) -> str:
    block: Any = msgspec.json.decode(body)["output"]["message"]["content"][place]
    return ", ".join(kind for kind, value in block.items() if value is not None)


def decode_count(body: bytes) -> int:
    try:
        return _count_decoder.decode(body).inputTokens
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"the provider's reply is no count of tokens: {wrong}") from None
