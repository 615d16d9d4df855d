"""Requests to a provider: each is what OpenAI's own SDK would let its users send."""

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
    Encoded,
    Image,
    Inline,
    Message,
    OutputSchema,
    PlainText,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Upstream,
    Url,
)
from modelbroker.dialects.openai_responses import OpenAiResponses
from modelbroker.dialects.openai_responses.requests_out import is_strict
from modelbroker.dialects.openai_responses.wire import ENCRYPTED
from modelbroker.dialects.translation import CannotCarry
from openai.types.responses import input_token_count_params, response_create_params
from support.conversations import chats
from support.dialects import Recorded, parameters
from support.typed_dicts import violations

DIALECT = OpenAiResponses()
HI = Message("user", (Text("hi"),))
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED = {**OPEN, "required": ["a"], "additionalProperties": False}


def upstream(model: str = "gpt-5.1", **more: Any) -> Upstream:
    return Upstream("house", "openai-responses", model, **more)


def checked(encoded: Encoded) -> Any:
    """The request, after a look at it with the SDK's own types."""
    body = json.loads(encoded.body)
    hint = (
        response_create_params.ResponseCreateParamsStreaming
        if body.get("stream")
        else response_create_params.ResponseCreateParamsNonStreaming
    )
    assert violations(body, hint) == []
    return body


def sent(model: str = "gpt-5.1", deviations: Any = None, **fields: Any) -> Any:
    chat = Chat(**{"model": "pool", "messages": (HI,), **fields})
    return checked(DIALECT.encode_request(chat, upstream(model, deviations=deviations or {})))


def dropped(model: str = "gpt-5.1", deviations: Any = None, **fields: Any) -> tuple[str, ...]:
    chat = Chat(**{"model": "pool", "messages": (HI,), **fields})
    return DIALECT.encode_request(chat, upstream(model, deviations=deviations or {})).dropped


# -- against the SDK's types


@pytest.mark.parametrize("row", parameters(streamed=None, client=True))
def test_recorded_requests_of_every_client_are_the_sdks(row: Recorded) -> None:
    try:
        chat = client_dialect(row.dialect).decode_request(row.request_body)
        encoded = DIALECT.encode_request(chat, upstream())
    except BadRequest as refused:
        assert refused.message
        return
    body = checked(encoded)
    assert body["store"] is False and body["model"] == "gpt-5.1"
    assert bool(body.get("stream")) == chat.stream


@given(chat=chats(), model=st.sampled_from(["gpt-5.1", "gpt-5", "gpt-4o", "o3", "house-model"]))
def test_any_conversation_is_the_sdks(chat: Chat, model: str) -> None:
    encoded = DIALECT.encode_request(chat, upstream(model))
    body = checked(encoded)
    for name in ("top_k", "seed", "frequency_penalty", "presence_penalty"):
        assert (getattr(chat, name) is not None) == (name in encoded.dropped)
    calls = [item["call_id"] for item in body["input"] if item["type"] == "function_call"]
    results = [item["call_id"] for item in body["input"] if item["type"] == "function_call_output"]
    assert set(results) <= set(calls)
    counted = json.loads(DIALECT.encode_count(chat, upstream(model)).body)
    assert violations(counted, input_token_count_params.InputTokenCountParams) == []
    assert counted["input"] == body["input"]


# -- messages


def items(*messages: Message, **more: Any) -> Any:
    return sent(messages=messages, **more)["input"]


def test_a_tool_loop() -> None:
    own = Blob("house", ENCRYPTED, "rs_7:gAAA")
    foreign = Blob("other", ENCRYPTED, "rs_8:gBBB")
    body = sent(
        system=(Text("one"), Text("two")),
        messages=(
            HI,
            Message(
                "assistant",
                (
                    Reasoning("thought", own, summary=True),
                    Reasoning("nobody's", foreign, summary=True),
                    Reasoning("without a seal"),
                    Text("Let me see."),
                    ToolCall("c1", "f", '{"a": 1.0}', Blob("google", "gemini.thoughtSignature", "x")),
                    ToolCall("c2", "g", ""),
                ),
            ),
            Message(
                "user",
                (
                    ToolResult("c1", (Text("one"),)),
                    ToolResult("c2", (Text("no such city"),), is_error=True),
                    Text("go on"),
                ),
            ),
            Message("system", (Text("be brief"),)),
        ),
    )
    assert body["instructions"] == "one\n\ntwo"
    assert body["include"] == ["reasoning.encrypted_content"]
    assert body["input"] == [
        {"type": "message", "role": "user", "content": "hi"},
        {
            "type": "reasoning",
            "id": "rs_7",
            "summary": [{"type": "summary_text", "text": "thought"}],
            "encrypted_content": "gAAA",
        },
        {"type": "message", "role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1.0}'},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": "Error: no such city"},
        {"type": "message", "role": "user", "content": "go on"},
        {"type": "message", "role": "developer", "content": "be brief"},
    ]


