"""A provider's stream, decoded: in any pieces, told in full or in part, whole or broken."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects.conversation import Blob, Reasoning, Refusal, Text, ToolCall, Upstream, UrlCitation
from modelbroker.dialects.openai_responses import OpenAiResponses
from modelbroker.dialects.openai_responses.wire import ENCRYPTED
from modelbroker.dialects.replies import (
    Alive,
    Cause,
    Delta,
    Ended,
    Failed,
    PartEnded,
    PartStarted,
    Reply,
    ReplyEvent,
    Started,
    Stop,
    Usage,
)
from modelbroker.dialects.streaming import fold
from support.recordings import recordings

DIALECT = OpenAiResponses()
HOUSE = Upstream("house", "openai-responses", "gpt-5.1")


def sse(*events: Any) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (str(event.get("type", "")).encode(), json.dumps(event).encode())
        for event in events
    )


def decoded(raw: bytes, size: int = 0) -> list[ReplyEvent]:
    decoder = DIALECT.stream_decoder(HOUSE)
    chunks = [raw[at : at + size] for at in range(0, len(raw), size)] if size else [raw]
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return [event for event in (*events, *decoder.end()) if not isinstance(event, Alive)]


def reply_of(*events: Any) -> Reply:
    return fold(decoded(sse(CREATED, *events, completed())))


def parts_of(*events: Any) -> tuple[Any, ...]:
    return reply_of(*events).choices[0].parts


CREATED = {
    "type": "response.created",
    "response": {"id": "resp_1", "model": "gpt-x", "created_at": 1.7e9, "service_tier": "auto", "output": []},
}


def completed(kind: str = "completed", **response: Any) -> Any:
    fields = {"id": "resp_1", "model": "gpt-x", "status": kind, "service_tier": "default", "output": []}
    return {"type": f"response.{kind}", "response": {**fields, **response}}


def added(at: int, **item: Any) -> Any:
    return {"type": "response.output_item.added", "output_index": at, "item": item}


def done(at: int, **item: Any) -> Any:
    return {"type": "response.output_item.done", "output_index": at, "item": item}


def event(kind: str, at: int = 0, **fields: Any) -> Any:
    return {"type": f"response.{kind}", "output_index": at, "item_id": "i", **fields}


def message(*content: Any) -> Any:
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": list(content)}


def text(words: str, **more: Any) -> Any:
    return {"type": "output_text", "text": words, "annotations": [], "logprobs": [], **more}


# -- what a stream says


def test_the_response() -> None:
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
    }
    events = decoded(sse(CREATED, completed(usage=usage)))
    assert events[0] == Started("resp_1", "gpt-x", 1_700_000_000, None, "auto")
    assert isinstance(events[-1], Ended)
    reply = fold(events)
    assert reply.usage == Usage(30, 60, 10, 0, 9, 4)
    assert reply.service_tier == "default"


@pytest.mark.parametrize(
    ("response", "stop"),
    [
        (completed(), Stop.END),
        (completed("incomplete", incomplete_details={"reason": "max_output_tokens"}), Stop.MAX_TOKENS),
        (completed("incomplete", incomplete_details={"reason": "content_filter"}), Stop.CONTENT_FILTER),
        (completed("incomplete"), Stop.MAX_TOKENS),
    ],
)
def test_stops(response: Any, stop: Stop) -> None:
    assert fold(decoded(sse(CREATED, response))).choices[0].stop is stop


def test_stops_by_what_was_said() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    assert reply_of(done(0, **call)).choices[0].stop is Stop.TOOL_CALLS
    refused = message({"type": "refusal", "refusal": "no"})
    # As in Chat Completions: the words are a part of their own, and the answer just ended.
    assert reply_of(done(0, **refused)).choices[0].stop is Stop.END


def test_texts_with_annotations_and_logprobs() -> None:
    token = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    citation = {"type": "url_citation", "url": "https://x", "title": "t", "start_index": 0, "end_index": 1}
    reply = reply_of(
        added(0, **message()),
        event("content_part.added", content_index=0, part=text("")),
        event("output_text.delta", content_index=0, delta="a", logprobs=[token]),
        event("output_text.delta", content_index=0, delta="b", logprobs=[]),
        event("output_text.annotation.added", content_index=0, annotation=citation),
        event("output_text.annotation.added", content_index=0, annotation={"type": "file_citation"}),
        event("output_text.done", content_index=0, text="ab", logprobs=[]),
        event("content_part.done", content_index=0, part=text("ab", annotations=[citation])),
        event("content_part.added", content_index=1, part={"type": "refusal", "refusal": ""}),
        event("refusal.delta", content_index=1, delta="no"),
        event("refusal.done", content_index=1, refusal="no"),
        done(0, **message(text("ab", annotations=[citation]), {"type": "refusal", "refusal": "no"})),
    )
    choice = reply.choices[0]
    assert choice.parts == (Text("ab", citations=(UrlCitation("https://x", "t", 0, 1),)), Refusal("no"))
    assert choice.logprobs == (token,)


def test_several_summaries_are_paragraphs() -> None:
    """In a stream as in a whole reply; and what is encrypted counts as it is at the item's end."""
    pieces = [{"type": "summary_text", "text": words} for words in ("one", "two", "three")]
    item = {"type": "reasoning", "id": "rs_1", "summary": pieces, "encrypted_content": "gAAA"}
    parts = parts_of(
        added(0, type="reasoning", id="rs_1", summary=[], encrypted_content="gXXX"),
        event("reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}),
        event("reasoning_summary_text.delta", summary_index=0, delta="o"),
        event("reasoning_summary_text.delta", summary_index=0, delta="ne"),
        event("reasoning_summary_text.done", summary_index=0, text="one"),
        event("reasoning_summary_part.done", summary_index=0, part=pieces[0]),
        event("reasoning_summary_part.added", summary_index=1, part={"type": "summary_text", "text": ""}),
        event("reasoning_summary_text.done", summary_index=1, text="two"),
        done(0, **item),
    )
    blob = Blob("house", ENCRYPTED, "rs_1:gAAA")
    assert parts == (Reasoning("one\n\ntwo\n\nthree", blob, False, "rs_1", True),)
    whole = DIALECT.decode_reply(json.dumps({"output": [item], "status": "completed"}).encode(), HOUSE)
    assert whole.choices[0].parts == parts


def test_reasoning_of_all_kinds() -> None:
    raw = [{"type": "reasoning_text", "text": "a"}, {"type": "reasoning_text", "text": "b"}]
    hidden = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gBBB"}
    parts = parts_of(
        added(0, type="reasoning", id="rs_1", summary=[]),
        event("reasoning_text.delta", content_index=0, delta="a"),
        event("reasoning_text.delta", content_index=1, delta="b"),
        event("reasoning_text.done", content_index=1, text="b"),
        done(0, type="reasoning", id="rs_1", summary=[], content=raw),
        added(1, **hidden),
        done(1, **hidden),
        done(2, type="reasoning", id="rs_3", summary=[]),
    )
    assert parts == (
        Reasoning("a\n\nb", None, False, "rs_1"),
        Reasoning("", Blob("house", ENCRYPTED, "rs_2:gBBB"), True, "rs_2"),
    )


def call(at: int, arguments: str = "") -> Any:
    return {"type": "function_call", "call_id": f"c{at}", "name": f"f{at}", "arguments": arguments}


def test_three_calls_at_once() -> None:
    events = [added(at, **call(at)) for at in range(3)]
    events += [
        event("function_call_arguments.delta", at, delta=piece)
        for piece in ('{"a":', "1}")
        for at in (2, 0, 1)
    ]
    events += [event("function_call_arguments.done", at, arguments='{"a":1}') for at in range(3)]
    events += [done(at, **call(at, '{"a":1}')) for at in range(3)]
    assert parts_of(*events) == tuple(ToolCall(f"c{at}", f"f{at}", '{"a":1}') for at in range(3))


def test_free_text_calls() -> None:
    item = {"type": "custom_tool_call", "call_id": "c", "name": "sh"}
    parts = parts_of(
        added(0, **item, input=""),
        event("custom_tool_call_input.delta", delta="echo"),
        event("custom_tool_call_input.done", input="echo"),
        done(0, **item, input="echo"),
    )
    assert parts == (ToolCall("c", "sh", "echo", custom=True),)


# -- what providers leave out


@pytest.mark.parametrize(
    "events",
    [
        [done(0, **message(text("hi"))), done(1, **call(1, "{}"))],
        [
            event("output_text.delta", 0, content_index=0, delta="hi"),
            added(1, **call(1)),
            event("function_call_arguments.done", 1, arguments="{}"),
        ],
        [
            event("output_text.done", 0, content_index=0, text="hi"),
            event("function_call_arguments.delta", 1, delta="{}"),
            done(1, **call(1, "{}")),
        ],
        [
            added(0, **message()),
            event("content_part.done", content_index=0, part=text("hi")),
            done(1, **call(1, "{}")),
        ],
        [
            event("content_part.added", content_index=0, part=text("hi")),
            added(1, **call(1)),
            done(1, **call(1, "{}")),
        ],
    ],
)
def test_what_was_told_only_once(events: Any) -> None:
    assert parts_of(*events) == (Text("hi"), ToolCall("c1", "f1", "{}"))


def test_a_last_event_that_tells_all() -> None:
    last = completed(output=[message(text("hi")), call(1, "{}")])
    assert fold(decoded(sse(CREATED, last))).choices[0].parts == (Text("hi"), ToolCall("c1", "f1", "{}"))
    assert isinstance(decoded(sse(last))[0], Started)
    assert isinstance(decoded(sse(last)[:-2])[-1], Ended)  # without its blank line
    assert not any(isinstance(event, Ended) for event in decoded(sse(CREATED, last)[:-9]))


@pytest.mark.parametrize(
    ("item", "text"),
    [
        # As some that speak the dialect write a message.
        ({"type": "message", "role": "assistant", "content": "hi"}, "hi"),
        ({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}]}, "hi"),
        # What asks the client for something that only this dialect has.
        (
            {"type": "computer_call", "call_id": "c", "action": {"type": "screenshot"}},
            "[the model gave a computer_call, which can't be passed on here]",
        ),
    ],
)
def test_messages_in_other_words(item: Any, text: str) -> None:
    response = {"id": "resp_1", "model": "m", "status": "completed", "output": [item]}
    reply = DIALECT.decode_reply(json.dumps(response).encode(), HOUSE)
    assert reply.choices[0].parts == (Text(text),)
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    last = {"type": "response.completed", "response": response}
    assert fold(decoded(sse(done, last))).choices == fold(decoded(sse(last))).choices == reply.choices


