"""Facts of a request, and errors in each dialect's shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.errors import BadRequest, CallError
from modelbroker.dialects import CLIENT_DIALECTS, SURFACES, dialect_named, surface_for_path
from support.recordings import recordings

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("dialect", "fields", "facts"),
    [
        ("openai-chat", {"messages": []}, {"stream": False, "tools": False, "max_output_tokens": None}),
        ("openai-chat", {"stream": True, "max_tokens": 7}, {"stream": True, "max_output_tokens": 7}),
        ("openai-chat", {"max_completion_tokens": 9, "max_tokens": 7}, {"max_output_tokens": 9}),
        ("openai-chat", {"tools": [{"type": "function"}]}, {"tools": True}),
        ("openai-chat", {"tools": []}, {"tools": False}),
        ("openai-chat", {"messages": [{"role": "user", "content": [PICTURE]}]}, {"images": True}),
        ("openai-chat", {"messages": [{"role": "user", "content": "image_url"}]}, {"images": False}),
        ("openai-chat", {"messages": [{"content": [{"type": "file", "file": {}}]}]}, {"documents": True}),
        ("openai-chat", {"response_format": {"type": "json_schema"}}, {"schema": True}),
        ("openai-chat", {"reasoning_effort": "high"}, {"reasoning": True}),
        ("openai-chat", {"reasoning_effort": "none"}, {"reasoning": False}),
        ("openai-responses", {"input": [{"content": [{"type": "input_image"}]}]}, {"images": True}),
        ("openai-responses", {"input": [{"content": [{"type": "input_file"}]}]}, {"documents": True}),
        ("openai-responses", {"text": {"format": {"type": "json_schema"}}}, {"schema": True}),
        (
            "openai-responses",
            {"reasoning": {"effort": "low"}, "stream": True},
            {"reasoning": True, "stream": True},
        ),
        ("anthropic-messages", {"thinking": {"type": "enabled", "budget_tokens": 1}}, {"reasoning": True}),
        ("anthropic-messages", {"thinking": {"type": "disabled"}}, {"reasoning": False}),
        (
            "anthropic-messages",
            {"messages": [{"content": [{"type": "tool_result", "content": [{"type": "image"}]}]}]},
            {"images": True, "documents": False},
        ),
        ("anthropic-messages", {"messages": [{"content": [{"type": "document"}]}]}, {"documents": True}),
        ("openai-embeddings", {"input": "x"}, {"stream": False}),
    ],
)
def test_facts(dialect: str, fields: dict[str, Any], facts: dict[str, Any]) -> None:
    read = dialect_named(dialect).read(json.dumps({"model": "m", **fields}).encode())
    assert {name: getattr(read, name) for name in facts} == facts


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", "invalid_json", "not valid JSON"),
        (b"{", "invalid_json", "not valid JSON"),
        (b"[]", "invalid_request", "Expected `object`"),
        (b"{}", "invalid_request", "model: is missing"),
        (b'{"model":null}', "invalid_request", "model: is missing"),
        (b'{"model":""}', "invalid_request", "model: is missing"),
        (b'{"model":5}', "invalid_request", "model: Expected `str"),
        (b'{"model":"a"} x', "invalid_json", "not valid JSON"),
        (b'{"model":"\xff"}', "invalid_json", "UTF-8"),
        (b'{"x":"a","model":"\xaeF\x92"}', "invalid_json", "UTF-8"),
        (b'{"model":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json", "nested"),
    ],
)
@pytest.mark.parametrize("dialect", sorted(CLIENT_DIALECTS))
def test_bad_bodies(dialect: str, body: bytes, code: str, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        dialect_named(dialect).read(body)
    assert refused.value.code == code
    assert words in refused.value.message
    assert refused.value.status == 400


@given(body=st.binary(max_size=80), dialect=st.sampled_from(sorted(CLIENT_DIALECTS)))
def test_any_bytes_are_facts_or_a_bad_request(body: bytes, dialect: str) -> None:
    try:
        read = dialect_named(dialect).read(body)
    except BadRequest as refused:
        assert refused.status == 400
    else:
        assert json.loads(body[slice(*read.model_span)]) == read.model


@pytest.mark.parametrize(
    "kind",
    ["openai-chat", "openai-responses", "openai-embeddings", "anthropic-messages", "openai-compatible-chat"],
)
def test_every_recorded_request_is_read(kind: str) -> None:
    for parameter in recordings(kind):
        row: Any = parameter.values[0]
        if row is None or "model" not in row["request"]["body"]:
            continue
        body = json.dumps(row["request"]["body"]).encode()
        read = dialect_named(kind.replace("-compatible", "")).read(body)
        assert read.model == row["request"]["body"]["model"]
        assert read.stream == bool(row["request"]["body"].get("stream"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 504, 529])
def test_errors_have_their_dialects_shape(status: int) -> None:
    error = CallError(status, "a_code", "a message", param="model")
    chat = json.loads(dialect_named("openai-chat").error_body(error, "r1"))["error"]
    assert (chat["message"], chat["code"], chat["param"]) == ("a message", "a_code", "model")
    messages = json.loads(dialect_named("anthropic-messages").error_body(error, "r1"))
    assert messages["type"] == "error"
    assert messages["request_id"] == "r1"
    assert (messages["error"]["message"], messages["error"]["code"]) == ("a message", "a_code")
    assert messages["error"]["type"].endswith(("_error", "_large"))


def test_paths_name_operations() -> None:
    assert {surface.path for surface in SURFACES} == {
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
    }
    for surface in SURFACES:
        assert surface_for_path(surface.path) is surface
        assert surface_for_path(surface.path + "/?beta=true") is surface
    assert surface_for_path("/v1/messages/batches") is None
