"""Samples go out as lines and come in again; so do other tools' logs, and what is wrong is told."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.traffic import Sample
from modelbroker.traffic.lines import line_of, taken
from support.recordings import recordings

NOW_S = 1_790_000_000.0
_json = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=20), max_size=4
)
_body = st.none() | _json.map(
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
)


@given(
    st.builds(
        Sample,
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=64),
        st.floats(1, 3e9),
        team=st.text(st.characters(codec="utf-8"), max_size=9),
        stream=st.booleans(),
        status=st.none() | st.integers(100, 599),
        request=_json.map(lambda value: json.dumps(value).encode()),
        reply=st.just(b'data: {"a": 1}\n\ndata: [DONE]\n\n') | _body,
        redacted=st.lists(st.sampled_from(("email", "card"))).map(tuple),
        cut=st.sampled_from(("", "size", "ended")),
    )
)
def test_what_goes_out_comes_in_again(sample: Sample) -> None:
    again, left_out = taken(line_of(sample), NOW_S)
    assert left_out == ()
    assert line_of(sample).count(b"\n") == 1
    bodies = {"request": None, "reply": None}
    assert dataclasses.replace(again, **bodies) == dataclasses.replace(sample, **bodies)
    for one, other in ((again.request, sample.request), (again.reply, sample.reply)):
        assert one == other or (one and other and json.loads(one) == json.loads(other))


CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
CHAT_REPLY = {"object": "chat.completion", "created": 1_780_000_000, "choices": []}
MESSAGES = {"model": "claude-opus-4-7", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("row", "dialect", "at_s"),
    [
        ({"request": CHAT, "response": CHAT_REPLY}, "openai-chat", 1_780_000_000),
        ({"request": json.dumps(CHAT), "response": json.dumps(CHAT_REPLY)}, "openai-chat", NOW_S),
        (
            {"request": CHAT, "reply": CHAT_REPLY, "timestamp": "2026-01-01T00:00:00Z"},
            "openai-chat",
            1_767_225_600,
        ),
        ({"request": CHAT, "timestamp": 1_780_000_000_000}, "openai-chat", 1_780_000_000),
        ({"request": MESSAGES, "response": {"type": "message", "content": []}}, "anthropic-messages", NOW_S),
        ({"request": {"model": "gpt-5", "input": "hi", "instructions": "x"}}, "openai-responses", NOW_S),
        (
            {"request": {"url": "https://x/v1/responses", "body": {"model": "m", "input": "a"}}},
            "openai-responses",
            NOW_S,
        ),
        ({"request": CHAT, "response": "data: {}\n\n", "team": "sales"}, "openai-chat", NOW_S),
    ],
)
def test_logs_of_other_tools(row: dict[str, Any], dialect: str, at_s: float) -> None:
    line = json.dumps(row).encode()
    sample, left_out = taken(line, NOW_S)
    assert left_out == ()
    assert (sample.dialect, sample.at_s, sample.model) == (dialect, at_s, sample.model) and sample.model
    assert sample.request and isinstance(json.loads(sample.request), dict)
    assert sample == taken(line + b"\n", NOW_S).sample  # the same again is the same call
    assert sample.team == row.get("team", "")
    assert sample.stream == (row.get("response") == "data: {}\n\n")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (b"{", "is no JSON"),
        (b"[]", "is no JSON object"),
        (b"{}", "has no `request`"),
        (b'{"request": 3}', "`request` is no JSON object"),
        (b'{"request": "hi"}', "`request` is no JSON object"),
        (b'{"request": {}, "response": 4}', "`response` is neither JSON nor the text of a stream"),
        (b'{"request": {"body": {}}, "kind": "gemini-generate-content"}', "is no dialect that clients speak"),
        (b'{"request": {"a": 1}, "timestamp": "yesterday"}', "is no time"),
        (b'{"request": {"a": 1}, "timestamp": -1}', "is no time"),
        (b'{"request_id": "a"}', "neither `request` nor `reply`"),
        (b'{"request_id": "a", "status": "x", "request": {}}', "`status` is no number"),
        (b'{"request_id": "a", "status": true, "request": {}}', "`status` is no number"),
        (b'{"request_id": "a", "status": -1, "request": {}}', "`status` is no number"),
        (b'{"request": {"model": "m"}}', "`request` has no `(messages|input)`"),
        (b'{"request": {"model": "m", "messages": null}}', "`request` has no `messages`"),
        (b'{"request": {"model": "m", "messages": "hi"}}', "`request.messages` is not a list"),
        (
            b'{"request": {"body": {"input": 3}, "url": "https://x/v1/embeddings"}}',
            "`request.input` is not a text or a list",
        ),
        (b'{"kind": "openai-responses", "request": {"body": {"messages": []}}}', "has no `input`"),
        (b'{"request_id": "", "request": {}}', "1 to 128 characters"),
        (b'{"request_id": "a", "team": 3, "request": {}}', "`team` is no text"),
        (b'{"request_id": "a", "redacted": "x", "request": {}}', "no list of names"),
    ],
)
def test_what_is_wrong_is_told(line: bytes, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        taken(line, NOW_S)


@pytest.mark.parametrize(
    ("more", "left_out"),
    [
        ({"team": 5, "user": None, "tier": ""}, ("`team` is no text",)),
        ({"team": ["a"], "customer": {}, "feature": "f"}, ("`team` is no text", "`customer` is no text")),
        ({"status": "success"}, ("`status` is no number of 100 to 599",)),
        ({"status": 0}, ("`status` is no number of 100 to 599",)),
    ],
)
def test_what_is_left_out_of_a_line_is_told(more: dict[str, Any], left_out: tuple[str, ...]) -> None:
    found = taken(json.dumps({"request": CHAT, "response": CHAT_REPLY, **more}).encode(), NOW_S)
    assert found.left_out == left_out
    assert found.sample.status == (None if "status" in more else 200)
    assert found.sample.feature == more.get("feature", "") and found.sample.team == ""


def test_a_status_that_is_not_known_is_none() -> None:
    def status(**more: Any) -> int | None:
        return taken(json.dumps({"request": CHAT, **more}).encode(), NOW_S).sample.status

    assert status() is None and status(response=CHAT_REPLY) == 200
    assert status(response=CHAT_REPLY, status="503") == status(status_code=503) == 503
    # As older ones exported it.
    assert status(request_id="a", status=0) is status(request_id="a", status=None) is None
    assert b'"status": null' in line_of(Sample("a", 1.0))


@pytest.mark.parametrize(
    "row",
    [
        row
        for kind in ("openai-chat", "openai-compatible-chat", "openai-responses", "anthropic-messages")
        for row in recordings(kind)
    ],
)
def test_the_recordings_come_in(row: dict[str, Any]) -> None:
    sample = taken(json.dumps(row).encode(), NOW_S).sample
    kind = row["kind"].replace("openai-compatible-chat", "openai-chat")
    assert (sample.dialect, sample.status) == (kind, row["response"]["status"])
    assert sample.request and json.loads(sample.request) == row["request"]["body"]
    assert sample.stream == isinstance(row["response"]["body"], str)