def test_the_pieces_of_reasoning_are_no_text_of_the_answer() -> None:
    thought = {"type": "reasoning_text", "text": "hm"}
    parts = parts_of(
        added(0, type="reasoning", id="rs_1"),
        event("content_part.added", output_index=0, content_index=0, part={**thought, "text": ""}),
        event("reasoning_text.delta", output_index=0, content_index=0, delta="hm"),
        event("content_part.done", output_index=0, content_index=0, part=thought),
        done(0, type="reasoning", id="rs_1", summary=[], content=[thought]),
        done(1, **message(text("hi"))),
    )
    assert parts == (Reasoning("hm", id="rs_1"), Text("hi"))


def test_items_of_hosted_tools_are_nobodys() -> None:
    parts = parts_of(
        {"type": "response.queued", "response": {}},
        {"type": "keepalive"},
        added(0, type="web_search_call", id="ws_1"),
        event("web_search_call.searching"),
        event("code_interpreter_call_code.delta", delta={"odd": 1}),
        event("mcp_call.failed", error={"message": "x"}),
        done(0, type="web_search_call", id="ws_1"),
        done(1, **message(text("hi"))),
    )
    assert parts == (Text("hi"),)


def test_signs_of_life() -> None:
    decoder = DIALECT.stream_decoder(HOUSE)
    raw = sse({"type": "keepalive"}, event("web_search_call.searching"), added(0, **message()))
    assert decoder.feed(raw) == [Alive()] * 3


