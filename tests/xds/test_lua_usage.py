"""usage.lua in the LuaJIT of the real Envoy: the provider's own usage and no other, however a reply comes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.lua_envoy import LuaEnvoy

# The header `x-way` says what the body is: a whole reply, the end of one, or a stream; `x-sizes` in which
# pieces it comes.
ANSWER = """
function envoy_on_request(handle)
  local body = handle:body(true)
  local text = body:getBytes(0, body:length())
  local headers = handle:headers()
  local dialect, way = headers:get("x-dialect"), headers:get("x-way")
  local seen, scan, at = new_watch(dialect), scan_of_reply(dialect), 1
  for size in string.gmatch(headers:get("x-sizes"), "%d+") do
    local piece = string.sub(text, at, at + size - 1)
    if way == "stream" then
      watch(seen, piece)
    else
      scan_usage(scan, piece)
    end
    at = at + size
  end
  if way == "stream" and headers:get("x-ends") then
    end_usage(seen)
  end
  if way == "whole" then
    seen.usage, seen.tier = scanned(scan)
  elseif way == "end" then
    seen.usage = usage_at_end(text)
  end
  local told = {seen.so_far or "-", seen.usage or "-", seen.tier or "-"}
  handle:respond({[":status"] = "200"}, table.concat(told, "\\0"))