def test_encrypted_reasoning_goes_back_under_its_own_id() -> None:
    """OpenAI refuses it under another one; what was issued without an id gets one."""
    for data, ident in (("rs_7:gAAA", "rs_7"), ("gAAA", "rs_1")):
        reasoning = Reasoning("", Blob("house", ENCRYPTED, data), True)
        item = items(HI, Message("assistant", (reasoning, Text("so"))))[1]
        assert (item["id"], item["encrypted_content"]) == (ident, "gAAA")


def test_reasoning_that_led_to_nothing_is_left_out() -> None:
    cut = Message("assistant", (Reasoning("", Blob("house", ENCRYPTED, "rs_1:g"), True), Text("")))
    assert [item["role"] for item in items(HI, cut, HI, cut)] == ["user", "user"]


def test_content_of_all_kinds() -> None:
    content = items(
        Message(
            "user",
            (
                Text("look"),
                Image(Inline("image/png", "AAAA"), "high"),
                Image(Url("https://x/a.png"), "odd"),
                Document(Inline("application/pdf", "JVBE"), "report", "from the archive"),
                Document(Inline("application/msword", "AAAA")),
                Document(Url("https://x/a.pdf")),
                Document(PlainText("Grüße"), "letter.txt"),
            ),
        )
    )[0]["content"]
    assert content == [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "detail": "high", "image_url": "data:image/png;base64,AAAA"},
        {"type": "input_image", "detail": "auto", "image_url": "https://x/a.png"},
        {"type": "input_text", "text": "from the archive"},
        {"type": "input_file", "filename": "report", "file_data": "data:application/pdf;base64,JVBE"},
        {
            "type": "input_file",
            "filename": "document.msword",
            "file_data": "data:application/msword;base64,AAAA",
        },
        {"type": "input_file", "file_url": "https://x/a.pdf"},
        {"type": "input_text", "text": "letter.txt"},
        {"type": "input_text", "text": "Grüße"},
    ]


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (ToolResult("c", ()), ""),
        (ToolResult("c", (Text("a"),)), "a"),
        (
            ToolResult("c", (Text("a"), Text("b"))),
            [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
        ),
        (
            ToolResult("c", (Image(Inline("image/png", "AAAA")),), is_error=True),
            [
                {"type": "input_text", "text": "Error:"},
                {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAAA"},
            ],
        ),
        (ToolResult("c", (), is_error=True), "Error:"),
        (ToolResult("c", (Text("error 404"),), is_error=True), "error 404"),
    ],
)
def test_results(result: ToolResult, output: Any) -> None:
    call = Message("assistant", (ToolCall("c", "f", "{}"),))
    assert items(HI, call, Message("user", (result,)))[2]["output"] == output


def test_free_text_calls_and_long_ids() -> None:
    long = "toolu_" + "x" * 90
    call, result = items(
        Message("assistant", (ToolCall(long, "sh", "echo", custom=True),)),
        Message("user", (ToolResult(long, (Text("hi"),)),)),
    )
    assert (call["type"], call["input"]) == ("custom_tool_call", "echo")
    assert result["type"] == "custom_tool_call_output"
    assert call["call_id"] == result["call_id"] and len(call["call_id"]) <= 64


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"choices": 2}, "choices"),
        ({"messages": (Message("user", (Audio("wav", "AAAA"),)),)}, "messages[0].parts[0]"),
        (
            {"messages": (HI, Message("assistant", (Image(Url("https://x/a.png")),)))},
            "messages[1].parts[0]",
        ),
        ({"messages": (Message("user", (Image(PlainText("x")),)),)}, "messages[0].parts[0]"),
    ],
)
def test_what_has_no_place(fields: Any, param: str) -> None:
    with pytest.raises(CannotCarry) as refused:
        sent(**fields)
    assert refused.value.param == param


def test_refusals_are_the_assistants_own() -> None:
    assert items(HI, Message("assistant", (Refusal("no"),)))[1]["content"] == [
        {"type": "refusal", "refusal": "no"}
    ]


# -- tools and structured output


