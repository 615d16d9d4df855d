"""Chat → providers' requests, held against the official SDK's own types."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.errors import BadRequest
from modelbroker.dialects import client_dialect, provider_dialect
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
from modelbroker.dialects.translation import CannotCarry
from openai.types.chat import completion_create_params as sdk
from support.conversations import chats
from support.dialects import Recorded, parameters
from support.typed_dicts import violations

DIALECT = provider_dialect("openai-chat")
HI = Message("user", (Text("hi"),))
PNG = Inline("image/png", "AA==")
PDF = Inline("application/pdf", "AA==")


def upstream(model: str = "gpt-4o", **deviations: Any) -> Upstream:
    return Upstream("house", "openai-chat", model, deviations=deviations)


def checked(encoded: Encoded) -> Any:
    body = json.loads(encoded.body)
    hint = (
        sdk.CompletionCreateParamsStreaming if body.get("stream") else sdk.CompletionCreateParamsNonStreaming
    )
    assert violations(body, hint) == []
    return body


def sent(*messages: Message, model: str = "gpt-4o", **fields: Any) -> Any:
    return checked(DIALECT.encode_request(Chat("pool", messages or (HI,), **fields), upstream(model)))


def deviating(chat: Chat, **deviations: Any) -> tuple[Any, tuple[str, ...]]:
    """Providers that differ have fields that the SDK does not know."""
    encoded = DIALECT.encode_request(chat, upstream("house-model", **deviations))
    return json.loads(encoded.body), encoded.dropped


def dropped(model: str = "gpt-4o", **fields: Any) -> tuple[str, ...]:
    return DIALECT.encode_request(Chat("pool", (HI,), **fields), upstream(model)).dropped


# -- against the SDK's types


@pytest.mark.parametrize("row", parameters(streamed=None, good=None, client=True))
def test_recorded_requests_of_every_client_are_the_sdks(row: Recorded) -> None:
    try:
        chat = client_dialect(row.dialect).decode_request(row.request_body)
        encoded = DIALECT.encode_request(chat, upstream("gpt-5.1"))
    except BadRequest as refused:
        assert refused.message
        return
    body = checked(encoded)
    assert bool(body.get("stream")) == chat.stream
    assert len(body.get("tools") or ()) == len(chat.tools)


@given(
    chat=chats(with_audio=True),
    model=st.sampled_from(["gpt-5.1", "gpt-5", "gpt-4o", "o3", "house-model"]),
)
def test_any_conversation_is_the_sdks(chat: Chat, model: str) -> None:
    try:
        encoded = DIALECT.encode_request(chat, upstream(model))
    except CannotCarry as refused:
        documents = [part for message in chat.messages for part in message.parts]
        assert any(isinstance(part, Document) and isinstance(part.source, Url) for part in documents)
        assert refused.param.startswith("messages[")
        return
    body = checked(encoded)
    if chat.stream:
        assert body["stream_options"] == {"include_usage": True}
    calls = [call["id"] for message in body["messages"] for call in message.get("tool_calls") or ()]
    answers = [m["tool_call_id"] for m in body["messages"] if m["role"] == "tool"]
    assert set(answers) <= set(calls)
    assert len(calls) == sum(isinstance(part, ToolCall) for m in chat.messages for part in m.parts)
    # Answers stand right behind their calls, with nothing in between.
    for before, message in zip(body["messages"], body["messages"][1:], strict=False):
        if message["role"] == "tool":
            assert before["role"] == "tool" or before.get("tool_calls")


@given(chat=chats(blob_kinds=["openai-chat.reasoning_details"], with_urls=False))
def test_what_chat_clients_say_is_what_chat_providers_get(chat: Chat) -> None:
    """Out and in again: the same conversation, but for what a message of this dialect can't tell apart."""
    encoded = DIALECT.encode_request(chat, upstream("house-model"))
    again = client_dialect("openai-chat").decode_request(encoded.body)
    assert text_of(again) == text_of(chat)
    assert [tool.name for tool in again.tools] == [tool.name for tool in chat.tools]
    assert [tool.schema for tool in again.tools] == [tool.schema for tool in chat.tools]
    for name in ("temperature", "top_p", "seed", "stop", "verbosity", "max_output_tokens"):
        assert getattr(again, name) == getattr(chat, name)


