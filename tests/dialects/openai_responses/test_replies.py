"""Replies to a client, whole and streamed: what OpenAI's SDK makes of them, and what they say read back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects import provider_dialect
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
from modelbroker.dialects.openai_responses import OpenAiResponses
from modelbroker.dialects.openai_responses.wire import NO_BLOB, attached
from modelbroker.dialects.replies import (
    Alive,
    BlobGiven,
    Cause,
    Choice,
    Cited,
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
from openai import APIError, Omit
from openai._streaming import SSEDecoder
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from support.conversations import replies, streams
from support.dialects import Recorded, parameters, upstream

DIALECT = OpenAiResponses()
HOUSE = Upstream("house", "openai-responses", "gpt-5.1")
ID = "0123456789abcdef0123456789abcdef"
CONTEXT = Context(ID, 1_700_000_000, "some-model")
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
SIGNED = Blob("house", "anthropic-messages.signature", "c2ln")


def whole(reply: Reply, context: Context = CONTEXT) -> Any:
    body = json.loads(DIALECT.encode_reply(reply, context))
    Response.model_validate(body)
    return body


def streamed(events: Iterable[ReplyEvent], context: Context = CONTEXT) -> list[Any]:
    """The stream's events as JSON, after the SDK's types have seen them and their numbers."""
    encoder = DIALECT.stream_encoder(context)
    raw = b"".join(encoder.encode([event]) for event in events)
    found = []
    for sse in SSEDecoder().iter_bytes(iter([raw])):
        message = sse.json()
        assert sse.event == message["type"]
        if message["type"] != "error":
            EVENT.validate_python(message)
        found.append(message)
    assert [message["sequence_number"] for message in found] == list(range(len(found)))
    return found


def accumulated(messages: list[Any]) -> Any:
    """What the SDK's stream makes of them: the deltas alone, and its final response."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=Omit(), text_format=Omit())
    for message in messages:
        state.handle_event(EVENT.validate_python(message))
    return state


def read_back(reply: Reply) -> Reply:
    """The stream of a reply as a provider's."""
    encoder = DIALECT.stream_encoder(CONTEXT)
    raw = b"".join(encoder.encode([event]) for event in explode(reply))
    decoder = DIALECT.stream_decoder(HOUSE)
    return fold(event for event in (*decoder.feed(raw), *decoder.end()) if not isinstance(event, Alive))


def reply_of(*parts: Any, stop: Stop = Stop.END, **more: Any) -> Reply:
    return Reply("x", "m", (Choice(parts, stop),), **more)


# -- agreement


def check_agreement(reply: Reply, events: list[ReplyEvent] | None = None) -> None:
    """The stream's last response is the whole reply, and what its pieces add up to is its output."""
    body = whole(reply)
    messages = streamed(events or list(explode(reply)))
    last = messages[-1]
    assert last["type"] == f"response.{body['status']}"
    assert last["response"] == body
    done = [message["item"] for message in messages if message["type"] == "response.output_item.done"]
    assert done == body["output"]
    if body["status"] == "completed":
        final = accumulated(messages)._completed_response
        assert [_without_parsed(item.to_dict()) for item in final.output] == body["output"]
    pieces: dict[tuple[int, str, int], str] = {}
    for message in messages:
        if message["type"].endswith(".delta"):
            kind = message["type"].split(".")[1]
            at = message.get("content_index", message.get("summary_index", 0))
            key = (message["output_index"], kind, at)
            pieces[key] = pieces.get(key, "") + message["delta"]
    told = {key: text for key, text in _texts(body["output"]) if text}
    assert {key: text for key, text in pieces.items() if text} == told


def _without_parsed(value: Any) -> Any:
    """Without what the SDK adds for its users."""
    if isinstance(value, dict):
        return {key: _without_parsed(v) for key, v in value.items() if not key.startswith("parsed")}
    return [_without_parsed(inner) for inner in value] if isinstance(value, list) else value


def _texts(output: Any) -> Iterable[tuple[tuple[int, str, int], str]]:
    for number, item in enumerate(output):
        match item["type"]:
            case "message":
                for at, content in enumerate(item["content"]):
                    if content["type"] == "output_text":
                        yield (number, "output_text", at), content["text"]
                    else:
                        yield (number, "refusal", at), content["refusal"]
            case "reasoning":
                for at, piece in enumerate(item.get("content") or ()):
                    yield (number, "reasoning_text", at), piece["text"]
                for at, piece in enumerate(item["summary"]):
                    yield (number, "reasoning_summary_text", at), piece["text"]
            case "function_call":
                yield (number, "function_call_arguments", 0), item["arguments"]
            case "custom_tool_call":
                yield (number, "custom_tool_call_input", 0), item["input"]


