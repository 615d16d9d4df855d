"""Captured calls → the events by which their texts go out. Golden files: what a backend shows of each."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.catalog import Member, Pool
from modelbroker.core.causes import Cause
from modelbroker.core.record import Attempt, Record
from modelbroker.core.traffic import CUT_BY_SIZE, CUT_SHORT, Sample
from modelbroker.dialects import client_dialect, provider_dialect
from modelbroker.dialects.replies import Ended
from modelbroker.dialects.translation import Context
from modelbroker.policy.redaction import cleaned, redaction_by
from modelbroker.telemetry.content import MOST_BYTES, STILL, Event, event_of, is_wanted, strangers_of
from modelbroker.telemetry.spans import call_attributes
from modelbroker.telemetry.texts import MOST_NAME, size_of
from modelbroker.telemetry.wire import events_request, resource_of
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from support.collectors import plain
from support.dialects import CLIENT_DIALECTS, Recorded, parameters, upstream

GOLDEN = Path(__file__).parent / "golden_content"
AT_S = 1_796_000_000.5
REQUEST_ID = "0190a5d3c4b27cde8f0123456789abcd"
TEXTS = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
)
PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
    "openai-embeddings": "/v1/embeddings",
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="


def record(dialect: str = "openai-chat", **more: Any) -> Record:
    told: dict[str, Any] = {
        "request_id": REQUEST_ID,
        "started_s": AT_S,
        "duration_ms": 1500.0,
        "first_byte_ms": 400.0,
        "status": 200,
        "method": "POST",
        "path": PATHS[dialect],
        "dialect": dialect,
        "model": "support",
        "pool": "support",
        "member": "anthropic/claude-opus-4-7",
        "outcome": "ok",
        "captured": "both",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id": "8f0123456789ab00",
        "sampled": True,
        "attempts": (Attempt("anthropic/claude-opus-4-7", 200, 1400.0),),
    }
    return Record(**(told | more))


def sample(request: Any, reply: Any = None, dialect: str = "openai-chat", **more: Any) -> Sample:
    """Bodies as bytes, or what is to be JSON."""
    bodies = [
        one if one is None or isinstance(one, bytes) else json.dumps(one).encode() for one in (request, reply)
    ]
    told: dict[str, Any] = {
        "dialect": dialect,
        "path": PATHS.get(dialect, ""),
        "pool": "support",
        "status": 200,
    }
    return Sample(REQUEST_ID, AT_S, request=bodies[0], reply=bodies[1], **(told | more))


def sse(*events: Any, end: str = "") -> bytes:
    return ("".join(f"data: {json.dumps(one)}\n\n" for one in events) + end).encode()


def answered(text: str = "It rains.", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **more}
    stop = "tool_calls" if "tool_calls" in more else "stop"
    return {
        "id": "chatcmpl-1",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": stop}],
    }


def asked(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "support", "messages": [*messages], **more}


USER = {"role": "user", "content": "Does it rain in Paris?"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "rain", "arguments": '{"city": "Paris"}'}}
CHAT_STREAM = [
    {"id": "chatcmpl-2", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "It "}}]},
    {"id": "chatcmpl-2", "choices": [{"index": 0, "delta": {"content": "rains."}}]},
    {"id": "chatcmpl-2", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]},
]

CASES: dict[str, Sample] = {
    "chat": sample(
        asked(
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Look: [email]"}]},
            {"role": "assistant", "content": None, "reasoning_content": "Ask.", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "yes"},
            USER,
            tools=[
                {
                    "type": "function",
                    "function": {"name": "rain", "description": "Rain?", "parameters": SCHEMA},
                }
            ],
        ),
        answered(),
        redacted=("email",),
    ),
    "chat-calls": sample(asked(USER), answered("", tool_calls=[CALL], reasoning_content="I have to look.")),
    "chat-two-choices": sample(
        asked(USER, n=2),
        {
            "choices": [
                {"index": 0, "message": {"content": "Yes."}, "finish_reason": "stop"},
                {
                    "index": 1,
                    "message": {"content": None, "refusal": "No."},
                    "finish_reason": "content_filter",
                },
            ]
        },
    ),
    "chat-stream": sample(asked(USER, stream=True), sse(*CHAT_STREAM, end="data: [DONE]\n\n"), stream=True),
    "chat-stream-cut": sample(asked(USER), sse(*CHAT_STREAM[:2]), stream=True, cut=CUT_SHORT),
    "chat-stream-failed": sample(
        asked(USER), sse(*CHAT_STREAM[:1], {"error": {"message": "overloaded"}}), stream=True, cut=CUT_SHORT
    ),
    "chat-media": sample(
        asked(
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
                    {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}},
                    {"type": "image_url", "image_url": {"url": "[media image/png 88 bytes]"}},
                    {"type": "input_audio", "input_audio": {"format": "wav", "data": PICTURE}},
                    {"type": "file", "file": {"file_id": "file-1"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "[media 900 bytes]"}},
                    {"type": "video_url", "video_url": {"url": "https://pictures.example/1.mp4"}},
                ],
            }
        ),
    ),
    "chat-old": sample(
        asked(
            {"role": "assistant", "function_call": {"name": "rain", "arguments": "not json"}},
            {"role": "function", "name": "rain", "content": "yes"},
            functions=[{"name": "rain", "parameters": SCHEMA}],
        ),
    ),
    "chat-with-holes": sample(
        # What paths that are dropped, and numbers that are masked, may leave.
        asked(
            {"content": "without a role"}, "text", {"role": 5}, {"role": "user", "content": 7}, tools="none"
        ),
        {"choices": [{"message": {"content": "Yes."}}], "usage": "[card]"},
    ),
    "responses": sample(
        {
            "model": "support",
            "instructions": "Be brief.",
            "previous_response_id": "resp_0",
            "store": True,
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Rain?"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "I look."}]},
                {"type": "web_search_call", "id": "ws_1", "status": "completed"},
                {"type": "function_call", "call_id": "c1", "name": "rain", "arguments": "{}"},
                {
                    "type": "function_call_output",
                    "call_id": "c1",
                    "output": [{"type": "input_text", "text": "yes"}],
                },
            ],
            "tools": [
                {"type": "function", "name": "rain", "parameters": SCHEMA},
                {"type": "web_search"},
                {"type": "mcp", "server_label": "docs", "server_url": "https://docs.example/mcp"},
            ],
        },
        {
            "id": "resp_1",
            "status": "completed",
            "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Look."}]},
                {"type": "message", "content": [{"type": "output_text", "text": "Yes."}]},
            ],
        },
        "openai-responses",
    ),
    "responses-text": sample({"model": "support", "input": "Rain?"}, None, "openai-responses"),
    "anthropic": sample(
        asked(
            {"role": "user", "content": "Rain?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "I look.", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "c2ln"},
                    {"type": "tool_use", "id": "t1", "name": "rain", "input": {"city": "Paris"}},
                    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "rain"}},
                    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "content": [{"type": "text", "text": "yes"}],
                    },
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PICTURE},
                    },
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "A map."},
                    },
                    {
                        "type": "search_result",
                        "title": "Weather",
                        "source": "x",
                        "content": [{"type": "text"}],
                    },
                    {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                ],
            },
            system=[{"type": "text", "text": "Be brief."}],
            tools=[
                {"name": "rain", "description": "Rain?", "input_schema": SCHEMA},
                {"type": "bash_20250124", "name": "bash"},
            ],
        ),
        {
            "id": "msg_1",
            "type": "message",
            "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}],
            "stop_reason": "max_tokens",
        },
        "anthropic-messages",
    ),
    "request-alone": sample(asked(USER), status=None),
    "reply-alone": sample(None, answered()),
    "request-too-large": sample(None, answered(), cut=CUT_BY_SIZE),
    "refused": sample(asked(USER), {"error": {"message": "No such model"}}, status=404),
    "reply-unread": sample(asked(USER), b"<html>", status=200),
}


def made(one: Sample, most_chars: int = 10_000, **more: Any) -> Event:
    event = event_of(record(one.dialect, **more), one, {}, most_chars)
    assert isinstance(event, Event), event
    return event


@pytest.mark.parametrize("name", sorted(CASES))
def test_events_are_as_written_down(name: str) -> None:
    event = made(CASES[name])
    # What spans say as well is in their own golden files.
    said = {key: value for key, value in event.attributes.items() if key in TEXTS or ".content." in key}
    said |= {
        key: event.attributes.get(key) for key in ("gen_ai.response.id", "gen_ai.response.finish_reasons")
    }
    text = yaml.safe_dump(said, sort_keys=False, width=110)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_it_is_of_the_calls_span_and_says_who_answered() -> None:
    event = made(CASES["chat"])
    assert (event.trace_id, event.span_id) == ("4bf92f3577b34da6a3ce929d0e0e4736", "8f0123456789ab00")
    assert (event.at_ns, event.sampled) == (round(AT_S * 1e9) + 1_500_000_000, True)
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "support",
        "gen_ai.response.model": "claude-opus-4-7",
        "modelbroker.request_id": REQUEST_ID,
        "modelbroker.content.redacted": ["email"],
    }
    assert {name: event.attributes[name] for name in wanted} == wanted
    # The conventions want a provider, and of the cache there is none.
    assert made(CASES["chat"], member="").attributes["gen_ai.provider.name"] == "modelbroker"


def test_every_attribute_of_its_own_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "traces.md").read_text().partition("\n## Prompt text")[2]
    section = page.partition("\n## ")[0]
    events = [made(one, 100) for one in CASES.values()]
    long = sample(asked({"role": "user", "content": ["x" * 200_000] * 9}))
    events += [made(long, 100), made(long, 200_000)]
    told = {name for event in events for name in event.attributes}
    documented = set(re.findall(r"^\| ?(?:.*, )?`((?:gen_ai|modelbroker)\.[a-z_.]+)`", section, re.MULTILINE))
    documented |= set(re.findall(r"^\| `(gen_ai\.[a-z_.]+)`", section, re.MULTILINE))
    assert documented <= told
    assert told - set(call_attributes(record(), {})) == documented


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (sample(None), "it has neither request nor reply"),
        (sample(None, None, cut=CUT_BY_SIZE), "it has neither request nor reply"),
        (sample(b"not json"), "its request can't be read"),
        (sample([1]), "its request can't be read"),
        (sample(b"[" * 100_000), "its request can't be read"),
        (sample(b"\xff", b"\xff"), "its request and reply can't be read"),
        (sample(None, {}, "no-such-dialect"), "its reply can't be read"),
        (sample(None, b"data: {", stream=True), "its reply can't be read"),
    ],
)
def test_why_there_is_no_event(one: Sample, why: str) -> None:
    told = event_of(record(), one, {}, 1000)
    assert told == why


@pytest.mark.parametrize(
    ("more", "is_so"),
    [
        ({}, True),
        ({"captured": ""}, False),
        ({"pool": "other"}, False),
        ({"pool": ""}, False),
        ({"pool": "support~openai/gpt-5-mini"}, True),
        ({"pool": "supportive"}, False),
        ({"degraded_from": "other"}, False),
        ({"degraded_from": "second"}, True),
        ({"pool": "other", "degraded_from": "support"}, False),
        ({"pool": "late"}, False),
        ({"path": "/v1/embeddings"}, False),
        ({"purpose": "shadow", "shadow_of": "0190a5d3c4b27cde8f0123456789fffe"}, False),
        ({"path": "/v1/messages/count_tokens"}, False),
    ],
)
def test_of_which_calls(more: dict[str, Any], is_so: bool) -> None:
    named = {"support": AT_S, "second": 0.0, "late": AT_S + 1}
    assert is_wanted(record(**more), named, {}) is is_so


@pytest.mark.parametrize(
    ("members", "made", "is_so"),
    [
        (["a/m"], 1, True),
        (["a/m", "a/n"], 2, True),
        (["b/m", "a/m"], 2, False),
        (["both/m"], 1, True),  # nobody sends on what nobody has tried
        (["both/m", "a/m"], 2, False),  # which pool's it was nobody knows
        (["a/m"], 2, False),  # an attempt of which nobody told
        ([], 0, True),
    ],
)
def test_calls_that_began_in_a_pool_that_is_not_named(members: list[str], made: int, is_so: bool) -> None:
    def pool(name: str, on: str, *ids: str) -> Pool:
        return Pool(
            name, tuple(Member(*one.split("/")) for one in ids), on=((Cause.OVERLOADED, on),) if on else ()
        )

    pools = [
        pool("support", "", "a/m", "a/n", "both/m"),
        pool("support~c/m", "", "c/m"),
        pool("second", "support", "d/m"),
        pool("first", "between", "b/m"),
        pool("between", "support", "both/m"),
        pool("other", "", "e/m"),
    ]
    strangers = strangers_of({one.name: one for one in pools}, ["support", "second"])
    assert strangers == {"support": ("b/m", "both/m")}
    tried = tuple(Attempt(member, 200, 1.0) for member in members)
    told = record(attempts=tried, attempts_made=made)
    still = {name: dict.fromkeys(those, STILL) for name, those in strangers.items()}
    assert is_wanted(told, {"support": 0.0, "second": 0.0}, still) is is_so


@pytest.mark.parametrize(("until_s", "is_so"), [(AT_S - 1, True), (AT_S + 1, False), (STILL, False)])
def test_a_call_is_seen_as_what_sent_it_on_was_then(until_s: float, is_so: bool) -> None:
    tried = (Attempt("b/m", 500, 1.0), Attempt("a/m", 200, 1.0))
    told = record(attempts=tried, attempts_made=2)
    assert is_wanted(told, {"support": 0.0}, {"support": {"b/m": until_s}}) is is_so


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}


@pytest.mark.parametrize(
    "part",
    [
        IMAGE,
        {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]},
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "text", "text": "A"}, IMAGE]},
        },
        {"type": "search_result", "title": "A", "source": "x", "content": [IMAGE]},
        {"type": "image_url", "image_url": f"data:image/png;base64,{PICTURE}"},
        {"type": "image_url", "image_url": {"url": f" DATA:image/png;base64,{PICTURE}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"},
        {"type": "input_file", "filename": "a.png", "file_data": f"data:image/png;base64,{PICTURE}"},
        {"type": "file", "file": {"file_data": PICTURE}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": PICTURE}},
        {"type": "new_kind_of_media", "data": PICTURE},
    ],
)
def test_of_media_that_are_kept_the_bytes_stay(part: dict[str, Any]) -> None:
    for dialect in CLIENT_DIALECTS:
        said = [{"role": "user", "content": [part]}]
        name = "input" if dialect == "openai-responses" else "messages"
        event = made(sample({"model": "support", name: said}, None, dialect))
        assert event.attributes["gen_ai.input.messages"]
        assert PICTURE[:40] not in str(event.attributes)


# -- lengths


def texts_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [*value, *(text for inner in value.values() for text in texts_in(inner))]
    return [text for one in value for text in texts_in(one)] if isinstance(value, list) else []


def texts_of(event: Event) -> list[str]:
    return [text for name in TEXTS for text in texts_in(event.attributes.get(name))]


def test_a_text_that_is_too_long_says_so_at_its_end() -> None:
    long = "An ä and a 🌧. " * 100
    arguments = json.dumps({"city": "P" * 200})
    call = {"id": "c", "function": {"name": "rain", "arguments": arguments}}
    tool = {
        "type": "function",
        "function": {"name": "r", "description": "d" * 101, "parameters": {"x": "y" * 100}},
    }
    event = made(
        sample(
            asked({"role": "user", "content": long}, tools=[tool]), answered("b" * 100, tool_calls=[call])
        ),
        100,
    )
    (question,) = event.attributes["gen_ai.input.messages"]  # type: ignore[misc, union-attr]
    text = question["parts"][0]["content"]  # type: ignore[index, call-overload]
    assert text == long[: 100 - len("… [1,400 characters, cut]")] + "… [1,400 characters, cut]"
    (answer,) = event.attributes["gen_ai.output.messages"]  # type: ignore[misc, union-attr]
    said, used = answer["parts"]  # type: ignore[index, call-overload]
    assert said["content"] == "b" * 100  # no longer than it may be
    assert used["arguments"].startswith('{"city": "PPP') and used["arguments"].endswith(
        "… [212 characters, cut]"
    )
    (told,) = event.attributes["gen_ai.tool.definitions"]  # type: ignore[misc, union-attr]
    assert told == {"type": "function", "name": "r", "description": "d" * 77 + "… [101 characters, cut]"}
    assert event.attributes["modelbroker.content.cut"] == 4  # the schema is one of them


def test_of_a_call_that_is_too_large_the_oldest_goes() -> None:
    messages = [{"role": "user", "content": f"{number:04}" + "x" * 9_996} for number in range(200)]
    tools = [{"name": "one", "input_schema": {"x": "y" * 9_000}}]
    event = made(sample(asked(*messages, system="s" * 5_000, tools=tools), answered("a" * 5_000)))
    assert event.attributes["gen_ai.output.messages"] and event.attributes["gen_ai.system_instructions"]
    kept = [one["parts"][0]["content"][:4] for one in event.attributes["gen_ai.input.messages"]]  # type: ignore[index, union-attr, call-overload]
    assert 90 < len(kept) < 105 and kept == [f"{number:04}" for number in range(200 - len(kept), 200)]
    left_out = event.attributes["modelbroker.content.left_out"]
    has_tools = "gen_ai.tool.definitions" in event.attributes
    assert left_out == 200 - len(kept) + (not has_tools)
    assert event.size < MOST_BYTES + 10_000


def test_of_one_message_that_is_too_large_the_first_parts_stay() -> None:
    parts = [{"type": "text", "text": f"{number}" * 100_000} for number in range(10)] * 2
    event = made(sample(asked(USER, {"role": "user", "content": parts})), 200_000)
    (one,) = event.attributes["gen_ai.input.messages"]  # type: ignore[misc, union-attr]
    assert [part["content"][0] for part in one["parts"]] == [*"0123456789"]  # type: ignore[index, union-attr, call-overload]
    assert event.attributes["modelbroker.content.left_out"] == 11


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def test_what_is_nested_too_deeply_is_told_as_text() -> None:
    def argument(depth: int) -> Any:
        call = {"id": "c", "function": {"name": "f", "arguments": json.dumps(nested(depth))}}
        event = made(sample(asked({"role": "assistant", "tool_calls": [call]})))
        sent(event)
        return event.attributes["gen_ai.input.messages"][0]["parts"][0]["arguments"]  # type: ignore[index, call-overload]

    assert argument(12) == nested(12)
    assert argument(13) == json.dumps(nested(13))


@pytest.mark.parametrize("kind", ["tool_result", "document", "search_result"])
@pytest.mark.parametrize("depth", [3, 30, 3000])
def test_parts_within_parts_are_told_as_deep_as_collectors_read(kind: str, depth: int) -> None:
    """A collector gives up a whole request for one of them, some as if it were to be tried again."""
    content = '"innermost"'
    for _ in range(depth):
        inner = f'"content":{content}'
        inner = f'"source":{{"type":"content",{inner}}}' if kind == "document" else inner
        content = f'[{{"type":"{kind}",{inner}}}]'
    body = f'{{"messages":[{{"role":"user","content":{content}}}]}}'.encode()
    event = event_of(record(), sample(body, dialect="anthropic-messages"), {}, 1000)
    if isinstance(event, str):
        assert (depth, event) == (3000, "its request can't be read")
        return
    told = json.dumps(sent(event)["gen_ai.input.messages"])
    assert ("innermost" in told, "nested too deeply" in told) == (depth == 3, depth > 3)


# -- laws


def sent(event: Event) -> dict[str, Any]:
    """Its attributes, as who gets it reads them."""
    raw = events_request(resource_of({}), [event])
    (one,) = ExportLogsServiceRequest.FromString(raw).resource_logs[0].scope_logs[0].log_records
    assert (one.event_name, one.span_id.hex()) == ("gen_ai.client.inference.operation.details", event.span_id)
    assert one.ByteSize() <= event.size + 200
    return plain(one.attributes)


def check(event: Event, most_chars: int) -> None:
    """What holds for each event, and what the conventions want of it."""
    assert max((len(text) for text in texts_of(event)), default=0) <= max(most_chars, MOST_NAME)
    assert (
        sum(size_of(event.attributes[name]) for name in TEXTS if name in event.attributes) <= MOST_BYTES + 100
    )
    got = sent(event)
    for name in TEXTS[:2]:
        for message in got.get(name, ()):
            assert message["role"] and isinstance(message["parts"], list)
            for part in message["parts"]:
                check_part(part)
    for part in got.get("gen_ai.system_instructions", ()):
        check_part(part)
    for tool in got.get("gen_ai.tool.definitions", ()):
        assert isinstance(tool["type"], str) and isinstance(tool["name"], str)
    outputs = got.get("gen_ai.output.messages", [])
    assert len(got.get("gen_ai.response.finish_reasons", [])) >= len(outputs)


WANTED = {
    "text": {"content": str},
    "reasoning": {"content": str},
    "tool_call": {"name": str},
    "tool_call_response": {"response": object},
    "server_tool_call": {"name": str, "server_tool_call": dict},
    "server_tool_call_response": {"server_tool_call_response": dict},
    "file": {"modality": str, "file_id": str},
    "uri": {"modality": str, "uri": str},
}


def check_part(part: dict[str, Any]) -> None:
    assert isinstance(part["type"], str) and part["type"] != "blob"
    for name, kind in WANTED.get(part["type"], {}).items():
        assert isinstance(part[name], kind), part


WORDS = st.sampled_from(
    [
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "input",
        "output",
        "tools",
        "tool_calls",
        "function",
        "functions",
        "arguments",
        "name",
        "id",
        "system",
        "instructions",
        "tool_use",
        "tool_result",
        "thinking",
        "reasoning",
        "summary",
        "image_url",
        "url",
        "source",
        "data",
        "file",
        "file_id",
        "media_type",
        "input_image",
        "document",
        "user",
        "assistant",
        "tool",
        "developer",
        "function_call",
        "custom",
        "call_id",
        "tool_call_id",
        "tool_use_id",
        "function_call_output",
        "input_schema",
        "parameters",
        "description",
        "choices",
        "message",
        "delta",
        "index",
        "finish_reason",
        "stop",
        "refusal",
        "search_result",
        "server_tool_use",
        "usage",
        "error",
        "output_text",
        "input_text",
        "message_stop",
        "content_block_delta",
        "response.completed",
        "base64",
        "data:image/png;base64,aaaa",
        "[email]",
        '{"a":[1]}',
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | WORDS
    | st.text()
    | st.just("\ud800")
    | st.just("y" * 300)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=6),
    max_leaves=30,
)
PARTS = st.lists(st.dictionaries(WORDS, TREES, max_size=5) | TREES, max_size=4)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "messages": PARTS | st.lists(st.fixed_dictionaries({"role": WORDS, "content": PARTS}), max_size=3),
        "input": PARTS | st.text(),
        "tools": PARTS,
        "system": PARTS | st.text(),
        "instructions": TREES,
    },
)
REPLIES = TREES | st.fixed_dictionaries(
    {}, optional={"choices": PARTS, "output": PARTS, "content": PARTS, "type": WORDS}
)
BODIES = st.binary(max_size=60) | TREES.map(lambda tree: json.dumps(tree).encode())


@given(
    dialect=st.sampled_from([*CLIENT_DIALECTS, "openai-embeddings", "gemini", "other", ""]),
    request=BODIES | REQUESTS.map(lambda tree: json.dumps(tree).encode()) | st.none(),
    reply=BODIES
    | REPLIES.map(lambda tree: json.dumps(tree).encode())
    | st.lists(REPLIES, max_size=5).map(lambda trees: sse(*trees))
    | st.none(),
    stream=st.booleans(),
    status=st.sampled_from([None, 200, 404]),
    most_chars=st.sampled_from([100, 150, 10_000]),
)
def test_whatever_the_sample_is_it_makes_an_event_or_says_why_not(
    dialect: str,
    request: bytes | None,
    reply: bytes | None,
    stream: bool,
    status: int | None,
    most_chars: int,
) -> None:
    one = sample(request, reply, dialect, stream=stream, status=status)
    told = event_of(record(), one, {}, most_chars)
    if isinstance(told, str):
        assert told == "it has neither request nor reply" or told.endswith(" can't be read")
    else:
        check(told, most_chars)


@pytest.mark.parametrize("row", parameters(client=True))
def test_all_that_was_ever_recorded_is_told(row: Recorded) -> None:
    one = replace(
        sample(row.request_body, row.reply, row.dialect, stream=row.streamed),
        path=PATHS[row.dialect],
    )
    clean = cleaned(one, redaction_by(("email", "phone", "card", "iban", "keys", "bearer")))
    for each in (one, clean):
        check(made(each, 200), 200)


@pytest.mark.parametrize("dialect", CLIENT_DIALECTS)
@pytest.mark.parametrize("row", parameters(client=True, streamed=True))
def test_a_stream_that_was_cut_is_told_as_far_as_it_came(row: Recorded, dialect: str) -> None:
    decoder = provider_dialect(row.dialect).stream_decoder(upstream(row.dialect))
    events = [*decoder.feed(row.reply), *decoder.end()]
    if not isinstance(events[-1], Ended):
        pytest.skip("the provider gave up in this stream")
    body = client_dialect(dialect).stream_encoder(Context(REQUEST_ID, 1, "m")).encode(events)
    whole = output_of(sample(None, body, dialect, stream=True))
    for cut in range(0, len(body), max(1, len(body) // 40)):
        told = event_of(record(), sample(None, body[:cut], dialect, stream=True, cut=CUT_SHORT), {}, 200_000)
        if isinstance(told, str):
            continue
        check(told, 200_000)
        assert whole.startswith(output_in(told))


def output_of(one: Sample) -> str:
    return output_in(made(one, 200_000))


def output_in(event: Event) -> str:
    """All texts of the first answer."""
    messages: Any = event.attributes.get("gen_ai.output.messages") or [{"parts": []}]
    return "".join(part.get("content", "") for part in messages[0]["parts"] if part["type"] == "text")
