"""`openai-embeddings`: vectors of texts, never streamed. Source: OpenAI API reference, "Embeddings"."""

from __future__ import annotations

import msgspec

from ..core.call import Surface
from . import openai
from .base import REAL, RequestFacts, StreamStart, decode_request
from .body import estimate_tokens, model_span
from .sse import SseEvent


class _Request(msgspec.Struct):
    model: str | None = None


_decoder = msgspec.json.Decoder(_Request)


class OpenAiEmbeddings:
    name = "openai-embeddings"
    surfaces = (Surface("openai-embeddings", "openai-embeddings", "/v1/embeddings", "/embeddings"),)
    error_body = staticmethod(openai.error_body)
    models_body = staticmethod(openai.models_body)

    def read(self, body: bytes) -> RequestFacts:
        model = openai.require_model(decode_request(_decoder, body).model)
        return RequestFacts(
            model=model,
            model_span=model_span(body, model),
            context_tokens=estimate_tokens(body),
            max_output_tokens=0,
            tools=False,
            images=False,
            documents=False,
            schema=False,
            reasoning=False,
            stream=False,
        )

    def judge(self, event: SseEvent) -> StreamStart:
        return REAL
