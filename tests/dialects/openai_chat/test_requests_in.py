"""Clients' requests → Chat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.errors import BadRequest
from modelbroker.dialects import client_dialect
from modelbroker.dialects.conversation import (
    Audio,
    Blob,
    Cached,
    Chat,
    Document,
    Effort,
    Image,
    Inline,
    Message,
    OutputSchema,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Url,
)
from modelbroker.dialects.openai import CUSTOM_SCHEMA
from support.dialects import Recorded, parameters

DIALECT = client_dialect("openai-chat")
HI = {"role": "user", "content": "hi"}


def decoded(*messages: Any, **fields: Any) -> Chat:
    body = {"model": "m", "messages": list(messages) or [HI], **fields}
    return DIALECT.decode_request(json.dumps(body).encode())


def said(*messages: Any) -> tuple[Message, ...]:
    return decoded(*messages).messages


def parts(*content: Any) -> Any:
    return said({"role": "user", "content": list(content)})[0].parts


REFUSAL = {"type": "refusal", "refusal": "n"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}

MESSAGES: list[tuple[list[Any], tuple[Message, ...]]] = [
    ([HI], (Message("user", (Text("hi"),)),)),
    ([{**HI, "name": "ann"}], (Message("user", (Text("hi"),), "ann"),)),
    (
        [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
        (Message("assistant", (ToolCall("c1", "f", '{"a": 1}'),)),),
    ),
    (
        [{"role": "assistant", "content": "a", "refusal": "no"}],
        (Message("assistant", (Text("a"), Refusal("no"))),),
    ),
    (
        [
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "n"}],
            }
        ],
        (Message("assistant", (Text("a"), Refusal("n"))),),
    ),
    # What the SDK writes of a reply it got: everything, null where there is nothing.
    (
        [
            {
                "role": "assistant",
                "content": "a",
                "refusal": None,
                "annotations": [],
                "audio": None,
                "function_call": None,
                "tool_calls": None,
                "parsed": None,
            }
        ],
        (Message("assistant", (Text("a"),)),),
    ),
    # Answers behind one another are one message; in front of what the user says.
    (
        [
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "2"}]},
            HI,
        ],
        (
            Message("user", (ToolResult("c1", (Text("1"),)), ToolResult("c2", (Text("2"),)))),
            Message("user", (Text("hi"),)),
        ),
    ),
    # Before there were tools: calls without ids, each answered by its name, in turn.
    (
        [
            HI,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": None},
        ],
        (
            Message("user", (Text("hi"),)),
            Message("assistant", (ToolCall("function_1", "f", "{}"),)),
            Message("user", (ToolResult("function_1", (Text("1"),)),)),
            Message("assistant", (ToolCall("function_3", "f", "{}"),)),
            Message("user", (ToolResult("function_3", ()),)),
        ),
    ),
    (
        [
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "sh", "input": 'ls "x"'}}],
            }
        ],
        (Message("assistant", (ToolCall("c", "sh", '{"input":"ls \\"x\\""}'),)),),
    ),
    # Mistral's parts.
    (
        [
            {
                "role": "user",
                "content": [
                    {"type": "document_url", "document_url": "https://x/a.pdf", "document_name": "a.pdf"},
                    {"type": "image_url", "image_url": "https://x/b.png"},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True},
                    {"type": "text", "text": "a"},
                ],
            },
        ],
        (
            Message("user", (Document(Url("https://x/a.pdf"), "a.pdf"), Image(Url("https://x/b.png")))),
            Message("assistant", (Reasoning("hm"), Text("a"))),
        ),
    ),
    # What a model drew, in OpenRouter's words.
    (
        [
            {
                "role": "assistant",
                "content": "",
                "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}],
            }
        ],
        (Message("assistant", (Image(Inline("image/png", "iVBO")),)),),
    ),
    # Empty texts say nothing.
    ([{"role": "user", "content": ""}, HI], (Message("user", (Text("hi"),)),)),
]


@pytest.mark.parametrize(("messages", "expected"), MESSAGES)
def test_messages(messages: list[Any], expected: tuple[Message, ...]) -> None:
    assert said(*messages) == expected


def test_instructions_in_front_and_in_the_middle() -> None:
    chat = decoded(
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two"}]},
        HI,
        {"role": "system", "content": "three"},
    )
    assert chat.system == (Text("one"), Text("two"))
    assert chat.messages[1] == Message("system", (Text("three"),))


PARTS: list[tuple[Any, Any]] = [
    (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        Image(Inline("image/png", "AA=="), "low"),
    ),
    ({"type": "image_url", "image_url": {"url": "https://x/y.png"}}, Image(Url("https://x/y.png"))),
    ({"type": "image_url", "image_url": "https://x/y.png"}, Image(Url("https://x/y.png"))),
    ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, Audio("wav", "AA==")),
    (
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
        Document(Inline("application/pdf", "AA=="), "a.pdf"),
    ),
    ({"type": "file", "file": {"file_data": "AA=="}}, Document(Inline("application/pdf", "AA=="))),
    ({"type": "file", "file": {"file_data": "https://x/y.pdf"}}, Document(Url("https://x/y.pdf"))),
    (
        {"type": "text", "text": "t", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        Text("t", Cached("5m")),
    ),
    ({"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}, Text("t", Cached())),
    (
        {"type": "text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
        Text("t", Cached("1h")),
    ),
]


@pytest.mark.parametrize(("part", "expected"), PARTS)
def test_parts(part: Any, expected: Any) -> None:
    assert parts(part) == (expected,)


def test_a_hint_at_a_part_of_an_answer_is_one_at_the_answer() -> None:
    part = {"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}
    message = {"role": "tool", "tool_call_id": "c", "content": [part]}
    assert said(message)[0].parts == (ToolResult("c", (Text("t"),), cached=Cached()),)


KNOBS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"max_tokens": 5}, {"max_output_tokens": 5}),
    ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_output_tokens": 6}),
    ({"stop": "x"}, {"stop": ("x",)}),
    ({"stop": ["x", "y"]}, {"stop": ("x", "y")}),
    ({"stop": None, "temperature": None}, {"stop": (), "temperature": None}),
    ({"n": 3, "seed": 7, "logprobs": True, "top_logprobs": 2}, {"choices": 3, "seed": 7, "logprobs": True}),
    ({"user": "u", "safety_identifier": "s"}, {"user": "s"}),
    ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
    ({"prompt_cache_key": "k", "verbosity": "low"}, {"cache_key": "k", "verbosity": "low"}),
    ({"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}}, {"cached": Cached("1h")}),
    ({"prompt_cache_options": {"mode": "explicit"}}, {"cached": None}),
    ({"prompt_cache_retention": "24h"}, {"cached": Cached("1h")}),
    ({"prompt_cache_retention": "in_memory"}, {"cached": None}),
    ({"reasoning_effort": "high"}, {"effort": Effort(level="high")}),
    ({"reasoning_effort": "none"}, {"effort": Effort(False, "none")}),
    ({"reasoning": {"effort": "low", "exclude": True}}, {"effort": Effort(level="low", show=False)}),
    ({"reasoning": {"max_tokens": 2000}}, {"effort": Effort(budget_tokens=2000, show=True)}),
    ({"reasoning": {"enabled": True}}, {"effort": Effort(adaptive=True, show=True)}),
    ({"thinking": {"type": "disabled"}}, {"effort": Effort(False, "none")}),
    ({"parallel_tool_calls": False}, {"parallel_tools": False}),
    ({"stream": True}, {"stream": True, "include_usage": False}),
    ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True, "include_usage": True}),
    ({"stream": False}, {"stream": False, "include_usage": True}),
    ({"logit_bias": {"5": 1}, "prediction": {"type": "content", "content": ""}, "x": 1, "y": None}, {}),
    ({"response_format": {"type": "text"}}, {"output": None}),
    ({"response_format": {"type": "json_object"}}, {"output": OutputSchema()}),
    (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
            }
        },
        {"output": OutputSchema("n", {"type": "object"}, True)},
    ),
    ({"tool_choice": "required"}, {"tool_choice": ToolChoice("required")}),
    ({"tool_choice": "any"}, {"tool_choice": ToolChoice("required")}),
    (
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": ToolChoice("only", ("f",))},
    ),
    (
        {"tool_choice": {"type": "custom", "custom": {"name": "f"}}},
        {"tool_choice": ToolChoice("only", ("f",))},
    ),
    (
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            }
        },
        {"tool_choice": ToolChoice("auto", ("f",))},
    ),
    ({"function_call": {"name": "f"}}, {"tool_choice": ToolChoice("only", ("f",))}),
    ({"modalities": ["text"], "store": False}, {"dropped": ()}),
    ({"stream_options": {"include_obfuscation": True}}, {"dropped": ("stream_options.include_obfuscation",)}),
]


@pytest.mark.parametrize(("fields", "expected"), KNOBS)
def test_knobs(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    chat = decoded(**fields)
    assert {name: getattr(chat, name) for name in expected} == expected


def test_what_has_no_place_is_named() -> None:
    assert decoded(logit_bias={"5": 1}, prediction={}, unheard_of=1, nothing=None).dropped == (
        "logit_bias",
        "prediction",
        "unheard_of",
    )


def test_tools() -> None:
    chat = decoded(
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "d",
                    "parameters": {"a": 1},
                    "strict": True,
                },
                "cache_control": {"type": "ephemeral"},
            },
            {"function": {"name": "g"}},
            {"type": "custom", "custom": {"name": "sh", "description": "runs", "format": {"type": "text"}}},
        ]
    )
    assert chat.tools == (
        Tool("f", "d", {"a": 1}, True, Cached()),
        Tool("g"),
        Tool("sh", "runs", CUSTOM_SCHEMA),
    )
    assert chat.echo == {"function_call": False, "custom": ["sh"]}


def test_functions_of_old() -> None:
    chat = decoded(functions=[{"name": "f", "parameters": {}}], function_call="auto")
    assert chat.tools == (Tool("f", "", {}),)
    assert chat.parallel_tools is False and chat.echo["function_call"]
    assert chat.tool_choice == ToolChoice("auto")


# -- reasoning and signatures that clients send back


def assistant(**fields: Any) -> Any:
    return said({"role": "assistant", "content": "a", **fields})[0].parts


SEALED = "openai-responses.encrypted_content"
REASONING: list[tuple[dict[str, Any], list[Reasoning]]] = [
    ({}, []),
    ({"reasoning_content": "hm"}, [Reasoning("hm")]),
    ({"reasoning": "hm", "reasoning_details": None}, [Reasoning("hm")]),
    ({"reasoning_content": None, "reasoning": ""}, []),
    # What the broker itself told, tagged.
    (
        {
            "reasoning_content": "hm",
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "hm",
                    "signature": "mb1:claude:anthropic-messages.signature:SIG",
                    "format": "anthropic-messages.signature",
                    "index": 0,
                },
                {
                    "type": "reasoning.encrypted",
                    "data": "mb1:claude:anthropic-messages.data:ENC",
                    "format": "anthropic-messages.data",
                    "index": 1,
                },
            ],
        },
        [
            Reasoning("hm", Blob("claude", "anthropic-messages.signature", "SIG")),
            Reasoning("", Blob("claude", "anthropic-messages.data", "ENC"), hidden=True),
        ],
    ),
    # A summary and the blob that belongs to it.
    (
        {
            "reasoning_details": [
                {"type": "reasoning.summary", "summary": "s", "id": "rs_1", "format": SEALED, "index": 0},
                {
                    "type": "reasoning.encrypted",
                    "data": f"mb1:o:{SEALED}:X",
                    "id": "rs_1",
                    "format": SEALED,
                    "index": 1,
                },
            ]
        },
        [Reasoning("s", Blob("o", SEALED, "X"), id="rs_1", summary=True)],
    ),
    ({"reasoning_details": [{"type": "reasoning.text", "text": "s", "index": 0}]}, [Reasoning("s")]),
    # A client that kept the text apart from what it can't read.
    (
        {
            "reasoning_content": "hm",
            "reasoning_details": [{"type": "reasoning.encrypted", "data": "mb1:o:k:X", "index": 0}],
        },
        [Reasoning("hm"), Reasoning("", Blob("o", "k", "X"), hidden=True)],
    ),
    # OpenRouter's own, from a turn that passed byte for byte.
    (
        {
            "reasoning_details": [
                {"type": "reasoning.text", "text": "t", "signature": "S", "format": "anthropic-claude-v1"}
            ]
        },
        [
            Reasoning(
                "t",
                Blob(
                    "",
                    "openai-chat.reasoning_details",
                    '{"format":"anthropic-claude-v1","signature":"S","type":"reasoning.text"}',
                ),
            )
        ],
    ),
]


@pytest.mark.parametrize(("fields", "expected"), REASONING)
def test_reasoning(fields: dict[str, Any], expected: list[Reasoning]) -> None:
    assert assistant(**fields) == (*expected, Text("a"))


def test_signatures_of_calls_and_texts() -> None:
    def extra(text: str) -> Any:
        return {"google": {"thought_signature": text}}

    message = {
        "role": "assistant",
        "content": "a",
        "extra_content": extra("mb1:g:gemini.thoughtSignature:T"),
        "tool_calls": [{**CALL, "extra_content": extra("native")}],
    }
    assert said(message)[0].parts == (
        Text("a", blob=Blob("g", "gemini.thoughtSignature", "T")),
        ToolCall("c1", "f", '{"a": 1}', Blob("", "openai-chat.thought_signature", "native")),
    )


# -- what is refused

BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": None}, "messages", "is missing"),
    ({"messages": {}}, "messages", "has to be a list"),
    ({"messages": [5]}, "messages[0]", "has to be an object"),
    ({"messages": [{"role": "x", "content": ""}]}, "messages[0].role", "has to be developer"),
    ({"messages": [{"role": []}]}, "messages[0].role", "has to be developer"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "has to be a string or a list"),
    ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]", "has to be an object"),
    (
        {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]},
        "messages[0].content[0].type",
        "can't stand here",
    ),
    (
        {"messages": [{"role": "system", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0].type",
        "can't stand here",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 5}]}]},
        "messages[0].content[0].image_url",
        "has to be an object",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        "messages[0].content[0].file.file_id",
        "one provider's account",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "x:y"}}]}]},
        "messages[0].content[0].file.file_data",
        "has to be a URL",
    ),
    (
        {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
        "messages[0].audio",
        "one provider's account",
    ),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "has to be a string"),
    ({"messages": [{"role": "user", "function_call": "x"}]}, "messages[0].content", "has to be"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]}]},
        "messages[0].tool_calls[0].function.name",
        "has to be a string",
    ),
    ({"model": None}, "model", "has to be a string"),
    ({"n": 0}, "n", "has to be at least 1"),
    ({"n": 1.5}, "n", "has to be a whole number"),
    ({"temperature": "hot"}, "temperature", "has to be a number"),
    ({"temperature": True}, "temperature", "has to be a number"),
    ({"stop": 5}, "stop", "has to be a list"),
    ({"stop": [5]}, "stop[0]", "has to be a string"),
    ({"stream": "yes"}, "stream", "has to be true or false"),
    ({"metadata": {"a": 1}}, "metadata.a", "has to be a string"),
    ({"tools": [{"type": "openrouter:web_search"}]}, "tools[0].type", "can't be translated"),
    (
        {"tools": [{"type": "custom", "custom": {"name": "g", "format": {"type": "grammar"}}}]},
        "tools[0].custom.format",
        "grammar",
    ),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "has to be a string"),
    ({"tool_choice": 5}, "tool_choice", "has to be auto"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "has to be text"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "has to be an object"),
    ({"reasoning_effort": 5}, "reasoning_effort", "has to be a string"),
    ({"audio": {"voice": "x", "format": "wav"}}, "audio", "only members"),
    ({"modalities": ["text", "audio"]}, "modalities", "only members"),
    ({"store": True}, "store", "only members"),
    ({"web_search_options": {"search_context_size": "low"}}, "web_search_options", "only members"),
    ({"moderation": {"model": "m"}}, "moderation", "only members"),
]


@pytest.mark.parametrize(("fields", "param", "words"), BAD)
def test_bad_requests_name_the_field(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        DIALECT.decode_request(json.dumps({"model": "m", "messages": [HI], **fields}).encode())
    assert refused.value.status == 400
    assert refused.value.param == param
    assert refused.value.message.startswith(f"{param}: ") and words in refused.value.message


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000])
def test_what_is_no_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        DIALECT.decode_request(body)


@pytest.mark.parametrize("row", parameters(streamed=None, good=None, client=True))
def test_every_recorded_request(row: Recorded) -> None:
    if row.dialect != DIALECT.name:
        return
    facts = DIALECT.read(row.request_body)
    try:
        chat = DIALECT.decode_request(row.request_body)
    except BadRequest as refused:
        assert refused.param
        assert facts.same_dialect or refused.code == "invalid_request"
        return
    assert not facts.same_dialect
    assert chat.model == row.request["model"]
    calls = sum(len(message.get("tool_calls") or ()) for message in row.request["messages"])
    assert calls == sum(isinstance(part, ToolCall) for message in chat.messages for part in message.parts)
    answers = sum(message["role"] == "tool" for message in row.request["messages"])
    assert answers == sum(isinstance(part, ToolResult) for message in chat.messages for part in message.parts)


_WORDS = st.sampled_from(
    [
        *("role", "content", "type", "text", "tool_calls", "function", "name", "arguments", "id", "user"),
        *(
            "assistant",
            "tool",
            "system",
            "image_url",
            "url",
            "file",
            "reasoning_details",
            "data",
            "signature",
        ),
        *("reasoning.text", "extra_content", "google", "thought_signature", "function_call", "tools"),
        *("tool_choice", "response_format", "json_schema", "stop", "stream", "n", "reasoning", "metadata"),
    ]
)
_SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | _WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(fields=st.dictionaries(_WORDS, _SHAPES, max_size=4), messages=st.lists(_SHAPES, max_size=3))
def test_any_shape_is_read_or_refused(fields: dict[str, Any], messages: list[Any]) -> None:
    body = json.dumps({"model": "m", "messages": messages, **fields}).encode()
    try:
        DIALECT.decode_request(body)
    except BadRequest as refused:
        assert refused.status == 400 and refused.message
