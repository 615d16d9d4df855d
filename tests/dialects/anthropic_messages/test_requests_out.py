"""Chat → what Anthropic takes, held against the official SDK's own types."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.errors import BadRequest
from modelbroker.dialects.anthropic_messages import AnthropicMessages
from modelbroker.dialects.conversation import (
    Audio,
    Blob,
    Cached,
    Chat,
    Document,
    DocumentCitation,
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
    UrlCitation,
)
from modelbroker.dialects.translation import CannotCarry
from support.conversations import chats
from support.dialects import Recorded, parameters
from support.recordings import recordings
from support.typed_dicts import violations

DIALECT = AnthropicMessages()
SIGNATURE, REDACTED = "anthropic-messages.signature", "anthropic-messages.redacted_thinking"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
GET = Tool("get", "gets", SCHEMA)
HI = Message("user", (Text("hi"),))
SAMPLING = ("temperature", "top_p", "top_k")


def upstream(model: str = "claude-sonnet-4-5", **more: Any) -> Upstream:
    return Upstream("house", "anthropic-messages", model, **more)


def encoded(
    *messages: Message, model: str = "claude-sonnet-4-5", to: Any = None, **fields: Any
) -> tuple[Any, Encoded]:
    """(the body, checked against the SDK's types, and all of the request)."""
    request = DIALECT.encode_request(Chat("agent-model", messages or (HI,), **fields), to or upstream(model))
    body = json.loads(request.body)
    checked = {name: value for name, value in body.items() if name not in SAMPLING}
    if (to or upstream()).variant:
        checked = {"model": "m", **checked}
        checked.pop("anthropic_version")
    params = message_create_params
    kind = (
        params.MessageCreateParamsStreaming if body.get("stream") else params.MessageCreateParamsNonStreaming
    )
    assert violations(checked, kind) == []
    check_rules(body)
    return body, request


def check_rules(body: Any) -> None:
    """What the types don't say and the API refuses."""
    last = ""
    for message in body["messages"]:
        assert message["role"] != last, "turns alternate"
        last = message["role"]
        blocks = message["content"]
        assert blocks
        kinds = [block["type"] for block in blocks]
        results = kinds.count("tool_result")
        assert kinds[:results] == ["tool_result"] * results
        assert all(block["text"].strip() for block in blocks if block["type"] == "text")
    thinking = body.get("thinking", {})
    if thinking.get("type") == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]
        assert "temperature" not in body and "top_k" not in body
        assert body.get("tool_choice", {}).get("type") not in ("any", "tool")
    assert json.dumps(body).count('"cache_control"') <= 4


def thought(text: str = "hm", issuer: str = "house") -> Reasoning:
    return Reasoning(text, Blob(issuer, SIGNATURE, "EqQB"))


CALL = ToolCall("toolu_1", "get", '{"city": "Köln"}')
DONE = Message("user", (ToolResult("toolu_1", (Text("ok"),)),))


# -- all of it


@pytest.mark.parametrize("row", parameters(streamed=None, client=True))
def test_recorded_requests_are_what_the_sdk_would_send(row: Recorded) -> None:
    if row.dialect == "anthropic-messages":
        client: Any = DIALECT
    else:
        from modelbroker.dialects import client_dialect

        client = client_dialect(row.dialect)
    try:
        chat = client.decode_request(row.request_body)
        encoded(*chat.messages, **_fields(chat))
    except BadRequest as refused:
        assert refused.param


def _fields(chat: Chat) -> dict[str, Any]:
    return {name: getattr(chat, name) for name in Chat.__struct_fields__ if name not in ("model", "messages")}


