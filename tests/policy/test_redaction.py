"""What is nobody's to keep goes, wherever it stands, and nothing else does."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.policy.patterns import FINDERS, custom, hits
from modelbroker.policy.redaction import Redaction, redacted
from support.recordings import recordings

ALL = Redaction(FINDERS)

SECRETS = {
    "email": ["alice.smith+x@example.com", "b@sub.example.co.uk", "c%40example.org", "jörg@müller.example"],
    "phone": ["+49 30 1234567", "+1 (415) 555-2671", "(415) 555-2671", "0049 (30) 123 45 67", "030/1234567"],
    "card": ["4111111111111111", "4111 1111 1111 1111", "3782-822463-10005", "5500 0055 5555 5559"],
    "iban": ["DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "fr1420041010050500013m02606"],
    "keys": [
        "sk-ant-api03-Ab12Cd34Ef56",
        "sk-proj-Ab12Cd34Ef56Gh78",
        "sk-Ab12Cd34Ef56Gh78Ij90",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnopqrstuvw",
        "gsk_Ab12Cd34Ef56Gh78Ij90",
        "ghp_Ab12Cd34Ef56Gh78Ij90Kl12Mn34",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    ],
}
CASES = [(name, secret) for name, secrets in SECRETS.items() for secret in secrets]
# What may stand around: it ends no word of a secret's own.
AROUND = st.text(st.sampled_from(" \n\t,;:!?\"'<>()[]{}\\/ÄßЖ中🙂abcXYZ"), max_size=30)


@pytest.mark.parametrize(("name", "secret"), CASES)
def test_each_kind_is_found_by_its_name(name: str, secret: str) -> None:
    said = redacted(json.dumps({"text": f"so: {secret} it is"}).encode(), ALL, is_stream=False)
    assert json.loads(said.body) == {"text": f"so: [{name}] it is"} and said.names == (name,)


@pytest.mark.parametrize(
    "text",
    [
        "order 1764436000123 of 2026-11-29 at 12:30:15",
        "the task-management-system-design-document is in src/utils@2",
        "0.023064255, -0.009327292, 3.14159265358979, 0.8596609058077356, 0.0120191139396651",
        "use `@agent.tool` and @app.route(), call gI70fKC0kZAyqv41pRXWatu",
        "max_tokens: 4096, password policy, a secret garden",
        "call_Ab12Cd34Ef56Gh78 toolu_01A09q90qw90lq917835lq9 chatcmpl-9xYz resp_0123456789abcdef",
        "version 10.0.19045.3570 and 192.168.100.200",
        "4111 1111 1111 1112 fails its sum; DE88370400440532013000 too",
        "550e8400-e29b-41d4-a716-446655440000",
    ],
)
def test_what_looks_alike_stays(text: str) -> None:
    body = json.dumps({"text": text}, indent=1).encode()
    assert redacted(body, ALL, is_stream=False) == (body, ())


@given(st.sampled_from(CASES), AROUND, AROUND, st.integers(0, 4))
def test_a_secret_is_found_in_json_within_json(
    case: tuple[str, str], before: str, behind: str, depth: int
) -> None:
    text = f"{before} {case[1]} {behind}"
    for _ in range(depth):
        text = json.dumps({"arguments": text, "more": 1}, ensure_ascii=depth % 2 == 0)
    said = redacted(json.dumps([text]).encode(), ALL, is_stream=False).body.decode()
    while "\\" in said:
        assert case[1] not in said
        said = said.replace("\\\\", "\\") if "\\\\" in said else said.replace("\\", "")
    assert case[1] not in said


def _sse(events: list[dict[str, Any]]) -> bytes:
    return "".join(f"event: x\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def _pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(places)] or [text]


SHAPES: dict[str, Any] = {
    "openai-chat": lambda piece, first: {
        "id": "chatcmpl-1",
        "choices": [{"index": 0, "delta": {"content": piece, **({"role": "assistant"} if first else {})}}],
    },
    "openai-chat-tool": lambda piece, first: {
        "choices": [
            {
                "index": 0,
                "delta": {
                    "tool_calls": [
                        {
                            "index": 0,
                            "function": {"arguments": piece},
                            **({"id": "call_1", "type": "function"} if first else {}),
                        }
                    ]
                },
            }
        ]
    },
    "anthropic": lambda piece, first: {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "input_json_delta", "partial_json": piece},
    },
    "responses": lambda piece, first: {
        "type": "response.output_text.delta",
        "sequence_number": len(piece),
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": piece,
    },
}


def _text_of(shape: str, body: bytes) -> str:
    found = []
    for line in body.decode().splitlines():
        if line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            if "choices" in event:
                delta = event["choices"][0]["delta"]
                found.append(
                    delta["content"]
                    if "content" in delta
                    else delta["tool_calls"][0]["function"]["arguments"]
                )
            else:
                delta = event["delta"]
                found.append(delta if isinstance(delta, str) else delta["partial_json"])
    return "".join(found)


@given(
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from(CASES),
    AROUND,
    AROUND,
    st.lists(st.integers(0, 80), max_size=12),
)
def test_no_secret_survives_by_being_split(
    shape: str, case: tuple[str, str], before: str, behind: str, cuts: list[int]
) -> None:
    text = f"{before} {case[1]} {behind}"
    pieces = _pieces(text, cuts)
    body = _sse([SHAPES[shape](piece, number == 0) for number, piece in enumerate(pieces)])
    said = redacted(body, ALL, is_stream=True)
    left = _text_of(shape, said.body)
    assert case[1] not in left and "[" in left and said.names
    # Not one piece of it that says anything, either.
    assert not any(len(piece) > 8 and piece in case[1] for piece in re.split(r"\[\w+\]", left))
    assert said.body.count(b"data: ") == len(pieces)


@given(st.sampled_from(sorted(SHAPES)), AROUND, st.lists(st.integers(0, 80), max_size=12))
def test_a_stream_without_secrets_stays_as_it_is(shape: str, text: str, cuts: list[int]) -> None:
    body = _sse([SHAPES[shape](piece, False) for piece in _pieces(text, cuts)]) + b"data: [DONE]\n\n"
    assert redacted(body, ALL, is_stream=True) == (body, ())


@given(st.sampled_from(CASES), AROUND, AROUND)
def test_what_was_redacted_has_nothing_more_to_find(case: tuple[str, str], before: str, behind: str) -> None:
    once = redacted(json.dumps({"a": before + case[1] + behind}).encode(), ALL, is_stream=False)
    assert redacted(once.body, ALL, is_stream=False) == (once.body, ())


@given(st.text(max_size=200), st.sampled_from(CASES))
def test_a_body_that_is_no_json_is_looked_at_too(text: str, case: tuple[str, str]) -> None:
    said = redacted(f"{text} {case[1]} {text}".encode("utf-8", "replace"), ALL, is_stream=False)
    assert case[1].encode() not in said.body


def test_what_is_said_twice_is_said_once() -> None:
    said = redacted(b'{"a": "alice@example.com", "a": "x"}', ALL, is_stream=False)
    assert said.body == b'{"a":"x"}'


def test_keys_numbers_and_fields_by_their_names() -> None:
    body = {"alice@example.com": 1, "card": 4111111111111111, "db_password": "hunter22", "n": [1, 2.5]}
    said = redacted(json.dumps(body).encode(), ALL, is_stream=False)
    assert json.loads(said.body) == {"[email]": 1, "card": "[card]", "db_password": "[keys]", "n": [1, 2.5]}


def test_paths_are_left_out() -> None:
    paths = (("metadata",), ("messages", "*", "name"), ("**", "secret"))
    body = {
        "metadata": {"user_id": "u"},
        "messages": [{"name": "a", "content": "x"}, {"content": [{"secret": 1, "text": "y"}]}],
    }
    said = redacted(json.dumps(body).encode(), Redaction({}, paths), is_stream=False)
    assert json.loads(said.body) == {"messages": [{"content": "x"}, {"content": [{"text": "y"}]}]}
    assert said.names == ("drop",)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBO" * 30}},
            {"type": "image_url", "image_url": {"url": "[media image/png 90 bytes]"}},
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO" * 30}},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "[media 90 bytes]"},
            },
        ),
        (
            {"input_audio": {"data": "AAAA" * 30, "format": "wav"}},
            {"input_audio": {"data": "[media 90 bytes]", "format": "wav"}},
        ),
        ({"type": "redacted_thinking", "data": "iVBO" * 30}, None),
        ({"type": "thinking", "thinking": "x", "signature": "iVBO" * 30}, None),
    ],
)
def test_media_become_a_note(body: dict[str, Any], left: dict[str, Any] | None) -> None:
    said = redacted(json.dumps(body).encode(), ALL, is_stream=False)
    assert json.loads(said.body) == (left or body)
    kept = Redaction(FINDERS, drops_media=False)
    assert json.loads(redacted(json.dumps(body).encode(), kept, is_stream=False).body) == body


def test_patterns_of_ones_own() -> None:
    own = Redaction({"badge": custom(r"\bB-[0-9]{4}\b")})
    assert redacted(b'{"a":"B-1234 B-12345"}', own, is_stream=False).body == b'{"a":"[badge] B-12345"}'


@pytest.mark.parametrize("text", ["1 ", "4 ", "eyJ", "sk-", "@a.", "+1", "://a", 'a\\"', "x_", "password: "])
def test_long_texts_of_one_thing_end(text: str) -> None:
    hits(text * (20_000 // len(text)), FINDERS)


def _texts(value: Any) -> Any:
    """The same with a secret at the end of each text of some length."""
    if isinstance(value, dict):
        return {key: _texts(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_texts(one) for one in value]
    return f"{value} {PLANTED}" if isinstance(value, str) and " " in value else value


PLANTED = "planted.bird@example.com"


@pytest.mark.parametrize(
    "kind", ["openai-chat", "openai-responses", "anthropic-messages", "openai-compatible-chat"]
)
def test_recorded_traffic_stays_what_it_is(kind: str) -> None:
    """Bodies in which nothing is found stay byte for byte; where a secret is planted only that goes."""
    for row in (one.values[0] for one in recordings(kind)):
        if row is None:
            pytest.skip(f"no recordings of {kind} here")
        asked, got = row["request"]["body"], row["response"]["body"]
        body = json.dumps(asked).encode()
        said = redacted(body, ALL, is_stream=False)
        assert said.names or said.body == body
        planted = redacted(json.dumps(_texts(asked)).encode(), ALL, is_stream=False)
        assert PLANTED not in planted.body.decode()
        assert json.loads(planted.body.decode().replace(" [email]", "")) == json.loads(
            said.body.decode().replace(" [email]", "")
        )
        if isinstance(got, str):
            stream = redacted(got.encode(), ALL, is_stream=True)
            assert stream.names or stream.body == got.encode()
            assert stream.body.count(b"data:") == got.encode().count(b"data:")


def test_a_field_that_is_dropped_anywhere_is_dropped_in_arguments_of_tools() -> None:
    redaction = Redaction({}, (("**", "password"),))
    arguments = '{"user":"bob","password":"hun\\"ter2","n":1}'
    body = json.dumps({"calls": [{"arguments": arguments}], "password": {"a": 1}}).encode()
    said = redacted(body, redaction, is_stream=False)
    assert json.loads(said.body) == {"calls": [{"arguments": '{"user":"bob","password":"[drop]","n":1}'}]}
    assert said.names == ("drop",)
    assert redacted(said.body, redaction, is_stream=False).body == said.body
    pieces = [arguments[start : start + 7] for start in range(0, len(arguments), 7)]
    events = "".join([f"data: {json.dumps({'index': 0, 'delta': piece})}\n\n" for piece in pieces])
    streamed = redacted(events.encode(), redaction, is_stream=True).body.decode()
    told = [json.loads(line[6:])["delta"] for line in streamed.splitlines() if line]
    assert "".join(told) == '{"user":"bob","password":"[drop]","n":1}'


@pytest.mark.parametrize(
    "value",
    [
        '{"a": 1, "b": x, "c": "canary"}',
        "{'a': 1, 'b': ['canary', 2], 'c': \"canary\"}",
        '[1, oops, "canary"]',
        '{"a": {"b": NO, "z": "]}"}, "c": "canary",}',
        '{"a": 1, "b": x, "c": "canary',
    ],
)
def test_a_dropped_field_that_is_not_quite_json_goes_whole(value: str) -> None:
    """Models write such things, as arguments of tools, too."""
    redaction = Redaction({}, (("**", "secret"),))
    text = f'{{"secret": {value}' + (', "k": "kept"}' if value[-1] in "]}" else "")
    said = redacted(json.dumps({"text": text}).encode(), redaction, is_stream=False).body
    assert b"canary" not in said and (b"kept" in said) == ("kept" in text)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
    )
)
def test_nothing_is_left_of_a_dropped_field(value: Any) -> None:
    redaction = Redaction({}, (("**", "secret"),))
    inner = json.dumps({"a": 1, "secret": ["canary", value, "canary"], "b": "kept"})
    for text in (inner, json.dumps({"again": inner})):
        said = redacted(json.dumps({"text": text}).encode(), redaction, is_stream=False).body
        assert b"canary" not in said and b"kept" in said
    cut = redacted(
        json.dumps({"text": inner[: inner.rindex("canary") + 3]}).encode(), redaction, is_stream=False
    )
    assert b"can" not in cut.body