@pytest.mark.parametrize("row", parameters(streamed=False))
def test_recorded_replies_of_every_provider(row: Recorded) -> None:
    try:
        reply = provider_dialect(row.dialect).decode_reply(row.reply, upstream(row.dialect))
    except ValueError as refused:
        assert "the response is" in str(refused)  # not finished yet
        return
    check_agreement(reply)


@given(reply=replies(with_refusals=True, blob_kinds=["anthropic-messages.signature"]), data=st.data())
def test_any_reply_in_any_pieces(reply: Reply, data: Any) -> None:
    """Parts may come mixed, as providers number them; a client gets them one behind the other."""
    check_agreement(reply, data.draw(streams(reply)))


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in parameters(streamed=False)
        if row.id == "absent" or row.id.startswith("openai-responses:")
    ],
)
def test_own_replies_come_back_as_they_were(row: Recorded) -> None:
    if json.loads(row.reply).get("status") in ("queued", "in_progress", "failed", "cancelled"):
        with pytest.raises(ValueError, match="the response is"):
            DIALECT.decode_reply(row.reply, HOUSE)
        return
    reply = DIALECT.decode_reply(row.reply, HOUSE)
    back = read_back(reply)
    assert [_plain(part) for part in back.choices[0].parts] == [
        _plain(part) for part in reply.choices[0].parts
    ]
    assert (back.choices[0].stop, back.choices[0].logprobs) == (
        reply.choices[0].stop,
        reply.choices[0].logprobs,
    )
    assert (back.usage, back.model, back.created_s) == (reply.usage, reply.model, reply.created_s)


def _plain(part: Any) -> Any:
    """Without the broker's tag and the item's new id, and with reasoning by its text alone."""
    if isinstance(part, Reasoning):
        data = part.blob.data if part.blob else ""
        sealed = data.rpartition(":")[2]
        return (part.text, sealed)
    return part


# -- the response object


def test_a_complete_response() -> None:
    """Every field that the SDK's Response demands, and the request's own echoed."""
    request = {
        "model": "pool",
        "input": "hi",
        "instructions": "be brief",
        "temperature": 0,
        "top_p": 0.5,
        "max_output_tokens": 99,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "truncation": "disabled",
        "user": "u",
    }
    chat = DIALECT.decode_request(json.dumps(request).encode())
    usage = Usage(10, 20, 3, 4, 50, 6)
    body = whole(
        reply_of(Text("hello"), usage=usage, service_tier="priority", created_s=1_600_000_000),
        Context(ID, 1_700_000_000, "some-model", echo=chat.echo),
    )
    assert body["id"] == f"resp_mb_{ID}"
    assert (body["store"], body["status"], body["error"]) == (False, "completed", None)
    assert (body["created_at"], body["completed_at"]) == (1_600_000_000, 1_700_000_000)
    for name in set(request) - {"model", "input", "tools", "text"}:
        assert body[name] == request[name], name
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert body["tools"][0]["strict"] is None and body["tools"][0]["parameters"] == {"type": "object"}
    assert (body["model"], body["service_tier"]) == ("m", "priority")
    assert body["usage"] == {
        "input_tokens": 37,
        "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 7},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 6},
        "total_tokens": 87,
    }
    assert {name for name in Response.model_fields if Response.model_fields[name].is_required()} <= set(body)


@pytest.mark.parametrize(
    ("stop", "status", "details", "item_status"),
    [
        (Stop.END, "completed", None, "completed"),
        (Stop.STOP_SEQUENCE, "completed", None, "completed"),
        (Stop.REFUSAL, "incomplete", {"reason": "content_filter"}, "incomplete"),
        (Stop.PAUSE, "completed", None, "completed"),
        (Stop.MAX_TOKENS, "incomplete", {"reason": "max_output_tokens"}, "incomplete"),
        (Stop.CONTEXT_WINDOW, "incomplete", {"reason": "max_output_tokens"}, "incomplete"),
        (Stop.CONTENT_FILTER, "incomplete", {"reason": "content_filter"}, "incomplete"),
    ],
)
def test_stops(stop: Stop, status: str, details: Any, item_status: str) -> None:
    reply = reply_of(ToolCall("c", "f", "{}"), Text("hel"), stop=stop)
    body = whole(reply)
    assert (body["status"], body["incomplete_details"]) == (status, details)
    assert [item["status"] for item in body["output"]] == ["completed", item_status]
    check_agreement(reply)