def text_of(chat: Chat) -> list[tuple[str, str]]:
    calls = [
        (part.id, json.dumps(json.loads(part.arguments or "{}")))
        for message in chat.messages
        for part in message.parts
        if isinstance(part, ToolCall)
    ]
    pictures = [
        (part.source.media_type, part.source.data)
        for message in chat.messages
        for holder in message.parts
        for part in (*getattr(holder, "parts", ()), holder)
        if isinstance(part, Image) and isinstance(part.source, Inline)
    ]
    refused = "".join(
        part.text for message in chat.messages for part in message.parts if isinstance(part, Refusal)
    )
    return [*calls, *sorted(pictures), ("refusal", refused)]


# -- messages


def test_instructions() -> None:
    late = Message("system", (Text("later"),))
    body = sent(HI, late, system=(Text("one"), Text("two")))
    assert body["messages"] == [
        {"role": "system", "content": "one\n\ntwo"},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "later"},
    ]
    chat = Chat("pool", (HI, late), system=(Text("one"),))
    body, _ = deviating(chat, system_role="developer", late_system=False)
    assert body["messages"] == [
        {"role": "developer", "content": "one\n\nlater"},
        {"role": "user", "content": "hi"},
    ]


def test_answers_of_tools_are_text_and_what_they_show_comes_behind() -> None:
    calls = Message("assistant", (ToolCall("c1", "look", "{}"), ToolCall("c2", "f", "")))
    answers = Message(
        "user",
        (
            ToolResult("c1", (Text("seen"), Image(PNG), Document(PDF, "a.pdf"))),
            ToolResult("c2", (Text("bad"),), is_error=True),
            Text("and now?"),
        ),
    )
    body = sent(HI, calls, answers)
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: bad"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What the tool look showed:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
                },
                {"type": "text", "text": "and now?"},
            ],
        },
    ]


def test_answers_in_several_messages_stay_together() -> None:
    calls = Message("assistant", (ToolCall("c1", "a", ""), ToolCall("c2", "b", "")))
    one = Message("user", (ToolResult("c1", (Image(PNG),)),))
    two = Message("user", (ToolResult("c2", (Text("x"),)),))
    body = sent(HI, calls, one, two)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "tool", "user"]
    assert body["messages"][2]["content"] == "See the user's next message."
    assert body["messages"][4]["content"][1]["type"] == "image_url"


@pytest.mark.parametrize(
    ("result", "content"),
    [
        (ToolResult("c", ()), ""),
        (ToolResult("c", (), is_error=True), "Error"),
        (ToolResult("c", (Text("error: x"),), is_error=True), "error: x"),
        (ToolResult("c", (Text("a"), Text("b"))), "a\n\nb"),
    ],
)
def test_answers(result: ToolResult, content: str) -> None:
    body = sent(HI, Message("assistant", (ToolCall("c", "f", ""),)), Message("user", (result,)))
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "c", "content": content}


def test_parts_of_a_users_message() -> None:
    message = Message(
        "user",
        (
            Text("look"),
            Image(Url("https://x/y.png"), "low"),
            Audio("mpeg", "AA=="),
            Document(PlainText("grüße"), context="a letter"),
        ),
        "ann",
    )
    assert sent(message)["messages"] == [
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
                {"type": "text", "text": "a letter"},
                {
                    "type": "file",
                    "file": {
                        "filename": "document.txt",
                        "file_data": "data:text/plain;base64," + base64.b64encode("grüße".encode()).decode(),
                    },
                },
            ],
        }
    ]


def test_what_an_assistant_said() -> None:
    said = Message("assistant", (Text("a"), Text("b"), Refusal("no")))
    assert sent(HI, said)["messages"][1] == {"role": "assistant", "content": "ab", "refusal": "no"}
    body, _ = deviating(Chat("pool", (HI, said)), unsupported=["refusal"])
    assert body["messages"][1] == {"role": "assistant", "content": "abno"}


def test_a_message_of_reasoning_alone_is_left_out() -> None:
    alone = Message("assistant", (Reasoning("hm", Blob("claude", "anthropic-messages.signature", "S")),))
    assert [message["role"] for message in sent(HI, alone, HI)["messages"]] == ["user", "user"]