@pytest.mark.parametrize(
    ("tool", "fields"),
    [
        (Tool("f"), {"parameters": {"type": "object", "properties": {}}, "strict": False}),
        (Tool("f", "d", OPEN), {"parameters": OPEN, "strict": False, "description": "d"}),
        (Tool("f", "", CLOSED, True), {"parameters": CLOSED, "strict": True}),
        (Tool("f", "", CLOSED, False), {"parameters": CLOSED, "strict": False}),
        (Tool("f", "", OPEN, True), {"parameters": OPEN, "strict": False}),
    ],
)
def test_tools(tool: Tool, fields: Any) -> None:
    assert sent(tools=(tool,))["tools"] == [{"type": "function", "name": "f", **fields}]
    assert ("tools.strict" in dropped(tools=(tool,))) == (bool(tool.strict) and not fields["strict"])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("only", ("f",)), {"type": "function", "name": "f"}),
        (
            ToolChoice("only", ("f", "g")),
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}, {"type": "function", "name": "g"}],
            },
        ),
        (
            ToolChoice("auto", ("f",)),
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        ),
        (ToolChoice("none", ("f",)), "none"),
    ],
)
def test_tool_choices(choice: ToolChoice, expected: Any) -> None:
    assert sent(tools=(Tool("f"), Tool("g")), tool_choice=choice)["tool_choice"] == expected


def test_a_choice_without_tools() -> None:
    body = sent(tool_choice=ToolChoice("required"), parallel_tools=True)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body.keys()
    assert dropped(tool_choice=ToolChoice("required")) == ("tool_choice",)
    assert dropped(tool_choice=ToolChoice("auto")) == ()


@pytest.mark.parametrize(
    ("output", "format", "names"),
    [
        (OutputSchema(), {"type": "json_object"}, ()),
        (
            OutputSchema("my name!", CLOSED, True, "what"),
            {
                "type": "json_schema",
                "name": "my_name_",
                "schema": CLOSED,
                "strict": True,
                "description": "what",
            },
            (),
        ),
        (
            OutputSchema("", OPEN, True),
            {"type": "json_schema", "name": "response", "schema": OPEN, "strict": False},
            ("output.strict",),
        ),
        (
            OutputSchema("n", OPEN),
            {"type": "json_schema", "name": "n", "schema": OPEN, "strict": False},
            (),
        ),
    ],
)
def test_structured_output(output: OutputSchema, format: Any, names: Any) -> None:
    assert sent(output=output)["text"]["format"] == format
    assert dropped(output=output) == names


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        (OPEN, False),
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({"type": "object"}, False),
        ({"type": "array", "items": OPEN}, False),
        ({**CLOSED, "properties": {"a": OPEN}}, False),
        ({**CLOSED, "$defs": {"x": OPEN}}, False),
        ({"anyOf": [CLOSED, OPEN]}, False),
        ({"type": "string"}, True),
    ],
)
def test_what_strict_takes(schema: Any, strict: bool) -> None:
    assert is_strict(schema) is strict


# -- knobs


@pytest.mark.parametrize(
    ("model", "effort", "reasoning", "names"),
    [
        ("gpt-5.1", None, None, ()),
        ("gpt-5.1", Effort(True, "high"), {"effort": "high"}, ()),
        ("gpt-5.1", Effort(True, "high", show=True), {"effort": "high", "summary": "auto"}, ()),
        ("gpt-5.1", Effort(True, "max"), {"effort": "high"}, ()),
        ("gpt-5.1", Effort(False), {"effort": "none"}, ()),
        ("gpt-5", Effort(False), {"effort": "minimal"}, ()),
        ("o3", Effort(False, "none"), {"effort": "low"}, ()),
        ("gpt-5", Effort(budget_tokens=1024), {"effort": "low"}, ()),
        ("gpt-5", Effort(budget_tokens=30_000), {"effort": "high"}, ()),
        ("openai/gpt-5", Effort(True, "xhigh"), {"effort": "high"}, ()),
        ("gpt-4o", Effort(True, "high"), None, ("effort",)),
        ("gpt-4o", Effort(False), None, ()),
        ("my-deployment", Effort(True, "high"), {"effort": "high"}, ()),
        ("my-deployment", Effort(False, "none"), {"effort": "none"}, ()),
        ("my-deployment", Effort(False), None, ("effort",)),
    ],
)
def test_effort(model: str, effort: Effort | None, reasoning: Any, names: Any) -> None:
    body = sent(model, effort=effort)
    assert body.get("reasoning") == reasoning
    assert dropped(model, effort=effort) == names
    thinks = reasoning is not None and effort is not None and effort.enabled
    assert ("reasoning.encrypted_content" in body.get("include", [])) == thinks


