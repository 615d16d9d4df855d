"""Converse's replies, whole and streamed: what was recorded, and what is rare."""

from __future__ import annotations

import base64
import itertools
import json
import random
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects.bedrock_converse import BedrockConverse
from modelbroker.dialects.conversation import (
    Blob,
    DocumentCitation,
    Image,
    Inline,
    Reasoning,
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
    PartStarted,
    Reply,
    ReplyEvent,
    Started,
    Stop,
    Usage,
    UsageGiven,
)
from modelbroker.dialects.streaming import fold
from support.bedrock import stream_of
from support.event_stream import event, exception, frame
from support.recordings import recordings

DIALECT = BedrockConverse()
CLAUDE = Upstream("house", "bedrock-converse", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")
GPT = Upstream("house", "bedrock-converse", "openai.gpt-oss-120b-1:0")
FIRST = event("messageStart", {"role": "assistant"})
END = event("messageStop", {"stopReason": "end_turn"})
LAST = event("metadata", {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {}})


def good(kind: str) -> list[Any]:
    return [
        row for row in recordings(kind) if row.values[0] is None or row.values[0]["response"]["status"] == 200
    ]


def upstream(row: Any) -> Upstream:
    model = unquote(row["request"]["url"].split("/model/")[1].rsplit("/", 1)[0])
    return Upstream("house", "bedrock-converse", model)


def events(text: bytes, cuts: list[int], to: Upstream = CLAUDE) -> list[ReplyEvent]:
    decoder = DIALECT.stream_decoder(to)
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    found = [event for a, b in itertools.pairwise(edges) for event in decoder.feed(text[a:b])]
    return [*found, *decoder.end()]


def delta(index: int, value: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": value})


def whole(content: Any, stop: str = "end_turn", **more: Any) -> Any:
    message = {"role": "assistant", "content": content}
    usage = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}
    return {"output": {"message": message}, "stopReason": stop, "usage": usage, "metrics": {}, **more}


def decoded(reply: Any, to: Upstream = CLAUDE) -> Reply:
    return DIALECT.decode_reply(json.dumps(reply).encode(), to)


# -- agreement and chunking


@pytest.mark.parametrize("row", good("bedrock-converse"))
def test_a_recorded_reply_and_its_stream_say_the_same(row: Any) -> None:
    reply, to = row["response"]["body"], upstream(row)
    expected = decoded(reply, to)
    stream = stream_of(reply)
    assert fold(events(stream, [], to)) == _with_pythons_json(expected)
    chance = random.Random(row["id"])
    every = events(stream, [], to)
    if len(stream) < 4096:
        for cut in range(1, len(stream)):
            assert events(stream, [cut], to) == every
    for _ in range(20):
        cuts = [chance.randrange(len(stream)) for _ in range(chance.randrange(30))]
        assert events(stream, cuts, to) == every


def _with_pythons_json(reply: Reply) -> Reply:
    """Tool arguments as `json` spells them: the test's own stream is written with it."""
    assert all(
        json.dumps(json.loads(part.arguments)) == part.arguments
        for part in reply.choices[0].parts
        if isinstance(part, ToolCall)
    )
    return reply


@pytest.mark.parametrize("row", good("bedrock-converse"))
def test_a_recorded_reply_is_told_exactly(row: Any) -> None:
    """Against the wire itself, field by field."""
    body = row["response"]["body"]
    reply = decoded(body, upstream(row))
    parts = iter(reply.choices[0].parts)
    for block in body["output"]["message"]["content"]:
        part = next(parts)
        match block:
            case {"text": text}:
                assert part == Text(text)
            case {"toolUse": call}:
                assert isinstance(part, ToolCall)
                assert (part.id, part.name) == (call["toolUseId"], call["name"])
                assert json.loads(part.arguments) == call["input"]
            case {"reasoningContent": {"redactedContent": data}}:
                blob = Blob("house", "bedrock-converse.redactedContent", data)
                assert part == Reasoning("", blob, hidden=True)
            case {"reasoningContent": {"reasoningText": said}}:
                assert isinstance(part, Reasoning) and part.text == said["text"]
                assert (part.blob.data if part.blob else None) == said.get("signature")
    assert next(parts, None) is None
    usage = body["usage"]
    assert reply.usage is not None
    assert reply.usage.prompt + reply.usage.output == usage["totalTokens"]
    assert (reply.usage.input, reply.usage.output) == (usage["inputTokens"], usage["outputTokens"])
    assert reply.usage.cache_read == usage.get("cacheReadInputTokens", 0)
    assert reply.usage.cache_write_5m == usage.get("cacheWriteInputTokens", 0)
    stops = {"end_turn": Stop.END, "tool_use": Stop.TOOL_CALLS}
    assert reply.choices[0].stop is stops[body["stopReason"]]


@pytest.mark.parametrize("row", good("bedrock-converse-stream"))
def test_recorded_streams(row: Any) -> None:
    text, to = base64.b64decode(row["response"]["body"]["base64"]), upstream(row)
    every = events(text, [], to)
    assert isinstance(every[0], Started) and isinstance(every[-1], Ended)
    reply = fold(every)
    assert reply.usage is not None and reply.usage.output > 0
    assert reply.choices[0].parts
    step = 1 if len(text) < 4096 else 23
    for cut in range(1, len(text), step):
        assert events(text, [cut], to) == every
    assert events(text, list(range(len(text))), to) == every


@given(st.data())
def test_made_up_replies_and_their_streams_say_the_same(data: st.DataObject) -> None:
    strings = st.text(max_size=20)
    blob = st.binary(min_size=1, max_size=20).map(lambda raw: base64.b64encode(raw).decode())
    place = st.fixed_dictionaries(
        {"documentIndex": st.integers(0, 3), "start": st.integers(0, 9), "end": st.integers(9, 20)}
    )
    location = st.one_of(
        *(st.fixed_dictionaries({name: place}) for name in ("documentChar", "documentPage", "documentChunk")),
        st.just({"web": {"url": "https://a.example", "domain": "a.example"}}),
        st.just({"searchResultLocation": {"searchResultIndex": 0, "start": 0, "end": 1}}),
    )
    cite = st.fixed_dictionaries(
        {"title": strings, "sourceContent": st.lists(st.fixed_dictionaries({"text": strings}), max_size=2)},
        optional={"location": location, "source": strings},
    )
    block = st.one_of(
        st.fixed_dictionaries({"text": strings}),
        st.fixed_dictionaries(
            {
                "citationsContent": st.fixed_dictionaries(
                    {
                        "content": st.lists(st.fixed_dictionaries({"text": strings}), max_size=2),
                        "citations": st.lists(cite, max_size=2),
                    }
                )
            }
        ),
        st.fixed_dictionaries(
            {
                "reasoningContent": st.one_of(
                    st.fixed_dictionaries({"redactedContent": blob}),
                    st.fixed_dictionaries(
                        {
                            "reasoningText": st.fixed_dictionaries(
                                {"text": strings}, optional={"signature": blob}
                            )
                        }
                    ),
                )
            }
        ),
        st.fixed_dictionaries(
            {
                "toolUse": st.fixed_dictionaries(
                    {
                        "toolUseId": st.sampled_from(["a", "b"]),
                        "name": st.just("f"),
                        "input": st.dictionaries(strings, strings | st.integers(), max_size=2),
                    }
                )
            }
        ),
    )
    reply = whole(
        data.draw(st.lists(block, max_size=4)),
        data.draw(st.sampled_from(["end_turn", "tool_use", "max_tokens", "content_filtered", "new_reason"])),
    )
    to = data.draw(st.sampled_from([CLAUDE, GPT]))
    stream = stream_of(reply, piece=data.draw(st.integers(1, 9)))
    expected = decoded(reply, to)
    cuts = data.draw(st.lists(st.integers(0), max_size=9))
    assert fold(events(stream, cuts, to)) == expected


# -- what is rare


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("end_turn", Stop.END),
        ("tool_use", Stop.TOOL_CALLS),
        ("max_tokens", Stop.MAX_TOKENS),
        ("stop_sequence", Stop.STOP_SEQUENCE),
        ("guardrail_intervened", Stop.CONTENT_FILTER),
        ("content_filtered", Stop.CONTENT_FILTER),
        ("model_context_window_exceeded", Stop.CONTEXT_WINDOW),
        ("refusal", Stop.REFUSAL),
        ("what is new", Stop.END),
    ],
)
def test_stops(reason: str, stop: Stop) -> None:
    reply = whole([{"text": "a"}], reason)
    assert decoded(reply).choices[0].stop is stop
    assert fold(events(stream_of(reply), [])).choices[0].stop is stop


