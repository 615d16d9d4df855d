"""Embeddings, and how they are asked for at the Gemini API and at Vertex AI.

Sources: Gemini API reference, `models.batchEmbedContents`; Vertex AI, "Text embeddings API"; the wire as
google-genai spells it: on Vertex AI the older models answer to `predict`, Gemini's to `embedContent` and
`batchEmbedContents`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..conversation import Embed, Encoded, Upstream
from ..replies import Embeddings
from ..translation import CannotCarry
from .places import is_vertex, path, resource

_MOST_REQUESTS = 100
_MOST_INSTANCES = 250


class _Statistics(msgspec.Struct, rename="camel"):
    token_count: float | None = None  # of the Gemini models
    token_count_: float | None = msgspec.field(default=None, name="token_count")  # of the older ones


class _Vector(msgspec.Struct):
    values: tuple[float, ...]
    statistics: _Statistics | None = None

    def tokens(self) -> float | None:
        if self.statistics is None:
            return None
        of_gemini = self.statistics.token_count
        return of_gemini if of_gemini is not None else self.statistics.token_count_


class _Prediction(msgspec.Struct):
    embeddings: _Vector


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None


class _Reply(msgspec.Struct, rename="camel"):
    embeddings: tuple[_Vector, ...] | None = None
    embedding: _Vector | None = None
    predictions: tuple[_Prediction, ...] | None = None
    usage_metadata: _Usage | None = None


_decoder = msgspec.json.Decoder(_Reply)


def encode_embed(embed: Embed, upstream: Upstream) -> Encoded:
    if not is_vertex(upstream):
        operation, body = "batchEmbedContents", _batch(embed, upstream)
    elif "gemini" in (model := upstream.model.rpartition("/")[2]) or "maas" in model:
        operation, body = _gemini_on_vertex(embed, model)
    else:
        operation, body = "predict", _predict(embed)
    dropped = ("user",) if embed.user else ()
    return Encoded(path(upstream, operation), msgspec.json.encode(body), (), dropped)


def decode_embed(body: bytes, upstream: Upstream) -> Embeddings:
    try:
        reply = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"it holds no embeddings: {wrong}") from None
    if reply.predictions is not None:
        found = tuple(prediction.embeddings for prediction in reply.predictions)
    elif reply.embedding is not None:
        found = (reply.embedding,)
    elif reply.embeddings is not None:
        found = reply.embeddings
    else:
        raise ValueError("it holds no embeddings")
    tokens: float | None = reply.usage_metadata.prompt_token_count if reply.usage_metadata else None
    counts = [count for vector in found if (count := vector.tokens()) is not None]
    if tokens is None and found and len(counts) == len(found):
        tokens = sum(counts)
    input_tokens = int(tokens) if tokens is not None else None
    return Embeddings(tuple(vector.values for vector in found), upstream.model, input_tokens)


def _content(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}]}


def _bound(embed: Embed, most: int) -> None:
    if len(embed.inputs) > most:
        raise CannotCarry("inputs", f"this model takes {most} at most in one request", "inputs")


def _batch(embed: Embed, upstream: Upstream) -> dict[str, Any]:
    _bound(embed, _MOST_REQUESTS)
    more = {} if embed.dimensions is None else {"outputDimensionality": embed.dimensions}
    model = resource(upstream)
    return {"requests": [{"model": model, "content": _content(text), **more} for text in embed.inputs]}


def _gemini_on_vertex(embed: Embed, model: str) -> tuple[str, dict[str, Any]]:
    """A text that is too long is an error, as it is at OpenAI: nothing is cut off in silence."""
    config: dict[str, Any] = {} if embed.dimensions is None else {"outputDimensionality": embed.dimensions}
    config["autoTruncate"] = False
    _bound(embed, 1 if "maas" in model else _MOST_INSTANCES)
    requests = [{"content": _content(text), "embedContentConfig": config} for text in embed.inputs]
    if len(requests) == 1:
        return "embedContent", requests[0]
    return "batchEmbedContents", {"requests": requests}


def _predict(embed: Embed) -> dict[str, Any]:
    _bound(embed, _MOST_INSTANCES)
    parameters: dict[str, Any] = {"autoTruncate": False}
    if embed.dimensions is not None:
        parameters["outputDimensionality"] = embed.dimensions
    return {"instances": [{"content": text} for text in embed.inputs], "parameters": parameters}