MODELS = st.sampled_from(
    [
        "claude-3-5-haiku-latest",
        "claude-sonnet-4-5",
        "claude-opus-4-6",
        "claude-opus-4-8",
        "claude-opus-5",
        "claude-sonnet-5-5",
        "claude-fable-5-1",
        "kimi-k2",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    chat=chats(with_audio=True),
    model=MODELS,
    variant=st.sampled_from(["", "vertex", "bedrock"]),
    most=st.sampled_from([None, 500, 2000, 64_000]),
)
def test_any_conversation_is_sent_as_the_sdk_would_or_refused_by_name(
    chat: Chat, model: str, variant: str, most: int | None
) -> None:
    to = upstream(model, variant=variant, max_output_tokens=most)
    try:
        _, request = encoded(*chat.messages, to=to, **_fields(chat))
    except CannotCarry as refused:
        assert refused.param
    else:
        assert set(request.dropped) <= {*Chat.__struct_fields__, "citations", "detail", "strict", "name"}


@settings(max_examples=50, deadline=None)
@given(chat=chats(with_late_system=False, with_knobs=False, blob_kinds=(SIGNATURE, REDACTED)))
def test_what_was_sent_says_the_same_when_it_is_read_again(chat: Chat) -> None:
    """Texts, media, calls and results come back as they went, but for what nobody may see."""
    _, request = encoded(*chat.messages, **_fields(chat))
    back = DIALECT.decode_request(request.body)
    assert _said(back) == _said(chat)


def _said(chat: Chat) -> list[Any]:
    found: list[Any] = [text.text for text in chat.system]
    for message in chat.messages:
        for part in message.parts:
            match part:
                case Text(text) | Refusal(text) if text.strip():
                    found.append(text)
                case ToolCall(ident, name, arguments):
                    given = json.loads(arguments or "{}")
                    # hypothesis writes Infinity, which is no JSON.
                    found.append((ident, name, json.loads(given.get("raw_arguments", arguments) or "{}")))
                case ToolResult(ident, parts, is_error):
                    inner = [p.text if isinstance(p, Text) else p.source for p in parts if _speaks(p)]  # type: ignore[union-attr]
                    found.append((ident, inner or (["error"] if is_error else []), is_error))
                case Image(source):
                    found.append(source)
                case Document(source, name, context, cite):
                    found.append((source, name, context, cite))
    return found


def _speaks(part: Any) -> bool:
    return not isinstance(part, Text) or bool(part.text.strip())


# -- messages


def test_turns_of_one_side_are_one_and_results_come_first() -> None:
    body, _ = encoded(
        HI,
        Message("assistant", (Text("let me see"), CALL, ToolCall("toolu_2", "get", ""))),
        Message("user", (ToolResult("toolu_1", (Text("a"),)), Text("and"))),
        Message("user", (ToolResult("toolu_2", ()), Text("more"))),
    )
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"][1:] == [
        {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"city": "Köln"}},
        {"type": "tool_use", "id": "toolu_2", "name": "get", "input": {}},
    ]
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "a"}]},
        {"type": "tool_result", "tool_use_id": "toolu_2"},
        {"type": "text", "text": "and"},
        {"type": "text", "text": "more"},
    ]


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("", b"{}"),
        ("  ", b"{}"),
        (' {"a": 1.0, "b": 1e3} ', b'{"a": 1.0, "b": 1e3}'),
        ("[1]", b'{"raw_arguments":"[1]"}'),
        ("null", b"{}"),
        ('{"a": ', b'{"raw_arguments":"{\\"a\\": "}'),
        ("free text", b'{"raw_arguments":"free text"}'),
    ],
)
def test_arguments(arguments: str, sent: bytes) -> None:
    _, request = encoded(HI, Message("assistant", (ToolCall("toolu_1", "get", arguments),)), DONE)
    assert b'"input":' + sent in request.body


def test_ids_that_are_refused_are_respelled_alike() -> None:
    odd = "functions.get:0"
    body, _ = encoded(
        HI,
        Message("assistant", (ToolCall(odd, "get", ""), ToolCall("functions_get:0", "get", ""))),
        Message("user", (ToolResult(odd, ()), ToolResult("functions_get:0", ()))),
    )
    calls = [block["id"] for block in body["messages"][1]["content"]]
    assert calls == [block["tool_use_id"] for block in body["messages"][2]["content"]]
    assert len(set(calls)) == 2


def test_empty_texts_are_left_out() -> None:
    body, request = encoded(
        Message("user", (Text(""), Text("hi", None), Text(" \n", Cached("1h")))),
        Message("assistant", (Text(""), Reasoning("hm", Blob("other", SIGNATURE, "E")))),
        Message("user", (ToolResult("toolu_1", (Text(""),), is_error=True),)),
    )
    (turn,) = body["messages"]
    assert turn["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "content": [{"type": "text", "text": "error"}],
            "is_error": True,
        },
        # The hint of a text that is left out holds for what stands in front of it.
        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    assert request.dropped == ()


