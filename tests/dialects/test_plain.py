"""Replies that are told to be plain by a look are what a reading of all of them finds."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.dialects.plain import is_plain
from modelbroker.dialects.repeats import INCOMPLETE, STREAM, WHOLE, Kept, judged, kept
from support.dialects import Recorded, parameters


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in items for found in paths(inner, (*path, key)))]


def replaced(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(body)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return changed


def _is_object(body: Any, path: tuple[Any, ...]) -> bool:
    return isinstance(at(body, path), dict)


def at(body: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        body = body[step]
    return body


@pytest.mark.parametrize("row", parameters(client=True))
def test_what_looks_plain_is_so_when_it_is_read(row: Recorded) -> None:
    if is_plain(row.dialect, row.streamed, row.reply):
        assert judged(row.dialect, STREAM if row.streamed else WHOLE, row.reply, False) == Kept(True)


def test_most_recorded_replies_that_can_be_turned_are_plain() -> None:
    rows = [each.values[0] for each in parameters(client=True)]
    whole = [row for row in rows if row is not None and not row.streamed]
    turned = [row for row in whole if judged(row.dialect, WHOLE, row.reply, False) == Kept(True)]
    plain = [row for row in turned if is_plain(row.dialect, row.streamed, row.reply)]
    assert len(plain) >= 0.9 * len(turned)


PLAIN: dict[str, Any] = {
    "openai-chat": {
        "id": "c",
        "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    },
    "openai-responses": {
        "id": "r",
        "status": "completed",
        "output": [
            {"type": "reasoning", "id": "t", "summary": [{"type": "summary_text", "text": "b"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "a", "annotations": []}]},
        ],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
    "anthropic-messages": {
        "id": "a",
        "type": "message",
        "content": [{"type": "text", "text": "a"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
}
TELLING = [
    "annotations",
    "arguments",
    "audio",
    "call_id",
    "choices",
    "citations",
    "content",
    "encrypted_content",
    "error",
    "extra_content",
    "finish_reason",
    "function",
    "function_call",
    "google",
    "id",
    "images",
    "incomplete_details",
    "index",
    "input",
    "iterations",
    "logprobs",
    "message",
    "name",
    "output",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "search_results",
    "signature",
    "status",
    "stop_details",
    "stop_reason",
    "summary",
    "text",
    "thinking",
    "thought_signature",
    "tool_calls",
    "type",
    "usage",
    "explanation",
    "url",
    "url_citation",
]
WORDS = [
    "stop",
    "length",
    "error",
    "content_filter",
    "tool_calls",
    "end_turn",
    "stop_sequence",
    "refusal",
    "tool_use",
    "message",
    "completed",
    "incomplete",
    "failed",
    "output_text",
    "reasoning",
    "text",
    "thinking",
    "function_call",
    "url_citation",
    "https://a.b/",
]
TOLD = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", *WORDS]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(TELLING), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=600)
@given(st.sampled_from(list(PLAIN)), st.data())
def test_what_says_anything_more_is_plain_only_if_it_reads_so(dialect: str, data: Any) -> None:
    body = PLAIN[dialect]
    assert is_plain(dialect, False, json.dumps(body).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths(body)))
        if _is_object(body, path) and data.draw(st.booleans()):
            path = (*path, data.draw(st.sampled_from(TELLING)))
        body = replaced(body, path, data.draw(TOLD))
    raw = json.dumps(body).encode()
    assert not is_plain(dialect, False, raw) or judged(dialect, WHOLE, raw, False) == Kept(True)


CHUNKS: list[Any] = [
    {
        "id": "c",
        "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": "", "reasoning": "b", "refusal": None}}
        ],
    },
    {"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]},
    {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
]


def events_of(chunks: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


@settings(max_examples=600)
@given(st.data())
def test_a_chat_stream_is_plain_only_if_it_reads_so(data: Any) -> None:
    chunks: Any = CHUNKS
    assert is_plain("openai-chat", True, events_of(chunks))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths(chunks)[1:]))
        if _is_object(chunks, path) and data.draw(st.booleans()):
            path = (*path, data.draw(st.sampled_from([*TELLING, "delta"])))
        chunks = replaced(chunks, path, data.draw(TOLD))
    chunks = data.draw(st.just(chunks) | st.lists(st.sampled_from(chunks), max_size=6))
    raw = events_of(chunks)
    place = data.draw(st.integers(0, len(raw)))
    more = data.draw(
        st.sampled_from([b"", b"", b"\n", b"\r", b"\n\n", b": x\n\n", b"data: ", b"event: error\n"])
    )
    raw = raw[:place] + more + raw[place:]
    raw = raw[: data.draw(st.just(len(raw)) | st.integers(0, len(raw)))]
    if is_plain("openai-chat", True, raw):
        assert judged("openai-chat", STREAM, raw, False) == Kept(True)


MESSAGE, CONTENT = ("choices", 0, "message"), ("output", 1, "content", 0)
CITED = [{"type": "url_citation", "url": "https://a.b/", "url_citation": {"url": "https://a.b/"}}]


@pytest.mark.parametrize(
    ("dialect", "path", "value", "worth"),
    [
        ("openai-chat", ("choices", 0, "finish_reason"), "length", "max_tokens"),
        ("openai-chat", ("choices", 0, "finish_reason"), "error", INCOMPLETE),
        ("openai-chat", ("choices", 0, "error"), {"message": "no"}, INCOMPLETE),
        ("openai-chat", (*MESSAGE, "content"), "", "empty"),
        ("openai-chat", (*MESSAGE, "refusal"), "No.", Kept(False)),
        ("openai-chat", (*MESSAGE, "tool_calls"), [{"function": {"name": "f"}}], "tools"),
        ("openai-chat", (*MESSAGE, "function_call"), {"name": "f"}, "tools"),
        ("openai-chat", (*MESSAGE, "annotations"), CITED, Kept(False)),
        ("openai-chat", (*MESSAGE, "images"), [{"image_url": "https://a.b/"}], Kept(False)),
        ("openai-chat", (*MESSAGE, "extra_content"), {"google": {"thought_signature": "x"}}, Kept(False)),
        ("openai-chat", ("citations",), ["https://a.b/"], Kept(False)),
        ("openai-chat", ("search_results",), CITED, Kept(False)),
        ("openai-responses", ("status",), "incomplete", "max_tokens"),
        ("openai-responses", ("status",), "failed", INCOMPLETE),
        ("openai-responses", ("output",), [], "empty"),
        ("openai-responses", ("output", 0), {"type": "function_call", "name": "f"}, "tools"),
        ("openai-responses", ("output", 0, "encrypted_content"), "x", Kept(False)),
        ("openai-responses", (*CONTENT, "annotations"), CITED, Kept(False)),
        ("openai-responses", CONTENT, {"type": "refusal", "text": "", "refusal": "No."}, Kept(False)),
        ("anthropic-messages", ("stop_reason",), "max_tokens", "max_tokens"),
        ("anthropic-messages", ("stop_reason",), "pause_turn", "pause"),
        ("anthropic-messages", ("type",), "error", INCOMPLETE),
        ("anthropic-messages", ("content", 0), {"type": "tool_use", "name": "f", "input": {}}, "tools"),
        ("anthropic-messages", ("content", 0, "text"), "", "empty"),
        ("anthropic-messages", ("usage", "input_tokens"), "x", INCOMPLETE),
        ("anthropic-messages", ("stop_details",), {"explanation": "No."}, Kept(False)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_whole_reply_that_is_not_plain(
    dialect: str, path: tuple[Any, ...], value: Any, worth: Kept | str
) -> None:
    raw = json.dumps(replaced(PLAIN[dialect], path, value)).encode()
    assert not is_plain(dialect, False, raw)
    assert kept(dialect, WHOLE, raw, False) == worth


DELTA = (1, "choices", 0, "delta")


@pytest.mark.parametrize(
    ("path", "value", "worth"),
    [
        ((2, "choices", 0, "finish_reason"), "length", "max_tokens"),
        ((1, "choices", 0, "finish_reason"), "error", INCOMPLETE),
        ((1, "choices", 0, "error"), {"message": "no"}, INCOMPLETE),
        ((1, "error"), {"message": "no"}, INCOMPLETE),
        ((1, "citations"), ["https://a.b/"], Kept(False)),
        ((1, "choices", 0, "index"), 1, "empty"),
        ((*DELTA, "content"), "", "empty"),
        ((*DELTA, "refusal"), "No.", Kept(False)),
        ((*DELTA, "tool_calls"), [{"index": 0, "id": "i", "function": {"name": "f"}}], "tools"),
        ((*DELTA, "function_call"), {"name": "f"}, "tools"),
        ((*DELTA, "annotations"), CITED, Kept(False)),
        ((*DELTA, "images"), [{"image_url": "https://a.b/"}], Kept(False)),
        ((*DELTA, "extra_content"), {"google": {"thought_signature": "x"}}, Kept(False)),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_chat_stream_that_is_not_plain(path: tuple[Any, ...], value: Any, worth: Kept | str) -> None:
    raw = events_of(replaced(CHUNKS, path, value))
    assert not is_plain("openai-chat", True, raw)
    assert kept("openai-chat", STREAM, raw, False) == worth


@pytest.mark.parametrize("dialect", PLAIN)
def test_plain_replies_are_json_and_unicode(dialect: str) -> None:
    raw = json.dumps({**PLAIN[dialect], "more": ["é"]}, ensure_ascii=False).encode()
    assert is_plain(dialect, False, raw)
    for bad in (raw[:-1], raw.replace("é".encode(), b"\xff"), raw.replace("é".encode(), b"\\ud800")):
        assert not is_plain(dialect, False, bad)
