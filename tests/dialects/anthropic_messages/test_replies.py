"""Replies in both directions, whole and streamed: what the official SDK makes of them, what comes back."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from modelbroker.dialects.anthropic_messages import AnthropicMessages
from modelbroker.dialects.blobs import tagged
from modelbroker.dialects.conversation import (
    Blob,
    DocumentCitation,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    Upstream,
    UrlCitation,
)
from modelbroker.dialects.replies import (
    Alive,
    Cause,
    Choice,
    Delta,
    Ended,
    Failed,
    Fault,
    PartEnded,
    PartStarted,
    Reply,
    ReplyEvent,
    Started,
    Stop,
    Stopped,
    Usage,
    UsageGiven,
)
from modelbroker.dialects.streaming import explode, fold
from modelbroker.dialects.translation import Context
from support.conversations import replies, streams
from support.dialects import Recorded, parameters
from support.event_stream import frame

DIALECT = AnthropicMessages()
CONTEXT = Context("0123456789abcdef0123456789abcdef", 1_700_000_000, "some-model")
HOUSE = Upstream("house", "anthropic-messages", "claude-sonnet-4-5")
BEDROCK = Upstream("house", "anthropic-messages", "claude", variant="bedrock")
SIGNATURE, REDACTED = "anthropic-messages.signature", "anthropic-messages.redacted_thinking"
SEALED = Blob("openai", "openai-responses.encrypted_content", "rs_1:gAAA")
THOUGHT = Blob("google", "gemini.thoughtSignature", "sig")


def reply(*parts: Any, stop: Stop = Stop.END, usage: Usage | None = None, **more: Any) -> Reply:
    return Reply("r", "m", (Choice(parts, stop),), usage, **more)


def whole(of: Reply) -> Any:
    return json.loads(DIALECT.encode_reply(of, CONTEXT))


def streamed(events: Iterable[ReplyEvent]) -> bytes:
    encoder = DIALECT.stream_encoder(CONTEXT)
    return b"".join(encoder.encode([event]) for event in events)


def data_of(stream: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: ")]


def client_of(answer: httpx2.Response) -> anthropic.Anthropic:
    """The SDK, in front of one answer."""
    transport = httpx2.MockTransport(lambda _: answer)
    return anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport))


CALL: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def accumulated(stream: bytes) -> anthropic.types.Message:
    """What the SDK makes of a stream."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    with client_of(answer) as client, client.messages.stream(**CALL) as messages:
        return messages.get_final_message()


def parsed(body: bytes) -> anthropic.types.Message:
    """What the SDK makes of a whole reply."""
    with client_of(httpx2.Response(200, content=body)) as client:
        found = client.messages.create(**CALL)
    assert isinstance(found, anthropic.types.Message)
    return found


def decoded(stream: bytes, upstream: Upstream = HOUSE) -> list[ReplyEvent]:
    decoder = DIALECT.stream_decoder(upstream)
    return [*decoder.feed(stream), *decoder.end()]


# -- agreement


@settings(max_examples=80, deadline=None)
@given(
    st.data(),
    replies(
        with_refusals=True,
        blob_kinds=(SIGNATURE, REDACTED, "openai-responses.encrypted_content"),
        issuers=("house", "other"),
    ),
)
def test_the_sdk_gets_the_same_whole_and_streamed(data: st.DataObject, of: Reply) -> None:
    assume("Infinity" not in repr(of))  # no JSON: the SDK reads it in a stream all the same
    body = DIALECT.encode_reply(of, CONTEXT)
    as_whole = parsed(body).to_dict()
    as_stream = accumulated(streamed(data.draw(streams(of)))).to_dict()
    for message in (as_whole, as_stream):
        # The SDK keeps what the first event says of it, when a provider knows it only at the end.
        message["usage"].pop("cache_creation")  # type: ignore[attr-defined]
        message.pop("stop_details", None)
    assert _plain(as_stream) == _plain(as_whole)


def _plain(message: Any) -> Any:
    """Without what is null in one and absent in the other; numbers as JSON has them."""
    text = json.dumps(message, default=str)
    return _without_nulls(json.loads(text))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


@settings(max_examples=80, deadline=None)
@given(st.data(), replies(with_refusals=True, blob_kinds=(SIGNATURE, REDACTED)))
def test_a_stream_says_what_the_whole_reply_says(data: st.DataObject, of: Reply) -> None:
    assume("Infinity" not in repr(of))  # no JSON: a stream is over when that is certain
    again = DIALECT.decode_reply(DIALECT.encode_reply(of, CONTEXT), HOUSE)
    assert fold(decoded(streamed(explode(of)))) == again
    assert fold(decoded(streamed(data.draw(streams(of))))) == again