def test_an_answer_to_go_on_with() -> None:
    begun = Message("assistant", (Text("The answer is \n"),))
    body, request = encoded(HI, begun, effort=Effort(level="high"))
    assert body["messages"][-1]["content"] == [{"type": "text", "text": "The answer is"}]
    assert "thinking" not in body and request.dropped == ("effort",)
    with pytest.raises(CannotCarry) as refused:
        encoded(HI, begun, model="claude-opus-4-6")
    assert refused.value.param == "messages[1]"


def test_a_conversation_begins_with_the_user() -> None:
    """Otherwise: 400, `messages: first message must use the "user" role`."""
    body, _ = encoded(Message("assistant", (Text("hello"),)), HI)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "."}]


def test_nothing_to_say() -> None:
    with pytest.raises(CannotCarry) as refused:
        encoded(Message("user", (Text(""),)))
    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    ("model", "more", "stays"),
    [
        ("claude-opus-4-8", {}, True),
        ("claude-opus-4-7", {}, False),
        ("claude-sonnet-5", {}, False),
        ("claude-opus-4-8", {"variant": "bedrock"}, False),
        ("claude-opus-4-8", {"deviations": {"system_messages": "hoist"}}, False),
        ("claude-sonnet-4-5", {"deviations": {"system_messages": "inline"}}, True),
    ],
)
def test_system_messages_within_a_conversation(model: str, more: Any, stays: bool) -> None:
    late = Message("system", (Text("late"),))
    yes = Message("assistant", (Text("yes"),))
    body, _ = encoded(HI, late, yes, HI, to=upstream(model, **more), system=(Text("early"),))
    roles = [message["role"] for message in body["messages"]]
    texts = [block["text"] for block in body["system"]]
    assert roles == (["user", "system", "assistant", "user"] if stays else ["user", "assistant", "user"])
    assert texts == (["early"] if stays else ["early", "late"])


def test_a_system_message_moves_to_where_it_may_stand() -> None:
    late = Message("system", (Text("late"),))
    call, yes = Message("assistant", (CALL,)), Message("assistant", (Text("yes"),))
    body, _ = encoded(HI, call, late, DONE, yes, late, yes, HI, late, HI, model="claude-opus-5")
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant", "user", "system", "assistant", "user", "system"]
    assert [block["text"] for block in body["system"]] == ["late"]


# -- reasoning


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (thought(), {"type": "thinking", "thinking": "hm", "signature": "EqQB"}),
        (thought("", ""), {"type": "thinking", "thinking": "", "signature": "EqQB"}),
        (
            Reasoning("", Blob("house", REDACTED, "Eq=="), hidden=True),
            {"type": "redacted_thinking", "data": "Eq=="},
        ),
        (thought(issuer="other"), None),
        (Reasoning("hm"), None),
        (Reasoning("hm", Blob("house", "openai-responses.encrypted_content", "gA")), None),
    ],
)
def test_reasoning_goes_back_to_its_issuer_alone(part: Reasoning, block: Any) -> None:
    body, request = encoded(HI, Message("assistant", (part, Text("yes"))), HI)
    assert body["messages"][1]["content"][:-1] == ([block] if block else [])
    if block is None:
        assert b"hm" not in request.body


@pytest.mark.parametrize(
    ("parts", "thinks"),
    [
        ((thought(), CALL), True),
        ((thought(issuer="other"), CALL), False),
        ((CALL,), False),
    ],
)
def test_a_tool_loop_on_a_budget_needs_its_thinking(parts: Any, thinks: bool) -> None:
    body, request = encoded(HI, Message("assistant", parts), DONE, tools=(GET,), effort=Effort(level="high"))
    assert ("thinking" in body) is thinks
    assert request.dropped == (() if thinks else ("effort",))
    # With the next question it thinks again.
    body, _ = encoded(
        HI,
        Message("assistant", parts),
        DONE,
        Message("assistant", (Text("so"),)),
        HI,
        tools=(GET,),
        effort=Effort(level="high"),
    )
    assert "thinking" in body
    # A model that thinks as it wants goes on anyhow.
    body, request = encoded(
        HI, Message("assistant", parts), DONE, model="claude-opus-4-7", effort=Effort(level="high")
    )
    assert body["thinking"] == {"type": "adaptive"} and request.dropped == ()