# -- failures


@pytest.mark.parametrize(
    ("failure", "cause", "words"),
    [
        ({"type": "error", "code": "server_error", "message": "boom", "param": None}, Cause.SERVER, "boom"),
        (
            {
                "type": "error",
                "error": {"type": "too_many_requests", "code": "too_many_requests", "message": "slow"},
            },
            Cause.RATE_LIMIT,
            "slow",
        ),
        (
            {
                "type": "error",
                "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "pay"},
            },
            Cause.BILLING,
            "",
        ),
        ({"error": {"message": "boom", "type": "server_error"}}, Cause.SERVER, "boom"),
        (completed("failed", error={"code": "server_error", "message": "boom"}), Cause.SERVER, "boom"),
        (
            completed("failed", error={"code": "rate_limit_exceeded", "message": "slow"}),
            Cause.RATE_LIMIT,
            "slow",
        ),
        (
            completed("failed", error={"code": "context_length_exceeded", "message": "long"}),
            Cause.CONTEXT_OVERFLOW,
            "long",
        ),
        (
            completed("failed", error={"code": "invalid_image", "message": "what?"}),
            Cause.BAD_REQUEST,
            "what?",
        ),
        (completed("failed"), Cause.SERVER, "failed"),
        (
            {"type": "response.output_text.delta", "delta": 5},
            Cause.GARBAGE,
            "response.output_text.delta is not valid",
        ),
    ],
)
def test_failures(failure: Any, cause: Cause, words: str) -> None:
    events = decoded(sse(CREATED, failure, completed()))
    last = events[-1]
    assert isinstance(last, Failed) and last.fault.cause is cause
    assert words in last.fault.message
    assert len(events) == 2


