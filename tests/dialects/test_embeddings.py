"""`openai-embeddings` as its clients speak it, against OpenAI's own SDK types."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.errors import BadRequest, Misconfigured
from modelbroker.dialects.conversation import Embed, Upstream
from modelbroker.dialects.openai_embeddings import FIELDS, OpenAiEmbeddings
from modelbroker.dialects.replies import Cause, Embeddings, Fault, Reply
from modelbroker.dialects.translation import Context
from openai.types import CreateEmbeddingResponse
from openai.types.embedding_create_params import EmbeddingCreateParams
from support.conversations import JSON
from support.recordings import recordings

DIALECT = OpenAiEmbeddings()
CONTEXT = Context("0" * 32, 1_700_000_000, "its-model")
UPSTREAM = Upstream("house", "openai-embeddings", "text-embedding-3-small")


def asked(**fields: Any) -> Embed:
    return DIALECT.decode_embed_request(json.dumps({"model": "pool", "input": "x", **fields}).encode())


# -- requests


def test_every_field_of_the_sdk_is_accounted_for() -> None:
    assert set(FIELDS) == set(get_type_hints(EmbeddingCreateParams))


def test_requests() -> None:
    assert asked() == Embed("pool", ("x",))
    assert asked(
        input=["a", " "], dimensions=256, encoding_format="base64", user="u", extra=1, another=None
    ) == Embed("pool", ("a", " "), 256, True, "u", ("extra", "another"))
    assert asked(encoding_format="float", dimensions=None, user=None) == Embed("pool", ("x",))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": {"text": "x"}}, "input"),
        ({"input": ["x", ""]}, "input[1]"),
        ({"input": ["x", True]}, "input[1]"),
        ({"input": ["x", 1.5]}, "input[1]"),
        ({"model": ""}, "model"),
        ({"model": 1}, "model"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"dimensions": 1.5}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"user": 1}, "user"),
    ],
)
def test_odd_requests_are_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]], [-1]])
def test_tokens_are_for_openais_own_members(tokens: Any) -> None:
    body = json.dumps({"model": "pool", "input": tokens}).encode()
    assert DIALECT.read(body).same_dialect == "input"
    assert DIALECT.read(body.replace(b"[", b" [\n ")).same_dialect == "input"
    with pytest.raises(BadRequest) as refused:
        DIALECT.decode_embed_request(body)
    assert (refused.value.code, refused.value.param) == ("content_not_supported", "input")


@given(JSON, JSON)
def test_any_json_is_read_or_refused(value: Any, other: Any) -> None:
    for body in (
        {"model": "pool", "input": value, "dimensions": other},
        {"model": value, "input": other},
        value,
    ):
        try:
            assert DIALECT.decode_embed_request(json.dumps(body).encode()).inputs
        except BadRequest as refused:
            assert refused.status == 400


@pytest.mark.parametrize("row", recordings("openai-embeddings"))
def test_recorded_requests(row: Any) -> None:
    request = row["request"]["body"]
    body = json.dumps(request).encode()
    facts = DIALECT.read(body)
    texts = [request["input"]] if isinstance(request["input"], str) else request["input"]
    has_tokens = not all(isinstance(text, str) for text in texts)
    assert (facts.model, facts.same_dialect) == (request["model"], "input" if has_tokens else "")
    if not has_tokens:
        embed = DIALECT.decode_embed_request(body)
        assert embed.inputs == tuple(texts) and embed.dropped == ()
        assert embed.base64 == (request["encoding_format"] == "base64")


def test_rebinding_changes_the_model_and_nothing_else() -> None:
    body = b'{ "input" : ["\\u00e9", "model"],"model": "pool" , "x":1.50 }'
    assert DIALECT.rebind(body, UPSTREAM).body == body.replace(b'"pool"', b'"text-embedding-3-small"')


# -- replies


@pytest.mark.parametrize("row", recordings("openai-embeddings"))
def test_recorded_replies_are_written_as_they_were(row: Any) -> None:
    recorded = row["response"]["body"]
    if row["response"]["status"] != 200:
        return
    in_base64 = row["request"]["body"]["encoding_format"] == "base64"
    vectors = tuple(_vector(one["embedding"]) for one in recorded["data"])
    reply = Embeddings(vectors, recorded["model"], recorded["usage"]["prompt_tokens"])
    embed = Embed("pool", ("x",) * len(vectors), base64=in_base64)
    assert json.loads(DIALECT.encode_embed_reply(reply, embed, CONTEXT)) == recorded


def _vector(embedding: Any) -> tuple[float, ...]:
    if isinstance(embedding, str):
        raw = base64.b64decode(embedding)
        return struct.unpack(f"<{len(raw) // 4}f", raw)
    return tuple(embedding)


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)), min_size=1), st.booleans()
)
def test_the_sdk_reads_replies(vectors: list[list[float]], in_base64: bool) -> None:
    embed = Embed("pool", ("x",) * len(vectors), base64=in_base64)
    reply = Embeddings(tuple(map(tuple, vectors)))
    written = json.loads(DIALECT.encode_embed_reply(reply, embed, CONTEXT))
    read = CreateEmbeddingResponse.construct(**written)
    if not in_base64:
        assert CreateEmbeddingResponse.model_validate(written) == read
    assert [list(_vector(one.embedding)) for one in read.data] == vectors
    assert [one.index for one in read.data] == list(range(len(vectors)))
    assert (read.model, read.usage.prompt_tokens, read.usage.total_tokens) == ("its-model", 0, 0)


def test_replies_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="2 embeddings for 1"):
        DIALECT.encode_embed_reply(Embeddings(((1.0,), (2.0,))), Embed("pool", ("x",)), CONTEXT)
    with pytest.raises(ValueError, match="float32"):
        DIALECT.encode_embed_reply(Embeddings(((1e300,),)), Embed("pool", ("x",), base64=True), CONTEXT)


def test_faults_and_fields_are_told_in_openais_words() -> None:
    status, body = DIALECT.encode_fault(Fault(Cause.BAD_REQUEST, 400, "Too many.", param="inputs"), CONTEXT)
    assert (status, json.loads(body)["error"]["param"]) == (400, "input")
    status, body = DIALECT.encode_fault(Fault(Cause.CREDENTIAL, 401, "key sk-1"), CONTEXT)
    assert status == 502 and b"sk-1" not in body
    assert [DIALECT.own_field(name) for name in ("inputs[3]", "dimensions", "base64")] == [
        "input[3]",
        "dimensions",
        "encoding_format",
    ]


def test_it_holds_no_conversations() -> None:
    with pytest.raises(BadRequest):
        DIALECT.decode_request(b"{}")
    for call in (
        lambda: DIALECT.encode_reply(Reply("", "", ()), CONTEXT),
        lambda: DIALECT.stream_encoder(CONTEXT),
        lambda: DIALECT.encode_count_reply(1),
    ):
        with pytest.raises(Misconfigured):
            call()