def test_a_refusal_in_words_is_whole() -> None:
    reply = reply_of(Refusal("not that"), stop=Stop.REFUSAL)
    body = whole(reply)
    assert (body["status"], body["output"][0]["status"]) == ("completed", "completed")
    check_agreement(reply)


def test_items() -> None:
    reply = reply_of(
        Reasoning("thought", SIGNED, summary=True),
        Reasoning("", SIGNED, hidden=True),
        Reasoning("raw"),
        Text("one"),
        Text("two"),
        Refusal("no"),
        ToolCall("c1", "f", '{"a": 1.0}'),
        ToolCall("", "f", ""),
        ToolCall("c3", "sh", "free text", custom=True),
        Text("three"),
        stop=Stop.TOOL_CALLS,
    )
    check_agreement(reply)
    output = whole(reply)["output"]
    assert [item["id"] for item in output] == [
        f"{prefix}_{ID}_{number}"
        for number, prefix in enumerate(["rs", "rs", "rs", "msg", "fc", "fc", "ctc", "msg"])
    ]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "thought"}]
    assert output[0]["encrypted_content"] == output[1]["encrypted_content"] == tagged(SIGNED)
    assert output[2]["content"] == [{"type": "reasoning_text", "text": "raw"}]
    assert output[2]["encrypted_content"] == NO_BLOB
    assert [content.get("text", content.get("refusal")) for content in output[3]["content"]] == [
        "one",
        "two",
        "no",
    ]
    assert (output[4]["call_id"], output[4]["arguments"]) == ("c1", '{"a": 1.0}')
    assert output[5]["call_id"] and output[5]["arguments"] == "{}"
    assert output[6]["input"] == "free text"


def test_who_asks_for_summaries_finds_all_reasoning_there() -> None:
    request = {"model": "m", "input": "hi", "reasoning": {"summary": "auto"}}
    chat = DIALECT.decode_request(json.dumps(request).encode())
    context = Context(ID, 1, "m", echo=chat.echo)
    (item,) = whole(reply_of(Reasoning("raw")), context)["output"]
    assert item["summary"] == [{"type": "summary_text", "text": "raw"}] and "content" not in item


def test_a_custom_tool_is_called_with_its_text() -> None:
    request = {"model": "m", "input": "hi", "tools": [{"type": "custom", "name": "sh"}]}
    chat = DIALECT.decode_request(json.dumps(request).encode())
    context = Context(ID, 1, "m", echo=chat.echo)
    calls = (ToolCall("c1", "sh", '{"input": "echo \\"hi\\""}'), ToolCall("c2", "sh", "odd"))
    body = whole(reply_of(*calls, stop=Stop.TOOL_CALLS), context)
    assert [(item["type"], item["input"]) for item in body["output"]] == [
        ("custom_tool_call", 'echo "hi"'),
        ("custom_tool_call", "odd"),
    ]
    messages = streamed(list(explode(reply_of(*calls))), context)
    deltas = [m["delta"] for m in messages if m["type"] == "response.custom_tool_call_input.delta"]
    assert deltas == ['echo "hi"', "odd"]


def test_blobs_of_texts_and_calls_stand_behind_them() -> None:
    """And come back to them with the client's next request."""
    thought = Blob("google", "gemini.thoughtSignature", "c2ln")
    reply = reply_of(
        Text("said", blob=thought),
        Text("more"),
        ToolCall("c1", "f", "{}", thought),
        ToolCall("c2", "f", "{}"),
    )
    check_agreement(reply)
    output = whole(reply)["output"]
    assert [item["type"] for item in output] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "reasoning",
        "function_call",
    ]
    assert output[1]["encrypted_content"] == attached(thought)
    results = [{"type": "function_call_output", "call_id": f"c{n}", "output": ""} for n in (1, 2)]
    request = {"model": "m", "input": [{"role": "user", "content": "hi"}, *output, *results]}
    chat = DIALECT.decode_request(json.dumps(request).encode())
    assert chat.messages[1].parts == reply.choices[0].parts


def test_annotations() -> None:
    text = "Ä€👋 end"
    citations = (
        UrlCitation("https://x/1", "one", 1, 3, "quoted"),
        UrlCitation("https://x/2"),
        DocumentCitation(2, "Report", "quoted", "page", 0, 1),
    )
    reply = reply_of(Text(text, citations=citations))
    check_agreement(reply)
    annotations = whole(reply)["output"][0]["content"][0]["annotations"]
    assert annotations == [
        {"type": "url_citation", "url": "https://x/1", "title": "one", "start_index": 1, "end_index": 3},
        {"type": "url_citation", "url": "https://x/2", "title": "", "start_index": 0, "end_index": len(text)},
        {"type": "file_citation", "file_id": "document_2", "filename": "Report", "index": len(text)},
    ]


