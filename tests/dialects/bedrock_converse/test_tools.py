"""Tools, who may call them, and structured output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from modelbroker.dialects.conversation import (
    OutputSchema,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from modelbroker.dialects.translation import CannotCarry
from support.bedrock_chats import CLOSED, HAIKU_3, NOVA, SONNET_45, TOOL, assistant, chat, sent, to, user

# -- tools


def test_tools() -> None:
    request = chat(tools=(TOOL, Tool("now"), Tool("any", "d", {"properties": {}})))
    body, dropped = sent(request)
    assert body["toolConfig"] == {
        "tools": [
            {
                "toolSpec": {
                    "name": "get_weather",
                    "description": "Weather of a city",
                    "inputSchema": {"json": TOOL.schema},
                }
            },
            {"toolSpec": {"name": "now", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
            {
                "toolSpec": {
                    "name": "any",
                    "description": "d",
                    "inputSchema": {"json": {"type": "object", "properties": {}}},
                }
            },
        ]
    }
    assert dropped == ()


TWO = (TOOL, Tool("now"), Tool("then"))


@pytest.mark.parametrize(
    ("model", "choice", "said", "names", "dropped"),
    [
        (SONNET_45, ToolChoice("auto"), None, 3, ()),
        (SONNET_45, ToolChoice("required"), {"any": {}}, 3, ()),
        (SONNET_45, ToolChoice("only", ("now",)), {"tool": {"name": "now"}}, 3, ()),
        (SONNET_45, ToolChoice("only", ("now", "then")), {"any": {}}, 2, ()),
        (SONNET_45, ToolChoice("auto", ("now",)), None, 1, ()),
        (NOVA, ToolChoice("only", ("now",)), {"tool": {"name": "now"}}, 3, ()),
        ("mistral.mistral-large-2407-v1:0", ToolChoice("only", ("now",)), {"any": {}}, 1, ()),
        ("meta.llama3-3-70b-instruct-v1:0", ToolChoice("required"), None, 3, ("tool_choice",)),
        ("anthropic.claude-opus-5-5", ToolChoice("required"), None, 3, ("tool_choice",)),
        ("anthropic.claude-fable-5", ToolChoice("required"), {"any": {}}, 3, ()),
    ],
)
def test_tool_choice(model: str, choice: ToolChoice, said: Any, names: int, dropped: tuple[str, ...]) -> None:
    body, named = sent(chat(tools=TWO, tool_choice=choice), to(model))
    assert body["toolConfig"].get("toolChoice") == said
    assert len(body["toolConfig"]["tools"]) == names
    assert named == dropped


HISTORY = (
    user(Text("a")),
    assistant(ToolCall("1", "now", "")),
    user(ToolResult("1", (Text("noon"),))),
)


def test_no_tool_may_be_called() -> None:
    none = ToolChoice("none")
    # Claude has a word for it.
    body, dropped = sent(chat(tools=TWO, tool_choice=none))
    assert body["additionalModelRequestFields"] == {"tool_choice": {"type": "none"}}
    assert len(body["toolConfig"]["tools"]) == 3 and dropped == ()
    # Others have none: without a history that needs them, tools are left out.
    body, dropped = sent(chat(tools=TWO, tool_choice=none), to(NOVA))
    assert "toolConfig" not in body and dropped == ()
    body, dropped = sent(chat(*HISTORY, tools=TWO, tool_choice=none), to(NOVA))
    assert len(body["toolConfig"]["tools"]) == 3 and dropped == ("tool_choice",)
    assert "toolChoice" not in body["toolConfig"]


def test_a_history_with_tools_needs_them() -> None:
    body, dropped = sent(chat(*HISTORY))
    (tool,) = body["toolConfig"]["tools"]
    assert tool["toolSpec"]["name"] == "now"
    assert body["additionalModelRequestFields"] == {"tool_choice": {"type": "none"}}
    assert dropped == ()
    assert "additionalModelRequestFields" not in sent(chat(*HISTORY), to(NOVA))[0]


def test_a_choice_of_no_tool_is_refused() -> None:
    with pytest.raises(CannotCarry, match="names no tool"):
        sent(chat(tools=TWO, tool_choice=ToolChoice("auto", ("other",))))


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("required"), {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("only", ("now",)), {"type": "tool", "name": "now", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), {"type": "none"}),
    ],
)
def test_one_call_at_a_time(choice: ToolChoice | None, said: Any) -> None:
    """Converse has no word for it: Claude's own choice takes the place of Converse's."""
    request = chat(tools=TWO, tool_choice=choice, parallel_tools=False)
    body, dropped = sent(request)
    assert body["additionalModelRequestFields"] == {"tool_choice": said}
    assert "toolChoice" not in body["toolConfig"] and dropped == ()
    if choice is None:
        assert sent(request, to(NOVA))[1] == ("parallel_tools",)


def test_strict_tools() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "description": "how many"}},
    }
    open_schema = {"type": "object", "additionalProperties": {"type": "string"}}
    request = chat(tools=(Tool("f", schema=schema, strict=True), Tool("g", schema=schema, strict=False)))
    body, dropped = sent(request)
    f, g = (tool["toolSpec"] for tool in body["toolConfig"]["tools"])
    assert f["strict"] is True and "strict" not in g and dropped == ()
    assert f["inputSchema"]["json"] == {
        "type": "object",
        "properties": {"n": {"type": "integer", "description": "how many (minimum=1)"}},
        "additionalProperties": False,
    }
    assert g["inputSchema"]["json"] == schema
    body, dropped = sent(request, to(HAIKU_3))
    assert body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"] == schema
    assert dropped == ("strict",)
    body, dropped = sent(chat(tools=(Tool("f", schema=open_schema, strict=True),)))
    assert body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"] == open_schema
    assert dropped == ("strict",)


# -- structured output


def test_structured_output() -> None:
    body, _ = sent(chat(output=OutputSchema("answer", CLOSED, description="An answer")))
    format_ = body["outputConfig"]["textFormat"]
    definition = format_["structure"]["jsonSchema"]
    assert (format_["type"], definition["name"], definition["description"]) == (
        "json_schema",
        "answer",
        "An answer",
    )
    assert json.loads(definition["schema"]) == CLOSED


@pytest.mark.parametrize(
    ("model", "output"),
    [
        (SONNET_45, OutputSchema()),
        (SONNET_45, OutputSchema(schema={"type": "object", "additionalProperties": True})),
        (SONNET_45, OutputSchema(schema={"type": "object"})),
        (NOVA, OutputSchema(schema=CLOSED)),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", OutputSchema(schema=CLOSED)),
        ("anthropic.claude-fable-5-1", OutputSchema(schema=CLOSED)),
    ],
)
def test_output_that_can_not_be_enforced_is_refused(model: str, output: OutputSchema) -> None:
    with pytest.raises(CannotCarry) as refused:
        sent(chat(output=output), to(model))
    assert refused.value.param == "output"
