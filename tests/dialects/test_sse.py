"""Law of chunking: any split of the bytes gives the same events."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects import SseEvent, SseSplitter
from support.recordings import recordings

LINES = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data: \xc3\xa9\xe2\x82\xac",
        b"event: ping",
        b": note",
        b"",
        b"id: 1",
        b"data",
        b"x",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def split(text: bytes, cuts: list[int]) -> list[SseEvent]:
    splitter = SseSplitter()
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    events = []
    for start, end in itertools.pairwise(edges):
        events += splitter.feed(text[start:end])
    return events


@given(
    lines=st.lists(st.tuples(LINES, ENDS), max_size=20),
    mark=st.booleans(),
    cuts=st.lists(st.integers(0, 10_000), max_size=30),
)
def test_any_split_gives_the_same_events(
    lines: list[tuple[bytes, bytes]], mark: bool, cuts: list[int]
) -> None:
    text = (b"\xef\xbb\xbf" if mark else b"") + b"".join(line + end for line, end in lines)
    assert split(text, cuts) == split(text, []) == split(text, list(range(len(text))))


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: a\n\n", [SseEvent("", b"a")]),
        (b"event: x\r\ndata: a\r\ndata: b\r\n\r\n", [SseEvent("x", b"a\nb")]),
        (b"data:a\r\rdata:  b\r\r\n", [SseEvent("", b"a"), SseEvent("", b" b")]),
        (b": comment\n\n", []),
        (b"event: only-a-name\n\n", []),
        (b"data:\n\ndata: \n\nevent: x\ndata\n\ndata: a\n\n", [SseEvent("", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [SseEvent("", b"a")]),
        (b"data: not ended", []),
    ],
)
def test_events(text: bytes, events: list[SseEvent]) -> None:
    assert split(text, []) == events


@pytest.mark.parametrize("kind", ["openai-chat", "openai-responses", "anthropic-messages"])
def test_recorded_streams_split_the_same_at_every_byte(kind: str) -> None:
    for parameter in recordings(kind):
        row: Any = parameter.values[0]
        if row is None or not isinstance(row["response"]["body"], str):
            continue
        text = row["response"]["body"].encode()
        whole = split(text, [])
        assert whole
        assert split(text, list(range(0, len(text), 7))) == whole
        if len(text) < 4096:
            assert split(text, list(range(len(text)))) == whole
