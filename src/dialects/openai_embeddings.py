"""`openai-embeddings`: vectors of texts, never streamed. Source: OpenAI API reference, "Embeddings"."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import msgspec

from ..core.call import Surface
from ..core.errors import BadRequest, Misconfigured
from . import openai
from .base import ABSENT, REAL, RequestFacts, StreamStart, decode_request
from .body import Routed, decoder_of, estimate_tokens, read_routed
from .conversation import Chat, Embed, Upstream
from .replies import Embeddings, Fault, Reply
from .sse import SseEvent
from .translation import Context, Field, Rebound, SameDialect, StreamEncoder

FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "input": Field("carried", "texts; arrays of tokens go to OpenAI's own members only"),
        "model": Field("carried", "names the pool; the member's own model is sent"),
        "dimensions": Field("carried"),
        "encoding_format": Field("carried", "the broker itself writes the vectors as they are asked for"),
        "user": Field("dropped", "Gemini and Bedrock have no such field"),
    }
)
_OWN_FIELDS = {"inputs": "input", "base64": "encoding_format"}
_TOKENS = "tokens are of OpenAI's own tokenizer, which no other provider understands: send text"
_NUMBER_OR_ARRAY = b"-0123456789["


class _Routed(Routed):
    input: msgspec.Raw = ABSENT


_decoder = decoder_of(_Routed)
_body_decoder = msgspec.json.Decoder(dict[str, Any])


class OpenAiEmbeddings(SameDialect):
    name = "openai-embeddings"
    request_id_header = "x-request-id"
    surfaces = (Surface("openai-embeddings", "openai-embeddings", "/v1/embeddings", "/embeddings", "embed"),)
    fields = FIELDS
    error_body = staticmethod(openai.error_body)
    models_body = staticmethod(openai.models_body)
    model_body = staticmethod(openai.model_body)

    def read(self, body: bytes) -> RequestFacts:
        request, model, span = read_routed(_decoder, body)
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
            same_dialect="input" if _has_tokens(request.input) else "",
        )

    def judge(self, event: SseEvent) -> StreamStart:
        return REAL

    def is_last(self, event: SseEvent) -> bool | None:
        return True

    # -- embeddings

    def decode_embed_request(self, body: bytes) -> Embed:
        """BadRequest naming the field where it can't be read, or is meant for OpenAI's tokenizer."""
        request = decode_request(_body_decoder, body)
        model = request.get("model")
        if not isinstance(model, str) or not model:
            raise _bad("model", "has to be a string that names a pool")
        dimensions = request.get("dimensions")
        if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
            raise _bad("dimensions", "has to be a whole number, 1 or more")
        encoding = request.get("encoding_format")
        if encoding not in (None, "float", "base64"):
            raise _bad("encoding_format", "has to be float or base64")
        user = request.get("user")
        if user is not None and not isinstance(user, str):
            raise _bad("user", "has to be a string")
        return Embed(
            model=model,
            inputs=_inputs(request.get("input")),
            dimensions=dimensions,
            base64=encoding == "base64",
            user=user or "",
            dropped=tuple(name for name in request if name not in FIELDS),
        )

    def encode_embed_reply(self, embeddings: Embeddings, embed: Embed, context: Context) -> bytes:
        """ValueError where there is not one vector for each input."""
        vectors = embeddings.vectors
        if len(vectors) != len(embed.inputs):
            raise ValueError(f"it holds {len(vectors)} embeddings for {len(embed.inputs)} inputs")
        encode = _base64 if embed.base64 else list
        tokens = embeddings.input_tokens or 0
        return msgspec.json.encode(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": index, "embedding": encode(vector)}
                    for index, vector in enumerate(vectors)
                ],
                "model": embeddings.model or context.model,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def encode_fault(self, fault: Fault, context: Context) -> tuple[int, bytes]:
        return openai.encode_fault(fault, self.own_field)

    def own_field(self, param: str) -> str:
        name, dot, rest = param.partition(".")
        name, bracket, place = name.partition("[")
        return _OWN_FIELDS.get(name, name) + bracket + place + dot + rest

    def rebind(self, body: bytes, upstream: Upstream, betas: tuple[str, ...] = ()) -> Rebound:
        """Nothing here is anybody's but the model."""
        _, _, (first, behind) = read_routed(_decoder, body)
        return Rebound(b"".join((body[:first], msgspec.json.encode(upstream.model), body[behind:])))

    def same_dialect_path(self, upstream: Upstream, surface: Surface, stream: bool) -> str:
        return openai.deployed(upstream, surface.suffix)

    # -- conversations, which this dialect has not

    def decode_request(self, body: bytes) -> Chat:
        raise BadRequest(400, "invalid_request", "this path makes embeddings and holds no conversation")

    def encode_reply(self, reply: Reply, context: Context) -> bytes:
        _no_conversation()

    def stream_encoder(self, context: Context) -> StreamEncoder:
        _no_conversation()

    def encode_count_reply(self, input_tokens: int) -> bytes:
        _no_conversation()


def _no_conversation() -> NoReturn:
    raise Misconfigured(500, "broker_defect", "openai-embeddings was asked for a conversation's reply")


def _bad(field: str, what: str) -> BadRequest:
    return BadRequest(400, "invalid_request", f"{field}: {what}", param=field)


def _has_tokens(raw: msgspec.Raw) -> bool:
    """An array of numbers, or of arrays of them."""
    if raw is ABSENT:
        return False
    head = bytes(memoryview(raw)[:64]).lstrip()
    first = head[1:].lstrip()[:1]
    return head.startswith(b"[") and first != b"" and first in _NUMBER_OR_ARRAY


def _inputs(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise _bad("input", "has to be a text or an array of texts")
    for place, text in enumerate(texts):
        where = "input" if isinstance(value, str) else f"input[{place}]"
        if isinstance(text, (int, list)) and not isinstance(text, bool):
            raise BadRequest(400, "content_not_supported", f"input: {_TOKENS}", param="input")
        if not isinstance(text, str) or not text:
            raise _bad(where, "has to be a text that is not empty")
    return tuple(texts)


def _base64(vector: tuple[float, ...]) -> str:
    """Little-endian float32, as OpenAI's SDK asks for unless it is told otherwise."""
    try:
        packed = struct.pack(f"<{len(vector)}f", *vector)
    except (struct.error, OverflowError) as wrong:
        raise ValueError(f"an embedding is out of float32's range: {wrong}") from None
    return base64.b64encode(packed).decode()