def test_no_words_of_foreign_reasoning_are_sent() -> None:
    parts = (
        Reasoning("SECRET", Blob("claude", "anthropic-messages.signature", "S")),
        Reasoning("SECRET"),
        Reasoning("SECRET", Blob("other", "openai-chat.reasoning_details", "{}")),
        Reasoning("SECRET", Blob("other", "openai-chat.reasoning_content", "")),
        Text("a", blob=Blob("gemini", "gemini.thoughtSignature", "SECRET")),
        ToolCall("c", "f", "", Blob("gemini", "gemini.thoughtSignature", "SECRET")),
    )
    chat = Chat("pool", (HI, Message("assistant", parts)))
    for deviations in ({}, {"reasoning_field": "reasoning_content"}):
        encoded = DIALECT.encode_request(chat, upstream(**deviations))
        assert b"SECRET" not in encoded.body


def test_own_reasoning_goes_back_as_it_came() -> None:
    entry = {"type": "reasoning.text", "text": "hm", "signature": "S", "format": "x", "index": 0}
    rest = {name: value for name, value in entry.items() if name != "text"}
    blob = Blob("house", "openai-chat.reasoning_details", json.dumps(rest))
    sealed = {"type": "reasoning.encrypted", "data": "D", "id": "rs_1", "format": "x", "index": 0}
    hidden = Blob("house", "openai-chat.reasoning_details", json.dumps(sealed))
    call = ToolCall("c", "f", "", Blob("house", "openai-chat.thought_signature", "T"))
    parts = (Reasoning("hm", blob), Reasoning("", hidden, True), call)
    encoded = DIALECT.encode_request(Chat("pool", (HI, Message("assistant", parts))), upstream())
    message = json.loads(encoded.body)["messages"][1]
    assert message["reasoning_details"] == [entry, sealed]
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "T"}}


def test_reasoning_that_its_provider_wants_back_as_text() -> None:
    own = Reasoning("hm", Blob("house", "openai-chat.reasoning_content", ""))
    messages = (
        HI,
        Message("assistant", (own, ToolCall("c1", "f", ""))),
        Message("assistant", (ToolCall("c2", "f", ""),)),
        Message("assistant", (Text("a"),)),
    )
    body, _ = deviating(Chat("pool", messages), reasoning_field="reasoning_content")
    assert [message.get("reasoning_content") for message in body["messages"]] == [None, "hm", "", None]


# -- ids of calls


def test_ids_of_calls() -> None:
    long = "fc_" + "x" * 60
    messages = (
        Message("assistant", (ToolCall(long, "f", ""), ToolCall("toolu_01", "f", ""))),
        Message("user", (ToolResult(long, ()), ToolResult("toolu_01", ()))),
    )
    body = sent(*messages)
    made = [call["id"] for call in body["messages"][0]["tool_calls"]]
    assert made == [message["tool_call_id"] for message in body["messages"][1:]]
    assert len(made[0]) <= 40 and made[1] == "toolu_01"
    body, _ = deviating(Chat("pool", messages), tool_call_ids="9-alphanumeric")
    made = [call["id"] for call in body["messages"][0]["tool_calls"]]
    assert made == [message["tool_call_id"] for message in body["messages"][1:]]
    assert all(len(ident) == 9 and ident.isalnum() for ident in made) and made[0] != made[1]


def test_ids_that_fit_stay() -> None:
    chat = Chat("pool", (Message("assistant", (ToolCall("Df1cqWOle", "f", ""),)),))
    body, _ = deviating(chat, tool_call_ids="9-alphanumeric")
    assert body["messages"][0]["tool_calls"][0]["id"] == "Df1cqWOle"


# -- tools

F = Tool("f", "d", {"type": "object"}, True)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none", ("f",)), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("only", ("f",)), {"type": "function", "function": {"name": "f"}}),
        (
            ToolChoice("only", ("f", "g")),
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": "f"}},
                        {"type": "function", "function": {"name": "g"}},
                    ],
                },
            },
        ),
        (
            ToolChoice("auto", ("f",)),
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
        ),
    ],
)
def test_tool_choice(choice: ToolChoice, expected: Any) -> None:
    assert sent(tools=(F, Tool("g")), tool_choice=choice)["tool_choice"] == expected


