"""Names of tools that a provider does not take get an alias there, and the client gets its own back."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects import provider_dialect
from modelbroker.dialects.conversation import Chat, Message, Text, Tool, ToolCall, ToolChoice, ToolResult
from modelbroker.dialects.tool_names import Restoring, alias_of, renamed
from support.dialects import PROVIDER_DIALECTS, upstream

LONG = "mcp__plugin_everything-claude-code_github__create_pull_request_review"
DOTTED = "wetter.für.morgen"


def chat(*names: str) -> Chat:
    calls = tuple(ToolCall(f"c{n}", name, "{}") for n, name in enumerate(names))
    results = tuple(ToolResult(call.id, (Text("12"),)) for call in calls)
    return Chat(
        "m",
        (Message("user", (Text("Hi"),)), Message("assistant", calls), Message("user", results)),
        tools=tuple(Tool(name) for name in names),
        tool_choice=ToolChoice("only", names[:1]),
    )


def names_in(conversation: Chat) -> set[str]:
    parts = [part for message in conversation.messages for part in message.parts]
    choice = conversation.tool_choice
    return {
        *(tool.name for tool in conversation.tools),
        *(part.name for part in parts if isinstance(part, ToolCall)),
        *(choice.names if choice else ()),
    }


@pytest.mark.parametrize("dialect", PROVIDER_DIALECTS)
def test_names_that_are_taken_stay(dialect: str) -> None:
    said = chat("get_weather", "Get-Weather2")
    assert renamed(said, provider_dialect(dialect).tool_names) == (said, {})


@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=5, unique=True))
@pytest.mark.parametrize("dialect", PROVIDER_DIALECTS)
def test_any_names(dialect: str, names: list[str]) -> None:
    """All that the provider gets it takes, and every alias leads back."""
    taken = provider_dialect(dialect).tool_names
    told, own = renamed(chat(*names), taken)
    assert all(taken.fullmatch(name) for name in names_in(told))
    assert {own.get(name, name) for name in names_in(told)} == set(names)
    assert [tool.name for tool in told.tools] == [
        part.name for part in told.messages[1].parts if isinstance(part, ToolCall)
    ]


@given(st.text(min_size=1, max_size=200))
def test_an_alias_is_good_everywhere_and_always_the_same(name: str) -> None:
    alias = alias_of(name)
    assert alias == alias_of(name) and 9 < len(alias) <= 64
    assert alias[0] in string.ascii_letters + "_"
    assert all(provider_dialect(dialect).tool_names.fullmatch(alias) for dialect in PROVIDER_DIALECTS)


def test_an_alias_can_be_read() -> None:
    assert alias_of(LONG).startswith("mcp__plugin_everything-claude-code_github__create_pull")
    assert alias_of(DOTTED).startswith("wetter_f_r_morgen_")
    assert alias_of(LONG) != alias_of(LONG + "s")


@pytest.mark.parametrize("dialect", PROVIDER_DIALECTS)
def test_a_reply_has_the_clients_names(dialect: str) -> None:
    taken = provider_dialect(dialect).tool_names
    told, own = renamed(chat(LONG, "plain"), taken)
    restoring = Restoring(provider_dialect(dialect), own)
    alias = told.tools[0].name
    raw = whole_reply(dialect, alias)
    (choice,) = restoring.decode_reply(raw, upstream(dialect)).choices
    assert [part.name for part in choice.parts if isinstance(part, ToolCall)] == [LONG]


def whole_reply(dialect: str, name: str) -> bytes:
    """A call of `name`, as the provider says it."""
    reply = {
        "openai-chat": {
            "id": "x",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "tool_calls",
                    "message": {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
                        ],
                    },
                }
            ],
        },
        "openai-responses": {
            "id": "resp_1",
            "status": "completed",
            "output": [
                {"type": "function_call", "id": "fc_1", "call_id": "c", "name": name, "arguments": "{}"}
            ],
        },
        "anthropic-messages": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c", "name": name, "input": {}}],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 1, "output_tokens": 1},
        },
        "bedrock-converse": {
            "output": {
                "message": {
                    "role": "assistant",
                    "content": [{"toolUse": {"toolUseId": "c", "name": name, "input": {}}}],
                }
            },
            "stopReason": "tool_use",
            "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        },
        "gemini": {
            "candidates": [
                {
                    "content": {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}}]},
                    "finishReason": "STOP",
                }
            ]
        },
    }[dialect]
    return json.dumps(reply).encode()