def test_logprobs() -> None:
    token = {"token": "hi", "bytes": [104, 105], "logprob": -0.5, "top_logprobs": []}
    reply = Reply("x", "m", (Choice((Text("hi"),), Stop.END, logprobs=(token,)),))
    assert whole(reply)["output"][0]["content"][0]["logprobs"] == [token]
    assert read_back(reply).choices[0].logprobs == (token,)


def test_an_empty_reply() -> None:
    for reply in (Reply("", "", ()), reply_of()):
        body = whole(reply)
        assert (body["output"], body["status"], body["usage"]) == ([], "completed", None)
        check_agreement(reply)


def test_only_the_first_choice_is_told() -> None:
    reply = Reply("x", "m", (Choice((Text("a"),), Stop.END), Choice((Text("b"),), Stop.END, index=1)))
    (item,) = whole(reply)["output"]
    assert item["content"][0]["text"] == "a"


# -- streams that fail


def test_a_stream_that_fails() -> None:
    """`error`, on which the SDK raises; and the response, for clients that wait for one."""
    fault = Fault(Cause.RATE_LIMIT, 429, "slow down", "overloaded_error")
    parts = [Started("x", "m"), PartStarted(0, Text("")), Delta(0, "hel"), Failed(fault), Delta(0, "lost")]
    messages = streamed(parts)
    error, failed = messages[-2:]
    assert error["type"] == "error" and error["code"] == error["error"]["code"] == "rate_limit_exceeded"
    assert error["message"] == error["error"]["message"] == "slow down"
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "slow down"}
    decoder = DIALECT.stream_decoder(HOUSE)
    encoder = DIALECT.stream_encoder(CONTEXT)
    back = decoder.feed(encoder.encode(parts))
    assert isinstance(back[-1], Failed) and back[-1].fault.cause is Cause.RATE_LIMIT


def test_a_failure_before_anything_is_the_error_alone() -> None:
    (error,) = streamed([Failed(Fault(Cause.SERVER, 502, "cut", "upstream_cut"))])
    assert (error["type"], error["code"]) == ("error", "upstream_cut")


def test_the_sdk_raises_on_a_failed_stream() -> None:
    import openai
    from openai._legacy_response import httpx2  # the SDK's own HTTP client

    encoder = DIALECT.stream_encoder(CONTEXT)
    raw = encoder.encode([Started("x", "m"), Failed(Fault(Cause.OVERLOADED, 529, "busy"))])

    def answer(request: Any) -> Any:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=raw)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with openai.OpenAI(api_key="x", http_client=http, max_retries=0) as sdk:
        stream = sdk.responses.create(model="m", input="hi", stream=True)
        with pytest.raises(APIError, match="busy"):
            list(stream)


def test_what_is_open_at_the_end_is_closed() -> None:
    events = [
        Started("x", "m"),
        PartStarted(0, Text("")),
        Delta(0, "hel"),
        Cited(0, UrlCitation("https://x")),
        Stopped(Stop.MAX_TOKENS),
        UsageGiven(Usage(1)),
        Ended(),
    ]
    messages = streamed(events)
    assert messages[-1]["response"]["output"][0]["status"] == "incomplete"
    assert messages[-2]["type"] == "response.output_item.done"


def test_three_calls_at_once_are_told_one_behind_the_other() -> None:
    calls = [ToolCall(f"c{n}", f"f{n}", "") for n in range(3)]
    events: list[ReplyEvent] = [Started("x", "m"), *(PartStarted(n, call) for n, call in enumerate(calls))]
    events += [Delta(n, piece) for piece in ('{"a"', ': "東"', "}") for n in range(3)]
    events += [PartEnded(n) for n in range(3)]
    events += [Stopped(Stop.TOOL_CALLS), Ended()]
    messages = streamed(events)
    assert [item["arguments"] for item in messages[-1]["response"]["output"]] == ['{"a": "東"}'] * 3
    order = [m["output_index"] for m in messages if "output_index" in m]
    assert order == sorted(order)


def test_a_blob_that_comes_late() -> None:
    events = [
        Started("x", "m"),
        PartStarted(0, Reasoning()),
        Delta(0, "hm"),
        BlobGiven(0, SIGNED),
        PartEnded(0),
        Stopped(Stop.END),
        Ended(),
    ]
    (item,) = streamed(events)[-1]["response"]["output"]
    assert item["encrypted_content"] == tagged(SIGNED)


def test_keeping_alive_is_a_comment() -> None:
    encoder = DIALECT.stream_encoder(CONTEXT)
    assert encoder.encode([Alive()]) == b": ping\n\n"