@pytest.mark.parametrize(
    ("choice", "expected", "tools"),
    [
        (ToolChoice("auto", ("g", "h")), "auto", ["g", "h"]),
        (ToolChoice("required", ("g",)), "required", ["g"]),
        (ToolChoice("only", ("f", "h")), "required", ["f", "h"]),
        # What it can say itself bounds nothing: then all stay, and a cached prompt fits.
        (ToolChoice("only", ("g",)), {"type": "function", "function": {"name": "g"}}, ["f", "g", "h"]),
        (ToolChoice("none", ("g",)), "none", ["f", "g", "h"]),
        (ToolChoice("required"), "required", ["f", "g", "h"]),
    ],
)
def test_bounded_tools_where_the_choice_cannot_bound_them(
    choice: ToolChoice, expected: Any, tools: list[str]
) -> None:
    chat = Chat("pool", (HI,), tools=(F, Tool("g"), Tool("h")), tool_choice=choice)
    body, lost = deviating(chat, allowed_tools=False)
    assert body["tool_choice"] == expected and lost == ()
    assert [tool["function"]["name"] for tool in body["tools"]] == tools


def test_bounds_that_leave_no_tool() -> None:
    chat = Chat("pool", (HI,), tools=(F,), tool_choice=ToolChoice("auto", ("g",)))
    with pytest.raises(CannotCarry) as refused:
        deviating(chat, allowed_tools=False)
    assert refused.value.param == "tool_choice"


def test_tools() -> None:
    body = sent(tools=(F, Tool("g")), parallel_tools=False)
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        },
        {"type": "function", "function": {"name": "g"}},
    ]
    assert body["parallel_tool_calls"] is False
    body, lost = deviating(
        Chat("pool", (HI,), tools=(F,), parallel_tools=False),
        strict_tools=False,
        unsupported=["parallel_tools"],
    )
    assert "strict" not in body["tools"][0]["function"] and "parallel_tool_calls" not in body
    assert lost == ("tools.strict", "parallel_tools")


def test_without_tools_there_is_no_choice() -> None:
    body = sent(parallel_tools=True, tool_choice=ToolChoice("auto"))
    assert "tool_choice" not in body and "parallel_tool_calls" not in body
    assert dropped(tool_choice=ToolChoice("required")) == ("tool_choice",)


# -- knobs


def test_knobs() -> None:
    body = sent(
        max_output_tokens=5,
        temperature=0.5,
        top_p=0.9,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        seed=7,
        stop=("a", "b"),
        choices=2,
        logprobs=True,
        top_logprobs=3,
        verbosity="low",
        service_tier="standard_only",
        user="u",
        cache_key="k",
    )
    del body["messages"], body["model"]
    assert body == {
        "max_completion_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": 7,
        "stop": ["a", "b"],
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "verbosity": "low",
        "service_tier": "default",
        "user": "u",
        "prompt_cache_key": "k",
    }


def test_long_users_and_keys_are_known_by_their_hash() -> None:
    """Agents that speak Anthropic's dialect name users in more characters than OpenAI takes."""
    user = "user_" + "x" * 100
    body = sent(user=user, cache_key=user)
    assert len(body["user"]) == len(body["prompt_cache_key"]) == 64
    assert body["user"] == sent(user=user)["user"] != sent(user=user + "y")["user"]


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"top_k": 5}, ("top_k",)),
        ({"metadata": {"a": "b"}}, ("metadata",)),
        ({"cached": Cached()}, ("cached",)),
        ({"service_tier": "on_demand"}, ("service_tier",)),
        ({"system": (Text("s", Cached("1h")),)}, ("cached",)),
        ({"tools": (Tool("f", cached=Cached()),)}, ("cached",)),
        ({"effort": Effort(level="high")}, ("effort",)),
        ({"effort": Effort(enabled=False)}, ()),
    ],
)
def test_knobs_that_openai_lacks(fields: dict[str, Any], lost: tuple[str, ...]) -> None:
    assert dropped(**fields) == lost


