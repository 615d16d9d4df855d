"""Anthropic's strictness: whose thinking it is, and that tools are answered in order.

https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking
https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..memory import Memory
from ..refusal import Refusal
from ..requests import Call
from ..seals import Seals
from . import accounts, messages_fields
from .messages_fields import enumerate_objects

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_THINKING = ("thinking", "redacted_thinking")
_LEAST_BUDGET = 1024


@dataclass(slots=True)
class _Turn:
    """What one side says until the other does: consecutive messages of a role are one turn."""

    role: Any
    index: int  # of its last message
    blocks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # each with its place

    def ids(self, kind: str, name: str) -> list[Any]:
        """The ids that its blocks of a kind have."""
        return [block.get(name) for _, block in self.blocks if block.get("type") == kind]


def check(call: Call, seals: Seals, memory: Memory) -> None:
    """Raises Refusal."""
    messages_fields.check(call)
    accounts.check_anthropic(call, memory)
    fields = call.fields
    _check_tools(fields)
    turns = _turns(fields.get("messages"))
    _check_content(fields.get("messages"))
    for turn in turns:
        for where, block in turn.blocks:
            _check_block(where, block, seals)
    _check_order(turns)
    thinking = fields.get("thinking")
    # Adaptive thinking asks for none of this: the model may leave thinking out.
    if isinstance(thinking, dict) and thinking.get("type") == "enabled":
        _check_thinking(call, thinking)
        check_loop(turns, memory)


def _turns(messages: Any) -> list[_Turn]:
    out: list[_Turn] = []
    for index, message in enumerate_objects(messages):
        role, content = message.get("role"), message.get("content")
        if role == "system":
            continue
        if not out or out[-1].role != role:
            out.append(_Turn(role, index))
        out[-1].index = index
        if isinstance(content, str):
            out[-1].blocks.append((f"messages.{index}.content", {"type": "text", "text": content}))
        for number, block in enumerate_objects(content):
            out[-1].blocks.append((f"messages.{index}.content.{number}", block))
    return out


def _check_content(messages: Any) -> None:
    listed = enumerate_objects(messages)
    for place, (index, message) in enumerate(listed):
        role = message.get("role")
        if isinstance(role, str) and role not in ("user", "assistant", "system"):
            raise Refusal(400, f"messages.{index}.role: Input should be 'user', 'assistant' or 'system'")
        is_last_words = place == len(listed) - 1 and role == "assistant"
        if message.get("content") in ("", []) and not is_last_words:
            what = "all messages must have non-empty content except for the optional final assistant message"
            raise Refusal(400, f"messages.{index}: {what}")


def _check_tools(fields: Mapping[str, Any]) -> None:
    seen = set()
    for index, tool in enumerate_objects(fields.get("tools")):
        name = tool.get("name")
        if tool.get("type") not in ("custom", None) or not isinstance(name, str):
            continue
        where = f"tools.{index}.custom"
        if not _NAME.fullmatch(name):
            raise Refusal(400, f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        schema = tool.get("input_schema")
        if isinstance(schema, dict) and "type" not in schema:
            raise Refusal(400, f"{where}.input_schema.type: Field required")
        if name in seen:
            raise Refusal(400, "tools: Tool names must be unique.")
        seen.add(name)


def _check_block(where: str, block: dict[str, Any], seals: Seals) -> None:
    kind = block.get("type")
    if kind == "text":
        _check_text(block)
    elif kind == "thinking":
        check_signature(where, block.get("thinking"), block.get("signature"), seals)
    elif kind == "redacted_thinking" and seals.open("redacted", block.get("data")) is None:
        raise Refusal(400, f"{where}: Invalid `data` in `redacted_thinking` block")
    elif kind == "tool_use":
        ident = block.get("id")
        if isinstance(ident, str) and not _ID.fullmatch(ident):
            raise Refusal(400, f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        if not isinstance(block.get("input"), dict):
            raise Refusal(400, f"{where}.tool_use.input: Input should be a valid dictionary")
    elif kind == "tool_result":
        for _, inner in enumerate_objects(block.get("content")):
            if inner.get("type") == "text":
                _check_text(inner)


def _check_text(block: dict[str, Any]) -> None:
    if block.get("text") == "":
        raise Refusal(400, "messages: text content blocks must be non-empty")


def check_signature(where: str, thinking: Any, signature: Any, seals: Seals) -> None:
    """That the signature is this simulator's, of this text (or of one left out). Raises Refusal."""
    if signature is None:
        raise Refusal(400, f"{where}.thinking.signature: Field required")
    signed = seals.open("thinking", signature)
    if signed is None or thinking not in (signed, ""):
        raise Refusal(400, f"{where}: Invalid `signature` in `thinking` block")


