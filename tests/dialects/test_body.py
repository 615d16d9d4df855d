"""The model's place in a body: found exactly, or the body is refused."""

from __future__ import annotations

import json
import random
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from modelbroker.core.errors import BadRequest
from modelbroker.dialects import dialect_named
from modelbroker.dialects.body import Routed, decoder_of, estimate_tokens, model_span, read_routed

DECODER = decoder_of(Routed)
DIALECTS = ("openai-chat", "openai-embeddings", "anthropic-messages")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("model"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.just("model"), inner, max_size=4)
    ),
    max_leaves=12,
)


def found(body: bytes) -> tuple[str, tuple[int, int]]:
    """What a dialect reads; the way that is right for every body says the same."""
    _, model, span = read_routed(DECODER, body)
    assert span == model_span(body)
    return model, span


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
    seen, (first, behind) = found(body)
    assert seen == model
    assert json.loads(body[first:behind]) == model
    spliced = body[:first] + b'"other"' + body[behind:]
    assert json.loads(spliced) == {**dict(items), "model": "other"}
    assert list(json.loads(spliced)) == list(dict(items))


# -- bodies made to deceive, against an oracle that knows nothing of how the broker reads

SPELLINGS = ("model", "mod\\u0065l", "\\u006dodel", "m\\u006Fdel", "\\u006d\\u006f\\u0064\\u0065\\u006c")
NEAR_KEYS = ("models", "Model", 'x\\"model', "model\\\\", "mod\\u0065", "", "messages", "\\u0000model", "x")
TEXTS = (
    '"b"',
    '"a"',
    '"\\u0062"',
    '"model"',
    '"\\"model\\":\\"b\\""',
    '"x\\"model"',
    '"{\\"model\\":\\"b\\"}"',
    '",\\"model\\":\\"a"',
    '""',
)
OTHERS = ("5", "null", "true", "[]", "{}", '{"model":"b"}', '["model","b"]', '[{"model":"b"},{"model":5}]')
SPACES = st.sampled_from(("", "", " ", "\n\t", "\r\n  "))


@st.composite
def deceiving_bodies(draw: st.DrawFn) -> bytes:
    """An object of few fields, keys and values of which look like a model's, sometimes behind much text."""
    keys = st.sampled_from(SPELLINGS) | st.sampled_from(NEAR_KEYS)
    values = st.sampled_from(TEXTS) | st.sampled_from(OTHERS)
    padding = draw(st.sampled_from(("", "", '"pad":"' + "x" * 600 + '"')))
    fields = [padding] if padding else []
    for key, value in draw(st.lists(st.tuples(keys, values), max_size=5)):
        fields.append(f'"{key}"{draw(SPACES)}:{draw(SPACES)}{value}{draw(SPACES)}')
    draw(st.randoms()).shuffle(fields)
    return f"{draw(SPACES)}{{{draw(SPACES)}{','.join(fields)}}}{draw(SPACES)}".encode()


def top_level(body: bytes) -> list[tuple[str, Any]]:
    """The pairs of the outermost object, duplicates and all: json calls the hook for it last."""
    pairs: list[list[tuple[str, Any]]] = []
    text = body.decode("utf-8", "surrogateescape")  # what a dialect does not read may be no UTF-8
    json.loads(text, object_pairs_hook=lambda these: pairs.append(these) or dict(these), strict=False)
    return pairs[-1]


@given(body=deceiving_bodies(), dialect=st.sampled_from(DIALECTS))
@example(body=b'{"model":5,"model":"x"}', dialect="openai-chat")
@example(body=b'{"model":null,"model":"x"}', dialect="openai-chat")
@example(body=b'{"model":"x","model":null}', dialect="openai-chat")
@example(body=b'{"mod\\u0065l":"a","model":"b"}', dialect="openai-chat")
@example(body=b'{"x\\"model":"b","model":"b"}', dialect="openai-chat")
@example(body=b'{"x":{"model":"b"},"mod\\u0065l":"b"}', dialect="openai-chat")
def test_one_top_level_model_is_found_and_any_other_number_is_refused(body: bytes, dialect: str) -> None:
    pairs = top_level(body)
    models = [value for key, value in pairs if key == "model"]
    try:
        read = dialect_named(dialect).read(body)
    except BadRequest as refused:
        assert refused.status == 400
        assert len(models) != 1 or not isinstance(models[0], str) or not models[0]
        return
    assert models == [read.model]
    first, behind = read.model_span
    assert json.loads(body[first:behind]) == read.model
    spliced = body[:first] + b'"some other"' + body[behind:]
    assert top_level(spliced) == [(key, "some other" if key == "model" else value) for key, value in pairs]