@pytest.mark.parametrize(
    ("model", "effort", "said"),
    [
        ("gpt-5", Effort(level="high"), "high"),
        ("gpt-5", Effort(level="max"), "high"),
        ("gpt-5", Effort(enabled=False), "minimal"),
        ("gpt-5.1", Effort(enabled=False), "none"),
        ("gpt-5.1", Effort(level="minimal"), "low"),
        ("gpt-5.2", Effort(level="max"), "xhigh"),
        ("o3", Effort(level="minimal"), "low"),
        ("gpt-5-pro", Effort(level="low"), "high"),
        ("gpt-5", Effort(budget_tokens=1024), "low"),
        ("gpt-5", Effort(budget_tokens=10_000), "medium"),
        ("gpt-5", Effort(budget_tokens=32_000), "high"),
        ("gpt-5", Effort(adaptive=True), "medium"),
        ("gpt-5", Effort(show=True), None),
        ("house-model", Effort(level="xhigh"), "xhigh"),
        ("gpt-4o", Effort(level="low"), None),
    ],
)
def test_effort(model: str, effort: Effort, said: str | None) -> None:
    assert sent(model=model, effort=effort).get("reasoning_effort") == said


@pytest.mark.parametrize(
    ("model", "effort", "lost"),
    [
        ("gpt-5", None, ("temperature", "top_p", "stop")),
        ("gpt-5.1", None, ("stop",)),
        ("gpt-5.1", Effort(level="low"), ("temperature", "top_p", "stop")),
        ("o1", None, ("temperature", "top_p")),
        ("gpt-4o", None, ()),
        ("house-model", Effort(level="low"), ()),
    ],
)
def test_models_that_reason_refuse_some_knobs(model: str, effort: Effort | None, lost: Any) -> None:
    assert dropped(model, temperature=0.5, top_p=0.9, stop=("x",), effort=effort) == lost


def test_the_usual_temperature_is_not_worth_a_word() -> None:
    assert dropped("gpt-5", temperature=1) == ()
    assert "temperature" not in sent(model="gpt-5", temperature=1.0)


def test_structured_output() -> None:
    schema = {"type": "object", "$defs": {"a": {"type": "string"}}}
    body = sent(output=OutputSchema("n", schema, True, "d"))
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": schema, "strict": True, "description": "d"},
    }
    assert sent(output=OutputSchema("", schema))["response_format"]["json_schema"]["name"] == "output"
    assert sent(output=OutputSchema())["response_format"] == {"type": "json_object"}


def test_a_schema_is_never_lost() -> None:
    schema = {"type": "object", "required": ["city"]}
    chat = Chat("pool", (HI,), system=(Text("Be brief."),), output=OutputSchema("n", schema))
    body, lost = deviating(chat, json_schema=False)
    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"][0]["content"].startswith("Be brief.\n\nAnswer with one JSON object")
    assert json.dumps(schema, separators=(",", ":")) in body["messages"][0]["content"]
    assert lost == ("output",)


# -- where, and how others differ


def test_paths() -> None:
    chat = Chat("pool", (HI,))
    assert DIALECT.encode_request(chat, upstream()).path == "/chat/completions"
    azure = Upstream("az", "openai-chat", "gpt-5-nano", variant="azure", api_version="2024-10-21")
    encoded = DIALECT.encode_request(chat, azure)
    assert encoded.path == "/openai/deployments/gpt-5-nano/chat/completions?api-version=2024-10-21"


def test_streams_ask_for_usage_where_they_can() -> None:
    chat = Chat("pool", (HI,), stream=True, include_usage=False)
    assert deviating(chat)[0]["stream_options"] == {"include_usage": True}
    body, _ = deviating(chat, stream_usage=False)
    assert body["stream"] is True and "stream_options" not in body


MISTRAL = {
    "max_tokens_field": "max_tokens",
    "seed_field": "random_seed",
    "stream_usage": False,
    "tool_call_ids": "9-alphanumeric",
    "after_tool": "OK",
    "parts": ["text", "image_url", "input_audio", "document_url"],
    "efforts": ["none", "high"],
    "unsupported": ["user", "logprobs", "name", "refusal"],
}