@pytest.mark.parametrize(
    "row",
    [r for r in parameters(streamed=False) if r.values[0] is None or r.values[0].dialect == DIALECT.name],
)
def test_recorded_replies_survive_the_way_there_and_back(row: Recorded) -> None:
    """Read, written for a client, read again: the same, but for tags and ids; streamed too."""
    once = DIALECT.decode_reply(row.reply, HOUSE)
    again = DIALECT.decode_reply(DIALECT.encode_reply(once, CONTEXT), HOUSE)
    assert _untagged(again) == _untagged(once)
    assert fold(decoded(streamed(explode(once)))) == again


def _untagged(of: Reply) -> Reply:
    """And without what is for the record alone: what else than tokens of this model was used."""
    usage = dataclasses.replace(of.usage, web_searches=None, beside=()) if of.usage is not None else None
    choices = []
    for choice in of.choices:
        parts = []
        for part in choice.parts:
            if isinstance(part, Reasoning) and part.blob is not None:
                data = part.blob.data.rpartition(":")[2]
                part = msgspec.structs.replace(part, blob=msgspec.structs.replace(part.blob, data=data))
            parts.append(part)
        choices.append(msgspec.structs.replace(choice, parts=tuple(parts)))
    return msgspec.structs.replace(of, choices=tuple(choices), usage=usage)


@pytest.mark.parametrize(
    "row",
    [r for r in parameters(streamed=True) if r.values[0] is None or r.values[0].dialect == DIALECT.name],
)
def test_recorded_streams_by_way_of_bedrock(row: Recorded) -> None:
    """The same events in Bedrock's framing: read alike, and unframed into what Anthropic sends."""
    frames = b"".join(_framed(event) for event in data_of(row.reply.replace(b"\r\n", b"\n")))
    expected = decoded(row.reply)
    assert decoded(frames, BEDROCK) == expected
    decoder = DIALECT.stream_decoder(BEDROCK)
    pieces = [frames[at : at + 7] for at in range(0, len(frames), 7)]
    assert [event for piece in pieces for event in decoder.feed(piece)] == expected
    unframed = DIALECT.unframed(BEDROCK)
    assert unframed is not None
    assert decoded(b"".join(unframed.feed(piece) for piece in pieces) + unframed.end()) == expected


def _framed(event: Any) -> bytes:
    headers = {
        ":event-type": (7, "chunk"),
        ":content-type": (7, "application/json"),
        ":message-type": (7, "event"),
    }
    inner = base64.b64encode(json.dumps(event).encode()).decode()
    return frame(headers, json.dumps({"bytes": inner, "p": "abc"}).encode())


# -- replies out


@pytest.mark.parametrize(
    ("part", "blocks"),
    [
        (Text("a"), [{"type": "text", "text": "a"}]),
        (Refusal("no"), [{"type": "text", "text": "no"}]),
        (
            Text("a", blob=THOUGHT),
            [
                {"type": "text", "text": "a"},
                {"type": "redacted_thinking", "data": "mb1:google:gemini.thoughtSignature<:sig"},
            ],
        ),
        (
            ToolCall("c", "f", '{"a": 1.0}', THOUGHT),
            [
                {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1.0}},
                {"type": "redacted_thinking", "data": "mb1:google:gemini.thoughtSignature<:sig"},
            ],
        ),
        (ToolCall("c", "f", ""), [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]),
        (ToolCall("c", "f", "null"), [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]),
        (
            ToolCall("c", "f", "print(1)", custom=True),
            [{"type": "tool_use", "id": "c", "name": "f", "input": {"raw_arguments": "print(1)"}}],
        ),
        (
            ToolCall("c", "f", "[1]"),
            [{"type": "tool_use", "id": "c", "name": "f", "input": {"raw_arguments": "[1]"}}],
        ),
        (Reasoning("hm"), [{"type": "thinking", "thinking": "hm", "signature": "mb1:::"}]),
        (
            Reasoning("hm", SEALED, summary=True),
            [{"type": "thinking", "thinking": "hm", "signature": tagged(SEALED)}],
        ),
        (Reasoning("", SEALED), [{"type": "thinking", "thinking": "", "signature": tagged(SEALED)}]),
        (Reasoning("", SEALED, hidden=True), [{"type": "redacted_thinking", "data": tagged(SEALED)}]),
        (Reasoning("", None, hidden=True), []),
        (Reasoning(), []),
    ],
)
def test_parts(part: Any, blocks: Any) -> None:
    assert whole(reply(part))["content"] == blocks
    message = accumulated(streamed(explode(reply(part)))).to_dict()
    assert _plain(message["content"]) == blocks
    # What the client sends back is what there was, but for what says nothing.
    body = {"model": "m", "messages": [{"role": "assistant", "content": blocks}]}
    (turn,) = DIALECT.decode_request(json.dumps(body).encode()).messages
    if blocks:
        (back,) = turn.parts
        kept = {"blob": getattr(part, "blob", None)}
        assert {name: getattr(back, name, None) for name in kept} == kept


