"""Replies of providers and to clients, whole and streamed, as the SDK has them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx2 as httpx
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects import client_dialect, provider_dialect
from modelbroker.dialects.conversation import (
    Blob,
    DocumentCitation,
    Image,
    Inline,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    Upstream,
    Url,
    UrlCitation,
)
from modelbroker.dialects.replies import (
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
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from support.conversations import replies, streams
from support.dialects import Recorded, parameters

CLIENT, PROVIDER = client_dialect("openai-chat"), provider_dialect("openai-chat")
UPSTREAM = Upstream("house", "openai-chat", "m")
CONTEXT = Context("0123456789abcdef0123456789abcdef", 1_700_000_000, "some-model")
KINDS = ("anthropic-messages.signature", "openai-responses.encrypted_content")


def decoded(message: dict[str, Any], finish: str = "stop", **more: Any) -> Choice:
    body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}
    return PROVIDER.decode_reply(json.dumps(body).encode(), UPSTREAM).choices[0]


def encoded(events: Iterable[ReplyEvent], context: Context = CONTEXT) -> bytes:
    encoder = CLIENT.stream_encoder(context)
    return b"".join(encoder.encode([event]) for event in events)


def chunks(raw: bytes) -> list[Any]:
    assert raw.endswith(b"data: [DONE]\n\n")
    lines = raw.decode().split("\n\n")[:-2]
    return [json.loads(line.removeprefix("data: ")) for line in lines if not line.startswith(":")]


def whole_in_sdk(reply: Reply, context: Context = CONTEXT) -> Any:
    return tidy(ChatCompletion.model_validate(json.loads(CLIENT.encode_reply(reply, context))))


def streamed_in_sdk(raw: bytes) -> Any:
    state = ChatCompletionStreamState()
    for chunk in chunks(raw):
        list(state.handle_chunk(ChatCompletionChunk.model_validate(chunk)))
    return tidy(state.current_completion_snapshot)


def tidy(completion: Any) -> Any:
    """Without what the SDK's helper for streams adds, and what only a stream has."""
    dumped = completion.model_dump(exclude_none=True)
    for choice in dumped["choices"]:
        choice["message"].pop("parsed", None)
        for call in choice["message"].get("tool_calls") or ():
            call.pop("index", None)
            call.get("function", {}).pop("parsed_arguments", None)
    return dumped


def plain(reply: Reply) -> Reply:
    """As this dialect tells it: one text and one refusal, and no places in documents."""
    choices = []
    for choice in reply.choices:
        kinds: dict[type, list[Part]] = {Reasoning: [], Text: [], Refusal: [], ToolCall: []}
        for part in choice.parts:
            kinds[type(part)].append(part)
        parts = [*kinds[Reasoning]]
        texts = "".join(part.text for part in choice.parts if isinstance(part, Text))
        refusals = "".join(part.text for part in choice.parts if isinstance(part, Refusal))
        parts += [Text(texts)] if texts else []
        parts += [Refusal(refusals)] if refusals else []
        choices.append(msgspec.structs.replace(choice, parts=(*parts, *kinds[ToolCall])))
    return msgspec.structs.replace(reply, choices=tuple(choices))


# -- the laws


@given(data=st.data())
def test_the_sdk_makes_the_same_of_a_stream_and_of_a_whole_reply(data: st.DataObject) -> None:
    reply = data.draw(
        replies(most_choices=3, with_refusals=True, blob_kinds=KINDS).filter(
            lambda reply: all(choice.parts for choice in reply.choices)
        )
    )
    events = data.draw(streams(reply))
    assert streamed_in_sdk(encoded(events)) == whole_in_sdk(reply)


@given(data=st.data())
def test_a_stream_is_read_back_as_it_was_told(data: st.DataObject) -> None:
    reply = data.draw(replies(most_choices=2, with_citations=False, with_refusals=True, issuers=("house",)))
    raw = encoded(data.draw(streams(reply)))
    decoder = PROVIDER.stream_decoder(UPSTREAM)
    back = fold([*decoder.feed(raw), *decoder.end()])
    whole = PROVIDER.decode_reply(CLIENT.encode_reply(reply, CONTEXT), UPSTREAM)
    as_told = [plain(r).choices for r in (back, whole)]
    assert as_told[0] == as_told[1]
    assert (back.usage, back.id, back.model) == (whole.usage, whole.id, whole.model)
    assert visible(back) == visible(reply)
    assert whole.usage is None or reply.usage is None or whole.usage.prompt == reply.usage.prompt


