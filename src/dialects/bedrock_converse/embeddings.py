"""Embeddings through InvokeModel: each vendor's models have a shape of their own.

Sources: Amazon Bedrock user guide, "Amazon Titan Embeddings Text", "Cohere Embed v3", "Cohere Embed v4";
Amazon Nova user guide, "Complete embeddings request and response schema".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ...core.catalog import NO_ITEMS
from ..conversation import Embed, Encoded, Upstream
from ..replies import Embeddings
from ..translation import CannotCarry
from .models import BASE_MODEL, without_geography
from .requests_out import model_path

# Source: https://github.com/aws/aws-sdk-js-v3/issues/8172
_COUNT = "x-amzn-bedrock-input-token-count"
_HEADERS = (("accept", "application/json"),)
# Vectors are made of documents: the OpenAI dialect knows no other purpose.
_COHERE_PURPOSE = "search_document"
_NOVA_PURPOSE = "GENERIC_INDEX"


@dataclass(frozen=True, slots=True)
class _Shape:
    """`dimensions` that a model makes; `adjustable`: it takes the number."""

    vendor: str
    dimensions: tuple[int, ...]
    adjustable: bool
    most_inputs: int = 1


_SHAPES = {
    "amazon.titan-embed-text-v2": _Shape("titan", (256, 512, 1024), True),
    "amazon.titan-embed-text-v1": _Shape("titan", (1536,), False),
    "amazon.titan-embed-g1-text": _Shape("titan", (1536,), False),
    "amazon.nova-2-multimodal-embeddings": _Shape("nova", (256, 384, 1024, 3072), True),
    "cohere.embed-v4": _Shape("cohere", (256, 512, 1024, 1536), True, most_inputs=96),
    "cohere.embed-english-v3": _Shape("cohere", (1024,), False, most_inputs=96),
    "cohere.embed-multilingual-v3": _Shape("cohere", (1024,), False, most_inputs=96),
}


class _Titan(msgspec.Struct):
    embedding: list[float]
    inputTextTokenCount: int | None = None


class _OneVector(msgspec.Struct):
    embedding: list[float]


class _ByType(msgspec.Struct):
    vectors: list[list[float]] = msgspec.field(name="float")


class _Nova(msgspec.Struct):
    embeddings: list[_OneVector]


class _CohereByType(msgspec.Struct):
    embeddings: _ByType


class _Cohere(msgspec.Struct):
    embeddings: list[list[float]]


_titan = msgspec.json.Decoder(_Titan).decode
_nova = msgspec.json.Decoder(_Nova).decode
_cohere = msgspec.json.Decoder(_Cohere).decode
_cohere_by_type = msgspec.json.Decoder(_CohereByType).decode


def encode_embed(embed: Embed, upstream: Upstream) -> Encoded:
    shape = _shape(upstream)
    if len(embed.inputs) > shape.most_inputs:
        why = f"this model takes {shape.most_inputs} at once, and there are {len(embed.inputs)}"
        raise CannotCarry("inputs", why, "inputs")
    if embed.dimensions is not None and embed.dimensions not in shape.dimensions:
        makes = ", ".join(map(str, shape.dimensions))
        raise CannotCarry("dimensions", f"this model makes vectors of {makes}", "dimensions")
    wanted = embed.dimensions if shape.adjustable else None
    body: dict[str, Any]
    match shape.vendor:
        case "titan":
            body = {"inputText": embed.inputs[0]}
            if wanted is not None:
                body["dimensions"] = wanted
        case "cohere":
            body = {"texts": list(embed.inputs), "input_type": _COHERE_PURPOSE, "truncate": "NONE"}
            if wanted is not None:
                body["output_dimension"] = wanted
        case _:
            params: dict[str, Any] = {
                "embeddingPurpose": _NOVA_PURPOSE,
                "text": {"value": embed.inputs[0], "truncationMode": "NONE"},
            }
            if wanted is not None:
                params["embeddingDimension"] = wanted
            body = {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}
    return Encoded(
        model_path(upstream.model, "invoke"),
        msgspec.json.encode(body),
        headers=_HEADERS,
        dropped=("user",) if embed.user else (),
    )


def decode_embed(body: bytes, upstream: Upstream, headers: Mapping[str, str] = NO_ITEMS) -> Embeddings:
    """Of the three, Titan alone counts tokens in the body; a header counts them for all."""
    shape = _shape(upstream)
    counted = headers.get(_COUNT, "")
    tokens = int(counted) if counted.isdecimal() else None
    try:
        match shape.vendor:
            case "titan":
                one = _titan(body)
                told = one.inputTextTokenCount
                return Embeddings((tuple(one.embedding),), input_tokens=tokens if told is None else told)
            case "cohere":
                return Embeddings(tuple(map(tuple, _cohere_vectors(body))), input_tokens=tokens)
            case _:
                vectors = tuple(tuple(each.embedding) for each in _nova(body).embeddings)
                return Embeddings(vectors, input_tokens=tokens)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"the provider's reply holds no embeddings: {wrong}") from None


def _cohere_vectors(body: bytes) -> list[list[float]]:
    """v3 answers a list, or one by type, as v4 does."""
    try:
        return _cohere(body).embeddings
    except msgspec.ValidationError:
        return _cohere_by_type(body).embeddings.vectors


def _shape(upstream: Upstream) -> _Shape:
    base = upstream.deviations.get(BASE_MODEL) or upstream.model
    model = without_geography(str(base))
    for name, shape in _SHAPES.items():
        if model.startswith(name):
            return shape
    known = ", ".join(_SHAPES)
    raise CannotCarry("model", f"{upstream.model!r} is none of the embedding models {known}", "model")
