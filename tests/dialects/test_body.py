"""The model's place in a body: found exactly, or the body is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.errors import BadRequest
from modelbroker.dialects import dialect_named
from modelbroker.dialects.body import estimate_tokens, model_span

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("model"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.just("model"), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    fields=st.dictionaries(st.text(max_size=6).filter(lambda key: key != "model"), JSON, max_size=4),
    model=st.text(min_size=1, max_size=20),
    position=st.integers(0, 4),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 2),
)
def test_splicing_another_model_changes_nothing_else(
    fields: dict[str, Any], model: str, position: int, ascii_only: bool, indent: int | None
) -> None:
    items = list(fields.items())
    items.insert(min(position, len(items)), ("model", model))
    body = json.dumps(dict(items), ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    first, behind = model_span(body, model)
    assert json.loads(body[first:behind]) == model
    spliced = body[:first] + b'"other"' + body[behind:]
    assert json.loads(spliced) == {**dict(items), "model": "other"}
    assert list(json.loads(spliced)) == list(dict(items))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"b","x":{"model":"q"},"model":"b"}',
        b'{"mod\\u0065l":"a","model":"b"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"m\\u006fdel":"b","x":{"model":"b"},"model":"b"}',
    ],
)
def test_a_model_given_twice_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        dialect_named("openai-chat").read(body)
    assert refused.value.status == 400
    assert "more than once" in refused.value.message


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"mod\\u0065l":"b"}', b'"b"'),
        (b'{"x":{"model":"b"},"model":"b"}', b'"b"'),
        (b'{"x":"\\"model\\": \\"b\\"","model" : "b"}', b'"b"'),
        (b'{"tools":[{"model":"b"}],\n"model"\t:\r\n "\\u0062" }', b'"\\u0062"'),
        (b'{"x":["model","b"],"model":"b"}', b'"b"'),
        (b'{"x":"model","model":"b"}', b'"b"'),
    ],
)
def test_the_top_level_model_is_found(body: bytes, expected: bytes) -> None:
    first, behind = model_span(body, "b")
    assert body[first:behind] == expected
    spliced = json.loads(body[:first] + b'"other"' + body[behind:])
    assert spliced["model"] == "other"


def test_pictures_are_not_counted_as_text() -> None:
    text = json.dumps({"messages": [{"role": "user", "content": "a" * 400}]}).encode()
    picture = json.dumps({"data": "QUJD" * 100_000, "type": "base64"}).encode()
    assert 100 <= estimate_tokens(text) <= 120
    assert estimate_tokens(picture) < 20