def visible(reply: Reply) -> list[Any]:
    found = []
    for choice in reply.choices:
        texts = {
            kind: "".join(part.text for part in choice.parts if isinstance(part, kind))
            for kind in (Text, Refusal, Reasoning)
        }
        calls = [part for part in choice.parts if isinstance(part, ToolCall)]
        found.append((texts, calls))
    return found


def in_pieces(body: dict[str, Any]) -> bytes:
    """A whole reply as OpenAI would have streamed it: each field a few characters at a time."""

    def pieces(text: str) -> list[str]:
        return [text[at : at + 7] for at in range(0, len(text), 7)]

    head = {name: body.get(name) for name in ("id", "created", "model", "service_tier")}
    out: list[Any] = []

    def add(n: int, delta: dict[str, Any], **more: Any) -> None:
        out.append({**head, "choices": [{"index": n, "delta": delta, "finish_reason": None, **more}]})

    for choice in body["choices"]:
        n, message = choice["index"], choice["message"]
        add(n, {"role": "assistant", "content": ""})
        for entry in message.get("reasoning_details") or ():
            words = next((name for name in ("text", "summary") if entry.get(name)), None)
            rest = {name: value for name, value in entry.items() if name != words}
            common = {"type": entry["type"], "index": entry.get("index")}
            for piece in pieces(entry[words]) if words else ():
                add(n, {"reasoning": piece, "reasoning_details": [{**common, words: piece}]})
            add(n, {"reasoning_details": [rest]})
        if not message.get("reasoning_details"):
            for name in ("reasoning_content", "reasoning"):
                for piece in pieces(message.get(name) or ""):
                    add(n, {name: piece})
        if isinstance(message.get("content"), list):
            for part in message["content"]:
                add(n, {"content": [part]})
        else:
            for piece in pieces(message.get("content") or ""):
                add(n, {"content": piece})
        if message.get("annotations"):
            add(n, {"content": "", "annotations": message["annotations"]})
        for place, call in enumerate(message.get("tool_calls") or ()):
            function = call["function"]
            add(n, {"tool_calls": [{**call, "index": place, "function": {**function, "arguments": ""}}]})
            for piece in pieces(function["arguments"]):
                add(n, {"tool_calls": [{"index": place, "function": {"arguments": piece}}]})
        add(n, {}, finish_reason=choice["finish_reason"])
    if body.get("usage"):
        out.append({**head, "choices": [], "usage": body["usage"]})
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in out) + b"data: [DONE]\n\n"


@pytest.mark.parametrize("row", parameters(streamed=False))
@pytest.mark.parametrize("echo", ["", "reasoning_content"])
def test_a_recorded_reply_streamed_is_the_same(row: Recorded, echo: str) -> None:
    if row.dialect != "openai-chat":
        return
    upstream = msgspec.structs.replace(UPSTREAM, deviations={"reasoning_field": echo} if echo else {})
    whole = PROVIDER.decode_reply(row.reply, upstream)
    decoder = PROVIDER.stream_decoder(upstream)
    streamed = fold([*decoder.feed(in_pieces(json.loads(row.reply))), *decoder.end()])
    assert streamed == whole


@pytest.mark.parametrize("row", parameters())
def test_recorded_replies_of_every_provider_as_the_sdk_reads_them(row: Recorded) -> None:
    provider = provider_dialect(row.dialect)
    upstream = Upstream("house", row.dialect, "m")
    if row.streamed:
        decoder = provider.stream_decoder(upstream)
        events = [*decoder.feed(row.reply), *decoder.end()]
        if any(isinstance(event, Failed) for event in events):
            return
        reply = fold(events)
    else:
        try:
            reply = provider.decode_reply(row.reply, upstream)
        except ValueError:
            return
        events = list(explode(reply))
    streamed = streamed_in_sdk(encoded(events))
    whole = whole_in_sdk(reply)
    if row.streamed:  # the SDK keeps the tier of the first chunk, and providers may tell it at the end
        assert bool(streamed.pop("service_tier", "")) <= bool(whole.pop("service_tier", ""))
    assert streamed == whole
    calls = [part for choice in reply.choices for part in choice.parts if isinstance(part, ToolCall)]
    assert sum(len(c["message"].get("tool_calls", ())) for c in whole["choices"]) == len(calls)