@pytest.mark.parametrize(("reason", "stop"), [("end_turn", Stop.TOOL_CALLS), ("max_tokens", Stop.MAX_TOKENS)])
def test_who_calls_a_tool_stopped_for_it(reason: str, stop: Stop) -> None:
    """Not all models say so."""
    reply = whole([{"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}], reason)
    assert decoded(reply).choices[0].stop is stop
    assert fold(events(stream_of(reply), [])).choices[0].stop is stop


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_output_is_a_failure(reason: str) -> None:
    reply = whole([{"text": "a"}], reason)
    with pytest.raises(ValueError, match="malformed"):
        decoded(reply)
    last = events(stream_of(reply), [])[-1]
    assert isinstance(last, Failed) and last.fault.code == reason and last.fault.cause is Cause.SERVER


@pytest.mark.parametrize("fields", [{"stop_sequence": "END"}, {"delta": {"stop_sequence": "END"}}])
def test_the_stop_sequence_that_was_met(fields: Any) -> None:
    reply = whole([{"text": "a"}], "stop_sequence", additionalModelResponseFields=fields)
    assert decoded(reply).choices[0].stop_sequence == "END"
    assert fold(events(stream_of(reply), [])) == decoded(reply)


def test_usage_in_disjoint_buckets() -> None:
    usage = {
        "inputTokens": 3,
        "outputTokens": 5,
        "totalTokens": 1938,
        "cacheReadInputTokens": 200,
        "cacheWriteInputTokens": 1730,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 1000}, {"ttl": "5m", "inputTokens": 730}],
    }
    reply = whole([{"text": "a"}], usage=usage, serviceTier={"type": "flex"})
    expected = Usage(input=3, cache_read=200, cache_write_5m=730, cache_write_1h=1000, output=5)
    assert decoded(reply).usage == expected
    assert decoded(reply).service_tier == "flex"
    assert fold(events(stream_of(reply), [])) == decoded(reply)


def test_citations() -> None:
    def cited(location: Any, **more: Any) -> Any:
        return {"title": "T", "sourceContent": [{"text": "q1"}, {"text": "q2"}], "location": location, **more}

    span = {"documentIndex": 1, "start": 2, "end": 5}
    citations = [
        cited({"documentChar": span}),
        cited({"documentPage": span}),
        cited({"documentChunk": span}),
        cited({"web": {"url": "https://a.example"}}),
        {"source": "https://b.example", "title": "B"},
        {"title": "nowhere"},
    ]
    reply = whole([{"citationsContent": {"content": [{"text": "x"}, {"text": "y"}], "citations": citations}}])
    assert decoded(reply).choices[0].parts == (
        Text(
            "xy",
            citations=(
                DocumentCitation(1, "T", "q1q2", "char", 2, 5),
                DocumentCitation(1, "T", "q1q2", "page", 1, 4),
                DocumentCitation(1, "T", "q1q2", "block", 2, 5),
                UrlCitation("https://a.example", "T", quote="q1q2"),
                UrlCitation("https://b.example", "B"),
            ),
        ),
    )
    assert fold(events(stream_of(reply), [])) == decoded(reply)


def test_each_vendors_reasoning_has_a_kind_of_its_own() -> None:
    reply = whole([{"reasoningContent": {"reasoningText": {"text": "t", "signature": "s"}}}])
    (ours,) = decoded(reply, CLAUDE).choices[0].parts
    (theirs,) = decoded(reply, GPT).choices[0].parts
    assert ours == Reasoning("t", Blob("house", "bedrock-converse.signature", "s"))
    assert theirs == Reasoning("t", Blob("house", "bedrock-converse.openai.signature", "s"))
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    known = Upstream("house", "bedrock-converse", arn, deviations={"base_model": CLAUDE.model})
    assert decoded(reply, known).choices[0].parts == (ours,)


def test_arguments_keep_their_spelling() -> None:
    body = json.dumps(whole([{"toolUse": {"toolUseId": "a", "name": "f", "input": 0}}], "tool_use"))
    spelled = '{"b":1.50, "a":[10000000000000000000001],"b":2}'
    reply = DIALECT.decode_reply(body.replace('"input": 0', f'"input": {spelled}').encode(), CLAUDE)
    assert reply.choices[0].parts == (ToolCall("a", "f", spelled),)


def test_what_ran_at_the_provider_is_told_by_what_the_model_answers() -> None:
    ran = {"toolUseId": "a", "name": "nova_code_interpreter", "input": {"x": 1}, "type": "server_tool_use"}
    result = {
        "toolUseId": "a",
        "content": [{"json": {"stdOut": "1"}}],
        "type": "nova_code_interpreter_result",
    }
    reply = whole([{"text": "So: "}, {"toolUse": ran}, {"toolResult": result}, {}, {"text": "One."}])
    assert decoded(reply).choices == (Choice((Text("So: "), Text("One.")), Stop.END),)
    started = {"toolUse": {name: value for name, value in ran.items() if name != "input"}}
    stream = b"".join(
        [
            FIRST,
            delta(0, {"text": "So: "}),
            event("contentBlockStop", {"contentBlockIndex": 0}),
            event("contentBlockStart", {"contentBlockIndex": 1, "start": started}),
            delta(1, {"toolUse": {"input": '{"x":1}'}}),
            event("contentBlockStop", {"contentBlockIndex": 1}),
            event("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolResult": {"toolUseId": "a"}}}),
            delta(2, {"toolResult": [{"json": {"stdOut": "1"}}]}),
            event("contentBlockStop", {"contentBlockIndex": 2}),
            delta(3, {"text": "One."}),
            event("contentBlockStop", {"contentBlockIndex": 3}),
            event("messageStop", {"stopReason": "end_turn"}),
            LAST,
        ]
    )
    assert fold(events(stream, list(range(len(stream))))).choices == decoded(reply).choices