@given(
    body=deceiving_bodies(), cut=st.integers(0, 40), junk=st.sampled_from((b"", b"\xff", b'"', b"\\", b"}"))
)
def test_damaged_bodies_are_read_as_a_decoder_reads_them_or_refused(
    body: bytes, cut: int, junk: bytes
) -> None:
    damaged = body[:cut] + junk + body[cut:]
    try:
        model, (first, behind) = found(damaged)
    except BadRequest as refused:
        assert refused.status == 400
    else:
        assert [value for key, value in top_level(damaged) if key == "model"] == [model]
        assert json.loads(damaged[first:behind]) == model


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"b","x":{"model":"q"},"model":"b"}',
        b'{"mod\\u0065l":"a","model":"b"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"m\\u006fdel":"b","x":{"model":"b"},"model":"b"}',
        b'{"model":null,"model":"b"}',
        b'{"messages":"' + b"a" * 5000 + b'","model":"b","mod\\u0065l":"b"}',
        b'{"mod\\u0065l":"b","messages":"' + b"a" * 5000 + b'","model":"b"}',
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
        (b'{"model":"b","tools":[' + b'{"model":"b"},' * 9 + b"{}]}", b'"b"'),
        (b'{"x":"' + b"a" * 5000 + b'","model":"b","tools":[' + b'{"model":"b"},' * 9 + b"{}]}", b'"b"'),
    ],
)
def test_the_top_level_model_is_found(body: bytes, expected: bytes) -> None:
    model, (first, behind) = found(body)
    assert model == "b"
    assert body[first:behind] == expected
    spliced = json.loads(body[:first] + b'"other"' + body[behind:])
    assert spliced["model"] == "other"


# -- tokens


def test_pictures_are_not_counted_as_text() -> None:
    text = json.dumps({"messages": [{"role": "user", "content": "a" * 400}]}).encode()
    picture = json.dumps({"data": "QUJD" * 100_000, "type": "base64"}).encode()
    assert 100 <= estimate_tokens(text) <= 120
    assert estimate_tokens(picture) < 20


@given(
    pieces=st.lists(
        st.tuples(
            st.sampled_from((b"A", b"a b ", b'"', b"+/=_-", b"\xc3\xa9", b"\x00x")),
            st.integers(0, 40) | st.integers(2000, 2100) | st.integers(4090, 4100),
        ),
        max_size=6,
    ),
    marked=st.booleans(),
)
def test_every_long_base64_run_is_left_out_and_no_other(
    pieces: list[tuple[bytes, int]], marked: bool
) -> None:
    body = b'"base64" ' * marked + b"".join(piece * count for piece, count in pieces)
    runs = re.findall(rb"[A-Za-z0-9+/=_-]{2048,}", body) if marked else []
    assert estimate_tokens(body) == -(-(len(body) - sum(map(len, runs))) // 4)


def test_a_run_is_seen_wherever_it_begins() -> None:
    random_text = random.Random(1)
    for offset in range(70):
        for length in (2047, 2048, 2049, 2080):
            noise = bytes(random_text.choice(b"ab ,") for _ in range(offset))
            body = b'"data"' + noise + b'"' + b"x" * length + b'"' + noise
            kept = len(body) - (length if length >= 2048 else 0)
            assert estimate_tokens(body) == -(-kept // 4)


def test_no_body_makes_its_reader_slow() -> None:
    """Runs that are just too short: each was once searched from each of its bytes, 1.6 s a MB."""
    text = b'"base64"' + (b"a" * 2047 + b" ") * 4096
    started = time.process_time()
    assert estimate_tokens(text) == len(text) // 4
    assert time.process_time() - started < 4
