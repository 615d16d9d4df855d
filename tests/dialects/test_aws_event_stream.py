"""AWS's event stream: what botocore reads out of it, at any split of the bytes, and clear faults."""

from __future__ import annotations

import base64
import binascii
import itertools
import struct
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.dialects.aws_event_stream import BadEventStream, EventStreamMessage, EventStreamSplitter
from support.event_stream import event, frame, spelled
from support.recordings import recordings

HEADERS = st.dictionaries(
    st.text(min_size=1, max_size=20),
    st.one_of(
        st.tuples(st.just(0), st.just(True)),
        st.tuples(st.just(1), st.just(False)),
        st.tuples(st.just(2), st.integers(-(2**7), 2**7 - 1)),
        st.tuples(st.just(3), st.integers(-(2**15), 2**15 - 1)),
        st.tuples(st.just(4), st.integers(-(2**31), 2**31 - 1)),
        st.tuples(st.sampled_from([5, 8]), st.integers(-(2**63), 2**63 - 1)),
        st.tuples(st.just(6), st.binary(max_size=40)),
        st.tuples(st.just(7), st.text(max_size=40)),
        st.tuples(st.just(9), st.binary(min_size=16, max_size=16)),
    ),
    max_size=6,
)
FRAMES = st.lists(st.builds(frame, HEADERS, st.binary(max_size=200)), max_size=6)
GOOD = event("messageStart", {"role": "assistant"})


def read(text: bytes, cuts: list[int]) -> tuple[list[EventStreamMessage], str]:
    """(messages, the fault's words or "")."""
    splitter = EventStreamSplitter()
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    messages: list[EventStreamMessage] = []
    for start, end in itertools.pairwise(edges):
        try:
            messages += splitter.feed(text[start:end])
        except BadEventStream as fault:
            return messages + fault.before, str(fault)
    return messages, ""


def by_botocore(text: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(text)
    return [(message.headers, message.payload) for message in buffer]


@given(HEADERS, st.binary(max_size=100))
def test_a_message_is_what_botocore_reads(headers: dict[str, Any], payload: bytes) -> None:
    text = frame(headers, payload)
    assert by_botocore(text) == [({name: value for name, (_, value) in headers.items()}, payload)]
    expected = {name: spelled(kind, value) for name, (kind, value) in headers.items()}
    assert read(text, []) == ([EventStreamMessage(expected, payload)], "")


@given(FRAMES, st.lists(st.integers(0), max_size=12), st.integers(0))
def test_any_split_gives_the_same_messages(frames: list[bytes], cuts: list[int], cut: int) -> None:
    text = b"".join(frames)
    whole = read(text, [])
    assert len(whole[0]) == len(frames)
    assert read(text, cuts) == whole
    short = text[: cut % (len(text) + 1)]
    messages, fault = read(short, cuts)
    assert (messages, fault) == (whole[0][: len(messages)], "")


@settings(max_examples=200)
@given(FRAMES, st.integers(0), st.integers(1, 255), st.lists(st.integers(0), max_size=8))
def test_every_damaged_byte_is_seen(frames: list[bytes], place: int, change: int, cuts: list[int]) -> None:
    text = bytearray(b"".join([*frames, GOOD]))
    place %= len(text)
    text[place] ^= change
    messages, fault = read(bytes(text), [])
    assert fault
    assert read(bytes(text), cuts) == (messages, fault)
    ends = list(itertools.accumulate(map(len, frames)))
    assert len(messages) == sum(end <= place for end in ends)


@given(st.binary(max_size=100), st.lists(st.integers(0), max_size=8))
def test_rubbish_ends_in_words(text: bytes, cuts: list[int]) -> None:
    messages, fault = read(text, [])
    assert not messages
    assert bool(fault) == (len(text) >= 12)
    assert read(text, cuts) == (messages, fault)


def prelude(length: int, headers: int) -> bytes:
    numbers = struct.pack(">II", length, headers)
    return numbers + struct.pack(">I", binascii.crc32(numbers))


@pytest.mark.parametrize(
    ("length", "headers"),
    [(15, 0), (0, 0), (16, 1), (100, 85), (25 * 1024 * 1024, 0), (2**32 - 1, 0), (200_000, 140_000)],
)
def test_an_absurd_length_is_refused_at_once(length: int, headers: int) -> None:
    splitter = EventStreamSplitter()
    with pytest.raises(ValueError, match="message"):
        splitter.feed(prelude(length, headers))
    with pytest.raises(ValueError, match="message"):
        splitter.feed(GOOD)


def damaged_headers(block: bytes) -> bytes:
    head = prelude(12 + len(block) + 4, len(block))
    return head + block + struct.pack(">I", binascii.crc32(head + block))


@pytest.mark.parametrize(
    "block",
    [
        b"\x05abc",
        b"\x01a",
        b"\x01a\x0b",
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x05ab",
        b"\x01a\x07\x00\x01\xff",
        b"\x01\xff\x00",
        b"\x01a\x09abc",
        b"\x01a\x04\x00",
        b"\x01a\x00\x01a\x01",
    ],
)
def test_headers_that_can_not_be_read(block: bytes) -> None:
    messages, fault = read(GOOD + damaged_headers(block), [])
    assert len(messages) == 1
    assert "header" in fault


def test_a_cut_is_seen() -> None:
    splitter = EventStreamSplitter()
    assert splitter.feed(GOOD[:-1]) == []
    assert splitter.holds_part
    assert len(splitter.feed(GOOD[-1:])) == 1
    assert not splitter.holds_part


def test_a_large_message_in_small_pieces() -> None:
    text = frame({":event-type": (7, "x")}, bytes(8 * 1024 * 1024)) + GOOD
    splitter = EventStreamSplitter()
    sizes = [
        len(message.payload)
        for at in range(0, len(text), 16 * 1024)
        for message in splitter.feed(text[at : at + 16 * 1024])
    ]
    assert sizes == [8 * 1024 * 1024, len(GOOD) - 12 - 82 - 4]


@pytest.mark.parametrize("row", recordings("bedrock-converse-stream"))
def test_recorded_streams(row: Any) -> None:
    text = base64.b64decode(row["response"]["body"]["base64"])
    whole, fault = read(text, [])
    assert not fault
    assert [(message.headers, message.payload) for message in whole] == by_botocore(text)
    for cut in range(0, len(text), 1 if len(text) < 4096 else 37):
        assert read(text, [cut]) == (whole, "")
    assert read(text, list(range(len(text)))) == (whole, "")