def test_what_the_model_drew_is_a_part() -> None:
    reply = whole([{"text": "See: "}, {"image": {"format": "jpeg", "source": {"bytes": "aaaabbbb"}}}])
    parts = (Text("See: "), Image(Inline("image/jpeg", "aaaabbbb")))
    assert decoded(reply).choices[0].parts == parts
    stream = b"".join(
        [
            FIRST,
            delta(0, {"text": "See: "}),
            event("contentBlockStop", {"contentBlockIndex": 0}),
            event("contentBlockStart", {"contentBlockIndex": 1, "start": {"image": {"format": "jpeg"}}}),
            delta(1, {"image": {"source": {"bytes": "aaaa"}}}),
            delta(1, {"image": {"source": {"bytes": "bbbb"}}}),
            event("contentBlockStop", {"contentBlockIndex": 1}),
            event("messageStop", {"stopReason": "end_turn"}),
            LAST,
        ]
    )
    assert fold(events(stream, [])).choices[0].parts == parts


def test_content_of_another_kind_is_named() -> None:
    (told,) = decoded(whole([{"video": {"format": "mp4"}}])).choices[0].parts
    assert told == Text("[the model gave video, which can't be passed on here]")
    found = fold(
        events(FIRST + delta(0, {"video": {}}) + delta(0, {"video": {}}) + delta(1, {}) + END + LAST, [])
    )
    assert found.choices[0].parts == (told,)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"output": {}}', b"\xff", b"<html>", b'{"output":'])
def test_no_reply_is_said_in_words(body: bytes) -> None:
    with pytest.raises(ValueError, match="no Converse reply"):
        DIALECT.decode_reply(body, CLAUDE)
    with pytest.raises(ValueError, match="no count"):
        DIALECT.decode_count(body)


def test_a_count() -> None:
    assert DIALECT.decode_count(b'{"inputTokens": 17}') == 17


# -- streams


def test_interleaved_tool_calls_stay_apart() -> None:
    stream = b"".join(
        [
            FIRST,
            event(
                "contentBlockStart",
                {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "a", "name": "f"}}},
            ),
            event(
                "contentBlockStart",
                {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "b", "name": "g"}}},
            ),
            delta(0, {"toolUse": {"input": '{"x"'}}),
            delta(2, {"toolUse": {"input": '{"y"'}}),
            delta(0, {"toolUse": {"input": ":1}"}}),
            event("contentBlockStop", {"contentBlockIndex": 0}),
            delta(2, {"toolUse": {"input": ":2}"}}),
            event("messageStop", {"stopReason": "tool_use"}),
            LAST,
        ]
    )
    assert fold(events(stream, [])).choices[0].parts == (
        ToolCall("a", "f", '{"x":1}'),
        ToolCall("b", "g", '{"y":2}'),
    )