ON, HIGH = Effort(), Effort(level="high")
OFF = Effort(enabled=False)


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "level", "dropped"),
    [
        ("claude-3-5-sonnet-latest", HIGH, None, None, True),
        ("claude-3-5-sonnet-latest", OFF, None, None, False),
        ("claude-3-7-sonnet-20250219", HIGH, 16384, None, False),
        ("claude-sonnet-4-5", HIGH, 16384, None, False),
        ("claude-sonnet-4-5", ON, 8192, None, False),
        ("claude-sonnet-4-5", Effort(level="minimal"), 1024, None, False),
        ("claude-sonnet-4-5", Effort(level="max"), 32768, None, False),
        ("claude-sonnet-4-5", Effort(budget_tokens=100), 1024, None, False),
        ("claude-sonnet-4-5", Effort(adaptive=True), 8192, None, False),
        ("claude-sonnet-4-5", OFF, None, None, False),
        ("claude-opus-4-6", HIGH, "adaptive", "high", False),
        ("claude-opus-4-6", ON, "adaptive", None, False),
        ("claude-opus-4-6", Effort(level="xhigh"), "adaptive", "max", False),
        ("claude-opus-4-6", Effort(budget_tokens=5000), 5000, None, False),
        ("claude-opus-4-6", OFF, None, None, False),
        ("claude-opus-4-7", Effort(level="xhigh"), "adaptive", "xhigh", False),
        ("claude-opus-4-7", Effort(budget_tokens=5000), "adaptive", "medium", False),
        ("claude-opus-4-7", Effort(budget_tokens=64_000), "adaptive", "xhigh", False),
        ("claude-opus-5", Effort(level="none"), "disabled", None, False),
        ("claude-haiku-5-5", OFF, "disabled", None, False),
        ("claude-sonnet-5-5", OFF, "between_tools", None, False),
        ("claude-opus-5-5", OFF, None, "low", True),
        ("claude-fable-5", OFF, None, "low", True),
        ("claude-opus-5-5", Effort(level="minimal"), "adaptive", "low", False),
        ("us.anthropic.claude-opus-4-6-v1", HIGH, "adaptive", "high", False),
        ("claude-opus-4-5@20251101", HIGH, 16384, None, False),
        ("anthropic/claude-opus-4.7", HIGH, "adaptive", "high", False),
        ("claude-mythos-preview", HIGH, "adaptive", "high", False),
        ("deepseek-chat", HIGH, 16384, None, False),
    ],
)
def test_thinking_by_model(
    model: str, effort: Effort, thinking: Any, level: str | None, dropped: bool
) -> None:
    body, request = encoded(model=model, effort=effort)
    told = body.get("thinking", {})
    assert told.get("budget_tokens", told.get("type")) == thinking
    assert body.get("output_config", {}).get("effort") == level
    assert request.dropped == (("effort",) if dropped else ())


@pytest.mark.parametrize(
    ("effort", "asked", "known", "budget", "most"),
    [
        (HIGH, 4000, None, 3000, 4000),
        (HIGH, 1200, None, 1024, 1200),
        (HIGH, 1024, None, None, 1024),
        (Effort(budget_tokens=3999), 4000, None, 3999, 4000),
        (Effort(budget_tokens=9000), 4000, None, 3999, 4000),
        (HIGH, None, None, 16384, 32_000),
        (Effort(level="max"), None, None, 32768, 36864),
        (Effort(level="max"), None, 64_000, 32768, 36864),
        (HIGH, None, 8192, 4096, 8192),
        (HIGH, None, 1000, None, 1000),
        (HIGH, 99_999, 64_000, 16384, 64_000),
        (None, None, None, None, 32_000),
        (None, None, 8192, None, 8192),
        (None, 5, 8192, None, 5),
    ],
)
def test_budgets_leave_room_for_the_answer(
    effort: Effort | None, asked: int | None, known: int | None, budget: int | None, most: int
) -> None:
    body, _ = encoded(to=upstream(max_output_tokens=known), effort=effort, max_output_tokens=asked)
    assert body.get("thinking", {}).get("budget_tokens") == budget
    assert body["max_tokens"] == most


@pytest.mark.parametrize(("show", "display"), [(None, None), (True, "summarized"), (False, "omitted")])
def test_whether_thinking_is_shown(show: bool | None, display: str | None) -> None:
    body, _ = encoded(model="claude-opus-4-8", effort=Effort(level="high", show=show))
    assert body["thinking"].get("display") == display
    older, _ = encoded(model="claude-opus-4-6", effort=Effort(level="high", show=show))
    assert "display" not in older["thinking"]