# -- what providers say


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "hi"}, (Text("hi"),)),
        ({"content": None}, ()),
        ({"content": "", "refusal": "no"}, (Refusal("no"),)),
        ({"reasoning_content": "hm", "content": "hi"}, (Reasoning("hm"), Text("hi"))),
        ({"reasoning": "hm", "content": "hi"}, (Reasoning("hm"), Text("hi"))),
        # Mistral's
        (
            {
                "content": [
                    {
                        "type": "thinking",
                        "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}],
                    },
                    {"type": "text", "text": "h"},
                    {"type": "text", "text": "i"},
                ]
            },
            (Reasoning("hm"), Text("hi")),
        ),
        (
            {
                "content": "see",
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 3},
                    },
                    {"type": "file_citation"},
                ],
            },
            (Text("see", citations=(UrlCitation("u", "t", 0, 3),)),),
        ),
        (
            {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]},
            (ToolCall("c", "f", '{"a":1}'),),
        ),
        (
            {"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
            (ToolCall("c", "f", "x", custom=True),),
        ),
        (
            {
                "tool_calls": [
                    {
                        "id": "c",
                        "function": {"name": "f", "arguments": ""},
                        "extra_content": {"google": {"thought_signature": "T"}},
                    }
                ]
            },
            (ToolCall("c", "f", "", Blob("house", "openai-chat.thought_signature", "T")),),
        ),
        ({"function_call": {"name": "f", "arguments": "{}"}}, (ToolCall("call_r1_0_0", "f", "{}"),)),
        ({"tool_calls": [{"function": {"name": "f"}}]}, (ToolCall("call_r1_0_0", "f", ""),)),
        # Mistral's word for no id.
        ({"tool_calls": [{"id": "null", "function": {"name": "f"}}]}, (ToolCall("call_r1_0_0", "f", ""),)),
        # OpenRouter's: what a model drew.
        (
            {
                "content": "See",
                "images": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}, "index": 1},
                ],
            },
            (Text("See"), Image(Inline("image/png", "iVBO")), Image(Url("https://x/y.png"))),
        ),
        # What a model spoke is told by its transcript.
        (
            {
                "content": None,
                "audio": {"id": "a", "data": "UklG", "transcript": "Hi there", "expires_at": 1},
            },
            (Text("Hi there"),),
        ),
    ],
)
def test_messages(message: dict[str, Any], parts: tuple[Part, ...]) -> None:
    assert decoded({"role": "assistant", **message}, id="r1").parts == parts


@pytest.mark.parametrize(
    ("reason", "calls", "stop"),
    [
        ("stop", False, Stop.END),
        ("length", False, Stop.MAX_TOKENS),
        ("model_length", False, Stop.CONTEXT_WINDOW),
        ("tool_calls", True, Stop.TOOL_CALLS),
        ("function_call", True, Stop.TOOL_CALLS),
        ("content_filter", False, Stop.CONTENT_FILTER),
        ("stop", True, Stop.TOOL_CALLS),
        (None, True, Stop.TOOL_CALLS),
        ("length", True, Stop.MAX_TOKENS),
        ("eos", False, Stop.END),
        # What gateways pass on of other dialects.
        ("max_tokens", False, Stop.MAX_TOKENS),
        ("MAX_TOKENS", False, Stop.MAX_TOKENS),
        ("tool_use", True, Stop.TOOL_CALLS),
        ("refusal", False, Stop.REFUSAL),
        ("SAFETY", False, Stop.CONTENT_FILTER),
        (None, False, Stop.END),
    ],
)
def test_stops(reason: Any, calls: bool, stop: Stop) -> None:
    message = {"tool_calls": [{"id": "c", "function": {"name": "f"}}]} if calls else {"content": "x"}
    assert decoded(message, reason).stop is stop