def test_usage_may_come_before_the_stop() -> None:
    stop = event("messageStop", {"stopReason": "end_turn"})
    found = events(FIRST + delta(0, {"text": "a"}) + LAST + stop, [])
    assert isinstance(found[-1], Ended)
    assert [type(each) for each in found].count(Ended) == 1
    assert fold(found).usage == Usage(input=1, output=2)


def test_a_stream_without_usage_was_cut() -> None:
    found = events(FIRST + delta(0, {"text": "a"}) + event("messageStop", {"stopReason": "end_turn"}), [])
    assert not any(isinstance(each, (Ended, Failed, UsageGiven)) for each in found)


def test_one_index_may_hold_reasoning_and_then_text() -> None:
    stream = FIRST + delta(0, {"reasoningContent": {"text": "hm"}}) + delta(0, {"text": "a"})
    stream += event("messageStop", {"stopReason": "end_turn"}) + LAST
    assert fold(events(stream, [])).choices[0].parts == (Reasoning("hm"), Text("a"))


def test_unknown_events_and_fields_are_no_matter() -> None:
    stream = FIRST + event("whatIsNew", {"a": 1}) + delta(0, {"text": "a", "new": [1]})
    found = events(stream, [])
    assert found == [Started(), Alive(), PartStarted(0, Text("")), Delta(0, "a")]


