"""Bedrock's strictness in Converse: whose turn it is, that tools are answered, that thinking is its own.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

import itertools
import re
from typing import Any

from ..bedrock_converse import is_claude
from ..memory import Memory
from ..reading import member, objects
from ..refusal import Refusal
from ..requests import Call
from ..seals import Seals
from . import messages
from .messages_fields import enumerate_objects

FIELDS = frozenset(
    (
        "additionalModelRequestFields",
        "additionalModelResponseFieldPaths",
        "guardrailConfig",
        "inferenceConfig",
        "messages",
        "outputConfig",
        "performanceConfig",
        "projectIdentifier",
        "promptVariables",
        "requestMetadata",
        "serviceTier",
        "system",
        "toolConfig",
    )
)
# Members of structures that gateways fill; a union's are exclusive.
MEMBERS: dict[str, frozenset[str]] = {
    "InferenceConfiguration": frozenset(("maxTokens", "stopSequences", "temperature", "topP")),
    "Message": frozenset(("content", "role")),
    "ToolConfiguration": frozenset(("toolChoice", "tools")),
    "ToolSpecification": frozenset(("description", "inputSchema", "name", "strict")),
    "ToolUseBlock": frozenset(("input", "name", "toolUseId", "type")),
    "ToolResultBlock": frozenset(("content", "status", "toolUseId", "type")),
    "ReasoningTextBlock": frozenset(("signature", "text")),
}
UNIONS: dict[str, frozenset[str]] = {
    "ContentBlock": frozenset(
        (
            "audio",
            "cachePoint",
            "citationsContent",
            "document",
            "guardContent",
            "image",
            "reasoningContent",
            "searchResult",
            "text",
            "toolAddition",
            "toolRemoval",
            "toolResult",
            "toolUse",
            "video",
        )
    ),
    "ToolResultContentBlock": frozenset(("document", "image", "json", "searchResult", "text", "video")),
    "ReasoningContentBlock": frozenset(("reasoningText", "redactedContent")),
    "Tool": frozenset(("cachePoint", "systemTool", "toolSpec")),
    "ToolChoice": frozenset(("any", "auto", "tool")),
    "SystemContentBlock": frozenset(("cachePoint", "guardContent", "text")),
}
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FAILED = "The model returned the following errors: "


def check(call: Call, seals: Seals, memory: Memory) -> None:
    """Raises Refusal."""
    fields = call.fields
    _refuse_unknown("", fields, FIELDS)
    _refuse_unknown("inferenceConfig", fields.get("inferenceConfig"), MEMBERS["InferenceConfiguration"])
    for index, block in enumerate_objects(fields.get("system")):
        _one_of(f"system.{index}", block, "SystemContentBlock")
    _check_tools(fields.get("toolConfig"))
    listed = enumerate_objects(fields.get("messages"))
    for index, message in listed:
        _check_message(index, message)
    _check_order([message for _, message in listed])
    _check_tool_turns([message for _, message in listed], "toolConfig" in fields)
    if is_claude(call.model):
        try:
            _check_thinking(fields, [message for _, message in listed], seals, memory)
        except Refusal as refusal:
            raise Refusal(400, _FAILED + str(refusal)) from None


def _refuse_unknown(where: str, fields: Any, known: frozenset[str]) -> None:
    for name in fields if isinstance(fields, dict) else ():
        if name not in known:
            place = f"{where}.{name}" if where else name
            raise Refusal(400, f"1 validation error detected: '{place}' is not a known field")


def _one_of(where: str, block: dict[str, Any], union: str) -> None:
    """That an object of a union has one of its members, and just one."""
    _refuse_unknown(where, block, UNIONS[union])
    if len(block) != 1:
        wanted = ", ".join(sorted(UNIONS[union]))
        message = f"{union} object at {where} must set one of the following keys: {wanted}."
        raise Refusal(400, message)


def _check_tools(config: Any) -> None:
    _refuse_unknown("toolConfig", config, MEMBERS["ToolConfiguration"])
    tools = member(config, "tools")
    if isinstance(config, dict) and not tools:
        raise Refusal(400, "The tools field in the ToolConfiguration object at toolConfig is empty.")
    for index, tool in enumerate_objects(tools):
        where = f"toolConfig.tools.{index}"
        _one_of(where, tool, "Tool")
        spec = tool.get("toolSpec")
        _refuse_unknown(f"{where}.toolSpec", spec, MEMBERS["ToolSpecification"])
        _check_pattern(f"{where}.member.toolSpec.name", member(spec, "name"), _NAME)
    choice = member(config, "toolChoice")
    if isinstance(choice, dict):
        _one_of("toolConfig.toolChoice", choice, "ToolChoice")


def _check_pattern(where: str, value: Any, pattern: re.Pattern[str]) -> None:
    if isinstance(value, str) and not pattern.fullmatch(value):
        message = f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: "
        raise Refusal(400, f"{message}Member must satisfy regular expression pattern: {pattern.pattern}")


def _check_message(index: int, message: dict[str, Any]) -> None:
    where = f"messages.{index}"
    _refuse_unknown(where, message, MEMBERS["Message"])
    if message.get("content") == []:
        what = f"The content field in the Message object at {where} is empty."
        raise Refusal(400, f"{what} Add a ContentBlock object to the content field and try again.")
    for number, block in enumerate_objects(message.get("content")):
        _check_block(f"{where}.content.{number}", block)


def _check_block(where: str, block: dict[str, Any]) -> None:
    _one_of(where, block, "ContentBlock")
    _refuse_blank(where, block)
    use, result = block.get("toolUse"), block.get("toolResult")
    _refuse_unknown(f"{where}.toolUse", use, MEMBERS["ToolUseBlock"])
    _refuse_unknown(f"{where}.toolResult", result, MEMBERS["ToolResultBlock"])
    _check_pattern(f"{where}.member.toolUse.toolUseId", member(use, "toolUseId"), _ID)
    _check_pattern(f"{where}.member.toolUse.name", member(use, "name"), _NAME)
    if isinstance(use, dict) and not isinstance(use.get("input"), dict):
        raise Refusal(
            400, f"The format of the value at {where}.toolUse.input is invalid. Provide a json object"
        )
    for number, inner in enumerate_objects(member(result, "content")):
        _one_of(f"{where}.toolResult.content.{number}", inner, "ToolResultContentBlock")
        _refuse_blank(f"{where}.toolResult.content.{number}", inner)
    reasoning = block.get("reasoningContent")
    if isinstance(reasoning, dict):
        _one_of(f"{where}.reasoningContent", reasoning, "ReasoningContentBlock")
        _refuse_unknown(where, reasoning.get("reasoningText"), MEMBERS["ReasoningTextBlock"])


def _refuse_blank(where: str, block: dict[str, Any]) -> None:
    if block.get("text") == "":
        what = f"The text field in the ContentBlock object at {where} is blank."
        raise Refusal(400, f"{what} Add text to the text field, and try again.")


def _check_order(turns: list[dict[str, Any]]) -> None:
    roles = [turn.get("role") for turn in turns]
    if roles and roles[0] != "user":
        raise Refusal(
            400,
            "A conversation must start with a user message. Try again with a conversation that starts with a "
            "user message.",
        )
    if any(one == other for one, other in itertools.pairwise(roles)):
        raise Refusal(
            400,
            "A conversation must alternate between user and assistant roles. Make sure the conversation "
            "alternates between user and assistant roles and try again.",
        )


def _ids(turn: dict[str, Any], kind: str) -> list[Any]:
    blocks = [block[kind] for block in objects(turn.get("content")) if kind in block]
    return [member(block, "toolUseId") for block in blocks]


def _check_tool_turns(turns: list[dict[str, Any]], has_tools: bool) -> None:
    asked: list[Any] = []
    for index, turn in enumerate([*turns, {}]):
        answered = _ids(turn, "toolResult")
        if (answered or asked) and not has_tools:
            message = "The toolConfig field must be defined when using toolUse and toolResult content blocks."
            raise Refusal(400, message)
        where = f"messages.{index}.content"
        if any(ident not in asked for ident in answered):
            more = (
                f"The number of toolResult blocks at {where} exceeds the number of toolUse blocks of previous"
            )
            raise Refusal(400, f"{more} turn.")
        missing = [str(ident) for ident in asked if ident not in answered]
        if missing:
            raise Refusal(
                400, f"Expected toolResult blocks at {where} for the following Ids: {', '.join(missing)}"
            )
        asked = _ids(turn, "toolUse")
        if len({ident for ident in asked if isinstance(ident, str)}) < len(asked):
            raise Refusal(400, f"The toolUse blocks at {where} contain duplicate Ids")


def _check_thinking(
    fields: dict[str, Any], turns: list[dict[str, Any]], seals: Seals, memory: Memory
) -> None:
    """What the model behind Converse checks: Anthropic's rules in Converse's words."""
    for index, turn in enumerate(turns):
        for number, block in enumerate_objects(turn.get("content")):
            _check_reasoning(f"messages.{index}.content.{number}", block.get("reasoningContent"), seals)
    thinking = member(fields.get("additionalModelRequestFields"), "thinking")
    if member(thinking, "type") != "enabled":
        return
    messages.check_budget(thinking.get("budget_tokens"), member(fields.get("inferenceConfig"), "maxTokens"))
    if member(fields.get("inferenceConfig"), "temperature") not in (None, 1):
        raise Refusal(400, "`temperature` may only be set to 1 when thinking is enabled.")
    choice = member(fields.get("toolConfig"), "toolChoice")
    if member(choice, "any") is not None or member(choice, "tool") is not None:
        raise Refusal(400, "Thinking may not be enabled when tool_choice forces tool use.")
    if len(turns) > 1 and _ids(turns[-1], "toolResult"):
        _check_loop(len(turns) - 2, turns[-2], memory)


def _check_reasoning(where: str, reasoning: Any, seals: Seals) -> None:
    text = member(reasoning, "reasoningText")
    if isinstance(text, dict):
        messages.check_signature(where, text.get("text"), text.get("signature"), seals)
    redacted = member(reasoning, "redactedContent")
    if redacted is not None and seals.open("redacted", redacted) is None:
        raise Refusal(400, f"{where}: Invalid `data` in `redacted_thinking` block")


def _check_loop(index: int, turn: dict[str, Any], memory: Memory) -> None:
    first = next(iter(objects(turn.get("content"))), {})
    made_here = any(memory.made_plain(ident) for ident in _ids(turn, "toolUse"))
    if "reasoningContent" in first or made_here:
        return
    raise Refusal(
        400,
        f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
        "`tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking "
        "block.",
    )
