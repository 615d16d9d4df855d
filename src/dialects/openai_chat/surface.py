"""`openai-chat`: Chat Completions. Source: OpenAI API reference, "Chat Completions"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ...core.call import Surface
from .. import openai
from ..base import ABSENT, PREAMBLE, REAL, RequestFacts, StreamStart, decode_json, garbage
from ..blobs import MARK
from ..body import Routed, decoder_of, estimate_tokens, holds, read_routed
from ..conversation import Chat, Encoded, Upstream
from ..replies import Fault, Reply
from ..sse import SseEvent
from ..translation import Context, SameDialect, StreamDecoder, StreamEncoder
from . import fields, rebinding, replies_in, replies_out, requests_in, requests_out
from .stream_in import ChatStreamDecoder
from .stream_out import ChatStreamEncoder


class _Request(Routed):
    messages: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    functions: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    reasoning_effort: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT
    max_completion_tokens: msgspec.Raw = ABSENT
    stream_options: msgspec.Raw = ABSENT
    n: msgspec.Raw = ABSENT
    audio: msgspec.Raw = ABSENT
    modalities: msgspec.Raw = ABSENT
    store: msgspec.Raw = ABSENT
    web_search_options: msgspec.Raw = ABSENT
    moderation: msgspec.Raw = ABSENT


_decoder = decoder_of(_Request)


_MARK = MARK.encode()
_OWN_ONLY = ("audio", "web_search_options", "moderation")


def _own_only(request: _Request) -> str:
    """The first field that only members of this dialect can serve."""
    for name in _OWN_ONLY:
        if openai.is_set(getattr(request, name)):
            return name
    if bytes(request.store) == b"true":
        return "store"
    return "modalities" if b'"audio"' in bytes(request.modalities) else ""


def _ids(value: Any) -> Iterator[tuple[str, str]]:
    """Files that live at a provider's account."""
    for n, message in enumerate(value if isinstance(value, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for m, part in enumerate(content if isinstance(content, list) else ()):
            file = part.get("file") if isinstance(part, dict) else None
            ident = file.get("file_id") if isinstance(file, dict) else None
            if isinstance(ident, str):
                yield f"messages[{n}].content[{m}].file.file_id", ident


class OpenAiChat(SameDialect):
    name = "openai-chat"
    request_id_header = "x-request-id"
    surfaces = (Surface("openai-chat", "openai-chat", "/v1/chat/completions", "/chat/completions"),)
    error_body = staticmethod(openai.error_body)
    models_body = staticmethod(openai.models_body)

    def read(self, body: bytes) -> RequestFacts:
        request, model, span = read_routed(_decoder, body)
        has_parts = holds(body, b"image_url", b'"file', b"input_audio")
        messages = decode_json(request.messages) if has_parts else None
        kinds = set(openai.part_types(messages)) if has_parts else set()
        ids = tuple(_ids(messages)) if "file" in kinds else ()
        is_stream = bytes(request.stream) == b"true"
        return RequestFacts(
            model=model,
            model_span=span,
            context_tokens=estimate_tokens(body),
            max_output_tokens=openai.positive_int(request.max_completion_tokens)
            or openai.positive_int(request.max_tokens),
            tools=openai.is_set(request.tools) or openai.is_set(request.functions),
            images="image_url" in kinds,
            documents="file" in kinds,
            schema=b"json_schema" in bytes(request.response_format),
            reasoning=openai.is_set(request.reasoning_effort)
            and bytes(request.reasoning_effort) != b'"none"',
            stream=is_stream,
            audio="input_audio" in kinds,
            choices=openai.positive_int(request.n) or 1,
            same_dialect=_own_only(request),
            ids=ids,
            marked=holds(body, _MARK) or any("@" in ident for _, ident in ids),
            stateful=False,
            adds_usage=is_stream and request.stream_options is ABSENT,
        )

    def judge(self, event: SseEvent) -> StreamStart:
        if event.data.strip() == b"[DONE]":
            return REAL
        chunk = decode_json(event.data)
        if not isinstance(chunk, dict):
            return garbage(event.data)
        if chunk.get("error"):
            return openai.fault_of(chunk["error"])
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                return garbage(event.data)
            delta = choice.get("delta")
            said = isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role")
            if said or choice.get("finish_reason"):
                return REAL
        return PREAMBLE

    # -- translation

    def decode_request(self, body: bytes) -> Chat:
        return requests_in.decode_request(body)

    def encode_request(self, chat: Chat, upstream: Upstream) -> Encoded:
        return requests_out.encode_request(chat, upstream)

    def decode_reply(self, body: bytes, upstream: Upstream) -> Reply:
        return replies_in.decode_reply(body, upstream)

    def encode_reply(self, reply: Reply, context: Context) -> bytes:
        return replies_out.encode_reply(reply, context)

    def stream_decoder(self, upstream: Upstream) -> StreamDecoder:
        return ChatStreamDecoder(upstream)

    def stream_encoder(self, context: Context) -> StreamEncoder:
        return ChatStreamEncoder(context)

    def decode_fault(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        return openai.decode_fault(status, headers, body)

    def encode_fault(self, fault: Fault, context: Context) -> tuple[int, bytes]:
        return openai.encode_fault(fault, fields.own_field)

    def own_field(self, param: str) -> str:
        return fields.own_field(param)

    def encode_count_reply(self, input_tokens: int) -> bytes:
        raise NotImplementedError("Chat Completions has no count of tokens")

    def rebind(self, body: bytes, upstream: Upstream) -> bytes:
        return rebinding.rebind(body, upstream)

    def same_dialect_path(self, upstream: Upstream, surface: Surface, stream: bool) -> str:
        return requests_out.path_of(upstream)