@pytest.mark.parametrize(
    ("name", "message", "cause", "status"),
    [
        ("throttlingException", "Too many tokens, please wait", Cause.RATE_LIMIT, 429),
        ("serviceUnavailableException", "busy", Cause.OVERLOADED, 503),
        ("internalServerException", "oops", Cause.SERVER, 500),
        ("modelStreamErrorException", "oops", Cause.SERVER, 424),
        ("validationException", "what is this", Cause.BAD_REQUEST, 400),
        ("validationException", "Input is too long for requested model.", Cause.CONTEXT_OVERFLOW, 400),
        ("modelTimeoutException", "slow", Cause.TIMEOUT, 408),
        ("whatIsNewException", "oops", Cause.SERVER, 502),
    ],
)
def test_exceptions_inside_a_stream(name: str, message: str, cause: Cause, status: int) -> None:
    stream = FIRST + delta(0, {"text": "a"}) + exception(name, {"message": message}) + LAST
    found = events(stream, [])
    assert isinstance(found[-1], Failed)
    fault = found[-1].fault
    assert (fault.cause, fault.status, fault.message, fault.code) == (cause, status, message, name)
    assert events(stream, list(range(len(stream)))) == found


def test_an_error_inside_a_stream_has_its_words_in_headers() -> None:
    headers = {
        ":message-type": (7, "error"),
        ":error-code": (7, "InternalFailure"),
        ":error-message": (7, "gone"),
    }
    (*_, last) = events(FIRST + frame(headers, b""), [])
    assert isinstance(last, Failed)
    assert (last.fault.cause, last.fault.message) == (Cause.SERVER, "gone")


@pytest.mark.parametrize(
    "broken",
    [
        b"data: {}\n\n" * 3,
        event("contentBlockDelta", {"contentBlockIndex": "x"}),
        frame({":event-type": (7, "contentBlockDelta"), ":message-type": (7, "event")}, b"{"),
        frame({":event-type": (7, "metadata"), ":message-type": (7, "event")}, b"\xff\xff"),
        delta(3, {"toolUse": {"input": "{"}}),
        LAST[:-1] + b"x",
    ],
)
def test_broken_streams_fail_in_words(broken: bytes) -> None:
    stream = FIRST + delta(0, {"text": "a"}) + broken
    found = events(stream, [])
    assert isinstance(found[-1], Failed)
    assert (
        found[-1].fault.cause is Cause.GARBAGE and found[-1].fault.status == 502 and found[-1].fault.message
    )
    assert events(stream, list(range(len(stream)))) == found


@given(st.binary(max_size=60), st.integers(0), st.lists(st.integers(0), max_size=5))
def test_rubbish_never_raises(rubbish: bytes, place: int, cuts: list[int]) -> None:
    good_stream = stream_of(whole([{"text": "a"}, {"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}]))
    place %= len(good_stream)
    text = good_stream[:place] + rubbish + good_stream[place:]
    found = events(text, [])
    assert sum(isinstance(each, (Ended, Failed)) for each in found) <= 1
    assert events(text, cuts) == found
