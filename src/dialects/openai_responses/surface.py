"""The dialect as others see it: every method leads to the file that knows."""

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
from ..translation import Context, Filter, Rebound, StreamDecoder, StreamEncoder
from . import bound, facts, faults, fields, replies_in, replies_out, requests_in, requests_out
from .stream_in import ResponsesDecoder
from .stream_out import ResponsesEncoder, encode_response
from .wire import DEVIATIONS, path

_PREAMBLE_TYPES = frozenset(("response.created", "response.queued", "response.in_progress", "keepalive"))
_LAST_TYPES = frozenset(
    ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "error")
)


class OpenAiResponses:
    """Client's dialect and provider's dialect in one."""

    name = "openai-responses"
    deviations = DEVIATIONS
    tool_names = re.compile(r"[a-zA-Z0-9_-]{1,64}")
    surfaces = (Surface("openai-responses", "openai-responses", "/v1/responses", "/responses"),)
    request_id_header = "x-request-id"
    error_body = staticmethod(openai.error_body)
    models_body = staticmethod(openai.models_body)
    model_body = staticmethod(openai.model_body)

    def read(self, body: bytes) -> RequestFacts:
        return facts.read(body)

    def judge(self, event: SseEvent) -> StreamStart:
        if event.data.strip() == b"[DONE]":
            return REAL
        message = decode_json(event.data)
        if not isinstance(message, dict):
            return garbage(event.data)
        kind = str(message.get("type") or event.name)
        if kind == "error" or (not kind and message.get("error")):
            fault = faults.fault_of_event(message)
        elif kind == "response.failed":
            response = message.get("response")
            fault = faults.fault_of_response(response if isinstance(response, dict) else {})
        else:
            return PREAMBLE if kind in _PREAMBLE_TYPES else REAL
        return failed(fault.cause, fault.message)

    def is_last(self, event: SseEvent) -> bool | None:
        message = decode_json(event.data)
        if not isinstance(message, dict):
            return None
        kind = str(message.get("type") or event.name)
        return True if kind in _LAST_TYPES or (not kind and message.get("error")) else None

    # -- what clients speak

    def decode_request(self, body: bytes) -> Chat:
        return requests_in.decode_chat(body)

    def encode_reply(self, reply: Reply, context: Context) -> bytes:
        return encode_response(reply, context)

    def stream_encoder(self, context: Context) -> StreamEncoder:
        return ResponsesEncoder(context)

    def encode_fault(self, fault: Fault, context: Context) -> tuple[int, bytes]:
        return openai.encode_fault(fault, context.named(fields.own_field))

    def own_field(self, param: str) -> str:
        return fields.own_field(param)

    def encode_count_reply(self, input_tokens: int) -> bytes:
        return replies_out.encode_count(input_tokens)

    # -- the same dialect on both sides

    def rebind(self, body: bytes, upstream: Upstream, betas: tuple[str, ...] = ()) -> Rebound:
        return Rebound(bound.rebind(body, upstream))

    def is_mended(self, deviations: Mapping[str, Any]) -> bool:
        return False  # what there is to say of such providers is for calls that are translated

    def same_dialect_path(self, upstream: Upstream, surface: Surface, stream: bool) -> str:
        return path(upstream, surface.suffix)

    def unframed(self, upstream: Upstream) -> Filter | None:
        return None

    def binds_unasked(self, upstream: Upstream) -> bool:
        return False  # a call says what is kept of it, and whether it reasons

    def owned_reply(self, body: bytes, provider: str) -> bytes:
        return bound.owned_response(body, provider)

    def owned_stream(self, provider: str) -> Filter:
        return bound.owned_stream(provider)

    # -- what providers speak

    def encode_request(self, chat: Chat, upstream: Upstream) -> Encoded:
        return requests_out.encode_chat(chat, upstream)

    def decode_reply(self, body: bytes, upstream: Upstream) -> Reply:
        return replies_in.decode_response(body, upstream)

    def stream_decoder(self, upstream: Upstream) -> StreamDecoder:
        return ResponsesDecoder(upstream)

    def decode_fault(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        return faults.decode_error(status, headers, body)

    def encode_count(self, chat: Chat, upstream: Upstream) -> Encoded:
        return requests_out.encode_count(chat, upstream)

    def decode_count(self, body: bytes) -> int:
        return requests_out.decode_count(body)
