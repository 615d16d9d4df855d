"""`openai-chat`: Chat Completions. Source: OpenAI API reference, "Chat Completions"."""

from __future__ import annotations

import msgspec

from ..core.call import Surface
from . import openai
from .base import ABSENT, PREAMBLE, REAL, RequestFacts, StreamStart, decode_json, garbage
from .body import Routed, decoder_of, estimate_tokens, holds, read_routed
from .sse import SseEvent


class _Request(Routed):
    messages: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    functions: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    reasoning_effort: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT
    max_completion_tokens: msgspec.Raw = ABSENT


_decoder = decoder_of(_Request)


class OpenAiChat:
    name = "openai-chat"
    surfaces = (Surface("openai-chat", "openai-chat", "/v1/chat/completions", "/chat/completions"),)
    error_body = staticmethod(openai.error_body)
    models_body = staticmethod(openai.models_body)

    def read(self, body: bytes) -> RequestFacts:
        request, model, span = read_routed(_decoder, body)
        has_parts = holds(body, b"image_url", b'"file')
        kinds = set(openai.part_types(decode_json(request.messages))) if has_parts else set()
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
            stream=bytes(request.stream) == b"true",
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