@pytest.mark.parametrize("wanted", ["adaptive", "budget", "none"])
def test_a_deviation_says_how_a_model_thinks(wanted: str) -> None:
    to = upstream("my-claude", deviations={"thinking": wanted})
    body, request = encoded(to=to, effort=HIGH)
    kind = {"adaptive": "adaptive", "budget": "enabled", "none": None}[wanted]
    assert body.get("thinking", {}).get("type") == kind
    assert request.dropped == (("effort",) if wanted == "none" else ())


def test_a_deviation_names_the_model_behind_an_arn() -> None:
    arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"
    body, _ = encoded(to=upstream(arn, deviations={"base_model": "anthropic.claude-opus-4-7"}), effort=HIGH)
    assert body["thinking"] == {"type": "adaptive"}


# -- knobs


@pytest.mark.parametrize(
    ("model", "given", "sent", "dropped"),
    [
        ("claude-sonnet-4-0", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, ()),
        ("claude-sonnet-4-5", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ("top_p",)),
        ("claude-sonnet-4-5", {"top_p": 0.9, "top_k": 5}, {"top_p": 0.9, "top_k": 5}, ()),
        ("claude-sonnet-4-5", {"temperature": 1.7}, {"temperature": 1.0}, ("temperature",)),
        ("claude-opus-4-7", {"temperature": 1.0, "top_p": 1.0, "top_k": 5}, {}, SAMPLING),
        ("claude-sonnet-4-5", {"temperature": 0.2, "top_k": 5, "effort": HIGH}, {}, ("temperature", "top_k")),
        ("claude-sonnet-4-5", {"top_p": 0.96, "effort": HIGH}, {"top_p": 0.96}, ()),
        ("claude-sonnet-4-5", {"top_p": 0.5, "effort": HIGH}, {}, ("top_p",)),
        ("claude-sonnet-4-5", {"temperature": 0.2, "effort": OFF}, {"temperature": 0.2}, ()),
    ],
)
def test_sampling(model: str, given: Any, sent: Any, dropped: tuple[str, ...]) -> None:
    body, request = encoded(model=model, **given)
    assert {name: body[name] for name in SAMPLING if name in body} == sent
    assert request.dropped == dropped


@pytest.mark.parametrize("version", ["2026-10-21", "vertex-2026-10-21"])
def test_newer_versions_of_the_api_take_no_sampling(version: str) -> None:
    to = upstream(api_version=version, variant="vertex" if "vertex" in version else "")
    body, request = encoded(to=to, temperature=0.5)
    assert "temperature" not in body and request.dropped == ("temperature",)


@pytest.mark.parametrize(
    ("given", "sent", "dropped"),
    [
        ({"stop": ("a", " \n", "")}, {"stop_sequences": ["a"]}, ("stop",)),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}, ()),
        ({"metadata": {"a": "b"}}, {}, ("metadata",)),
        ({"service_tier": "auto"}, {"service_tier": "auto"}, ()),
        ({"service_tier": "priority"}, {"service_tier": "auto"}, ()),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}, ()),
        ({"service_tier": "flex"}, {}, ("service_tier",)),
        (
            {
                "frequency_penalty": 0.0,
                "presence_penalty": 1.0,
                "seed": 0,
                "logprobs": True,
                "top_logprobs": 2,
            },
            {},
            ("frequency_penalty", "presence_penalty", "seed", "logprobs", "top_logprobs"),
        ),
        ({"verbosity": "low", "cache_key": "k"}, {}, ("verbosity", "cache_key")),
        ({"stream": True}, {"stream": True}, ()),
        ({"parallel_tools": False}, {}, ()),
        ({"tool_choice": ToolChoice("none")}, {}, ()),
    ],
)
def test_knobs(given: Any, sent: Any, dropped: tuple[str, ...]) -> None:
    body, request = encoded(**given)
    rest = {name: body[name] for name in body.keys() - {"model", "max_tokens", "messages"}}
    assert (rest, request.dropped) == (sent, dropped)


# -- tools


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("only", ("get",)), True, {"type": "tool", "name": "get"}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, parallel: bool | None, sent: Any) -> None:
    body, request = encoded(tools=(GET, Tool("put")), tool_choice=choice, parallel_tools=parallel)
    assert body.get("tool_choice") == sent
    assert [tool["name"] for tool in body["tools"]] == ["get", "put"]
    assert request.dropped == ()


