"""Providers' streams → canonical events: what OpenAI sends, and what others make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects import client_dialect, provider_dialect
from modelbroker.dialects.conversation import (
    Blob,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    Upstream,
    UrlCitation,
)
from modelbroker.dialects.replies import (
    Alive,
    BlobGiven,
    Cause,
    Choice,
    Delta,
    Ended,
    Failed,
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
from modelbroker.dialects.streaming import fold
from modelbroker.dialects.translation import Context
from support.conversations import replies, streams

CLIENT, PROVIDER = client_dialect("openai-chat"), provider_dialect("openai-chat")
UPSTREAM = Upstream("house", "openai-chat", "m")
CONTEXT = Context("0123456789abcdef0123456789abcdef", 1_700_000_000)
DONE = b"data: [DONE]\n\n"


def raw_of(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def delta(finish: str | None = None, index: int = 0, logprobs: Any = None, **fields: Any) -> Any:
    choice = {"index": index, "delta": fields, "finish_reason": finish, "logprobs": logprobs}
    return {"id": "r1", "model": "m", "created": 5, "choices": [choice]}


def events_of(*chunks: Any, done: bytes = DONE, upstream: Upstream = UPSTREAM) -> list[ReplyEvent]:
    decoder = PROVIDER.stream_decoder(upstream)
    return [*decoder.feed(raw_of(*chunks) + done), *decoder.end()]


def reply_of(*chunks: Any, upstream: Upstream = UPSTREAM) -> Reply:
    return fold(events_of(*chunks, upstream=upstream))


def parts_of(*chunks: Any) -> Any:
    return reply_of(*chunks, delta("stop")).choices[0].parts


def failure_of(*chunks: Any, done: bytes = DONE) -> Failed:
    events = events_of(*chunks, done=done)
    assert isinstance(events[-1], Failed)
    return events[-1]


def call(
    index: int | None = None, ident: str | None = None, name: str | None = None, arguments: Any = None
) -> Any:
    said: dict[str, Any] = {} if index is None else {"index": index}
    if ident is not None:
        said |= {"id": ident, "type": "function"}
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return delta(tool_calls=[{**said, "function": function}])


def test_the_events_of_a_stream() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    events = events_of(
        delta(role="assistant", content="", refusal=None),
        delta(content="he"),
        delta(content="llo"),
        call(0, "c1", "f", ""),
        call(0, arguments='{"a":'),
        call(0, arguments="1}"),
        delta("tool_calls"),
        {"id": "r1", "choices": [], "usage": usage, "service_tier": "default"},
    )
    assert events == [
        Started("r1", "m", 5),
        PartStarted(0, Text("")),
        Delta(0, "he"),
        Delta(0, "llo"),
        PartEnded(0),
        PartStarted(1, ToolCall("c1", "f", "")),
        Delta(1, '{"a":'),
        Delta(1, "1}"),
        PartEnded(1),
        UsageGiven(Usage(3, output=2), "default"),
        Stopped(Stop.TOOL_CALLS),
        Ended(),
    ]


CALLS: list[tuple[list[Any], list[tuple[str, str, str]]]] = [
    # Three at once, their pieces mixed.
    (
        [
            call(0, "a", "f", ""),
            call(1, "b", "g", ""),
            call(2, "c", "h", ""),
            call(1, arguments='{"y":'),
            call(0, arguments='{"x":'),
            call(2, arguments="{}"),
            call(0, arguments="1}"),
            call(1, arguments="2}"),
        ],
        [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}'), ("c", "h", "{}")],
    ),
    # Several in one piece.
    (
        [
            delta(
                tool_calls=[
                    {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
                    {"index": 1, "id": "b", "function": {"name": "f", "arguments": "{}"}},
                ]
            )
        ],
        [("a", "f", "{}"), ("b", "f", "{}")],
    ),
    # Without indices: whole calls, or pieces that belong to the latest.
    ([call(None, "a", "f", "{}"), call(None, "b", "f", "{}")], [("a", "f", "{}"), ("b", "f", "{}")]),
    (
        [call(None, "a", "f", ""), call(None, arguments='{"x"'), call(None, arguments=":1}")],
        [("a", "f", '{"x":1}')],
    ),
    # Mistral's word for no id.
    (
        [call(0, "null", "f", "{}"), call(1, "null", "g", "{}")],
        [("call_r1_0_0", "f", "{}"), ("call_r1_0_1", "g", "{}")],
    ),
    # The id in each piece.
    ([call(0, "a", "f", '{"x"'), call(0, "a", None, ":1}")], [("a", "f", '{"x":1}')]),
    ([call(None, "a", "f", '{"x"'), call(None, "a", None, ":1}")], [("a", "f", '{"x":1}')]),
    # Each with the same index.
    (
        [call(0, "a", "f", '{"x"'), call(0, arguments=":1}"), call(0, "b", "g", "{"), call(0, arguments="}")],
        [("a", "f", '{"x":1}'), ("b", "g", "{}")],
    ),
    # Each with the same index, and without an id.
    (
        [call(0, None, "f", '{"x"'), call(0, None, None, ":1}"), call(0, None, "g", "{}")],
        [("call_r1_0_0", "f", '{"x":1}'), ("call_r1_0_1", "g", "{}")],
    ),
    (
        [call(0, "", "f", '{"x":1}'), call(0, "", "f", '{"x":2}'), call(0, "", "f", "")],
        [("call_r1_0_0", "f", '{"x":1}'), ("call_r1_0_1", "f", '{"x":2}')],
    ),
    # The name in each piece.
    ([call(0, None, "f", '{"x"'), call(0, None, "f", ":1}")], [("call_r1_0_0", "f", '{"x":1}')]),
    # The same id at another index is another call.
    ([call(0, "a", "f", "{}"), call(1, "a", "f", "{}")], [("a", "f", "{}"), ("a", "f", "{}")]),
    # Arguments before the name; an object instead of its text; no arguments; no id.
    ([call(0, "a", None, "{"), call(0, None, "f", "}")], [("a", "f", "{}")]),
    ([call(0, "a", "f", {"x": 1})], [("a", "f", '{"x":1}')]),
    ([call(0, "a", "f")], [("a", "f", "")]),
    ([call(0, None, "f", "{}")], [("call_r1_0_0", "f", "{}")]),
    # White space behind the end, when the next call has begun.
    (
        [call(0, "a", "f", "{}"), call(1, "b", "g", "{}"), call(0, arguments="\n")],
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    # From before there were tools.
    (
        [delta(function_call={"name": "f", "arguments": ""}), delta(function_call={"arguments": "{}"})],
        [("call_r1_0_0", "f", "{}")],
    ),
]


@pytest.mark.parametrize(("chunks", "expected"), CALLS)
def test_tool_calls(chunks: list[Any], expected: list[tuple[str, str, str]]) -> None:
    choice = reply_of(*chunks, delta("stop")).choices[0]
    assert [
        (part.id, part.name, part.arguments) for part in choice.parts if isinstance(part, ToolCall)
    ] == expected
    assert choice.stop is Stop.TOOL_CALLS


def test_a_call_is_over_when_its_object_is_and_another_begins() -> None:
    events = events_of(
        call(0, "a", "f", "{}"), call(1, "b", "g", '{"x'), call(2, "c", "h", ""), delta("stop")
    )
    order = [
        (type(event).__name__, event.index) for event in events if isinstance(event, (PartStarted, PartEnded))
    ]
    assert order[:4] == [("PartStarted", 0), ("PartEnded", 0), ("PartStarted", 1), ("PartStarted", 2)]


def test_signatures_of_calls_and_texts() -> None:
    extra = {"google": {"thought_signature": "T"}}
    signed = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}, "extra_content": extra}
    blob = Blob("house", "openai-chat.thought_signature", "T")
    assert parts_of(delta(tool_calls=[signed])) == (ToolCall("a", "f", "{}", blob),)
    assert parts_of(delta(content="x", extra_content=extra)) == (Text("x", blob=blob),)
    nameless = {"index": 0, "extra_content": extra}
    assert parts_of(delta(tool_calls=[nameless]), call(0, "a", "f", "{}")) == (
        ToolCall("a", "f", "{}", blob),
    )


def test_texts_of_different_kinds_are_parts_in_their_order() -> None:
    cited = [
        {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    ]
    assert parts_of(
        delta(reasoning_content="h"),
        delta(reasoning="m"),
        delta(content="a"),
        delta(content="", annotations=cited),
        delta(reasoning_content="again"),
        delta(refusal="no"),
    ) == (
        Reasoning("hm"),
        Text("a", citations=(UrlCitation("u", "t", 0, 1),)),
        Reasoning("again"),
        Refusal("no"),
    )


def test_content_of_typed_parts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    assert parts_of(
        delta(content=[thinking]), delta(content=[thinking]), delta(content=[{"type": "text", "text": "a"}])
    ) == (Reasoning("hmhm"), Text("a"))


def test_reasoning_that_goes_back_as_text_says_whose_it_is() -> None:
    upstream = Upstream("deep", "openai-chat", "m", deviations={"reasoning_field": "reasoning_content"})
    reply = reply_of(delta(reasoning_content="hm"), delta(content="a"), delta("stop"), upstream=upstream)
    blob = Blob("deep", "openai-chat.reasoning_content", "")
    assert reply.choices[0].parts == (Reasoning("hm", blob), Text("a"))


def test_reasoning_details_are_put_together() -> None:
    def detail(**fields: Any) -> Any:
        entry = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, **fields}
        return delta(content="", reasoning=fields.get("text"), reasoning_details=[entry])

    sealed = {"type": "reasoning.encrypted", "data": "D", "id": "rs_1", "format": "x", "index": 0}
    parts = parts_of(
        delta(content="", reasoning=None, reasoning_details=[]),
        detail(text="", signature=""),
        detail(text="h"),
        detail(text="m"),
        detail(signature="SIG"),
        delta(reasoning_details=[sealed]),
        delta(content="a"),
    )
    kind = "openai-chat.reasoning_details"
    entry = '{"format":"anthropic-claude-v1","index":0,"signature":"SIG","type":"reasoning.text"}'
    assert parts == (
        Reasoning("hm", Blob("house", kind, entry)),
        Reasoning(
            "", Blob("house", kind, json.dumps(sealed, sort_keys=True, separators=(",", ":"))), True, "rs_1"
        ),
        Text("a"),
    )


def test_reasoning_comes_at_once_and_its_blob_at_its_end() -> None:
    entry = {"type": "reasoning.text", "text": "h", "signature": "S", "index": 0}
    events = events_of(delta(reasoning_details=[entry]), delta(content="a"), delta("stop"))
    kinds = [type(event).__name__ for event in events[1:7]]
    assert kinds == ["PartStarted", "Delta", "BlobGiven", "PartEnded", "PartStarted", "Delta"]
    assert isinstance(events[3], BlobGiven) and not events[3].hidden


def test_logprobs() -> None:
    tokens = [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}]
    choice = reply_of(
        delta(content="a", logprobs={"content": tokens, "refusal": None}),
        delta(content="", logprobs={"content": tokens}),
        delta("stop", logprobs=None),
    ).choices[0]
    assert choice == Choice((Text("a"),), Stop.END, logprobs=(*tokens, *tokens))


def test_several_choices() -> None:
    reply = reply_of(
        delta(content="a", index=0),
        delta(content="x", index=1),
        delta(content="b", index=0),
        delta("stop", index=0),
        delta(content="y", index=1),
        delta("length", index=1),
    )
    assert [(choice.parts, choice.stop) for choice in reply.choices] == [
        ((Text("ab"),), Stop.END),
        ((Text("xy"),), Stop.MAX_TOKENS),
    ]


def test_azures_first_chunk_has_no_choice_and_no_id() -> None:
    first = {"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [{}]}
    events = events_of(first, delta(content="a"), delta("stop"))
    assert events[:2] == [Alive(), Started("r1", "m", 5)]


def test_groqs_usage_stands_with_the_last_choice() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    assert reply_of(delta(content="a"), {**delta("stop"), "x_groq": {"usage": usage}}).usage == Usage(
        3, output=2
    )
    assert reply_of(delta(content="a"), {**delta("stop"), "usage": usage}).usage == Usage(3, output=2)


def test_a_finish_reason_that_is_said_twice() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    reply = reply_of(
        delta(content="a"), delta("stop", content=""), {**delta("stop", content=""), "usage": usage}
    )
    assert reply.choices == (Choice((Text("a"),), Stop.END),) and reply.usage is not None


def test_a_stream_without_its_last_event() -> None:
    whole = events_of(delta(content="a"), delta("stop"), done=b"")
    assert whole[-2:] == [Stopped(Stop.END), Ended()]
    assert not any(isinstance(event, Ended) for event in events_of(delta(content="a"), done=b""))
    assert events_of(done=b"") == []
    # The last event without the blank line behind it.
    assert isinstance(events_of(delta(content="a"), delta("stop"), done=b"data: [DONE]")[-1], Ended)


def test_comments_and_line_ends() -> None:
    decoder = PROVIDER.stream_decoder(UPSTREAM)
    raw = (
        b": PROCESSING\r\n\r\n"
        + raw_of(delta(content="\u00fc"), delta("stop")).replace(b"\n", b"\r\n")
        + DONE
    )
    assert fold([*decoder.feed(raw), *decoder.end()]).choices[0].parts == (Text("ü"),)


def test_events_without_data_keep_the_connection_alive() -> None:
    decoder = PROVIDER.stream_decoder(UPSTREAM)
    raw = b"data: \n\n" + raw_of(delta(content="a")) + b"data:\n\n" + raw_of(delta("stop")) + DONE
    assert fold([*decoder.feed(raw), *decoder.end()]).choices[0].parts == (Text("a"),)


def test_an_answer_in_one_piece() -> None:
    """Some say `message` where a stream has `delta`, some say all of it once more at the end."""
    message = {"role": "assistant", "content": "a", "tool_calls": None}
    end = {"id": "r1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert reply_of(end).choices[0].parts == (Text("a"),)
    assert reply_of(delta(content="a"), end).choices[0].parts == (Text("a"),)


def test_what_an_answer_rests_on_may_stand_beside_it() -> None:
    """Perplexity says it in each chunk, xAI in the last one; whole replies have it as well."""
    found = [{"title": "T", "url": "https://a"}, {"title": "U", "url": "https://b"}]
    urls = ["https://a", "https://b"]
    cited = (UrlCitation("https://a", "T"), UrlCitation("https://b", "U"))
    (text,) = (
        reply_of(
            {**delta(content="x"), "citations": urls, "search_results": found},
            {**delta(content="y"), "citations": urls, "search_results": found},
            {**delta("stop"), "citations": urls, "search_results": found},
        )
        .choices[0]
        .parts
    )
    assert text == Text("xy", citations=cited)
    (text,) = reply_of(delta(content="x"), {**delta("stop"), "citations": urls}).choices[0].parts
    assert text == Text("x", citations=(UrlCitation("https://a"), UrlCitation("https://b")))
    message = {"message": {"content": "x"}, "finish_reason": "stop"}
    whole = {"choices": [message], "citations": urls, "search_results": found}
    reply = PROVIDER.decode_reply(json.dumps(whole).encode(), UPSTREAM)
    assert reply.choices[0].parts == (Text("x", citations=cited),)


def test_nothing_comes_behind_the_end() -> None:
    decoder = PROVIDER.stream_decoder(UPSTREAM)
    decoder.feed(raw_of(delta(content="a"), delta("stop")) + DONE)
    assert decoder.feed(raw_of(delta(content="b"))) == [] and decoder.end() == []


FAULTS: list[tuple[list[Any], Cause, int, str]] = [
    ([{"error": {"message": "slow down", "code": 429}}], Cause.RATE_LIMIT, 429, "slow down"),
    ([{"error": {"message": "boom", "type": "server_error"}}], Cause.SERVER, 500, "boom"),
    ([{"error": {"message": "busy", "type": "overloaded_error"}}], Cause.OVERLOADED, 529, "busy"),
    ([{"error": "words"}], Cause.SERVER, 500, "words"),
    (
        [{"error": {"message": "did not match", "type": "invalid_request_error", "status_code": 400}}],
        Cause.BAD_REQUEST,
        400,
        "did not match",
    ),
    (
        [delta(content="a"), {**delta("error"), "error": {"message": "gone", "code": 502}}],
        Cause.SERVER,
        502,
        "gone",
    ),
    ([delta("insufficient_system_resource")], Cause.SERVER, 502, "stopped with"),
    ([call(0, "a", None, "{}"), delta("stop")], Cause.GARBAGE, 502, "names no function"),
    (
        [call(0, "a", "f", "{}"), call(1, "b", "g", ""), call(0, arguments="{}")],
        Cause.GARBAGE,
        502,
        "go on behind their end",
    ),
    ([{"choices": [5]}], Cause.GARBAGE, 502, "is no object"),
    ([delta(content="a", index=10**9)], Cause.GARBAGE, 502, "index 1000000000"),
    ([[1]], Cause.GARBAGE, 502, "not valid"),
]


@pytest.mark.parametrize(("chunks", "cause", "status", "words"), FAULTS)
def test_failures(chunks: list[Any], cause: Cause, status: int, words: str) -> None:
    fault = failure_of(*chunks).fault
    assert (fault.cause, fault.status) == (cause, status)
    assert words in fault.message


def test_an_event_that_is_called_error() -> None:
    decoder = PROVIDER.stream_decoder(UPSTREAM)
    events = decoder.feed(b'event: error\ndata: {"message": "gone", "code": "rate_limit_exceeded"}\n\n')
    assert isinstance(events[-1], Failed) and events[-1].fault.cause is Cause.RATE_LIMIT


def test_what_is_no_json() -> None:
    assert "<html>" in failure_of(delta(content="a"), done=b"data: <html>\n\n").fault.message


@given(data=st.data())
def test_any_split_gives_the_same_events(data: st.DataObject) -> None:
    reply = data.draw(
        replies(most_choices=2, with_refusals=True, blob_kinds=["anthropic-messages.signature"])
    )
    encoder = CLIENT.stream_encoder(CONTEXT)
    raw = encoder.encode(data.draw(streams(reply)))
    if data.draw(st.booleans()):
        raw = raw.replace(b"\n", b"\r\n")
    whole = PROVIDER.stream_decoder(UPSTREAM)
    expected = [*whole.feed(raw), *whole.end()]
    places = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=8)))
    pieces = [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]
    decoder = PROVIDER.stream_decoder(UPSTREAM)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    assert [*events, *decoder.end()] == expected
    assert isinstance(expected[-1], Ended)


def test_what_a_model_spoke_is_told_by_its_transcript() -> None:
    parts = parts_of(
        delta(role="assistant", content=None, audio={"id": "a", "transcript": ""}),
        delta(audio={"transcript": "Hi "}),
        delta(audio={"data": "UklG"}),
        delta(audio={"transcript": "there"}),
        delta(audio={"expires_at": 5}),
    )
    assert parts == (Text("Hi there"),)