def test_citations_for_a_client() -> None:
    cited = Text(
        "a",
        citations=(
            UrlCitation("https://a", "T", 0, 1, "q"),
            DocumentCitation(1, "", "q", "char", 0, 5),
        ),
    )
    citations = [
        {
            "type": "web_search_result_location",
            "url": "https://a",
            "title": "T",
            "cited_text": "q",
            "encrypted_index": "mb1::citation:",
        },
        {
            "type": "char_location",
            "cited_text": "q",
            "document_index": 1,
            "document_title": None,
            "start_char_index": 0,
            "end_char_index": 5,
        },
    ]
    assert whole(reply(cited))["content"][0]["citations"] == citations
    message = accumulated(streamed(explode(reply(cited)))).to_dict()
    assert _plain(message["content"])[0]["citations"] == _without_nulls(citations)


@pytest.mark.parametrize("given_id", ["", "chatcmpl-1", "resp_1"])
def test_an_id_of_the_calls_own(given_id: str) -> None:
    of = msgspec.structs.replace(reply(Text("a")), id=given_id, model="")
    assert whole(of)["id"] == f"msg_{CONTEXT.request_id}"
    assert whole(of)["model"] == "some-model"
    start = data_of(streamed(explode(of)))[0]["message"]
    assert (start["id"], start["model"]) == (f"msg_{CONTEXT.request_id}", "some-model")


def test_an_id_of_anthropics_own() -> None:
    of = msgspec.structs.replace(reply(Text("a")), id="msg_01")
    assert whole(of)["id"] == data_of(streamed(explode(of)))[0]["message"]["id"] == "msg_01"


@pytest.mark.parametrize(
    ("stop", "parts", "reason"),
    [
        (Stop.END, (Text("a"),), "end_turn"),
        (Stop.END, (Refusal("no"),), "refusal"),
        (Stop.MAX_TOKENS, (), "max_tokens"),
        (Stop.STOP_SEQUENCE, (), "stop_sequence"),
        (Stop.TOOL_CALLS, (ToolCall("c", "f", "{}"),), "tool_use"),
        (Stop.REFUSAL, (), "refusal"),
        (Stop.CONTENT_FILTER, (), "refusal"),
        (Stop.CONTEXT_WINDOW, (), "model_context_window_exceeded"),
        (Stop.PAUSE, (), "pause_turn"),
    ],
)
def test_stop_reasons_for_a_client(stop: Stop, parts: Any, reason: str) -> None:
    of = reply(*parts, stop=stop)
    assert whole(of)["stop_reason"] == reason
    assert accumulated(streamed(explode(of))).stop_reason == reason


def test_a_stop_sequence() -> None:
    of = Reply("r", "m", (Choice((Text("a"),), Stop.STOP_SEQUENCE, "END"),))
    assert whole(of)["stop_sequence"] == "END"
    assert accumulated(streamed(explode(of))).stop_sequence == "END"


def test_usage_for_a_client() -> None:
    usage = Usage(10, 20, 3, 4, 50, reasoning=30)
    counts = {
        "input_tokens": 10,
        "cache_read_input_tokens": 20,
        "cache_creation_input_tokens": 7,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 30},
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
    }
    of = reply(Text("a"), usage=usage, service_tier="priority")
    assert whole(of)["usage"] == {**counts, "service_tier": "priority"}
    stream = streamed(explode(of))
    assert data_of(stream)[-2]["usage"] == counts
    # What the first event can't know is nothing, so that who adds both up is right too.
    assert data_of(stream)[0]["message"]["usage"]["input_tokens"] == 0
    final = accumulated(stream).usage
    assert (final.input_tokens, final.cache_read_input_tokens, final.output_tokens) == (10, 20, 50)


