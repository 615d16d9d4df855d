"""A client's requests, decoded; what is wrong is named by the client's own field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.errors import BadRequest
from modelbroker.dialects.blobs import tagged
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
    PlainText,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
    Url,
)
from modelbroker.dialects.openai_responses import OpenAiResponses
from modelbroker.dialects.openai_responses.requests_in import CUSTOM_SCHEMA
from modelbroker.dialects.openai_responses.wire import ENCRYPTED, NO_BLOB, attached
from support.recordings import recordings

DIALECT = OpenAiResponses()
ASK = {"role": "user", "content": "hi"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
PNG = "data:image/png;base64,AAAA"
THOUGHT = Blob("google", "gemini.thoughtSignature", "c2ln")


def decode(**fields: Any) -> Chat:
    return DIALECT.decode_request(json.dumps({"model": "m", "input": "hi", **fields}).encode())


def parts(*content: Any) -> tuple[Any, ...]:
    return decode(input=[{"role": "user", "content": list(content)}]).messages[0].parts


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"type": "input_text", "text": "Grüße 👋"}, Text("Grüße 👋")),
        (
            {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
            Text("x", Cached()),
        ),
        (
            {
                "type": "input_text",
                "text": "x",
                "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
            },
            Text("x", Cached("1h")),
        ),
        ({"type": "input_image", "image_url": PNG}, Image(Inline("image/png", "AAAA"))),
        (
            {"type": "input_image", "image_url": "https://x/a.png", "detail": "low"},
            Image(Url("https://x/a.png"), "low"),
        ),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
            Document(Inline("application/pdf", "JVBE"), "a.pdf"),
        ),
        ({"type": "input_file", "file_data": "JVBE"}, Document(Inline("application/pdf", "JVBE"))),
        (
            {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,R3LDvMOfZQ=="},
            Document(PlainText("Grüße"), "a.txt"),
        ),
        (
            {"type": "input_file", "file_data": "data:text/plain;base64,/w=="},
            Document(Inline("text/plain", "/w==")),
        ),
        ({"type": "input_file", "file_url": "https://x/a.pdf"}, Document(Url("https://x/a.pdf"))),
        ({"type": "input_audio", "input_audio": {"format": "wav", "data": "UklG"}}, Audio("wav", "UklG")),
    ],
)
def test_parts_of_a_message(content: Any, part: Any) -> None:
    assert parts(content) == (part,)


def test_prompts_in_front_and_later_ones() -> None:
    chat = decode(
        instructions="one",
        input=[
            {"role": "developer", "content": "two"},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "three"}]},
            ASK,
            {"role": "developer", "content": "later"},
        ],
    )
    assert chat.system == (Text("one"), Text("two"), Text("three"))
    assert chat.messages == (Message("user", (Text("hi"),)), Message("system", (Text("later"),)))


def test_a_tool_loop() -> None:
    """What the assistant says one after the other is one message, and so are the results of its calls."""
    sealed = tagged(Blob("house", "anthropic-messages.signature", "c2ln"))
    chat = decode(
        input=[
            ASK,
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
                "encrypted_content": sealed,
            },
            {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [
                {"type": "output_text", "text": "Let me see.", "annotations": []},
                {"type": "refusal", "refusal": "no"},
            ]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}"},
            {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "", "status": None},
            {"type": "function_call_output", "call_id": "c2", "output": "two"},
            {"type": "function_call_output", "call_id": "c1", "output": [
                {"type": "input_text", "text": "one"}, {"type": "input_image", "image_url": PNG},
            ]},
            {"role": "user", "content": "go on"},
        ]
    )  # fmt: skip
    signed = Blob("house", "anthropic-messages.signature", "c2ln")
    assert chat.messages == (
        Message("user", (Text("hi"),)),
        Message(
            "assistant",
            (
                Reasoning("a\n\nb", signed, False, "rs_1", True),
                Text("Let me see."),
                Refusal("no"),
                ToolCall("c1", "f", '{"a": 1}'),
                ToolCall("c2", "g", ""),
            ),
        ),
        Message(
            "user",
            (
                ToolResult("c2", (Text("two"),)),
                ToolResult("c1", (Text("one"), Image(Inline("image/png", "AAAA")))),
            ),
        ),
        Message("user", (Text("go on"),)),
    )


def reasoning(**fields: Any) -> tuple[Any, ...]:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], **fields}
    messages = decode(input=[ASK, item, {"role": "assistant", "content": "x"}]).messages
    return messages[1].parts[:-1]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ()),
        ({"encrypted_content": None}, ()),
        ({"encrypted_content": NO_BLOB}, ()),
        ({"encrypted_content": "gAAA"}, (Reasoning("", Blob("", ENCRYPTED, "gAAA"), True, "rs_1"),)),
        (
            {"content": [{"type": "reasoning_text", "text": "raw"}], "encrypted_content": NO_BLOB},
            (Reasoning("raw", None, False, "rs_1"),),
        ),
        (
            {"encrypted_content": f"mb1:eu:{ENCRYPTED}:rs_9:gA"},
            (Reasoning("", Blob("eu", ENCRYPTED, "rs_9:gA"), True, "rs_1"),),
        ),
    ],
)
def test_reasoning_items(fields: Any, expected: Any) -> None:
    assert reasoning(**fields) == expected


def test_blobs_of_texts_and_calls_go_back_to_them() -> None:
    behind = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": attached(THOUGHT)}
    chat = decode(
        input=[
            ASK,
            {"role": "assistant", "content": "said"},
            behind,
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            behind,
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": ""},
            behind,  # stands behind nothing that it could belong to
        ]
    )
    assert chat.messages[1].parts == (
        Text("said", blob=THOUGHT),
        ToolCall("c1", "f", "{}", THOUGHT),
        ToolCall("c2", "f", "{}"),
    )
    assert len(chat.messages) == 3


def test_custom_tools_are_functions_of_one_text() -> None:
    chat = decode(
        input=[
            ASK,
            {"type": "custom_tool_call", "call_id": "c1", "name": "sh", "input": 'echo "hi"\n'},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "hi"},
        ],
        tools=[{"type": "custom", "name": "sh", "description": "Runs it.", "format": {"type": "text"}}],
        tool_choice={"type": "custom", "name": "sh"},
    )
    assert chat.tools[0].schema == CUSTOM_SCHEMA
    call = chat.messages[1].parts[0]
    assert isinstance(call, ToolCall) and json.loads(call.arguments) == {"input": 'echo "hi"\n'}
    assert chat.messages[2].parts == (ToolResult("c1", (Text("hi"),)),)
    assert chat.tool_choice == ToolChoice("only", ("sh",))
    assert chat.echo["custom"] == {"sh"}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, ToolChoice("only", ("f",))),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice("auto", ("f",)),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice("only", ("f",)),
        ),
    ],
)
def test_tool_choices(choice: Any, expected: Any) -> None:
    assert decode(tools=[FUNCTION], tool_choice=choice).tool_choice == expected


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"reasoning": {"effort": "high"}}, "effort", Effort(True, "high")),
        ({"reasoning": {"effort": "none"}}, "effort", Effort(False, "none")),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, "effort", Effort(True, "low", show=True)),
        ({"reasoning": {"generate_summary": "concise"}}, "effort", Effort(show=True)),
        ({"reasoning": {}}, "effort", None),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, "verbosity", "low"),
        ({"text": {"format": {"type": "json_object"}}}, "output", OutputSchema()),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"a": 1}, "strict": True}}},
            "output",
            OutputSchema("n", {"a": 1}, True),
        ),
        ({"max_output_tokens": 9}, "max_output_tokens", 9),
        ({"temperature": 0}, "temperature", 0.0),
        ({"parallel_tool_calls": False}, "parallel_tools", False),
        ({"user": "u"}, "user", "u"),
        ({"user": "u", "safety_identifier": "s"}, "user", "s"),
        ({"metadata": {"a": "b"}}, "metadata", {"a": "b"}),
        ({"prompt_cache_key": "k"}, "cache_key", "k"),
        ({"prompt_cache_options": {"mode": "implicit"}}, "cached", Cached()),
        ({"prompt_cache_options": {"ttl": "12h"}}, "cached", Cached("1h")),
        ({"prompt_cache_options": {"mode": "explicit"}}, "cached", None),
        ({"prompt_cache_retention": "24h"}, "cached", Cached("1h")),
        ({"service_tier": "flex"}, "service_tier", "flex"),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 3}, "logprobs", True),
        ({"top_logprobs": 3}, "top_logprobs", 3),
        ({"stream": True}, "stream", True),
        ({"store": False}, "dropped", ()),
        ({"truncation": "disabled"}, "dropped", ()),
        ({"truncation": "auto"}, "dropped", ("truncation",)),
        ({"include": ["web_search_call.action.sources"]}, "dropped", ("include",)),
        ({"include": ["reasoning.encrypted_content"]}, "dropped", ()),
        ({"reasoning": {"context": "all_turns"}}, "dropped", ("reasoning.context",)),
        ({"stream_options": {"include_obfuscation": True}}, "dropped", ("stream_options",)),
        ({"stream_options": {"include_obfuscation": False}}, "dropped", ()),
        ({"max_tool_calls": 3, "brand_new": {"a": 1}}, "dropped", ("max_tool_calls", "brand_new")),
        ({"background": False, "previous_response_id": None}, "dropped", ()),
        ({"tools": [{**FUNCTION, "defer_loading": True}]}, "dropped", ("tools.function.defer_loading",)),
        (
            {"input": [ASK, {"role": "assistant", "content": "x", "phase": "commentary"}]},
            "dropped",
            ("input.phase",),
        ),
    ],
)
def test_knobs(fields: Any, name: str, value: Any) -> None:
    assert getattr(decode(**fields), name) == value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"previous_response_id": "resp_mb_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"moderation": {"model": "x"}}, "moderation"),
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm"),
        ({"tools": [FUNCTION, {"type": "web_search"}]}, "tools[1]"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0]"),
        ({"tools": [{**FUNCTION, "async": True}]}, "tools[0]"),
        ({"tools": [{"type": "custom", "name": "x", "format": {"type": "grammar"}}]}, "tools[0]"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
            "tool_choice.tools[0]",
        ),
        ({"input": [ASK, {"type": "web_search_call", "id": "ws_1"}]}, "input[1]"),
        ({"input": [{"type": "computer_call_output", "output": {"type": "x"}}]}, "input[0]"),
        ({"input": [{"id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "brand_new"}]}, "input[0]"),
        (
            {
                "input": [
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "namespace": "n"}
                ]
            },
            "input[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
            "input[0].content[0].file_id",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
            "input[0].content[0].file_id",
        ),
    ],
)
def test_what_only_openai_can_do_is_seen_at_the_front_and_refused_here(fields: Any, param: str) -> None:
    body = json.dumps({"model": "m", "input": "hi", **fields}).encode()
    with pytest.raises(BadRequest) as refused:
        DIALECT.decode_request(body)
    assert refused.value.status == 400 and refused.value.param == param
    assert refused.value.code in ("content_not_supported", "response_not_kept")
    try:
        facts = DIALECT.read(body)
    except BadRequest as at_once:
        assert at_once.code == "response_not_kept"
    else:
        assert facts.same_dialect or facts.stateful


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"input": None}, "input", "missing"),
        ({"input": 5}, "input", "text or a list"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "robot"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content", "Expected `str | array"),
        ({"input": [ASK, 5]}, "input[1]", "Expected `object`"),
        (
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "input_text"}]}
                ]
            },
            "input[0].content[1].text",
            "missing",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]},
            "input[0].content[0].text",
            "Expected `str",
        ),
        ({"input": [{"role": "user", "content": [{"type": "text"}]}]}, "input[0].content[0].type", "text"),
        ({"input": [{"role": "user", "content": [{}]}]}, "input[0].content[0]", "type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].image_url",
            "missing",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x,y"}]}]},
            "input[0].content[0].image_url",
            "base64",
        ),
        (
            {
                "input": [
                    {
                        "role": "user",
                        "content": [{"type": "input_file", "file_data": "x", "filename": "a.doc"}],
                    }
                ]
            },
            "input[0].content[0].file_data",
            "data URL",
        ),
        (
            {"input": [{"role": "system", "content": [{"type": "input_image", "image_url": PNG}]}]},
            "input[0].content",
            "text only",
        ),
        ({"input": [{"type": "function_call", "name": "f", "arguments": ""}]}, "input[0].call_id", "missing"),
        ({"input": [{"type": "function_call", "call_id": "c", "arguments": ""}]}, "input[0].name", "missing"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f"}]},
            "input[0].arguments",
            "missing",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
            "input[0].arguments",
            "Expected `str",
        ),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output", "missing"),
        ({"temperature": "hot"}, "temperature", "Expected `float"),
        ({"metadata": {"a": 1}}, "metadata[...]", "Expected `str`"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "missing"),
        ({"tools": [{**FUNCTION, "parameters": 5}]}, "tools[0].parameters", "Expected `object"),
        ({"tools": 5}, "tools", "Expected `array"),
        ({"tool_choice": "maybe"}, "tool_choice", "maybe"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name", "missing"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "xml"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema", "missing"),
    ],
)
def test_what_is_wrong_is_named(fields: Any, param: str, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        decode(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert words in refused.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "role",
                    "content",
                    "text",
                    "id",
                    "call_id",
                    "name",
                    "output",
                    "input",
                    "tools",
                    "summary",
                ]
            ),
            inner
            | st.sampled_from(["message", "user", "function_call", "reasoning", "input_text", "function"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(fields=st.dictionaries(st.sampled_from(["input", "tools", "text", "tool_choice", "reasoning"]), JSON))
def test_anything_is_a_request_or_a_bad_one(fields: Any) -> None:
    body = json.dumps({"model": "m", "input": "hi", **fields}).encode()
    try:
        DIALECT.read(body)
        assert isinstance(DIALECT.decode_request(body), Chat)
    except BadRequest as refused:
        assert refused.status == 400 and refused.message


@pytest.mark.parametrize("row", recordings("openai-responses"))
def test_recorded_requests_are_decoded_or_for_their_own_dialect(row: Any) -> None:
    body = json.dumps(row["request"]["body"]).encode()
    facts = DIALECT.read(body)
    try:
        chat = DIALECT.decode_request(body)
    except BadRequest as refused:
        assert refused.code == "content_not_supported" and refused.param
        assert facts.same_dialect or facts.stateful
    else:
        assert not facts.same_dialect and not facts.stateful
        assert chat.messages and chat.stream == facts.stream


@pytest.mark.parametrize("deep", ['{"role":"user","content":' + "[" * 5000 + "]" * 5000 + "}", "[" * 5000])
def test_deep_bodies(deep: str) -> None:
    with pytest.raises(BadRequest):
        DIALECT.decode_request(f'{{"model":"m","input":[{deep}]}}'.encode())