def _check_order(turns: list[_Turn]) -> None:
    if turns and turns[0].role != "user":
        raise Refusal(400, 'messages: first message must use the "user" role')
    asked: list[Any] = []
    for number, turn in enumerate(turns):
        results = [kind == "tool_result" for kind in (block.get("type") for _, block in turn.blocks)]
        lead = results.index(False) if False in results else len(results)
        answered = turn.ids("tool_result", "tool_use_id")
        missing = [ident for ident in asked if ident not in answered[:lead]]
        if missing:
            raise _unanswered(turns[number - 1].index, missing)
        for where, block in turn.blocks:
            if block.get("type") == "tool_result" and block.get("tool_use_id") not in asked:
                raise _unasked(where, turn.index, block.get("tool_use_id"))
        asked = turn.ids("tool_use", "id") if turn.role == "assistant" else []
        if len({ident for ident in asked if isinstance(ident, str)}) < len(asked):
            raise Refusal(400, "messages: `tool_use` ids must be unique")
    if asked:
        raise _unanswered(turns[-1].index, asked)


def _unanswered(index: int, missing: list[Any]) -> Refusal:
    return Refusal(
        400,
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(map(str, missing))}. Each `tool_use` block must have a corresponding `tool_result` "
        "block in the next message.",
    )


def _unasked(where: str, index: int, ident: Any) -> Refusal:
    return Refusal(
        400,
        f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {ident}. Each `tool_result` block "
        "must have a corresponding `tool_use` block in the previous message.",
    )


def _check_thinking(call: Call, thinking: Mapping[str, Any]) -> None:
    fields = call.fields
    budget, most = thinking.get("budget_tokens"), fields.get("max_tokens")
    betas = f"{call.headers.get('anthropic-beta', '')} {fields.get('anthropic_beta')}"
    check_budget(budget, None if "interleaved-thinking" in betas else most)
    if fields.get("temperature") not in (None, 1):
        raise Refusal(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if fields.get("top_k") is not None:
        raise Refusal(400, "`top_k` must be unset when thinking is enabled.")
    choice = fields.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        raise Refusal(400, "Thinking may not be enabled when tool_choice forces tool use.")


def check_budget(budget: Any, most: Any) -> None:
    """A budget of thinking tokens against the most output tokens (None: no matter). Raises Refusal."""
    if not isinstance(budget, int):
        return
    if budget < _LEAST_BUDGET:
        message = "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        raise Refusal(400, message)
    if isinstance(most, int) and most <= budget:
        raise Refusal(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")


def check_loop(turns: list[_Turn], memory: Memory) -> None:
    """That a turn which is inside a tool loop begins with its thinking. Raises Refusal.

    A turn that this provider itself made without thinking is let pass: what it did not say can't be given
    back. (The real one thinks whenever thinking is enabled; a script may say otherwise.)
    """
    if len(turns) < 2 or not turns[-1].ids("tool_result", "tool_use_id"):
        return
    where, first = turns[-2].blocks[0]
    if first.get("type") in _THINKING or memory.made_plain(turns[-2].ids("tool_use", "id")[0]):
        return
    raise Refusal(
        400,
        f"{where}.type: Expected `thinking` or `redacted_thinking`, but found `{first.get('type')}`. When "
        "`thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the "
        "lastmost set of `tool_use` and `tool_result` blocks). We recommend you include thinking blocks from "
        "previous turns. To avoid this requirement, disable `thinking`.",
    )