def test_a_reply_without_usage_and_choices() -> None:
    message = parsed(DIALECT.encode_reply(Reply("", "", ()), CONTEXT))
    assert (message.content, message.stop_reason, message.usage.input_tokens) == ([], "end_turn", 0)
    again = accumulated(streamed([Ended()]))
    assert (again.content, again.stop_reason, again.usage.input_tokens) == ([], "end_turn", 0)


def test_parallel_calls_are_put_one_behind_the_other() -> None:
    events: list[ReplyEvent] = [
        Started("r", "m"),
        PartStarted(0, ToolCall("a", "f", "")),
        PartStarted(1, ToolCall("b", "g", "")),
        PartStarted(2, ToolCall("c", "h", "")),
        Delta(1, '{"y"'),
        Delta(0, '{"x"'),
        Delta(2, '{"z"'),
        Delta(1, ": 2}"),
        Delta(0, ": 1}"),
        PartEnded(0),
        Delta(2, ": 3}"),
        PartEnded(2),
        PartEnded(1),
        Stopped(Stop.TOOL_CALLS),
        UsageGiven(Usage(1, output=2)),
        Ended(),
    ]
    message = accumulated(streamed(events))
    assert [(block.name, block.input) for block in message.content] == [  # type: ignore[union-attr]
        ("f", {"x": 1}),
        ("g", {"y": 2}),
        ("h", {"z": 3}),
    ]
    kinds = [event["type"] for event in data_of(streamed(events))]
    starts = [n for n, kind in enumerate(kinds) if kind == "content_block_start"]
    stops = [n for n, kind in enumerate(kinds) if kind == "content_block_stop"]
    assert all(a < b for a, b in zip(starts, stops, strict=True))
    assert all(a < b for a, b in zip(stops, starts[1:], strict=False))


def test_text_and_arguments_flow_at_once() -> None:
    """No block is held back, but for what is to be wrapped."""
    encoder = DIALECT.stream_encoder(CONTEXT)
    encoder.encode([Started("r", "m"), PartStarted(0, Text(""))])
    assert b'"text":"a"' in encoder.encode([Delta(0, "a")])
    encoder.encode([PartEnded(0), PartStarted(1, ToolCall("c", "f", ""))])
    assert encoder.encode([Delta(1, " ")]) == b""
    assert b'"partial_json":" {\\"a\\""' in encoder.encode([Delta(1, '{"a"')])
    encoder.encode([PartEnded(1), PartStarted(2, Reasoning())])
    assert b'"thinking":"hm"' in encoder.encode([Delta(2, "hm")])
    assert encoder.encode([Alive()]) == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_a_failure_within_a_stream() -> None:
    fault = Fault(Cause.OVERLOADED, 529, "too busy")
    stream = streamed([Started("r", "m"), PartStarted(0, Text("")), Delta(0, "a"), Failed(fault), Ended()])
    with pytest.raises(anthropic.APIStatusError) as failed:
        accumulated(stream)
    assert isinstance(failed.value.body, dict)
    assert failed.value.body["error"] == {"type": "overloaded_error", "message": "too busy"}
    assert b"message_stop" not in stream


# -- replies in


def message(*content: Any, **more: Any) -> bytes:
    base = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    return json.dumps({**base, **more}).encode()


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        ({"type": "text", "text": "a", "citations": None}, (Text("a"),)),
        # Fields that came later say nothing here; kinds that did, even less.
        (
            {
                "type": "text",
                "text": "a",
                "citations": [
                    {"type": "web_search_result_location", "cited_text": "q", "url": "u", "later": 1},
                    {"type": "later_location", "cited_text": "q"},
                ],
            },
            (Text("a", None, (UrlCitation("u", quote="q"),)),),
        ),
        (
            {"type": "thinking", "thinking": "hm", "signature": "E"},
            (Reasoning("hm", Blob("house", SIGNATURE, "E")),),
        ),
        ({"type": "thinking", "thinking": "hm", "signature": ""}, (Reasoning("hm"),)),
        (
            {"type": "redacted_thinking", "data": "E"},
            (Reasoning("", Blob("house", REDACTED, "E"), hidden=True),),
        ),
        (
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
            (ToolCall("t", "f", '{"a": 1}'),),
        ),
        ({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, ()),
        ({"type": "never_heard_of", "content": 5}, ()),
    ],
)
def test_blocks_of_a_provider(block: Any, parts: Any) -> None:
    assert DIALECT.decode_reply(message(block), HOUSE).choices[0].parts == parts


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", Stop.END),
        ("max_tokens", Stop.MAX_TOKENS),
        ("stop_sequence", Stop.STOP_SEQUENCE),
        ("tool_use", Stop.TOOL_CALLS),
        ("refusal", Stop.REFUSAL),
        ("pause_turn", Stop.PAUSE),
        ("compaction", Stop.PAUSE),
        ("model_context_window_exceeded", Stop.CONTEXT_WINDOW),
        ("never_heard_of", Stop.END),
        (None, Stop.END),
    ],
)
def test_stop_reasons_of_a_provider(reason: str | None, stop: Stop) -> None:
    assert DIALECT.decode_reply(message(stop_reason=reason), HOUSE).choices[0].stop is stop