@pytest.mark.parametrize(
    ("model", "effort", "taken"),
    [
        ("gpt-4o", None, True),
        ("gpt-5", None, False),
        ("gpt-5.1", None, True),
        ("gpt-5.1", Effort(True, "low"), False),
        ("my-deployment", Effort(True, "low"), True),
    ],
)
def test_sampling(model: str, effort: Effort | None, taken: bool) -> None:
    knobs: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "logprobs": True, "top_logprobs": 2}
    body = sent(model, effort=effort, **knobs)
    assert (body.get("temperature"), body.get("top_p")) == ((0.5, 0.9) if taken else (None, None))
    assert ("message.output_text.logprobs" in body.get("include", [])) is taken
    assert (body.get("top_logprobs") == 2) is taken
    assert set(dropped(model, effort=effort, **knobs)) == (
        set() if taken else {"temperature", "top_p", "logprobs"}
    )


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"max_output_tokens": 100}, "max_output_tokens", 100),
        ({"max_output_tokens": 1}, "max_output_tokens", 16),
        ({"verbosity": "low"}, "text", {"verbosity": "low"}),
        ({"service_tier": "standard_only"}, "service_tier", "default"),
        ({"user": "u"}, "user", "u"),
        ({"cache_key": "k"}, "prompt_cache_key", "k"),
        ({"metadata": {"a": "b"}}, "metadata", {"a": "b"}),
        ({"stream": True}, "stream", True),
        ({}, "store", False),
    ],
)
def test_knobs(fields: Any, name: str, value: Any) -> None:
    assert sent(**fields)[name] == value


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"top_k": 5, "seed": 1, "stop": ("x",)}, {"top_k", "seed", "stop"}),
        ({"frequency_penalty": 0.1, "presence_penalty": 0.1}, {"frequency_penalty", "presence_penalty"}),
        ({"service_tier": "batch"}, {"service_tier"}),
        ({"verbosity": "extreme"}, {"verbosity"}),
        ({"metadata": {"a": "x" * 600}}, {"metadata"}),
        ({"cached": Cached()}, set()),
        ({"cached": Cached("1h")}, {"cached"}),
        ({"messages": (Message("user", (Text("x", Cached()),)),)}, {"cached"}),
        ({"messages": (Message("user", (Text("x"),), "ann"),)}, {"name"}),
        (
            {"messages": (Message("user", (Document(Url("https://x/a.pdf"), cite=True),)),)},
            {"cite"},
        ),
    ],
)
def test_what_is_left_out_is_named(fields: Any, names: set[str]) -> None:
    assert set(dropped(**fields)) == names


def test_long_users_are_known_by_their_hash() -> None:
    user = "user_" + "x" * 100
    assert len(sent(user=user)["user"]) == 64
    assert sent(user=user)["user"] == sent(user=user)["user"]


def test_a_models_own_limit() -> None:
    chat = Chat("pool", (HI,), max_output_tokens=100_000)
    encoded = DIALECT.encode_request(chat, upstream(max_output_tokens=8_000))
    assert json.loads(encoded.body)["max_output_tokens"] == 8_000


def test_deviations() -> None:
    assert dropped("x", {"unsupported": ["temperature", "effort"]}, temperature=0.1, effort=Effort()) == (
        "effort",
        "temperature",
    )
    late = Message("system", (Text("x"),))
    assert sent("x", {"system_role": "system"}, messages=(HI, late))["input"][1]["role"] == "system"
    hinted = (Message("user", (Text("x", Cached("1h")),)),)
    content = sent("x", {"cache_breakpoints": True}, messages=hinted)["input"][0]["content"]
    assert content[0]["prompt_cache_breakpoint"] == {"mode": "explicit", "ttl": "30m"}


@pytest.mark.parametrize(
    ("fields", "path", "count_path"),
    [
        ({}, "/responses", "/responses/input_tokens"),
        (
            {"variant": "azure", "api_version": "2025-04-01-preview"},
            "/openai/responses?api-version=2025-04-01-preview",
            "/openai/responses/input_tokens?api-version=2025-04-01-preview",
        ),
        ({"variant": "azure"}, "/openai/v1/responses", "/openai/v1/responses/input_tokens"),
    ],
)
def test_paths(fields: Any, path: str, count_path: str) -> None:
    chat, target = Chat("pool", (HI,)), upstream(**fields)
    assert DIALECT.encode_request(chat, target).path == path
    assert DIALECT.same_dialect_path(target, DIALECT.surfaces[0], False) == path
    assert DIALECT.encode_count(chat, target).path == count_path


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"input_tokens":"x"}', b'{"input_tokens":true}'])
def test_counts_that_are_none(body: bytes) -> None:
    with pytest.raises(ValueError, match="no count"):
        DIALECT.decode_count(body)


def test_counts() -> None:
    assert DIALECT.decode_count(DIALECT.encode_count_reply(17)) == 17