def test_a_filter_may_leave_nothing_of_an_answer() -> None:
    body = {"choices": [{"finish_reason": "content_filter", "content_filter_results": {"hate": {}}}]}
    (choice,) = PROVIDER.decode_reply(json.dumps(body).encode(), UPSTREAM).choices
    assert choice == Choice((), Stop.CONTENT_FILTER)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, Usage(10, output=5)),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3, "audio_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(3, 4, 3, 0, 5, 2, 2),
        ),
        ({"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(1, output=2)),
        # xAI's: reasoning stands beside the output.
        (
            {
                "prompt_tokens": 28,
                "completion_tokens": 3,
                "total_tokens": 381,
                "completion_tokens_details": {"reasoning_tokens": 350},
            },
            Usage(28, output=353, reasoning=350),
        ),
        # Mistral's; DeepSeek's; Moonshot's.
        (
            {"prompt_tokens": 152, "completion_tokens": 12, "total_tokens": 164, "num_cached_tokens": 151},
            Usage(1, 151, output=12),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4},
            Usage(5, 4, output=2),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 3}, Usage(6, 3, output=2)),
        # Who tells it twice means it once.
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "cached_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 3},
            },
            Usage(6, 3, output=2),
        ),
        (None, None),
    ],
)
def test_usage(usage: Any, expected: Usage | None) -> None:
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    assert PROVIDER.decode_reply(json.dumps(body).encode(), UPSTREAM).usage == expected


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "no choices"),
        (b'{"choices":[]}', "no choices"),
        (b'{"choices":[5]}', "has no message"),
        (b'{"choices":[{"message":{"tool_calls":[{"id":"c"}]}}]}', "names no function"),
        (b'{"choices":[{"message":{"tool_calls":[5]}}]}', "no call"),
        (b'{"choices":[{"message":{},"finish_reason":"error"}]}', "stopped with 'error'"),
        (b'{"choices":[{"message":{},"error":{"message":"boom"}}]}', "boom"),
    ],
)
def test_what_is_no_reply(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PROVIDER.decode_reply(body, UPSTREAM)


_WORDS = st.sampled_from(
    [
        *(
            "choices",
            "message",
            "content",
            "delta",
            "tool_calls",
            "function",
            "name",
            "arguments",
            "id",
            "index",
        ),
        *(
            "finish_reason",
            "usage",
            "prompt_tokens",
            "annotations",
            "url_citation",
            "reasoning_details",
            "type",
        ),
        *(
            "text",
            "reasoning.text",
            "logprobs",
            "extra_content",
            "google",
            "refusal",
            "custom",
            "error",
            "stop",
        ),
    ]
)
_SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | _WORDS | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=15,
)


@given(body=st.dictionaries(_WORDS, _SHAPES, max_size=3), choices=st.lists(_SHAPES, max_size=2))
def test_any_shape_is_a_reply_or_a_value_error(body: Any, choices: Any) -> None:
    raw = msgspec.json.encode({**body, "choices": choices})
    try:
        reply = PROVIDER.decode_reply(raw, UPSTREAM)
    except ValueError:
        return
    CLIENT.encode_reply(reply, CONTEXT)


@given(bodies=st.lists(st.dictionaries(_WORDS, _SHAPES, max_size=3) | _SHAPES, max_size=4))
def test_any_shape_in_a_stream_is_told_or_fails(bodies: list[Any]) -> None:
    raw = b"".join(b"data: " + msgspec.json.encode(body) + b"\n\n" for body in bodies)
    decoder = PROVIDER.stream_decoder(UPSTREAM)
    events = [*decoder.feed(raw), *decoder.end()]
    assert sum(isinstance(event, (Ended, Failed)) for event in events) <= 1
    encoded(events)


# -- what clients get


def test_a_whole_reply() -> None:
    reply = Reply(
        "msg_1",
        "claude",
        (
            Choice(
                (
                    Reasoning("hm", Blob("claude", KINDS[0], "SIG")),
                    Text("a", citations=(UrlCitation("u", "t"), DocumentCitation(0, "", "", "char", 0, 1))),
                    Text("bc", citations=(UrlCitation("v", "", 1, 2, "q"),)),
                    ToolCall("toolu_1", "f", "{}", Blob("g", "gemini.thoughtSignature", "T")),
                ),
                Stop.TOOL_CALLS,
            ),
        ),
        Usage(1, 2, 3, 4, 5, reasoning=1),
        "standard",
    )
    assert json.loads(CLIENT.encode_reply(reply, CONTEXT)) == {
        "id": "chatcmpl-msg_1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "claude",
        "service_tier": "default",
        "system_fingerprint": None,
        "choices": [
            {
                "index": 0,
                "logprobs": None,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "abc",
                    "refusal": None,
                    "annotations": [
                        {
                            "type": "url_citation",
                            "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1},
                        },
                        {
                            "type": "url_citation",
                            "url_citation": {
                                "url": "v",
                                "title": "",
                                "start_index": 2,
                                "end_index": 3,
                                "content": "q",
                            },
                        },
                    ],
                    "reasoning_content": "hm",
                    "reasoning_details": [
                        {
                            "type": "reasoning.text",
                            "text": "hm",
                            "index": 0,
                            "signature": f"mb1:claude:{KINDS[0]}:SIG",
                            "format": KINDS[0],
                        }
                    ],
                    "tool_calls": [
                        {
                            "id": "toolu_1",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                            "extra_content": {
                                "google": {"thought_signature": "mb1:g:gemini.thoughtSignature:T"}
                            },
                        }
                    ],
                },
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0, "cache_write_tokens": 7},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


def test_an_empty_reply_has_empty_content() -> None:
    reply = Reply("", "", (Choice((), Stop.MAX_TOKENS),))
    body = json.loads(CLIENT.encode_reply(reply, CONTEXT))
    assert body["choices"][0]["message"]["content"] == ""
    assert (body["id"], body["model"]) == (f"chatcmpl-{CONTEXT.request_id}", "some-model")
    assert streamed_in_sdk(encoded(explode(reply))) == whole_in_sdk(reply)


def test_usage_only_where_it_is_asked_for() -> None:
    reply = Reply("r", "m", (Choice((Text("x"),), Stop.END),), Usage(1, output=2))
    with_usage = chunks(encoded(explode(reply)))
    assert with_usage[-1]["choices"] == [] and with_usage[-1]["usage"]["total_tokens"] == 3
    without = chunks(encoded(explode(reply), msgspec.structs.replace(CONTEXT, include_usage=False)))
    assert without == with_usage[:-1]


def test_calls_come_one_behind_another() -> None:
    """OpenAI's SDK takes a call for complete when the next begins."""
    events = [
        Started("r", "m"),
        PartStarted(0, ToolCall("a", "f", "")),
        PartStarted(1, ToolCall("b", "g", "")),
        Delta(1, '{"b'),
        Delta(0, '{"a'),
        Delta(1, '": 1}'),
        Delta(0, '": 1}'),
        PartEnded(1),
        PartEnded(0),
        Stopped(Stop.TOOL_CALLS),
        Ended(),
    ]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(encoded(events))]
    told = [delta["tool_calls"][0] for delta in deltas if delta.get("tool_calls")]
    assert [call["index"] for call in told] == [0, 0, 0, 1, 1, 1]
    assert "".join(call["function"]["arguments"] for call in told[:3]) == '{"a": 1}'