def test_who_calls_a_tool_stopped_for_it() -> None:
    """Not all that speak this dialect say so."""
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    for reason, stop in (("end_turn", Stop.TOOL_CALLS), ("max_tokens", Stop.MAX_TOKENS)):
        whole_reply = DIALECT.decode_reply(message(call, stop_reason=reason), HOUSE)
        begin = {"type": "content_block_start", "index": 0, "content_block": call}
        last = {"type": "message_delta", "delta": {"stop_reason": reason}}
        found = fold(decoded(_stream(START, begin, STOP, last, LAST)))
        assert whole_reply.choices[0].stop is found.choices[0].stop is stop


def test_why_a_provider_refused_is_told() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "not that"}
    (choice,) = DIALECT.decode_reply(message(stop_reason="refusal", stop_details=details), HOUSE).choices
    assert choice == Choice((Refusal("not that"),), Stop.REFUSAL)
    stream = _stream(
        {"type": "message_start", "message": {"id": "msg_1", "model": "claude"}},
        {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}, "usage": {}},
        {"type": "message_stop"},
    )
    assert fold(decoded(stream)).choices == (choice,)


@pytest.mark.parametrize(
    ("given_usage", "usage"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, Usage(1, output=2)),
        (
            {
                "input_tokens": 1,
                "cache_read_input_tokens": 5,
                "cache_creation_input_tokens": 7,
                "output_tokens": 2,
            },
            Usage(1, 5, 7, output=2),
        ),
        (
            {
                "input_tokens": 1,
                "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
                "output_tokens": 2,
                "output_tokens_details": {"thinking_tokens": 1},
            },
            Usage(1, 0, 3, 4, 2, reasoning=1),
        ),
        (
            {
                "input_tokens": 1,
                "cache_creation_input_tokens": None,
                "cache_creation": None,
                "output_tokens": 0,
            },
            Usage(1),
        ),
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}},
            Usage(0, 0, 3, 4),
        ),
    ],
)
def test_usage_of_a_provider(given_usage: Any, usage: Usage) -> None:
    assert DIALECT.decode_reply(message(usage=given_usage), HOUSE).usage == usage


def test_usage_in_a_stream_is_what_was_said_last() -> None:
    start = {
        "input_tokens": 9,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "output_tokens": 1,
        "service_tier": "standard",
    }
    stream = _stream(
        {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": start}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 30}},
        {"type": "message_stop"},
    )
    events = decoded(stream)
    assert events[0] == Started("msg_1", "claude", None, Usage(9, 0, 3, 4, 1), "standard")
    assert fold(events).usage == Usage(9, 0, 3, 4, 30)
    assert fold(events).service_tier == "standard"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        message(type="completion"),
        message(5),
        message({"text": "a"}),
        message({"type": "text", "text": 5}),
        message({"type": "tool_use", "id": "t", "name": "f", "input": "x"}),
        message(usage=5),
    ],
)
def test_odd_replies(body: bytes) -> None:
    with pytest.raises(ValueError, match="no message of Anthropic's"):
        DIALECT.decode_reply(body, HOUSE)


# -- odd streams


def _stream(*events: Any) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


START = {"type": "message_start", "message": {"id": "msg_1", "model": "claude"}}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
MORE = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}}
STOP = {"type": "content_block_stop", "index": 0}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
LAST = {"type": "message_stop"}