@pytest.mark.parametrize(
    "raw", [b"data: <html>\n\n", b"data: [1]\n\n", b"data: \xff\n\n", b'data: {"type":5}\n\n']
)
def test_garbage(raw: bytes) -> None:
    (event,) = decoded(raw)
    assert isinstance(event, Failed) and event.fault.status == 502


def test_nothing_is_said_behind_the_end() -> None:
    raw = sse(CREATED, completed(), event("output_text.delta", delta="x"), completed()) + b"data: [DONE]\n\n"
    assert isinstance(decoded(raw)[-1], Ended)


# -- over the recordings


@pytest.mark.parametrize("row", recordings("openai-responses"))
def test_recorded_streams_say_what_their_last_event_says(row: Any) -> None:
    body = row["response"]["body"]
    if not isinstance(body, str):
        return
    last = [line for line in body.splitlines() if line.startswith("data: ")][-1]
    whole = DIALECT.decode_reply(json.dumps(json.loads(last[6:])["response"]).encode(), HOUSE)
    for size in (0, 1, 7, 4096):
        folded = fold(decoded(body.encode(), size))
        assert [_said(part) for part in folded.choices[0].parts] == [
            _said(part) for part in whole.choices[0].parts
        ]
        assert folded.choices[0].stop is whole.choices[0].stop
        assert (folded.id, folded.model, folded.usage) == (whole.id, whole.model, whole.usage)
        assert (folded.service_tier, folded.created_s) == (whole.service_tier, whole.created_s)


def _said(part: Any) -> Any:
    """OpenAI seals reasoning anew in each event."""
    return (part.text, part.id, part.hidden) if isinstance(part, Reasoning) else part


@given(
    cuts=st.lists(st.integers(1, 3000), max_size=8),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_any_split_says_the_same(cuts: list[int], newline: bytes) -> None:
    raw = sse(
        CREATED,
        added(0, **message()),
        event("output_text.delta", content_index=0, delta='Grüße 👋 "zitiert"\r\n'),
        done(0, **message(text("Grüße"))),
        added(1, **call(1)),
        event("function_call_arguments.delta", 1, delta="{}"),
        done(1, **call(1, "{}")),
        completed(),
    ).replace(b"\n", newline)
    places = sorted({0, *(cut for cut in cuts if cut < len(raw)), len(raw)})
    decoder = DIALECT.stream_decoder(HOUSE)
    events = [event for start, end in itertools.pairwise(places) for event in decoder.feed(raw[start:end])]
    events += decoder.end()
    assert [event for event in events if not isinstance(event, Alive)] == decoded(raw)


KINDS = st.sampled_from(
    [
        "output_text.delta",
        "output_text.done",
        "content_part.added",
        "content_part.done",
        "output_item.added",
        "output_item.done",
        "reasoning_summary_text.delta",
        "reasoning_summary_part.added",
        "reasoning_text.delta",
        "refusal.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_text.annotation.added",
        "completed",
        "created",
    ]
)
ODD = st.one_of(
    st.none(), st.text(max_size=3), st.integers(-2, 3), st.just(message(text("x"))), st.just(call(1, "{}"))
)


@given(
    st.lists(
        st.tuples(
            KINDS,
            st.dictionaries(
                st.sampled_from(
                    [
                        "output_index",
                        "content_index",
                        "summary_index",
                        "delta",
                        "text",
                        "item",
                        "part",
                        "arguments",
                    ]
                ),
                ODD,
                max_size=4,
            ),
        ),
        max_size=10,
    )
)
def test_odd_streams_are_never_a_crash(events: Any) -> None:
    found = decoded(sse(*({"type": f"response.{kind}", **fields} for kind, fields in events)))
    begun: set[int] = set()
    over: set[int] = set()
    for event in found:
        if isinstance(event, PartStarted):
            assert event.index == len(begun)
            begun.add(event.index)
        elif isinstance(event, Delta):
            assert event.index in begun and event.index not in over
        elif isinstance(event, PartEnded):
            assert event.index in begun and event.index not in over
            over.add(event.index)
    ends = [event for event in found if isinstance(event, (Ended, Failed))]
    assert len(ends) <= 1 and (not ends or found[-1] is ends[0])
    assert not any(isinstance(event, Ended) for event in ends) or begun == over