def test_choices_begin_in_order() -> None:
    events = [PartStarted(0, Text(""), 2), Delta(0, "x", 2), Stopped(Stop.END, None, 2), Ended()]
    begun = [chunk["choices"][0]["index"] for chunk in chunks(encoded(events))]
    assert begun[:3] == [0, 1, 2]


def test_functions_of_old_are_answered_so() -> None:
    context = msgspec.structs.replace(CONTEXT, echo={"function_call": True})
    one = Reply("r", "m", (Choice((ToolCall("c", "f", '{"a":1}'),), Stop.TOOL_CALLS),))
    whole = json.loads(CLIENT.encode_reply(one, context))["choices"][0]
    assert whole["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert whole["finish_reason"] == "function_call" and "tool_calls" not in whole["message"]
    assert streamed_in_sdk(encoded(explode(one), context)) == whole_in_sdk(one, context)


def test_tools_that_take_any_text() -> None:
    context = msgspec.structs.replace(CONTEXT, echo={"custom": ["sh"]})
    parts = (ToolCall("c", "sh", '{"input":"ls"}'), ToolCall("d", "f", "{}"))
    reply = Reply("r", "m", (Choice(parts, Stop.TOOL_CALLS),))
    whole = json.loads(CLIENT.encode_reply(reply, context))["choices"][0]["message"]["tool_calls"]
    assert whole[0] == {"id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    assert whole[1]["type"] == "function"
    pieces = [c["choices"][0]["delta"].get("tool_calls") for c in chunks(encoded(explode(reply), context))]
    assert "".join(p[0].get("custom", {}).get("input", "") for p in pieces if p) == "ls"


def test_an_error_in_a_stream_is_raised_by_the_sdk() -> None:
    raw = encoded(
        [
            Started("r", "m"),
            PartStarted(0, Text("")),
            Delta(0, "x"),
            Failed(Fault(Cause.OVERLOADED, 529, "Overloaded", "overloaded_error")),
        ]
    )
    assert b"[DONE]" not in raw
    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=raw)
    transport = httpx.MockTransport(lambda request: answer)
    with openai.OpenAI(api_key="k", http_client=httpx.Client(transport=transport)) as sdk:
        stream = sdk.chat.completions.create(model="m", messages=[], stream=True)
        seen = []
        with pytest.raises(openai.APIError, match="Overloaded") as raised:
            seen += [chunk.choices[0].delta.content for chunk in stream]
    assert raised.value.code == "overloaded" and raised.value.type == "server_error"


def test_what_usage_and_order_do_not_change() -> None:
    """A decoder may give usage before or behind the stop, and its last word counts."""
    events = [
        Started("r", "m", usage=Usage(5)),
        PartStarted(0, Text("")),
        Delta(0, "x"),
        UsageGiven(Usage(5, output=1)),
        PartEnded(0),
        Stopped(Stop.END),
        UsageGiven(Usage(5, output=2)),
        Ended(),
    ]
    assert chunks(encoded(events))[-1]["usage"]["completion_tokens"] == 2