def test_a_plain_stream() -> None:
    assert decoded(_stream(START, TEXT, MORE, STOP, {"type": "later_invention"}, END, LAST)) == [
        Started("msg_1", "claude"),
        PartStarted(0, Text("")),
        Delta(0, "a"),
        PartEnded(0),
        Alive(),
        Stopped(Stop.END),
        UsageGiven(Usage(output=1)),
        Ended(),
    ]


@pytest.mark.parametrize(
    "events",
    [
        [START, START],
        [START, MORE],
        [START, STOP],
        [START, TEXT, TEXT],
        [START, TEXT, STOP, LAST],
        [START, END, TEXT],
        [START, {"type": "content_block_start", "index": 0}],
        [START, {"type": "content_block_start", "content_block": {"type": "text"}}],
        [START, TEXT, {"type": "content_block_delta", "index": 0}],
        [
            START,
            TEXT,
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}},
        ],
        [{"type": "message_start"}],
    ],
)
def test_odd_streams_end_in_a_failure(events: Any) -> None:
    found = decoded(_stream(*events, LAST))
    assert isinstance(found[-1], Failed)
    assert found[-1].fault.cause is Cause.GARBAGE
    assert "the provider's stream is not valid" in found[-1].fault.message
    assert sum(isinstance(event, (Failed, Ended)) for event in found) == 1


@pytest.mark.parametrize(
    "garbage", [b"data: x\n\n", b"data: []\n\n", b"data: \xff\n\n", b"data: " + b"[" * 99_999 + b"\n\n"]
)
def test_garbage_in_a_stream(garbage: bytes) -> None:
    found = decoded(_stream(START) + garbage + _stream(LAST))
    assert [type(event) for event in found] == [Started, Failed]


def test_nothing_comes_after_the_end() -> None:
    whole_stream = _stream(START, TEXT, MORE, STOP, END, LAST)
    assert decoded(whole_stream + whole_stream) == decoded(whole_stream)
    assert not any(isinstance(event, Ended) for event in decoded(whole_stream[:-20]))
    assert decoded(whole_stream[:-2]) == decoded(whole_stream)  # without its last blank line


def test_blocks_that_nobody_asked_for_are_passed_over() -> None:
    search = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "server_tool_use", "id": "s"},
    }
    query = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": "{"},
    }
    second = {**TEXT, "index": 1}
    found = decoded(
        _stream(START, search, query, STOP, second, {**MORE, "index": 1}, {**STOP, "index": 1}, END, LAST)
    )
    assert fold(found).choices[0].parts == (Text("a"),)


def test_an_error_event() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}, "request_id": "req_1"}
    (_, failed) = decoded(_stream(START, error, LAST))
    assert failed == Failed(Fault(Cause.OVERLOADED, 529, "busy", "overloaded_error", request_id="req_1"))


def _exception(name: str, words: str) -> bytes:
    headers = {":exception-type": (7, name), ":message-type": (7, "exception")}
    return frame(headers, json.dumps({"message": words}).encode())


def test_exceptions_of_bedrock() -> None:
    frames = _framed(START) + _exception("throttlingException", "slow down")
    (_, failed) = decoded(frames, BEDROCK)
    assert isinstance(failed, Failed)
    assert (failed.fault.cause, failed.fault.status, failed.fault.message) == (
        Cause.RATE_LIMIT,
        429,
        "slow down",
    )
    unframed = DIALECT.unframed(BEDROCK)
    assert unframed is not None
    (start, error) = data_of(unframed.feed(frames))
    assert start == START
    assert error["error"]["type"] == "rate_limit_error"


def test_damaged_frames_of_bedrock() -> None:
    good, bad = _framed(START), bytearray(_framed(TEXT))
    bad[-1] ^= 1
    found = decoded(good + bytes(bad), BEDROCK)
    assert [type(event) for event in found] == [Started, Failed]
    odd = frame({":event-type": (7, "chunk"), ":message-type": (7, "event")}, b'{"bytes": "no base64!"}')
    assert [type(event) for event in decoded(good + odd, BEDROCK)] == [Started, Failed]

    unframed = DIALECT.unframed(BEDROCK)
    assert unframed is not None
    assert data_of(unframed.feed(good + bytes(bad))) == [START]
    with pytest.raises(ValueError, match="damaged"):
        unframed.feed(b"")
    cut = DIALECT.unframed(BEDROCK)
    assert cut is not None
    cut.feed(good[:-5])
    with pytest.raises(ValueError, match="in the middle"):
        cut.end()
    assert DIALECT.unframed(HOUSE) is None