@pytest.mark.parametrize(("mode", "kind"), [("auto", "auto"), ("required", "any"), ("only", "any")])
def test_only_tools_that_may_be_called_are_sent(mode: Any, kind: str) -> None:
    body, _ = encoded(tools=(GET, Tool("put"), Tool("cut")), tool_choice=ToolChoice(mode, ("get", "cut")))
    assert [tool["name"] for tool in body["tools"]] == ["get", "cut"]
    assert body["tool_choice"] == {"type": kind}


def test_a_forced_tool_call_and_thinking() -> None:
    forced = ToolChoice("required")
    body, request = encoded(tools=(GET,), tool_choice=forced, effort=HIGH)
    assert "thinking" not in body and request.dropped == ("effort",)
    body, request = encoded(tools=(GET,), tool_choice=forced, effort=HIGH, model="claude-opus-4-8")
    assert "thinking" not in body and body["output_config"] == {"effort": "high"}
    assert request.dropped == ()


@pytest.mark.parametrize(
    ("fields", "model", "param"),
    [
        ({"tools": (GET,), "tool_choice": ToolChoice("required")}, "claude-opus-5-5", "tool_choice"),
        ({"tool_choice": ToolChoice("required")}, "claude-sonnet-4-5", "tool_choice"),
        ({"tools": (GET, Tool("a.b"))}, "claude-sonnet-4-5", "tools[1].name"),
        ({"tools": (Tool("f", schema={"type": "array"}),)}, "claude-sonnet-4-5", "tools[0].schema"),
        ({"tools": (Tool("f", schema={"anyOf": []}),)}, "claude-sonnet-4-5", "tools[0].schema"),
        ({"choices": 2}, "claude-sonnet-4-5", "choices"),
        ({"output": OutputSchema()}, "claude-sonnet-4-5", "output"),
        ({"output": OutputSchema("", SCHEMA)}, "claude-3-7-sonnet-latest", "output"),
        ({"output": OutputSchema("", {"type": "object"})}, "claude-sonnet-4-5", "output.schema"),
    ],
)
def test_what_can_not_be_said(fields: Any, model: str, param: str) -> None:
    with pytest.raises(CannotCarry) as refused:
        encoded(model=model, **fields)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        (None, {"type": "object", "properties": {}}),
        ({}, {"type": "object"}),
        ({"properties": {}}, {"type": "object", "properties": {}}),
        (SCHEMA, SCHEMA),
        ({"type": "object", "additionalProperties": True}, {"type": "object", "additionalProperties": True}),
    ],
)
def test_schemas_of_tools(schema: Any, sent: Any) -> None:
    body, request = encoded(tools=(Tool("f", schema=schema),))
    assert body["tools"] == [{"name": "f", "input_schema": sent}]
    assert request.dropped == ()


def test_strict_tools() -> None:
    closed = {**SCHEMA, "additionalProperties": False}
    body, request = encoded(tools=(Tool("f", schema=SCHEMA, strict=True), Tool("g", strict=False)))
    assert body["tools"][0] == {"name": "f", "input_schema": closed, "strict": True}
    assert "strict" not in body["tools"][1]
    assert request.dropped == ()
    open_one = {"type": "object", "additionalProperties": True}
    body, request = encoded(tools=(Tool("f", schema=open_one, strict=True),))
    assert body["tools"] == [{"name": "f", "input_schema": open_one}]
    assert request.dropped == ("strict",)
    body, request = encoded(model="claude-3-5-haiku-latest", tools=(Tool("f", schema=SCHEMA, strict=True),))
    assert body["tools"] == [{"name": "f", "input_schema": SCHEMA}] and request.dropped == ("strict",)
    many = tuple(Tool(f"f{number}", schema=SCHEMA, strict=True) for number in range(21))
    body, request = encoded(tools=many)
    assert not any("strict" in tool for tool in body["tools"]) and request.dropped == ("strict",)


def test_structured_output() -> None:
    output = OutputSchema("city", SCHEMA, False, "where")
    body, request = encoded(output=output, effort=HIGH, model="claude-opus-4-6")
    closed = {**SCHEMA, "additionalProperties": False, "description": "where"}
    assert body["output_config"] == {"effort": "high", "format": {"type": "json_schema", "schema": closed}}
    assert request.dropped == ()


