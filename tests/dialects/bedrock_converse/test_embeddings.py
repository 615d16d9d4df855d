"""Embeddings through InvokeModel."""

from __future__ import annotations

import json
from typing import Any

import pytest
from modelbroker.dialects.bedrock_converse import BedrockConverse
from modelbroker.dialects.conversation import Embed, Upstream
from modelbroker.dialects.replies import Embeddings
from modelbroker.dialects.translation import CannotCarry
from support.bedrock import operation

DIALECT = BedrockConverse()
TITAN = "amazon.titan-embed-text-v2:0"
COHERE_3 = "cohere.embed-multilingual-v3"
COHERE_4 = "us.cohere.embed-v4:0"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"


def to(model: str, **more: Any) -> Upstream:
    return Upstream("house", "bedrock-converse", model, **more)


@pytest.mark.parametrize(
    ("model", "embed", "body"),
    [
        (TITAN, Embed("e", ("größe",)), {"inputText": "größe"}),
        (TITAN, Embed("e", ("a",), 512), {"inputText": "a", "dimensions": 512}),
        ("amazon.titan-embed-text-v1", Embed("e", ("a",), 1536), {"inputText": "a"}),
        (
            COHERE_3,
            Embed("e", ("a", "b"), 1024),
            {"texts": ["a", "b"], "input_type": "search_document", "truncate": "NONE"},
        ),
        (
            COHERE_4,
            Embed("e", ("a",), 256),
            {"texts": ["a"], "input_type": "search_document", "truncate": "NONE", "output_dimension": 256},
        ),
        (
            NOVA,
            Embed("e", ("a",), 384),
            {
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {
                    "embeddingPurpose": "GENERIC_INDEX",
                    "text": {"value": "a", "truncationMode": "NONE"},
                    "embeddingDimension": 384,
                },
            },
        ),
    ],
)
def test_requests(model: str, embed: Embed, body: Any) -> None:
    encoded = DIALECT.encode_embed(embed, to(model))
    assert json.loads(encoded.body) == body
    path = operation("InvokeModel").http["requestUri"]
    assert encoded.path == path.replace("{modelId}", model.replace(":", "%3A"))
    assert encoded.dropped == ()


@pytest.mark.parametrize(
    ("model", "embed", "param"),
    [
        (TITAN, Embed("e", ("a", "b")), "inputs"),
        (NOVA, Embed("e", ("a", "b")), "inputs"),
        (COHERE_4, Embed("e", ("a",) * 97), "inputs"),
        (TITAN, Embed("e", ("a",), 1536), "dimensions"),
        (COHERE_3, Embed("e", ("a",), 256), "dimensions"),
        ("amazon.nova-lite-v1:0", Embed("e", ("a",)), "model"),
    ],
)
def test_what_a_model_does_not_take(model: str, embed: Embed, param: str) -> None:
    with pytest.raises(CannotCarry) as refused:
        DIALECT.encode_embed(embed, to(model))
    assert refused.value.param == param


def test_an_arn_and_a_user() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    upstream = to(arn, deviations={"base_model": TITAN})
    encoded = DIALECT.encode_embed(Embed("e", ("a",), user="u"), upstream)
    assert encoded.path.endswith("%2Fabc/invoke") and encoded.dropped == ("user",)


@pytest.mark.parametrize(
    ("model", "reply", "expected"),
    [
        (
            TITAN,
            {"embedding": [0.5, 1], "inputTextTokenCount": 3, "embeddingsByType": {"float": [0.5, 1]}},
            Embeddings(((0.5, 1.0),), input_tokens=3),
        ),
        (
            COHERE_3,
            {
                "id": "x",
                "embeddings": [[1.0], [2.0]],
                "response_type": "embeddings_floats",
                "texts": ["a", "b"],
            },
            Embeddings(((1.0,), (2.0,))),
        ),
        (
            COHERE_4,
            {"id": "x", "embeddings": {"float": [[1.0]]}, "response_type": "embeddings_by_type"},
            Embeddings(((1.0,),)),
        ),
        (NOVA, {"embeddings": [{"embeddingType": "TEXT", "embedding": [1.5]}]}, Embeddings(((1.5,),))),
    ],
)
def test_replies(model: str, reply: Any, expected: Embeddings) -> None:
    raw = json.dumps(reply).encode()
    assert DIALECT.decode_embed(raw, to(model)) == expected
    counted = DIALECT.decode_embed(raw, to(model), {"x-amzn-bedrock-input-token-count": "9"})
    assert counted.input_tokens == (9 if expected.input_tokens is None else expected.input_tokens)
    odd = DIALECT.decode_embed(raw, to(model), {"x-amzn-bedrock-input-token-count": "many"})
    assert odd == expected


@pytest.mark.parametrize("model", [TITAN, COHERE_4, NOVA])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"embedding": "x"}', b'{"embeddings": [1]}', b"\xff"])
def test_no_embeddings_are_said_in_words(model: str, body: bytes) -> None:
    with pytest.raises(ValueError, match="no embeddings"):
        DIALECT.decode_embed(body, to(model))
