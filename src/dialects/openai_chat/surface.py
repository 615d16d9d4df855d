"""`openai-chat`: Chat Completions. Source: OpenAI API reference, "Chat Completions"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...core.call import Surface
from .. import openai
from ..base import PREAMBLE, REAL, RequestFacts, StreamStart, decode_json, failed, garbage
from ..conversation import Chat, Encoded, Upstream
from ..replies import Fault, Reply
from ..sse import SseEvent
from ..translation import Context, Filter, Rebound, SameDialect, StreamDecoder, StreamEncoder
from . import facts, fields, owned, rebinding, replies_in, replies_out, requests_in, requests_out
from .deviations import DEVIATIONS, ONLY_TRANSLATED
from .stream_in import ChatStreamDecoder
from .stream_out import ChatStreamEncoder


class OpenAiChat(SameDialect):
    """A ClientDialect and a ProviderDialect."""

    name = "openai-chat"
    deviations = DEVIATIONS
    tool_names = re.compile(r"[a-zA-Z0-9_-]{1,64}")
    request_id_header = "x-request-id"
    surfaces = (Surface("openai-chat", "openai-chat", "/v1/chat/completions", "/chat/completions"),)
    error_body = staticmethod(openai.error_body)
    models_body = staticmethod(openai.models_body)
    model_body = staticmethod(openai.model_body)

    def read(self, body: bytes) -> RequestFacts:
        return facts.read(body)

    def judge(self, event: SseEvent) -> StreamStart:
        if event.data.strip() == b"[DONE]":
            return REAL
        chunk = decode_json(event.data)
        if not isinstance(chunk, dict):
            return garbage(event.data)
        if chunk.get("error"):
            fault = openai.fault_from(chunk)
            return failed(fault.cause, fault.message)
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                return garbage(event.data)
            delta = choice.get("delta")
            said = isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role")
            if said or choice.get("finish_reason"):
                return REAL
        return PREAMBLE

    def is_last(self, event: SseEvent) -> bool | None:
        """An answer that has said why it stopped is whole, though some providers end it without [DONE]."""
        if event.data.startswith(b"[DONE]"):
            return True
        chunk = decode_json(event.data)
        if not isinstance(chunk, dict):
            return None
        if chunk.get("error") or event.name == "error":
            return True
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return None  # usage, and what else stands behind an answer
        return any(isinstance(choice, dict) and choice.get("finish_reason") for choice in choices)

    # -- what clients speak

    def decode_request(self, body: bytes) -> Chat:
        return requests_in.decode_request(body)

    def encode_reply(self, reply: Reply, context: Context) -> bytes:
        return replies_out.encode_reply(reply, context)

    def stream_encoder(self, context: Context) -> StreamEncoder:
        return ChatStreamEncoder(context)

    def encode_fault(self, fault: Fault, context: Context) -> tuple[int, bytes]:
        return openai.encode_fault(fault, context.named(fields.own_field))

    def own_field(self, param: str) -> str:
        return fields.own_field(param)

    def encode_count_reply(self, input_tokens: int) -> bytes:
        raise NotImplementedError("Chat Completions has no count of tokens")

    def rebind(self, body: bytes, upstream: Upstream, betas: tuple[str, ...] = ()) -> Rebound:
        return rebinding.rebind(body, upstream)

    def is_mended(self, deviations: Mapping[str, Any]) -> bool:
        return any(name in DEVIATIONS and name not in ONLY_TRANSLATED for name in deviations)

    def same_dialect_path(self, upstream: Upstream, surface: Surface, stream: bool) -> str:
        return requests_out.path_of(upstream)

    def owned_reply(self, body: bytes, provider: str) -> bytes:
        return owned.owned_reply(body, provider)

    def owned_stream(self, provider: str) -> Filter:
        return owned.owned_stream(provider)

    # -- what providers speak

    def encode_request(self, chat: Chat, upstream: Upstream) -> Encoded:
        return requests_out.encode_request(chat, upstream)

    def decode_reply(self, body: bytes, upstream: Upstream) -> Reply:
        return replies_in.decode_reply(body, upstream)

    def stream_decoder(self, upstream: Upstream) -> StreamDecoder:
        return ChatStreamDecoder(upstream)

    def decode_fault(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        return openai.decode_fault(status, headers, body)