# -- media


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            Image(Inline("image/jpg", "AA=="), "auto"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AA=="}},
        ),
        (Image(Url("https://a")), {"type": "image", "source": {"type": "url", "url": "https://a"}}),
        (
            Document(Inline("application/pdf", "AA=="), "a.pdf", "why", cite=True),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
                "title": "a.pdf",
                "context": "why",
                "citations": {"enabled": True},
            },
        ),
        (
            Document(Inline("text/csv; charset=utf-8", base64.b64encode("ä,b".encode()).decode())),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ä,b"}},
        ),
        (
            Document(PlainText("words")),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        ),
        (Document(Url("https://a")), {"type": "document", "source": {"type": "url", "url": "https://a"}}),
    ],
)
def test_media(part: Any, block: Any) -> None:
    body, request = encoded(Message("user", (part,)))
    assert body["messages"][0]["content"] == [block]
    assert request.dropped == ()
    body, _ = encoded(HI, Message("assistant", (CALL,)), Message("user", (ToolResult("toolu_1", (part,)),)))
    assert body["messages"][2]["content"][0]["content"] == [block]


@pytest.mark.parametrize(
    ("role", "part", "variant"),
    [
        ("user", Image(Inline("image/tiff", "AA==")), ""),
        ("user", Document(Inline("application/msword", "AA==")), ""),
        ("user", Document(Inline("text/plain", "/w==")), ""),
        ("user", Document(Inline("text/plain", "no base64!")), ""),
        ("user", Image(Url("https://a")), "bedrock"),
        ("user", Document(Url("https://a")), "bedrock"),
        ("user", Audio("wav", "AA=="), ""),
        ("user", CALL, ""),
        ("assistant", Image(Url("https://a")), ""),
        ("assistant", Audio("wav", "AA=="), ""),
        ("assistant", ToolResult("toolu_1", ()), ""),
        ("user", ToolResult("toolu_1", (Audio("wav", "AA=="),)), ""),
    ],
)
def test_media_that_have_no_place(role: Any, part: Any, variant: str) -> None:
    with pytest.raises(CannotCarry) as refused:
        encoded(HI, Message(role, (Text("a"), part)), to=upstream(variant=variant))
    inner = ".parts[0]" if isinstance(part, ToolResult) and part.parts else ""
    assert refused.value.param == f"messages[1].parts[1]{inner}"


def test_detail_and_names_are_named() -> None:
    _, request = encoded(Message("user", (Image(Url("https://a"), "high"),), "anna"))
    assert request.dropped == ("name", "detail")


def test_citations() -> None:
    cited = Text("a", citations=(DocumentCitation(0, "", "q", "page", 0, 1), UrlCitation("https://a")))
    body, request = encoded(HI, Message("assistant", (cited,)), HI)
    assert body["messages"][1]["content"][0]["citations"] == [
        {
            "type": "page_location",
            "cited_text": "q",
            "document_index": 0,
            "document_title": None,
            "start_page_number": 1,
            "end_page_number": 2,
        }
    ]
    assert request.dropped == ("citations",)


# -- prompt cache


def cached_texts(*ttls: str) -> Message:
    return Message("user", tuple(Text(f"t{n}", Cached(ttl)) for n, ttl in enumerate(ttls)))


def controls(body: Any) -> list[str | None]:
    """The TTL of each breakpoint in the prompt's order; `whole` for the automatic one."""
    found = [tool.get("cache_control") for tool in body.get("tools", ())]
    found += [block.get("cache_control") for block in body.get("system", ())]
    found += [block.get("cache_control") for turn in body["messages"] for block in turn["content"]]
    return [one.get("ttl") for one in found if one is not None] + (
        ["whole"] if "cache_control" in body else []
    )


@pytest.mark.parametrize(
    ("ttls", "whole", "sent", "dropped"),
    [
        (["1h", "5m", ""], None, ["1h", "5m", None], ()),
        (["1h"] * 6, None, ["1h"] * 4, ("cached",)),
        (["1h"] * 6, Cached("1h"), ["1h"] * 3 + ["whole"], ("cached",)),
        (["5m", "1h"], None, ["5m", None], ("cached",)),
        ([], Cached("1h"), ["whole"], ()),
    ],
)
def test_cache_hints(ttls: list[str], whole: Any, sent: list[str], dropped: tuple[str, ...]) -> None:
    message = Message("user", (Text("a"), *cached_texts(*ttls).parts))
    body, request = encoded(message, cached=whole)
    assert controls(body) == sent
    assert request.dropped == dropped


