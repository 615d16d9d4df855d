"""`openai-embeddings`: vectors of texts, never streamed. Source: OpenAI API reference, "Embeddings"."""

from __future__ import annotations

from ..core.call import Surface
from . import openai
from .base import REAL, RequestFacts, StreamStart
from .body import Routed, decoder_of, estimate_tokens, read_routed
from .sse import SseEvent

_decoder = decoder_of(Routed)


class OpenAiEmbeddings:
    name = "openai-embeddings"
    surfaces = (Surface("openai-embeddings", "openai-embeddings", "/v1/embeddings", "/embeddings"),)
    error_body = staticmethod(openai.error_body)
    models_body = staticmethod(openai.models_body)

    def read(self, body: bytes) -> RequestFacts:
        _, model, span = read_routed(_decoder, body)
        return RequestFacts(
            model=model,
            model_span=span,
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