def test_mistral() -> None:
    messages = (
        Message("user", (Document(Url("https://x/a.pdf"), "a.pdf"), Document(PlainText("t"))), "ann"),
        Message("assistant", (ToolCall("toolu_1", "f", "{}"),)),
        Message("user", (ToolResult("toolu_1", (Text("1"),)), Text("go on"))),
    )
    chat = Chat(
        "pool", messages, seed=1, max_output_tokens=9, user="u", logprobs=True, effort=Effort(level="low")
    )
    body, lost = deviating(chat, **MISTRAL)
    assert body["random_seed"] == 1 and body["max_tokens"] == 9 and body["reasoning_effort"] == "high"
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert body["messages"][0]["content"] == [
        {"type": "document_url", "document_url": "https://x/a.pdf", "document_name": "a.pdf"},
        {"type": "text", "text": "Document:\n\nt"},
    ]
    assert body["messages"][3] == {"role": "assistant", "content": "OK"}
    assert lost == ("logprobs", "user", "name")


DEEPSEEK = {
    "parts": [],
    "reasoning_style": "thinking",
    "efforts": ["low", "high", "max"],
    "forced_choice": "not-thinking",
}


def test_deepseek() -> None:
    chat = Chat("pool", (Message("user", (Text("a"), Text("b"))),), effort=Effort(level="medium"), tools=(F,))
    body, lost = deviating(chat, **DEEPSEEK)
    assert body["messages"][0]["content"] == "a\n\nb"
    assert body["thinking"] == {"type": "enabled"} and body["reasoning_effort"] == "high"
    assert lost == ()
    forced = Chat("pool", (HI,), effort=Effort(level="max"), tools=(F,), tool_choice=ToolChoice("required"))
    body, lost = deviating(forced, **DEEPSEEK)
    assert body["thinking"] == {"type": "disabled"} and "reasoning_effort" not in body
    assert lost == ("effort",)
    off, _ = deviating(Chat("pool", (HI,), effort=Effort(enabled=False)), **DEEPSEEK)
    assert off["thinking"] == {"type": "disabled"} and "reasoning_effort" not in off


@pytest.mark.parametrize(
    ("part", "what"), [(Image(PNG), "images"), (Audio("wav", "AA=="), "audio"), (Document(PDF), "documents")]
)
def test_content_that_a_provider_does_not_take(part: Any, what: str) -> None:
    with pytest.raises(CannotCarry, match=f"takes no {what}") as refused:
        deviating(Chat("pool", (Message("user", (part,)),)), parts=[])
    assert refused.value.param == "messages[0].parts[0]"


def test_openrouter() -> None:
    chat = Chat(
        "pool",
        (Message("user", (Text("a", Cached("5m")), Document(Url("https://x/a.pdf")))),),
        system=(Text("s", Cached()),),
        effort=Effort(budget_tokens=2000, show=False),
        top_k=5,
        tools=(Tool("f", cached=Cached()),),
    )
    body, lost = deviating(
        chat, reasoning_style="reasoning", cache="cache_control", extra=["top_k"], document_urls=True
    )
    assert body["reasoning"] == {"max_tokens": 2000, "exclude": True}
    assert body["top_k"] == 5
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["messages"][1]["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert body["messages"][1]["content"][1]["file"]["file_data"] == "https://x/a.pdf"
    assert lost == ()
    body, _ = deviating(Chat("pool", (HI,), effort=Effort(level="xhigh")), reasoning_style="reasoning")
    assert body["reasoning"] == {"effort": "xhigh"}


def test_breakpoints() -> None:
    chat = Chat("pool", (Message("user", (Text("a", Cached()),)),))
    encoded = DIALECT.encode_request(chat, upstream(cache="prompt_cache_breakpoint"))
    part = checked(encoded)["messages"][0]["content"][0]
    assert part == {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}


def test_one_answer_only() -> None:
    with pytest.raises(CannotCarry):
        deviating(Chat("pool", (HI,), choices=2), unsupported=["choices"])


def test_documents_by_url_need_a_provider_that_fetches_them() -> None:
    with pytest.raises(CannotCarry, match="base64 only"):
        sent(Message("user", (Document(Url("https://x/a.pdf")),)))


def test_citations_can_not_be_asked_for() -> None:
    chat = Chat("pool", (Message("user", (Document(PDF, cite=True),)),))
    assert deviating(chat)[1] == ("cite",)
