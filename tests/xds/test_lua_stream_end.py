"""stream_end.lua in the LuaJIT of the real Envoy against the dialects' `is_last`, however a stream comes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.dialects import SseSplitter, dialect_named
from support.lua_envoy import LuaEnvoy
from support.recordings import recordings

# The body is the stream, the header `x-sizes` says in which pieces it comes.
ANSWER = """
function envoy_on_request(handle)
  local body = handle:body(true)
  local text = body:getBytes(0, body:length())
  local headers = handle:headers()
  local seen, at = new_watch(headers:get("x-dialect")), 1
  for size in string.gmatch(headers:get("x-sizes"), "%d+") do
    watch(seen, string.sub(text, at, at + size - 1))
    at = at + size
  end
  local is_over, failure = was_whole(seen, headers:get("x-dialect"))
  handle:respond({[":status"] = "200"}, tostring(is_over) .. " " .. tostring(failure ~= nil))
end
"""
CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"
DIALECTS = (CHAT, RESPONSES, MESSAGES)


@pytest.fixture(scope="module")
def lua(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LuaEnvoy]:
    files = resources.files("modelbroker.xds")
    source = [files.joinpath(name).read_text() for name in ("usage.lua", "stream_end.lua")]
    with LuaEnvoy(tmp_path_factory.mktemp("lua"), "\n".join([*source, ANSWER])) as envoy:
        yield envoy


def in_lua(lua: LuaEnvoy, dialect: str, stream: bytes, sizes: Sequence[int]) -> str:
    assert sum(sizes) == len(stream)
    headers = {"x-dialect": dialect, "x-sizes": " ".join(map(str, sizes))}
    return lua.answer(stream, headers).partition(" ")[0]


def in_python(dialect: str, stream: bytes) -> str:
    splitter, is_over = SseSplitter(), False
    for event in splitter.feed(stream):
        last = dialect_named(dialect).is_last(event)
        is_over = is_over if last is None else last
    return str(is_over).lower()


def pieces(length: int, size: int) -> list[int]:
    return [size] * (length // size) + ([length % size] if length % size else [])


def chat(**choice: Any) -> str:
    shown = {"index": 0, "delta": {}, "finish_reason": None, **choice}
    return "data: " + json.dumps({"id": "c", "choices": [shown]}, separators=(",", ":"))


ROLE, WORD = chat(delta={"role": "assistant"}), chat(delta={"content": "data: [DONE] ❄ \\n\\n"})
STOP, DONE = chat(finish_reason="stop"), "data: [DONE]"
USAGE = 'data: {"id":"c","choices":[],"usage":{"total_tokens":7}}'
LONG = chat(delta={"content": "x" * 20_000})
CREATED = 'event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}'
DELTA = (
    "event: response.output_text.delta\n"
    'data: {"type":"response.output_text.delta","delta":"response.completed"}'
)
COMPLETED = (
    'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","error":null}}'
)
LARGE = COMPLETED.replace('"id":"r"', '"id":"r","instructions":"' + "y" * 30_000 + '"')
TYPE_LAST = (
    "event: response.incomplete\n"
    'data: {"response":{"id":"r"},"sequence_number":4,"type":"response.incomplete"}'
)
STARTED = 'event: message_start\ndata: {"type":"message_start","message":{}}'
PART = (
    'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"event: message_stop"}}'
)
WHY = 'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}'
STOPPED = 'event: message_stop\ndata: {"type":"message_stop"}'
COMMENT = ": keep-alive"

WHOLE: list[tuple[str, list[str]]] = [
    (CHAT, [ROLE, WORD, STOP, DONE]),
    (CHAT, [ROLE, WORD, STOP, USAGE, DONE, COMMENT, COMMENT]),
    (CHAT, [ROLE, WORD, STOP]),  # some end without [DONE]
    (CHAT, [ROLE, WORD, STOP, COMMENT, USAGE]),
    (CHAT, [ROLE, LONG, STOP, USAGE, DONE]),
    (CHAT, [ROLE, WORD, 'data: {"error":{"message":"overloaded"}}']),
    (CHAT, [ROLE, WORD, 'event: error\ndata: {"message":"overloaded"}']),
    (CHAT, [ROLE, WORD.replace("data: ", "data:"), "data:[DONE]"]),
    (RESPONSES, [CREATED, DELTA, COMPLETED]),
    (RESPONSES, [CREATED, DELTA, LARGE, COMMENT]),
    (RESPONSES, [CREATED, DELTA, COMPLETED.partition("\n")[2]]),
    (RESPONSES, [CREATED, DELTA, COMPLETED, DONE]),
    (RESPONSES, [CREATED, DELTA, TYPE_LAST]),
    (RESPONSES, [CREATED, DELTA, TYPE_LAST.partition("\n")[2].replace('":', '": ')]),
    (RESPONSES, [CREATED, 'event: error\ndata: {"type":"error","message":"boom"}']),
    (RESPONSES, [CREATED, 'event: response.failed\ndata: {"type":"response.failed","response":{}}']),
    (MESSAGES, [STARTED, PART, WHY, STOPPED]),
    (MESSAGES, [STARTED, PART, WHY, STOPPED.partition("\n")[2], COMMENT]),
    (MESSAGES, [STARTED, PART, 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}']),
]
CUT: list[tuple[str, list[str]]] = [
    (CHAT, [ROLE, WORD]),
    (CHAT, [ROLE, LONG]),
    (CHAT, [ROLE, WORD, COMMENT, COMMENT]),
    (CHAT, [ROLE, chat(index=1, finish_reason="stop"), WORD]),  # of two answers one was not finished
    (CHAT, [ROLE, WORD, chat(finish_reason="")]),
    (CHAT, [ROLE, USAGE]),
    (RESPONSES, [CREATED, DELTA]),
    (RESPONSES, [CREATED, DELTA, DONE]),
    (MESSAGES, [STARTED, PART]),
    (MESSAGES, [STARTED, PART, WHY]),
]
INSIDE: list[tuple[str, list[str]]] = [  # the last event is cut itself
    (CHAT, [ROLE, WORD[:-9]]),
    (RESPONSES, [CREATED, DELTA, LARGE[:-20]]),
    (RESPONSES, [CREATED, DELTA, "event: response.completed"]),
    (MESSAGES, [STARTED, PART, WHY, STOPPED[:-4]]),
]
# (dialect, events, is a blank line behind the last one, is it whole): without that line no client sees it.
TABLE = [(*case, True, "true") for case in WHOLE] + [(*case, True, "false") for case in CUT]
TABLE += [(*case, False, "false") for case in (*CUT[:3], *INSIDE)]
TABLE += [
    (CHAT, [ROLE, WORD, STOP, DONE], False, "true"),
    (CHAT, [ROLE, WORD, STOP], False, "false"),
    (RESPONSES, [CREATED, DELTA, COMPLETED], False, "false"),
    (RESPONSES, [CREATED, DELTA, LARGE[:-1]], False, "false"),
    (MESSAGES, [STARTED, PART, WHY, STOPPED], False, "false"),
]
SIZES = (1, 2, 3, 7, 16, 61, 250, 5_000, 100_000)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(("dialect", "events", "is_ended", "expected"), TABLE)
def test_however_it_comes(
    lua: LuaEnvoy, dialect: str, events: list[str], is_ended: bool, expected: str, line_end: str
) -> None:
    text = "\n\n".join(events) + ("\n\n" if is_ended else "")
    stream = text.replace("\n", line_end).encode()
    assert in_python(dialect, stream) == expected
    by_event = [len((event + "\n\n").replace("\n", line_end).encode()) for event in events]
    by_event[-1] -= 0 if is_ended else 2 * len(line_end)
    ways = [by_event, *(pieces(len(stream), size) for size in SIZES if len(stream) / size < 3_000)]
    assert [in_lua(lua, dialect, stream, sizes) for sizes in ways] == [expected] * len(ways)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_really_came(lua: LuaEnvoy, dialect: str) -> None:
    """Recorded streams, and what would be left of them."""
    streams = [row.values[0] for row in recordings(dialect)]
    count = 0
    for row in streams:
        body = row["response"]["body"] if row is not None else None
        if not isinstance(body, str) or not body.startswith(("data", "event", ":")):
            continue
        stream = body.encode()
        assert in_python(dialect, stream) == "true", row["id"]
        for cut in (len(stream), len(stream) * 2 // 3, len(stream) // 3):
            for size in (4096, 333):
                told = in_lua(lua, dialect, stream[:cut], pieces(cut, size))
                assert told == in_python(dialect, stream[:cut]), (row["id"], cut, size)
        count += 1
    if streams[0] is not None:
        assert count


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cuts(lua: LuaEnvoy, data: st.DataObject) -> None:
    """Anywhere, and with an end anywhere, too."""
    dialect, events = data.draw(st.sampled_from((*WHOLE, *CUT)))
    stream = ("\n\n".join(events) + "\n\n").encode()
    stream = stream[: data.draw(st.integers(1, len(stream)))]
    at = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    sizes = [b - a for a, b in zip([0, *at], [*at, len(stream)], strict=True)]
    assert in_lua(lua, dialect, stream, sizes) == in_python(dialect, stream)
