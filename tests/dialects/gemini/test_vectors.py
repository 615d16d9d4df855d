"""Embeddings at the Gemini API and at Vertex AI, as google-genai asks for them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from google.genai import models, types
from modelbroker.dialects.conversation import Embed, Upstream
from modelbroker.dialects.gemini import Gemini
from modelbroker.dialects.replies import Embeddings
from modelbroker.dialects.translation import CannotCarry

GEMINI = Gemini()
VERTEX = "/projects/my-project/locations/us-central1/publishers/google/models"


def upstream(model: str, variant: str = "") -> Upstream:
    return Upstream("google", "gemini", model, variant, project="my-project", region="us-central1")


def sdk_body(model: str, inputs: list[str], dimensions: int | None, api: str | None) -> Any:
    """What the SDK sends: `api` None is the Gemini API."""
    config: dict[str, Any] = {"output_dimensionality": dimensions} if dimensions else {}
    if api is not None:
        config["auto_truncate"] = False
    fields: dict[str, Any] = {"model": model, "config": types.EmbedContentConfig(**config)}
    whole = [types.Content(parts=[types.Part(text=text)]) for text in inputs]
    if api == "EMBED_CONTENT":
        fields["content"] = whole[0]
    elif api == "BATCH_EMBED_CONTENTS":
        fields["batch_contents"] = whole
    else:
        fields["contents"] = inputs if api else whole
    parameters = types._EmbedContentParametersPrivate(embedding_api_type=api, **fields)
    client = SimpleNamespace(vertexai=api is not None)
    if api is None:
        sent = models._EmbedContentParametersPrivate_to_mldev(client, parameters, None, parameters)
    else:
        sent = models._EmbedContentParametersPrivate_to_vertex(client, parameters, None, parameters)
    sent.pop("_url")
    return json.loads(json.dumps(sent, default=lambda model: model.model_dump(exclude_none=True)))


@pytest.mark.parametrize("dimensions", [None, 256])
@pytest.mark.parametrize(
    ("model", "inputs", "api", "path"),
    [
        ("gemini-embedding-001", ["a", "b"], None, "/models/gemini-embedding-001:batchEmbedContents"),
        ("text-embedding-005", ["a", "b"], "PREDICT", f"{VERTEX}/text-embedding-005:predict"),
        ("gemini-embedding-001", ["a"], "EMBED_CONTENT", f"{VERTEX}/gemini-embedding-001:embedContent"),
        (
            "gemini-embedding-2",
            ["a", "b"],
            "BATCH_EMBED_CONTENTS",
            f"{VERTEX}/gemini-embedding-2:batchEmbedContents",
        ),
    ],
)
def test_requests_are_the_sdks(
    model: str, inputs: list[str], api: str | None, path: str, dimensions: int | None
) -> None:
    embed = Embed("m", tuple(inputs), dimensions)
    encoded = GEMINI.encode_embed(embed, upstream(model, "vertex" if api else ""))
    assert encoded.path == path
    assert json.loads(encoded.body) == sdk_body(model, inputs, dimensions, api)
    assert encoded.dropped == ()


def test_bounds_and_what_is_dropped() -> None:
    assert GEMINI.encode_embed(Embed("m", ("a",), user="u"), upstream("gemini-embedding-001")).dropped == (
        "user",
    )
    for model, variant, most in [
        ("gemini-embedding-001", "", 100),
        ("text-embedding-005", "vertex", 250),
        ("gemini-embedding-001", "vertex", 250),
        ("intfloat/multilingual-e5-large-maas", "vertex", 1),
    ]:
        GEMINI.encode_embed(Embed("m", ("a",) * most), upstream(model, variant))
        with pytest.raises(CannotCarry) as refused:
            GEMINI.encode_embed(Embed("m", ("a",) * (most + 1)), upstream(model, variant))
        assert refused.value.param == "inputs"


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"embeddings": [{"values": [0.5, -1]}, {"values": [1e-3, 0]}]}, None),
        (
            {
                "embeddings": [{"values": [0.5, -1]}, {"values": [1e-3, 0]}],
                "usageMetadata": {"promptTokenCount": 9},
            },
            9,
        ),
        (
            {
                "predictions": [
                    {
                        "embeddings": {
                            "values": [0.5, -1.0],
                            "statistics": {"token_count": 3, "truncated": False},
                        }
                    },
                    {
                        "embeddings": {
                            "values": [0.001, 0],
                            "statistics": {"token_count": 4.0, "truncated": False},
                        }
                    },
                ],
                "metadata": {"billableCharacterCount": 11},
            },
            7,
        ),
    ],
)
def test_replies(body: Any, tokens: int | None) -> None:
    found = GEMINI.decode_embed(json.dumps(body).encode(), upstream("text-embedding-005"))
    assert found == Embeddings(((0.5, -1.0), (0.001, 0.0)), "text-embedding-005", tokens)


def test_one_embedding_and_garbage() -> None:
    body = b'{"embedding": {"values": [1]}, "usageMetadata": {"promptTokenCount": 2}, "truncated": false}'
    assert GEMINI.decode_embed(body, upstream("m")) == Embeddings(((1.0,),), "m", 2)
    for garbage in (
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"embeddings": [{}]}',
        b'{"predictions": [{"embeddings": 1}]}',
    ):
        with pytest.raises(ValueError, match="no embeddings"):
            GEMINI.decode_embed(garbage, upstream("m"))
