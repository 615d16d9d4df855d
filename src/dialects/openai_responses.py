"""`openai-responses`: the Responses API. Source: OpenAI API reference, "Responses", "Streaming events"."""

from __future__ import annotations

import msgspec

from ..core.call import Surface
from . import openai
from .base import ABSENT, PREAMBLE, REAL, RequestFacts, StreamStart, decode_json, garbage
from .body import Routed, decoder_of, estimate_tokens, holds, read_routed
from .sse import SseEvent


class _Request(Routed):
    input: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT
    reasoning: msgspec.Raw = ABSENT
    max_output_tokens: msgspec.Raw = ABSENT


_decoder = decoder_of(_Request)
_PREAMBLE_TYPES = frozenset(("response.created", "response.queued", "response.in_progress", "keepalive"))
# Failures that another member may not have; any other is an answer about this very request.
_PROVIDER_CODES = frozenset(("server_error", "rate_limit_exceeded", "vector_store_timeout"))


class OpenAiResponses:
    name = "openai-responses"
    surfaces = (Surface("openai-responses", "openai-responses", "/v1/responses", "/responses"),)
    error_body = staticmethod(openai.error_body)
    models_body = staticmethod(openai.models_body)

    def read(self, body: bytes) -> RequestFacts:
        request, model, span = read_routed(_decoder, body)
        has_parts = holds(body, b"input_image", b"input_file")
        kinds = set(openai.part_types(decode_json(request.input))) if has_parts else set()
        return RequestFacts(
            model=model,
            model_span=span,
            context_tokens=estimate_tokens(body),
            max_output_tokens=openai.positive_int(request.max_output_tokens),
            tools=openai.is_set(request.tools),
            images="input_image" in kinds,
            documents="input_file" in kinds,
            schema=b"json_schema" in bytes(request.text),
            reasoning=openai.is_set(request.reasoning),
            stream=bytes(request.stream) == b"true",
        )

    def judge(self, event: SseEvent) -> StreamStart:
        if event.data.strip() == b"[DONE]":
            return REAL
        message = decode_json(event.data)
        if not isinstance(message, dict):
            return garbage(event.data)
        kind = str(message.get("type") or event.name)
        if kind == "error" or (not kind and message.get("error")):
            return openai.fault_of(message.get("error") or message)
        if kind == "response.failed":
            response = message.get("response")
            error = response.get("error") if isinstance(response, dict) else None
            if isinstance(error, dict) and str(error.get("code")) not in _PROVIDER_CODES:
                return REAL
            return openai.fault_of(error or {})
        return PREAMBLE if kind in _PREAMBLE_TYPES else REAL
