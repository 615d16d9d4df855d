"""The commit point: nothing before the first real event, and any split of the bytes decides the same."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.causes import Cause
from modelbroker.dialects import dialect_named
from modelbroker.exchange import MemberStream, Move
from support.recordings import recordings

STREAM = [(":status", "200"), ("content-type", "text/event-stream; charset=utf-8")]
PREAMBLE = b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n'
REAL = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
FAULT = b'data: {"error":{"message":"Overloaded","type":"overloaded_error"}}\n\n'
TOO_LONG = (
    b'data: {"error":{"message":"Too long","type":"x","code":"context_length_exceeded","status":400}}\n\n'
)


def run(chunks: list[bytes], dialect: str = "openai-chat") -> Move:
    """What becomes of a stream that ends behind these chunks."""
    stream = MemberStream(dialect_named(dialect))
    assert stream.on_headers(STREAM, ends=False) is Move.HOLD
    for number, chunk in enumerate(chunks):
        move = stream.on_body(chunk, ends=number == len(chunks) - 1)
        if move in (Move.COMMIT, Move.FAIL):
            return move
    raise AssertionError("a stream that has ended is still held")


@pytest.mark.parametrize(
    ("chunks", "move"),
    [
        ([REAL], Move.COMMIT),
        ([PREAMBLE + REAL], Move.COMMIT),
        ([PREAMBLE, REAL], Move.COMMIT),
        ([FAULT], Move.FAIL),
        ([PREAMBLE + FAULT], Move.FAIL),
        ([PREAMBLE, FAULT], Move.FAIL),
        ([PREAMBLE], Move.FAIL),
        ([b""], Move.FAIL),
        ([b": ping\n\n", b""], Move.FAIL),
        ([REAL[:-2]], Move.FAIL),  # cut inside its first event
        ([REAL + FAULT], Move.COMMIT),
    ],
)
def test_what_becomes_of_a_stream(chunks: list[bytes], move: Move) -> None:
    assert run(chunks) is move


@pytest.mark.parametrize(
    "headers",
    [
        [(":status", "429"), ("content-type", "application/json")],
        [(":status", "200"), ("content-type", "application/json")],
        [(":status", "500"), ("content-type", "text/event-stream")],
        [(":status", "200")],
    ],
)
def test_only_a_good_event_stream_is_held(headers: list[tuple[str, str]]) -> None:
    assert MemberStream(dialect_named("openai-chat")).on_headers(headers, ends=False) is Move.COMMIT


def test_a_preamble_alone_is_held_for_a_moment_and_then_let_through() -> None:
    stream = MemberStream(dialect_named("openai-chat"))
    stream.on_headers(STREAM, ends=False)
    assert stream.on_body(PREAMBLE, ends=False) is Move.HOLD_BRIEFLY
    assert stream.on_body(PREAMBLE, ends=False) is Move.HOLD
    assert stream.on_hold_over() is Move.COMMIT


def test_a_comment_alone_is_no_sign_of_an_answer() -> None:
    stream = MemberStream(dialect_named("openai-chat"))
    stream.on_headers(STREAM, ends=False)
    assert stream.on_body(b": processing\n\n", ends=False) is Move.HOLD


def test_endless_preamble_is_not_held_for_ever() -> None:
    stream = MemberStream(dialect_named("openai-chat"))
    stream.on_headers(STREAM, ends=False)
    moves = [stream.on_body(b":" + b"x" * 65_536 + b"\n", ends=False) for _ in range(5)]
    assert moves[-1] is Move.COMMIT


def test_a_failure_is_told_in_the_dialect_with_a_status_that_is_retried() -> None:
    stream = MemberStream(dialect_named("anthropic-messages"))
    told = (("request-id", "req_1"), ("retry-after", "7"))
    stream.on_headers([*STREAM, *told, ("server", "x")], ends=False)
    assert stream.kept == told  # by which the provider can be asked about it, and when to come again
    event = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Busy"}}\n\n'
    assert stream.on_body(event, ends=False) is Move.FAIL
    status, code, body = stream.failure("r-1")
    assert (status, code) == (529, "upstream_overloaded")
    assert json.loads(body)["error"] == {
        "type": "overloaded_error",
        "message": "Busy",
        "code": "upstream_overloaded",
    }


@pytest.mark.parametrize(
    ("chunks", "move", "cause"),
    [
        ([REAL], Move.COMMIT, None),
        ([PREAMBLE, REAL], Move.COMMIT, None),
        ([PREAMBLE, FAULT], Move.FAIL, Cause.OVERLOADED),
        ([PREAMBLE], Move.FAIL, Cause.CUT),
        ([b""], Move.FAIL, Cause.CUT),
        ([b"data: <html>\n\n"], Move.FAIL, Cause.GARBAGE),
        # About this very request: it goes to the client, and whoever would have it elsewhere is told why.
        ([PREAMBLE, TOO_LONG], Move.COMMIT, Cause.CONTEXT_OVERFLOW),
    ],
)
def test_why_a_stream_failed(chunks: list[bytes], move: Move, cause: Cause | None) -> None:
    stream = MemberStream(dialect_named("openai-chat"))
    moves = [stream.on_headers(STREAM, ends=False)]
    moves += [stream.on_body(chunk, ends=chunk is chunks[-1]) for chunk in chunks]
    assert (moves[-1], stream.cause) == (move, cause)


@given(
    parts=st.lists(st.sampled_from([PREAMBLE, REAL, FAULT, b": c\n\n", b"data: x\r\n\r\n"]), max_size=5),
    cuts=st.lists(st.integers(0, 1000), max_size=10),
)
def test_any_split_ends_the_same(parts: list[bytes], cuts: list[int]) -> None:
    text = b"".join(parts)
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    chunks = [text[a:b] for a, b in itertools.pairwise(edges)]
    assert run([*chunks, b""]) is run([text])


@pytest.mark.parametrize("kind", ["openai-chat", "openai-responses", "anthropic-messages"])
def test_every_recorded_stream_commits(kind: str) -> None:
    for parameter in recordings(kind):
        row: Any = parameter.values[0]
        if row is not None and isinstance(row["response"]["body"], str):
            assert run([row["response"]["body"].encode()], kind) is Move.COMMIT, row["id"]