end
"""
CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"
U = {"prompt_tokens": 5, "completion_tokens": 7, "details": {"of": [1, {"usage": {"x": '}"{'}}]}}
USAGE = json.dumps(U)
FAKE = {"prompt_tokens": 1, "completion_tokens": 1}
SPOKEN = json.dumps({"usage": FAKE})  # as the text of an answer has it
SIZES = (1, 2, 3, 7, 61, 1_000, 100_000)


@pytest.fixture(scope="module")
def lua(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LuaEnvoy]:
    files = resources.files("modelbroker.xds")
    source = [files.joinpath(name).read_text() for name in ("usage.lua", "stream_end.lua")]
    with LuaEnvoy(tmp_path_factory.mktemp("lua"), "\n".join([*source, ANSWER])) as envoy:
        yield envoy


def told(
    lua: LuaEnvoy, way: str, dialect: str, body: bytes, sizes: Sequence[int], ends: bool = True
) -> list[str]:
    """[usage so far, usage at the end, tier]"""
    assert sum(sizes) == len(body)
    headers = {"x-dialect": dialect, "x-way": way, "x-sizes": " ".join(map(str, sizes))}
    headers |= {"x-ends": "1"} if ends else {}
    return ["" if text == "-" else text for text in lua.answer(body, headers).split("\0")]


def pieces(length: int, size: int) -> list[int]:
    return [size] * (length // size) + ([length % size] if length % size else [])


def in_any_pieces(lua: LuaEnvoy, way: str, dialect: str, body: bytes) -> list[str]:
    found = [
        told(lua, way, dialect, body, pieces(len(body), size)) for size in SIZES if len(body) / size < 3_000
    ]
    assert all(one == found[0] for one in found), found
    return found[0]


def with_usage(body: str) -> str:
    return body.replace("U", USAGE)


WHOLE: list[tuple[str, str]] = [
    (with_usage('{"id":"x","usage":U,"choices":[]}'), USAGE),
    (with_usage('  {\n "id" : "x" ,\n "usage"\t:\n U }\n\n'), USAGE),
    ('{"tools":[{"parameters":{"usage":{"a":1}}}],"metadata":{"usage":{"b":2}}}', ""),
    (with_usage('{"metadata":{"usage":{"b":2}},"usage":U,"tools":[{"usage":{"a":1}}]}'), USAGE),
    (json.dumps({"text": SPOKEN, "more": [SPOKEN], "last": SPOKEN}), ""),
    (json.dumps({"text": SPOKEN, "usage": U, "last": '","usage":{"a":1},"'}), USAGE),
    (json.dumps({"text": "\\", "usage": U}), USAGE),
    (json.dumps({"text": '\\\\"', "usage": U}), USAGE),
    (json.dumps({'say "usage': {"a": 1}}), ""),
    (json.dumps({"usage\\": {"a": 1}}), ""),
    ('{"\\u0075sage":{"a":1}}', ""),
    ('{"v":"usage","w":{"a":1},"usages":{"a":1},"xusage":{"a":1}}', ""),
    ('["usage",{"usage":{"a":1}}]', ""),
    ('[{"usage":{"a":1}}]', ""),
    ('{"usage":{"a":1},"usage":{"b":2}}', '{"b":2}'),
    ('{"usage":{"a":1},"usage":null}', ""),
    ('{"usage":null,"a":1}', ""),
    ('{"usage":[{"a":1}]}', ""),
    ('{"usage":"{}"}', ""),
    ('{"usage":{}}', "{}"),
    ('{"usage":{"a":1}', ""),
    ('{"text":"","usage":{"a":', ""),
    ('{"data":[[0.1,-2e5],[3]],"usage":{"a":1}}', '{"a":1}'),
    ('{"data":[1,"]",{"usage":{"b":2}}],"usage":{"a":1}}', '{"a":1}'),
    ('{"data":[1,[2,[3,4],"]"],{"usage":{"b":2}}],"more":[ -1 , 2 ],"usage":{"a":1}}', '{"a":1}'),
    ('{"data":' + "[1," * 20_000 + "1" + "]" * 20_000 + ',"usage":{"a":1}}', '{"a":1}'),
    (json.dumps({"image": "A" * 200_000, "usage": U}), USAGE),
    (json.dumps({"usage": U, "image": "A" * 200_000}), USAGE),
    (json.dumps({"text": '\\"' * 50_000 + SPOKEN * 500, "usage": U}), USAGE),
    (json.dumps({"data": [0.123456789] * 20_000, "usage": U}), USAGE),
    (json.dumps({"usage": {"a": "x" * 9_000}}), ""),  # nobody tells so much
    (json.dumps({"usage": {"a": "x" * 9_000}, "more": {"usage": U}}), ""),
    (with_usage('{"x_groq":{"id":"r","usage":U}}'), USAGE),
    (with_usage('{"x_groq":{"id":"r","deeper":{"usage":U}}}'), ""),
    (with_usage('{"x_groq":{"usage":{"a":1}},"usage":U}'), USAGE),
    ("<html>usage</html>", ""),
    ("", ""),
]


@pytest.mark.parametrize(("body", "expected"), WHOLE, ids=[body[:50] for body, _ in WHOLE])
def test_a_whole_reply(lua: LuaEnvoy, body: str, expected: str) -> None:
    assert in_any_pieces(lua, "whole", CHAT, body.encode())[1] == expected


@pytest.mark.parametrize(("body", "expected"), WHOLE, ids=[body[:50] for body, _ in WHOLE])
def test_at_the_end_of_one(lua: LuaEnvoy, body: str, expected: str) -> None:
    """Of as much as is kept: the same, or nothing; never another one."""
    if "x_groq" in body:
        return
    for size in (60, 200, 1_000, 4_096):
        tail = body.encode()[-size:]
        assert told(lua, "end", CHAT, tail, [len(tail)])[1] in (expected, "")


def test_a_list_of_embeddings_ends_with_it(lua: LuaEnvoy) -> None:
    vectors = [{"index": n, "embedding": [0.1] * 500} for n in range(20)]
    body = json.dumps({"data": vectors, "model": "usage", "usage": {"prompt_tokens": 9}}).encode()
    assert told(lua, "end", CHAT, body[-4096:], [4096])[1] == '{"prompt_tokens": 9}'
    strange = json.dumps({"usage": FAKE, "data": vectors}).encode()
    assert told(lua, "end", CHAT, strange[-4096:], [4096])[1] == ""


def test_the_tier_stands_beside_it(lua: LuaEnvoy) -> None:
    reply = {"service_tier": "flex", "metadata": {"service_tier": "priority"}, "usage": U, "text": SPOKEN}
    assert in_any_pieces(lua, "whole", RESPONSES, json.dumps(reply).encode()) == ["", USAGE, "flex"]
    long = {"service_tier": "x" * 50, "usage": U}
    assert in_any_pieces(lua, "whole", RESPONSES, json.dumps(long).encode()) == ["", USAGE, ""]


NAMES = st.sampled_from(["usage", "service_tier", "a", 'b"', "x_groq", "\\", "❄", ""])
WORDS = st.sampled_from([SPOKEN, "usage", "\\", '\\"', "}{][", "é❄", '"', ',"usage":{"a":1},', "x" * 40])
JSONS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=25,
)
SPELLINGS = st.sampled_from(
    [
        {"separators": (",", ":")},
        {},
        {"indent": 1},
        {"ensure_ascii": False},
        {"separators": (" ,\n", "\t:\r\n")},
    ]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_object_with_usage_gives_just_that(lua: LuaEnvoy, data: st.DataObject) -> None:
    value = data.draw(st.dictionaries(NAMES, JSONS, max_size=6))
    spelling = data.draw(SPELLINGS)
    body = json.dumps(value, **spelling).encode()
    at = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    sizes = [b - a for a, b in zip([0, *at], [*at, len(body)], strict=True)]
    _, usage, _ = told(lua, "whole", RESPONSES, body, sizes)
    expected = value.get("usage")
    if not isinstance(expected, dict):
        assert usage == ""
        return
    assert json.loads(usage) == expected and usage.encode() in body
    _, at_end, _ = told(lua, "end", RESPONSES, body, [len(body)])
    assert at_end in (usage, "")


# -- streams


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def chat(**fields: Any) -> str:
    choice = {"index": 0, "delta": {"content": SPOKEN}, "finish_reason": None}
    return "data: " + compact({"id": "c", "choices": [choice], **fields})


def stop(**fields: Any) -> str:
    return chat(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], **fields)


def event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: " + json.dumps({"type": kind, **fields})


LARGE = [{"name": "t", "parameters": {"usage": FAKE, "text": SPOKEN}}] * 300
STREAMS: list[tuple[str, list[str], list[str]]] = [
    (
        CHAT,
        [chat(usage=None), stop(usage=None), chat(choices=[], usage=U), "data: [DONE]"],
        ["", compact(U), ""],
    ),
    (CHAT, [chat(), stop(usage=U, service_tier="flex"), "data: [DONE]"], [compact(U), "", "flex"]),
    (CHAT, [chat(), stop(), chat(choices=[], usage=None), "data: [DONE]"], ["", "", ""]),
    (CHAT, [chat(usage={"n": 1}), chat(usage={"n": 2})], [compact({"n": 2}), "", ""]),
    (CHAT, [chat(usage={"n": 1}), stop(usage={"n": 2})], [compact({"n": 2}), "", ""]),
    (CHAT, [chat(choices=[], usage={"n": 1}), chat(usage={"n": 2})], [compact({"n": 2}), "", ""]),
    (CHAT, [chat(), stop(x_groq={"id": "r", "usage": U})], [compact(U), "", ""]),
    (CHAT, [chat(tools={"usage": FAKE}), stop(metadata={"usage": FAKE})], ["", "", ""]),
    (CHAT, [": " + chat(usage=FAKE)[6:], "event: " + chat(usage=FAKE), stop()], ["", "", ""]),
    (CHAT, [chat(image="A" * 30_000, usage=U), stop()], [compact(U), "", ""]),
    (CHAT, [chat(usage=U, tools=LARGE), stop()], [compact(U), "", ""]),
    (
        RESPONSES,
        [
            event("response.created", response={"usage": None, "tools": LARGE, "metadata": {"usage": FAKE}}),
            event("response.output_text.delta", delta=SPOKEN, usage=FAKE),
            event("response.output_item.done", item={"usage": FAKE}),
            event("response.completed", response={"service_tier": "default", "tools": LARGE, "usage": U}),
        ],
        ["", USAGE, "default"],
    ),
    (
        RESPONSES,
        [event("response.incomplete", response={"usage": U, "metadata": {"a": "❄" * 9_000, "usage": "x"}})],
        ["", USAGE, ""],
    ),
    (RESPONSES, ['data: {"response":{"usage":{"a":1}},"type":"response.completed"}'], ["", '{"a":1}', ""]),
    (
        RESPONSES,
        [
            'data: {"response":'
            + json.dumps({"type": "response.created", "t": LARGE, "usage": U})
            + ',"type":"response.completed"}'
        ],
        ["", USAGE, ""],
    ),
    (
        RESPONSES,
        [
            event("response.in_progress", response={"usage": U, "t": LARGE}),
            event("response.failed", response={}),
        ],
        ["", "", ""],
    ),
    (RESPONSES, [event("response.failed", response={"usage": U})], ["", USAGE, ""]),
    (RESPONSES, [event("response.in_progress", response={"usage": {"a": 0}})], ["", "", ""]),
    (
        MESSAGES,
        [
            event("message_start", message={"usage": {"input_tokens": 9, "output_tokens": 1}}),
            event("content_block_start", content_block={"input": {"usage": FAKE}}, delta={"message": FAKE}),
            event("content_block_delta", delta={"partial_json": SPOKEN}),
            event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}),
            event("message_stop"),
        ],
        ['{"input_tokens": 9, "output_tokens": 1}', '{"output_tokens": 5}', ""],
    ),
    (
        MESSAGES,
        [event("message_delta", delta={}, usage={"a": 1}), event("message_delta", delta={}, usage={"b": 2})],
        ["", '{"a": 1},{"b": 2}', ""],
    ),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(("dialect", "events", "expected"), STREAMS)
def test_a_stream(lua: LuaEnvoy, dialect: str, events: list[str], expected: list[str], line_end: str) -> None:
    stream = ("\n\n".join(events) + "\n\n").replace("\n", line_end).encode()
    assert in_any_pieces(lua, "stream", dialect, stream) == expected
    by_event = [len((one + "\n\n").replace("\n", line_end).encode()) for one in events]
    assert told(lua, "stream", dialect, stream, by_event) == expected


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cuts_of_a_stream(lua: LuaEnvoy, data: st.DataObject) -> None:
    dialect, events, expected = data.draw(st.sampled_from(STREAMS))
    stream = ("\n\n".join(events) + "\n\n").encode()
    at = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    sizes = [b - a for a, b in zip([0, *at], [*at, len(stream)], strict=True)]
    assert told(lua, "stream", dialect, stream, sizes) == expected


HOLDERS = {CHAT: ("x_groq", True), RESPONSES: ("response", False), MESSAGES: ("message", True)}
FIELDS = st.sampled_from(["usage", "x_groq", "response", "message", "type", "delta", 'usage"'])
KINDS = st.sampled_from(["message_start", "message_delta", "response.created", "response.completed"])


def read(dialect: str, events: Sequence[dict[str, Any]]) -> Any:
    """The usage that was told last, read as JSON."""
    holder, on_top = HOLDERS[dialect]
    found = None
    for value in events:
        held = value.get(holder)
        told = value.get("usage") if on_top else None
        if not isinstance(told, dict):
            told = held.get("usage") if isinstance(held, dict) else None
        is_other = dialect == RESPONSES and value["type"] not in (None, "response.completed")
        if isinstance(told, dict) and not is_other:
            found = told
    return found


@pytest.mark.parametrize("cut", [40, 5_121, 8_000])
def test_a_long_event_of_a_chat_tells_usage_whatever_kind_it_says_it_is(lua: LuaEnvoy, cut: int) -> None:
    """What a response says when it begins is passed over; a chat has no such kinds."""
    event = {"type": "response.created", "usage": U, "long": "x" * 9_000}
    stream = b"data: %b\n\n" % json.dumps(event).encode()
    so_far, last, _ = told(lua, "stream", CHAT, stream, [cut, len(stream) - cut])
    assert (so_far, last) == (USAGE, "")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_events_tell_what_they_say_last(lua: LuaEnvoy, data: st.DataObject) -> None:
    dialect = data.draw(st.sampled_from((CHAT, RESPONSES)))
    one = st.dictionaries(FIELDS, JSONS | st.dictionaries(NAMES, JSONS, max_size=3), max_size=4)
    kinds = KINDS | st.none()
    events = data.draw(st.lists(st.tuples(one, kinds, st.booleans()), min_size=1, max_size=4))
    values = [{**value, "type": kind, "long": "x" * 9_000 * is_long} for value, kind, is_long in events]
    stream = b"".join(b"data: %b\n\n" % json.dumps(value).encode() for value in values)
    at = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    sizes = [b - a for a, b in zip([0, *at], [*at, len(stream)], strict=True)]
    so_far, last, _ = told(lua, "stream", dialect, stream, sizes)
    assert (json.loads(last or so_far) if last or so_far else None) == read(dialect, values)


@pytest.mark.parametrize("events", [1, 2, 15, 16, 17, 33, 100])
def test_usage_in_each_event_is_known_to_a_few_tokens(lua: LuaEnvoy, events: int) -> None:
    """And to the last one at the end."""
    stream = [f"{chat(usage={'n': n})}\n\n".encode() for n in range(1, events + 1)]
    body, sizes = b"".join(stream), [*map(len, stream)]
    so_far, last, _ = told(lua, "stream", CHAT, body, sizes, ends=False)
    assert 0 <= events - json.loads(so_far)["n"] < 16 and last == ""
    assert told(lua, "stream", CHAT, body, sizes) == [compact({"n": events}), "", ""]
    whole = body + f"{chat(choices=[], usage={'n': 500})}\n\n".encode()
    *_, final, _ = told(lua, "stream", CHAT, whole, [*sizes, len(whole) - len(body)], ends=False)
    assert final == compact({"n": 500})


def test_an_event_that_is_cut_tells_nothing(lua: LuaEnvoy) -> None:
    stream = (stop(usage=U, tools=LARGE) + "\n\n").encode()
    for left in (1, 2, 3, 40, len(stream) // 2):
        cut = stream[:-left]
        expected = ["", "", ""]
        assert told(lua, "stream", CHAT, cut, pieces(len(cut), 1_000)) == expected