def test_cache_hints_stand_where_they_stood() -> None:
    body, _ = encoded(
        HI,
        Message("assistant", (ToolCall("toolu_1", "get", "", cached=Cached()),)),
        Message("user", (ToolResult("toolu_1", (Text("a"),), cached=Cached()),)),
        tools=(Tool("get", cached=Cached("1h")),),
        system=(Text("s", Cached("1h")),),
    )
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert body["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert body["messages"][1]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["messages"][2]["content"][0]["cache_control"] == {"type": "ephemeral"}


def test_bedrock_has_no_automatic_breakpoint() -> None:
    body, request = encoded(to=upstream(variant="bedrock"), cached=Cached("1h"))
    assert body["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert "cache_control" not in body and request.dropped == ()


# -- variants


@pytest.mark.parametrize("stream", [False, True])
def test_where_requests_go(stream: bool) -> None:
    body, request = encoded(stream=stream)
    assert (request.path, request.headers) == ("/v1/messages", (("anthropic-version", "2023-06-01"),))
    assert body["model"] == "claude-sonnet-4-5"
    _, newer = encoded(to=upstream(api_version="2026-10-21"))
    assert newer.headers == (("anthropic-version", "2026-10-21"),)

    to = upstream("claude-opus-4-5@20251101", variant="vertex", project="p", region="r")
    body, request = encoded(to=to, stream=stream)
    verb = "streamRawPredict" if stream else "rawPredict"
    where = "/projects/p/locations/r/publishers/anthropic/models/"
    assert request.path == f"{where}claude-opus-4-5@20251101:{verb}"
    assert (body["anthropic_version"], request.headers) == ("vertex-2023-10-16", ())
    assert "model" not in body and body.get("stream", False) is stream

    arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"
    body, request = encoded(to=upstream(arn, variant="bedrock"), stream=stream)
    verb = "invoke-with-response-stream" if stream else "invoke"
    assert request.path == f"/model/{arn.replace('/', '%2F')}/{verb}"
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert "model" not in body and "stream" not in body


def test_counts() -> None:
    chat = Chat("m", (HI,), tools=(GET,), temperature=0.5, stop=("a",), user="u", effort=HIGH, stream=True)
    request = DIALECT.encode_count(chat, upstream())
    body = json.loads(request.body)
    assert request.path == "/v1/messages/count_tokens"
    assert violations(body, message_count_tokens_params.MessageCountTokensParams) == []
    assert body["thinking"]["type"] == "enabled"

    to = upstream("claude-opus-4-7", variant="vertex", project="p", region="r")
    request = DIALECT.encode_count(chat, to)
    assert request.path.endswith("/publishers/anthropic/models/count-tokens:rawPredict")
    body = json.loads(request.body)
    assert body.pop("anthropic_version") == "vertex-2023-10-16"
    assert violations(body, message_count_tokens_params.MessageCountTokensParams) == []

    model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    request = DIALECT.encode_count(chat, upstream(model, variant="bedrock"))
    assert request.path == "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/count-tokens"
    inner = json.loads(base64.b64decode(json.loads(request.body)["input"]["invokeModel"]["body"]))
    assert inner["anthropic_version"] == "bedrock-2023-05-31" and inner["max_tokens"]


@pytest.mark.parametrize("row", recordings("anthropic-count-tokens"))
def test_recorded_counts(row: Any) -> None:
    """As a client's request, as a provider's, and its reply."""
    given = json.dumps(row["request"]["body"]).encode()
    if not DIALECT.read(given).same_dialect:
        body = json.loads(DIALECT.encode_count(DIALECT.decode_request(given), upstream()).body)
        assert violations(body, message_count_tokens_params.MessageCountTokensParams) == []
    tokens = DIALECT.decode_count(json.dumps(row["response"]["body"]).encode())
    assert tokens == row["response"]["body"]["input_tokens"]


@pytest.mark.parametrize(("body", "tokens"), [(b'{"input_tokens": 7}', 7), (b'{"inputTokens": 0}', 0)])
def test_counts_are_read(body: bytes, tokens: int) -> None:
    assert DIALECT.decode_count(body) == tokens
    assert json.loads(DIALECT.encode_count_reply(tokens)) == {"input_tokens": tokens}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"input_tokens": "7"}', b"\xff"])
def test_odd_counts(body: bytes) -> None:
    with pytest.raises(ValueError, match="no count of tokens"):
        DIALECT.decode_count(body)
