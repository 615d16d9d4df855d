"""What comes from Gemini: whole, as a stream, cut, broken; google-genai reads the same."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects.conversation import (
    Blob,
    Image,
    Inline,
    Reasoning,
    Text,
    ToolCall,
    Upstream,
    Url,
    UrlCitation,
)
from modelbroker.dialects.gemini import Gemini
from modelbroker.dialects.gemini.stream_in import ObjectSplitter
from modelbroker.dialects.replies import (
    Cause,
    Choice,
    Ended,
    Failed,
    Reply,
    ReplyEvent,
    Started,
    Stop,
    Usage,
    UsageGiven,
)
from modelbroker.dialects.streaming import fold
from support.gemini import as_stream, sdk_reply, sse
from support.recordings import recordings

GEMINI = Gemini()
UPSTREAM = Upstream("google", "gemini", "gemini-3-flash-preview")
ROWS = [row for row in recordings("gemini-generate-content") if row.values[0] is not None]
WHOLE = [row for row in ROWS if not isinstance(row.values[0]["response"]["body"], str)]
STREAMED = [row for row in ROWS if isinstance(row.values[0]["response"]["body"], str)]


def decoded(body: Any) -> Reply:
    return GEMINI.decode_reply(json.dumps(body, ensure_ascii=False).encode(), UPSTREAM)


def events_of(*chunks: bytes) -> list[ReplyEvent]:
    decoder = GEMINI.stream_decoder(UPSTREAM)
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()


def answer(*parts: Any, reason: str = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": reason, **more}
    return {"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "reply-id-1"}


def own(data: str) -> Blob:
    return Blob("google", "gemini.thoughtSignature", data)


# -- recorded replies


@pytest.mark.parametrize("row", WHOLE)
def test_whole_replies_are_what_the_sdk_reads(row: Any) -> None:
    body = row["response"]["body"]
    reply = GEMINI.decode_reply(json.dumps(body, indent=2).encode(), UPSTREAM)
    read = sdk_reply(body)
    assert (reply.id, reply.model) == (read.response_id or "", read.model_version)
    usage = read.usage_metadata
    assert usage is not None and reply.usage is not None
    assert reply.usage.cache_read == (usage.cached_content_token_count or 0)
    assert reply.usage.reasoning == usage.thoughts_token_count
    assert reply.usage.prompt + reply.usage.output == usage.total_token_count
    for choice, candidate in zip(reply.choices, read.candidates or [], strict=True):
        parts = (candidate.content.parts if candidate.content else None) or []
        texts = "".join(part.text or "" for part in parts if not part.thought)
        assert "".join(part.text for part in choice.parts if isinstance(part, Text)) == texts
        thoughts = "".join(part.text or "" for part in parts if part.thought)
        assert "".join(part.text for part in choice.parts if isinstance(part, Reasoning)) == thoughts
        calls = [part for part in choice.parts if isinstance(part, ToolCall)]
        asked = [part.function_call for part in parts if part.function_call]
        assert [(c.name, json.loads(c.arguments)) for c in calls] == [(c.name, c.args) for c in asked]
        assert [c.id for c in calls if c.id in {a.id for a in asked}] == [a.id for a in asked if a.id]
        assert (choice.stop is Stop.TOOL_CALLS) == bool(calls)
    signed = [part.blob.data for c in reply.choices for part in c.parts if getattr(part, "blob", None)]
    sent = [
        part["thoughtSignature"]
        for candidate in body["candidates"]
        for part in candidate["content"].get("parts", [])
        if "thoughtSignature" in part and not {"toolCall", "toolResponse"} & part.keys()
    ]
    assert signed == sent


@pytest.mark.parametrize("pieces", [1, 3, 10_000])
@pytest.mark.parametrize("row", WHOLE)
def test_a_reply_told_as_a_stream_is_the_same_reply(row: Any, pieces: int) -> None:
    body = row["response"]["body"]
    chunks = as_stream(body, pieces=min(pieces, 200))
    assert fold(events_of(sse(chunks))) == decoded(body)


@pytest.mark.parametrize("row", STREAMED)
def test_recorded_streams_are_what_the_sdk_reads(row: Any) -> None:
    raw = row["response"]["body"].encode()
    chunks = [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: ")]
    read = [sdk_reply(chunk) for chunk in chunks]
    reply = fold(events_of(raw))
    parts = [part for chunk in read for part in chunk.candidates[0].content.parts or []]
    texts = [part.text for part in reply.choices[0].parts if isinstance(part, Text)]
    assert "".join(texts) == "".join(part.text or "" for part in parts)
    calls = [part for part in reply.choices[0].parts if isinstance(part, ToolCall)]
    assert [json.loads(call.arguments) for call in calls] == [
        part.function_call.args for part in parts if part.function_call
    ]
    usage = read[-1].usage_metadata
    assert usage is not None and reply.usage is not None
    assert reply.usage.prompt + reply.usage.output == usage.total_token_count
    assert decoded(chunks) == reply == fold(events_of(json.dumps(chunks, indent=1).encode()))


# -- chunking


@pytest.mark.parametrize("row", STREAMED)
@pytest.mark.parametrize("form", ["sse", "array"])
def test_a_stream_says_the_same_wherever_it_is_cut(row: Any, form: str) -> None:
    raw = row["response"]["body"].encode()
    if form == "array":
        chunks = [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: ")]
        raw = json.dumps(chunks, indent=1).encode()
    whole = events_of(raw)
    assert isinstance(whole[-1], Ended)
    places = range(1, len(raw)) if len(raw) < 4096 else range(1, len(raw), 97)
    for cut in places:
        assert events_of(raw[:cut], raw[cut:]) == whole, cut
    assert events_of(*(raw[at : at + 1] for at in range(len(raw)))) == whole


def test_a_stream_that_ends_early_has_no_end() -> None:
    """Wherever it is cut: nothing is taken for whole that lacks something."""
    chunks = as_stream(answer({"text": "It is 30 °C, 東京."}, {"functionCall": {"name": "f"}}), pieces=3)
    raw = sse(chunks, "\n\n")
    whole = fold(events_of(raw))
    for cut in range(len(raw)):
        events = events_of(raw[:cut])
        if events and isinstance(events[-1], Ended):
            assert fold(events) == whole and cut >= len(raw) - 2
        assert not any(isinstance(event, Failed) for event in events)
    array = json.dumps(chunks).encode()
    for cut in range(len(array)):
        events = events_of(array[:cut])
        ended = bool(events) and isinstance(events[-1], Ended)
        assert ended == (cut >= len(array) - 1), cut


def test_what_stands_around_events_says_nothing() -> None:
    body = answer({"text": "x"})
    whole = events_of(sse([body]))
    assert events_of(b"\xef\xbb\xbf: ping\r\n\r\n" + sse([body]) + b"data:\n\ndata: [DONE]\n\n") == whole
    assert events_of(b" \r\n", sse([body])) == whole
    assert events_of() == events_of(b" ") == []


@given(
    st.lists(st.dictionaries(st.text('"\\{}[],a'), st.text('"\\{}[],é'), max_size=3), max_size=4),
    st.randoms(use_true_random=False),
)
def test_objects_are_split_out_of_arrays(objects: list[dict[str, str]], chance: random.Random) -> None:
    raw = json.dumps(objects, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 2])).encode()
    splitter = ObjectSplitter()
    found: list[bytes] = []
    at = 0
    while at < len(raw):
        size = chance.randint(1, 5)
        found += splitter.feed(raw[at : at + size])
        at += size
    assert [json.loads(one) for one in found] == objects


# -- parts


def parts_of(*parts: Any, **more: Any) -> tuple[Any, ...]:
    return decoded(answer(*parts, **more)).choices[0].parts


def test_texts_follow_one_another_until_one_is_signed() -> None:
    assert parts_of({"text": "a"}, {"text": ""}, {"text": "b"}) == (Text("ab"),)
    assert parts_of({"text": "a", "thoughtSignature": "c2ln"}, {"text": "b"}) == (
        Text("a", blob=own("c2ln")),
        Text("b"),
    )
    assert parts_of({"text": "a"}, {"text": "", "thoughtSignature": "c2ln"}) == (Text("a", blob=own("c2ln")),)
    assert parts_of({"functionCall": {"name": "f"}}, {"thoughtSignature": "c2ln"})[1] == Text(
        "", blob=own("c2ln")
    )
    assert parts_of({}, {"text": ""}) == ()


def test_thoughts_are_reasoning() -> None:
    assert parts_of(
        {"text": "First, ", "thought": True},
        {"text": "then.", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "more", "thought": True},
        {"text": "Answer"},
    ) == (
        Reasoning("First, then.", own("c2ln"), summary=True),
        Reasoning("more", summary=True),
        Text("Answer"),
    )


def test_calls_in_parallel_keep_their_arguments_and_get_ids() -> None:
    raw = b"""{"candidates": [{"content": {"parts": [
        {"functionCall": {"name": "f", "args": {
            "b": 1.50,   "a": [1e2, "\\u00e9"]
        }}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "g", "args": {}, "id": "its-own"}},
        {"functionCall": {"name": "f"}}
    ]}, "finishReason": "STOP"}], "responseId": "MRZyaoPoApODz7IP3PyuuAc"}"""
    choice = GEMINI.decode_reply(raw, UPSTREAM).choices[0]
    assert choice.stop is Stop.TOOL_CALLS
    assert choice.parts == (
        ToolCall("call_MRZyaoPoApODz7IP3PyuuAc_0", "f", '{"b":1.50,"a":[1e2,"\\u00e9"]}', own("c2ln")),
        ToolCall("its-own", "g", "{}"),
        ToolCall("call_MRZyaoPoApODz7IP3PyuuAc_2", "f", "{}"),
    )


def test_ids_of_calls_differ_from_turn_to_turn_where_replies_have_none() -> None:
    def ids(prompt: int, response_id: str = "") -> list[str]:
        call = {"functionCall": {"name": "f", "args": {"a": 1}}}
        body = {
            **answer(call, call),
            "usageMetadata": {"promptTokenCount": prompt},
            "responseId": response_id,
        }
        return [part.id for part in decoded(body).choices[0].parts]

    first, second = ids(10), ids(40)
    assert len({*first, *second}) == 4
    assert first == ids(10)
    odd = ids(10, "not / plain …")
    assert all(ident.isascii() and len(ident) <= 40 and ident.replace("_", "").isalnum() for ident in odd)


def test_candidates_are_choices() -> None:
    body = answer({"text": "a"})
    body["candidates"].append({**answer({"functionCall": {"name": "f"}})["candidates"][0], "index": 1})
    reply = decoded(body)
    assert reply.choices == (
        Choice((Text("a"),), Stop.END),
        Choice((ToolCall("call_reply-id-1_1_0", "f", "{}"),), Stop.TOOL_CALLS, index=1),
    )
    assert fold(events_of(sse(as_stream(body, pieces=2)))) == reply


def test_what_google_ran_is_told_by_what_the_model_answers() -> None:
    """As with hosted tools of other dialects: the client asked for none, and the text is the answer."""
    ran = (
        {"text": "Let me see. "},
        {"executableCode": {"language": "PYTHON", "code": "print(1)"}, "thoughtSignature": "c2ln"},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"text": "One."},
    )
    assert parts_of(*ran) == (Text("Let me see. One."),)


def test_what_the_model_drew_is_a_part() -> None:
    body = answer(
        {"text": "Here: "},
        {"inlineData": {"mimeType": "image/jpeg", "data": "c2tldGNo"}, "thought": True},
        {"inlineData": {"mimeType": "image/png", "data": "iVBO"}, "thoughtSignature": "c2ln"},
        {"fileData": {"mimeType": "image/png", "fileUri": "gs://x/y.png"}},
        {"text": "Fine?"},
    )
    reply = decoded(body)
    assert reply.choices[0].parts == (
        Text("Here: "),
        Image(Inline("image/png", "iVBO")),
        Image(Url("gs://x/y.png")),
        Text("Fine?"),
    )
    assert fold(events_of(sse([body]))) == reply


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ({"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "AAAA"}}, "audio/L16"),
        ({"fileData": {"fileUri": "gs://x"}}, "a file"),
        ({"somethingNew": {"x": 1}}, "somethingNew"),
    ],
)
def test_content_of_another_kind_is_named(part: Any, what: str) -> None:
    body = answer({"text": "Listen: "}, part)
    (text,) = decoded(body).choices[0].parts
    assert text.text.startswith(f"Listen: [the model gave {what}")
    assert fold(events_of(sse([body]))) == decoded(body)


def test_no_arguments_are_an_empty_object() -> None:
    assert [part.arguments for part in parts_of({"functionCall": {"name": "f", "args": None}})] == ["{}"]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"functionCall": {"name": "f", "partialArgs": [], "willContinue": True}}, "pieces"),
        ({"text": 1}, "Expected"),
    ],
)
def test_what_can_not_be_passed_on_is_an_error(part: Any, words: str) -> None:
    body = answer({"text": "Look: "}, part)
    with pytest.raises(ValueError, match=words):
        decoded(body)
    last = events_of(sse([body]))[-1]
    assert isinstance(last, Failed) and last.fault.cause is Cause.GARBAGE and words in last.fault.message


# -- ends


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("STOP", Stop.END),
        ("MAX_TOKENS", Stop.MAX_TOKENS),
        ("CONTINUATION", Stop.MAX_TOKENS),
        *(
            (name, Stop.CONTENT_FILTER)
            for name in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT")
        ),
        *(
            (name, Stop.CONTENT_FILTER)
            for name in ("SPII", "LANGUAGE", "OTHER", "IMAGE_SAFETY", "OF_TOMORROW")
        ),
    ],
)
def test_stops(reason: str, stop: Stop) -> None:
    assert decoded(answer({"text": "x"}, reason=reason)).choices[0].stop is stop
    with_call = decoded(answer({"functionCall": {"name": "f"}}, reason=reason)).choices[0].stop
    assert with_call is (Stop.TOOL_CALLS if stop is Stop.END else stop)


def test_a_whole_answer_may_leave_out_why_it_ended() -> None:
    body = answer({"text": "x"}, reason="")
    assert decoded(body).choices == (Choice((Text("x"),), Stop.END),)
    assert not any(isinstance(event, Ended) for event in events_of(sse([body])))  # a stream may be cut
    with pytest.raises(ValueError, match="no candidate"):
        decoded(answer(reason=""))


def test_every_stop_of_the_sdk_has_a_meaning() -> None:
    failing = {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    }
    for reason in types.FinishReason:
        body = answer({"text": "x"}, reason=reason.value, finishMessage="Malformed: f(")
        if reason.value in failing:
            with pytest.raises(ValueError, match=rf"{reason.value}: Malformed: f\("):
                decoded(body)
            last = events_of(sse([body]))[-1]
            assert isinstance(last, Failed) and last.fault.code == reason.value
        else:
            assert decoded(body).choices[0].stop in Stop


def test_blocked_prompts() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    blocked = Reply("", "", (Choice((), Stop.CONTENT_FILTER),), Usage(input=3))
    assert decoded(body) == blocked == fold(events_of(sse([body])))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"<html>",
        b"\xff",
        b"[1]",
        b'{"candidates": 1}',
        b'{"candidates": [{}]}',
        b"[{}",
        b"[" * 9999,
    ],
)
def test_garbage(body: bytes) -> None:
    with pytest.raises(ValueError):
        GEMINI.decode_reply(body, UPSTREAM)
    events = events_of(b"data: " + body + b"\n\n")
    assert not any(isinstance(event, Ended) for event in events)


def test_an_error_in_a_stream_and_in_a_whole_reply() -> None:
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    begun = {**answer({"text": "Well"}), "candidates": [{"content": {"parts": [{"text": "Well"}]}}]}
    for raw in (sse([begun, error, begun]), json.dumps([begun, error]).encode()):
        last = events_of(raw)[-1]
        assert isinstance(last, Failed)
        assert (last.fault.cause, last.fault.status) == (Cause.OVERLOADED, 503)
    with pytest.raises(ValueError, match="overloaded"):
        decoded(error)


# -- what comes with it


def test_usage() -> None:
    body = answer({"text": "x"})
    body["usageMetadata"] = {
        "promptTokenCount": 100,
        "toolUsePromptTokenCount": 7,
        "cachedContentTokenCount": 60,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 20,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 50},
            {"modality": "AUDIO", "tokenCount": 50},
        ],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
        "trafficType": "ON_DEMAND_PRIORITY",
    }
    body["createTime"] = "2025-10-01T12:00:00.123456Z"
    reply = decoded(body)
    assert reply.usage == Usage(input=47, cache_read=60, output=25, reasoning=20, audio_input=20)
    assert (reply.service_tier, reply.created_s) == ("priority", 1759320000)
    assert decoded({**body, "createTime": "yesterday"}).created_s is None


def test_usage_is_given_when_it_changes() -> None:
    chunks = [answer({"text": str(n)}) for n in range(4)]
    for chunk, output in zip(chunks, (1, 2, 2, 3), strict=True):
        chunk["usageMetadata"] = {"promptTokenCount": 5, "candidatesTokenCount": output}
    events = events_of(sse(chunks))
    assert isinstance(events[0], Started) and events[0].usage == Usage(input=5, output=1)
    assert [e.usage.output for e in events if isinstance(e, UsageGiven)] == [1, 2, 3, 3]


def test_logprobs_in_the_words_of_chat_completions() -> None:
    def token(text: str, logprob: float) -> dict[str, Any]:
        return {"token": text, "tokenId": 7, "logProbability": logprob}

    result = {
        "chosenCandidates": [token("é", -0.5), token("!", -1.0)],
        "topCandidates": [{"candidates": [token("é", -0.5), token("e", -2.0)]}],
    }
    body = answer({"text": "é!"}, avgLogprobs=-0.75, logprobsResult=result)
    expected = (
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [
                {"token": "é", "logprob": -0.5, "bytes": [195, 169]},
                {"token": "e", "logprob": -2.0, "bytes": [101]},
            ],
        },
        {"token": "!", "logprob": -1.0, "bytes": [33], "top_logprobs": []},
    )
    reply = decoded(body)
    assert reply.choices[0].logprobs == expected
    assert fold(events_of(sse(as_stream(body, pieces=2)))) == reply


def test_citations_count_code_points() -> None:
    """What a segment says are the answer's own words: no quote of the source."""

    def support(start: int, end: int, text: str, *places: int) -> dict[str, Any]:
        segment = {"startIndex": start, "endIndex": end, "text": text}
        return {"segment": segment, "groundingChunkIndices": list(places)}

    sources = [{"web": {"uri": "https://a.example", "title": "A"}}, {"retrievedContext": {"text": "x"}}]
    supports = [
        support(10, 13, "°C", 0, 1, 7),  # the second of two: bytes tell
        support(1, 2, "elsewhere", 0),
        support(0, 99, "7 ", 0),  # no such bytes, but the words are there
    ]
    grounding = {"groundingChunks": sources, "groundingSupports": supports}
    recited = {"citationSources": [{"startIndex": 3, "endIndex": 6, "uri": "https://b.example"}]}
    body = answer({"text": "30 °C, 7 °C"}, groundingMetadata=grounding, citationMetadata=recited)
    reply = decoded(body)
    assert reply.choices[0].parts == (
        Text(
            "30 °C, 7 °C",
            citations=(
                UrlCitation("https://a.example", "A", 9, 11),
                UrlCitation("https://a.example", "A"),
                UrlCitation("https://a.example", "A", 7, 9),
                UrlCitation("https://b.example", "", 3, 5),
            ),
        ),
    )
    assert fold(events_of(sse(as_stream(body, pieces=3)))) == reply
