"""Requests of the client's own dialect at providers that speak it otherwise."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.dialects.conversation import Upstream
from modelbroker.dialects.openai_chat import OpenAiChat
from modelbroker.dialects.openai_chat.deviations import DEVIATIONS, ONLY_TRANSLATED, REFUSABLE
from modelbroker.dialects.translation import CannotCarry
from support.dialects import parameters

DIALECT = OpenAiChat()
ASK: Any = [{"role": "user", "content": "Hello"}]
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
NAMED: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "description": "Of it."}}
IMAGE: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
TOOLS: Any = [
    {"type": "function", "function": {"name": "f"}},
    {"type": "custom", "custom": {"name": "g"}},
    {"type": "function", "function": {"name": "g"}},
]
FILE: Any = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}


def at(deviations: dict[str, Any]) -> Upstream:
    return Upstream("house", "openai-chat", "m", deviations=deviations)


def mended(request: dict[str, Any], **deviations: Any) -> tuple[dict[str, Any], list[str]]:
    """(the request without its model and, where it is ASK, its messages; what is named as dropped)."""
    body = json.dumps({"model": "pool", "messages": ASK, **request}).encode()
    rebound = DIALECT.rebind(body, at(deviations))
    sent = json.loads(rebound.body)
    assert sent.pop("model") == "m"
    if sent["messages"] == ASK:
        del sent["messages"]
    return sent, list(rebound.dropped)


def bounded(mode: str, *tools: Any) -> Any:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


KNOBS: list[Any] = [
    # (what the client says, deviations, what the provider gets, what is named)
    ({"max_completion_tokens": 5}, {"max_tokens_field": "max_tokens"}, {"max_tokens": 5}, []),
    ({"max_tokens": 5}, {"max_tokens_field": "max_tokens"}, {"max_tokens": 5}, []),
    (
        {"max_tokens": 5, "max_completion_tokens": 6},
        {"max_tokens_field": "max_tokens"},
        {"max_tokens": 5},
        [],
    ),
    ({"max_completion_tokens": None}, {"max_tokens_field": "max_tokens"}, {}, []),
    ({"max_tokens": 5}, {"seed_field": "random_seed"}, {"max_tokens": 5}, []),
    ({"seed": 5}, {"seed_field": "random_seed"}, {"random_seed": 5}, []),
    ({"max_tokens": 5}, {"unsupported": ["max_output_tokens"]}, {}, ["max_tokens"]),
    ({"temperature": 0.5, "top_p": None}, {"unsupported": ["temperature", "top_p"]}, {}, ["temperature"]),
    ({"n": 1}, {"unsupported": ["choices"]}, {}, []),
    ({"prompt_cache_key": "k"}, {"unsupported": ["cache_key"]}, {}, ["prompt_cache_key"]),
    ({"parallel_tool_calls": True}, {"unsupported": ["parallel_tools"]}, {}, ["parallel_tool_calls"]),
    ({"reasoning": {"x": 1}}, {"unsupported": ["reasoning"]}, {"reasoning": {"x": 1}}, []),
    (
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream_usage": False},
        {"stream": True},
        [],
    ),
    # reasoning
    ({"reasoning_effort": "minimal"}, {"efforts": ["low", "high"]}, {"reasoning_effort": "low"}, []),
    ({"reasoning_effort": "medium"}, {"efforts": ["low", "high"]}, {"reasoning_effort": "high"}, []),
    ({"reasoning_effort": "default"}, {"efforts": ["low"]}, {"reasoning_effort": "default"}, []),
    ({"reasoning_effort": "low"}, {"reasoning_style": "none"}, {}, ["reasoning_effort"]),
    ({"reasoning_effort": "none"}, {"reasoning_style": "none"}, {}, []),
    (
        {"reasoning_effort": "low"},
        {"reasoning_style": "thinking"},
        {"reasoning_effort": "low", "thinking": {"type": "enabled"}},
        [],
    ),
    ({"reasoning_effort": "none"}, {"reasoning_style": "thinking"}, {"thinking": {"type": "disabled"}}, []),
    (
        {"reasoning_effort": "low", "thinking": {"type": "disabled"}},
        {"reasoning_style": "thinking"},
        {"reasoning_effort": "low", "thinking": {"type": "disabled"}},
        [],
    ),
    (
        {"tools": [{}], "tool_choice": "required", "reasoning_effort": "low"},
        {"forced_choice": "not-thinking"},
        {"tools": [{}], "tool_choice": "required", "thinking": {"type": "disabled"}},
        ["reasoning_effort"],
    ),
    (
        {"tools": [{}], "tool_choice": "auto", "reasoning_effort": "low"},
        {"forced_choice": "not-thinking"},
        {"tools": [{}], "tool_choice": "auto", "reasoning_effort": "low"},
        [],
    ),
    # tools
    (
        {"tools": TOOLS, "tool_choice": bounded("required", TOOLS[1], TOOLS[0])},
        {"allowed_tools": False},
        {"tools": TOOLS[:2], "tool_choice": "required"},
        [],
    ),
    (
        {"tools": TOOLS, "tool_choice": bounded("auto", TOOLS[2])},
        {"allowed_tools": False},
        {"tools": TOOLS[2:], "tool_choice": "auto"},
        [],
    ),
    (
        {"tools": TOOLS, "tool_choice": bounded("auto", TOOLS[2])},
        {"allowed_tools": True},
        {"tools": TOOLS, "tool_choice": bounded("auto", TOOLS[2])},
        [],
    ),
    # What is not well formed is the provider's to refuse.
    (
        {"tools": TOOLS, "tool_choice": bounded("none", TOOLS[2])},
        {"allowed_tools": False},
        {"tools": TOOLS, "tool_choice": bounded("none", TOOLS[2])},
        [],
    ),
    (
        {"tool_choice": bounded("auto", TOOLS[2])},
        {"allowed_tools": False},
        {"tool_choice": bounded("auto", TOOLS[2])},
        [],
    ),
    (
        {"tools": TOOLS, "tool_choice": TOOLS[0]},
        {"allowed_tools": False},
        {"tools": TOOLS, "tool_choice": TOOLS[0]},
        [],
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
        {"strict_tools": False},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        ["tools.strict"],
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "strict": False}}]},
        {"strict_tools": False},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        [],
    ),
]


@pytest.mark.parametrize(("request_", "deviations", "expected", "dropped"), KNOBS)
def test_knobs(request_: Any, deviations: Any, expected: Any, dropped: list[str]) -> None:
    assert mended(request_, **deviations) == (expected, dropped)


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


MESSAGES: list[Any] = [
    # (the client's messages, deviations, the provider's, what is named)
    ([said("developer", "A")], {"stream_usage": True}, [said("system", "A")], []),
    ([said("developer", "A")], {"system_role": "developer"}, [said("developer", "A")], []),
    ([said("user", "A", name="ann")], {"unsupported": ["name"]}, [said("user", "A")], ["name"]),
    (
        [said("tool", "A", name="f", tool_call_id="c")],
        {"unsupported": ["name"]},
        [said("tool", "A", name="f", tool_call_id="c")],
        [],
    ),
    ([said("assistant", None, refusal="No.")], {"unsupported": ["refusal"]}, [said("assistant", "No.")], []),
    ([said("assistant", "A", refusal=None)], {"unsupported": ["refusal"]}, [said("assistant", "A")], []),
    (
        [said("assistant", [{"type": "text", "text": "A"}], refusal="B")],
        {"unsupported": ["refusal"]},
        [said("assistant", [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}])],
        [],
    ),
    (
        [said("assistant", "A", reasoning="x", reasoning_content="y", reasoning_details=[])],
        {"unsupported": ["reasoning"]},
        [said("assistant", "A")],
        [],
    ),
    (
        [said("assistant", "A", reasoning="x")],
        {"reasoning_field": "reasoning_content"},
        [said("assistant", "A", reasoning_content="x")],
        [],
    ),
    (
        [said("tool", "A"), said("user", "B"), said("tool", "C"), said("assistant", "D")],
        {"after_tool": "OK"},
        [
            said("tool", "A"),
            said("assistant", "OK"),
            said("user", "B"),
            said("tool", "C"),
            said("assistant", "D"),
        ],
        [],
    ),
    (
        [said("system", "A"), said("user", "B"), said("developer", [{"type": "text", "text": "C"}])],
        {"late_system": False},
        [said("system", "A\n\nC"), said("user", "B")],
        [],
    ),
    (
        [said("user", "B"), said("system", "C")],
        {"late_system": False},
        [said("system", "C"), said("user", "B")],
        [],
    ),
    (
        [said("system", [{"type": "text", "text": "A"}]), said("user", "B"), said("system", "C")],
        {"late_system": False},
        [said("system", [{"type": "text", "text": "A"}, {"type": "text", "text": "C"}]), said("user", "B")],
        [],
    ),
    ([said("user", [{"type": "text", "text": "A"}] * 2)], {"parts": []}, [said("user", "A\n\nA")], []),
    (
        [said("user", [FILE])],
        {"parts": ["text", "document_url"]},
        [
            said(
                "user",
                [
                    {
                        "type": "document_url",
                        "document_url": FILE["file"]["file_data"],
                        "document_name": "a.pdf",
                    }
                ],
            )
        ],
        [],
    ),
    (
        [said("user", [{"type": "thinking", "x": 1}])],
        {"parts": ["text"]},
        [said("user", [{"type": "thinking", "x": 1}])],
        [],
    ),
]


@pytest.mark.parametrize(("messages", "deviations", "expected", "dropped"), MESSAGES)
def test_messages(messages: Any, deviations: Any, expected: Any, dropped: list[str]) -> None:
    assert mended({"messages": messages}, **deviations) == ({"messages": expected}, dropped)


def test_ids_of_calls_stay_pairs() -> None:
    ids = ["call_1", "toolu_2", "abcdefgh9"]
    calls = [{"id": ident, "type": "function", "function": {"name": "f", "arguments": "{}"}} for ident in ids]
    results = [said("tool", "x", tool_call_id=ident) for ident in ids]
    sent, _ = mended(
        {"messages": [said("assistant", None, tool_calls=calls), *results]}, tool_call_ids="9-alphanumeric"
    )
    called = [call["id"] for call in sent["messages"][0]["tool_calls"]]
    assert called == [message["tool_call_id"] for message in sent["messages"][1:]]
    assert len(set(called)) == 3 and called[2] == "abcdefgh9"
    assert all(len(ident) == 9 and ident.isalnum() for ident in called)


def test_a_schema_in_words() -> None:
    sent, dropped = mended({"response_format": NAMED}, json_schema=False)
    assert sent["response_format"] == {"type": "json_object"} and dropped == ["response_format"]
    first, second = sent["messages"]
    assert first["role"] == "system" and '"city"' in first["content"] and first["content"].endswith("Of it.")
    assert [second] == ASK
    assert mended({"response_format": {"type": "json_object"}}, json_schema=False)[1] == []


@pytest.mark.parametrize(
    ("request_", "deviations"),
    [
        ({"n": 2}, {"unsupported": ["choices"]}),
        ({"tools": TOOLS[:1], "tool_choice": bounded("auto", TOOLS[2])}, {"allowed_tools": False}),
        ({"messages": [said("user", [IMAGE])]}, {"parts": ["text"]}),
        ({"messages": [said("user", [FILE])]}, {"parts": ["text", "image_url"]}),
        (
            {"messages": [said("user", [{"type": "file", "file": {"file_id": "f"}}])]},
            {"parts": ["text", "document_url"]},
        ),
    ],
)
def test_content_is_refused_by_name(request_: Any, deviations: Any) -> None:
    with pytest.raises(CannotCarry) as refused:
        mended(request_, **deviations)
    assert refused.value.param


def test_which_deviations_take_calls_off_the_passing_way() -> None:
    assert not DIALECT.is_mended({})
    assert not DIALECT.is_mended({"base_model": "of another dialect"})
    for name in DEVIATIONS:
        assert DIALECT.is_mended({name: DEVIATIONS[name].usual}) is (name not in ONLY_TRANSLATED)


@pytest.mark.parametrize("row", parameters(streamed=None, client=True))
def test_recorded_requests_change_only_where_they_must(row: Any) -> None:
    """Deviations that say the usual change nothing but the role `developer`."""
    if row.dialect != "openai-chat":
        return
    usual = {name: said.usual for name, said in DEVIATIONS.items() if name != "system_role"}
    sent = json.loads(DIALECT.rebind(row.request_body, at({**usual, "system_role": "developer"})).body)
    plain = json.loads(DIALECT.rebind(row.request_body, at({})).body)
    assert sent == plain


_any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_fields = st.sampled_from(
    ["messages", "tools", "tool_choice", "n", "reasoning_effort", "response_format", "stream", "seed", "stop"]
)
_inside = st.sampled_from(
    ["role", "content", "tool_calls", "tool_call_id", "refusal", "name", "reasoning", "type"]
)
_roles = st.sampled_from(["system", "user", "assistant", "tool", "developer"])


@given(
    st.dictionaries(_fields, _any_json, max_size=5),
    st.lists(st.dictionaries(_inside, _any_json | _roles, max_size=5) | _any_json, max_size=4),
    st.booleans(),
)
def test_any_json(request_: dict[str, Any], messages: list[Any], listed: bool) -> None:
    """Whatever a client sends: a request again, or a refusal in words."""
    deviations = {
        **{name: said.usual for name, said in DEVIATIONS.items()},
        "unsupported": list(REFUSABLE),
        "after_tool": "OK",
        "late_system": False,
        "strict_tools": False,
        "allowed_tools": False,
        "json_schema": False,
        "tool_call_ids": "9-alphanumeric",
        "reasoning_style": "thinking",
        "forced_choice": "not-thinking",
        "parts": ["text"],
    }
    body = {"model": "pool", **request_, **({"messages": messages} if listed else {})}
    try:
        rebound = DIALECT.rebind(msgspec.json.encode(body), at(deviations))
    except CannotCarry as refused:
        assert refused.message
        return
    assert isinstance(json.loads(rebound.body), dict)
