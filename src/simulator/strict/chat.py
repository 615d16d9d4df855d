"""OpenAI chat's strictness: every tool call is answered, and nothing else is.

https://platform.openai.com/docs/guides/function-calling
"""

import re
from typing import Any

from ..memory import Memory
from ..refusal import Refusal
from ..requests import Call
from ..seals import Seals
from . import accounts, tool_names
from .messages_fields import enumerate_objects

# Others that speak this dialect have names of other kinds, and longer ids of their own.
_OPENAIS = re.compile(r"(gpt|chatgpt|o\d)")
_LONGEST_ID = 40


def check(call: Call, seals: Seals, memory: Memory) -> None:
    """Raises Refusal."""
    accounts.check_openai(call, memory)
    longest = _LONGEST_ID if _OPENAIS.match(call.model or "") else None
    tool_names.check_openai(call)
    waiting: list[str] = []
    asked_at = 0
    for index, message in enumerate_objects(call.fields.get("messages")):
        if message.get("role") == "tool":
            ident = message.get("tool_call_id")
            if ident not in waiting:
                raise _unasked(index, bool(asked_at), ident)
            waiting.remove(ident)
            continue
        if waiting:
            raise _unanswered(asked_at - 1, waiting)
        waiting = _calls(index, message, longest)
        asked_at = index + 1 if waiting else 0
    if waiting:
        raise _unanswered(asked_at - 1, waiting)


def _calls(index: int, message: dict[str, Any], longest: int | None) -> list[str]:
    out = []
    for number, made in enumerate_objects(message.get("tool_calls")):
        ident = made.get("id")
        if not isinstance(ident, str):
            continue
        if longest is not None and len(ident) > longest:
            where = f"messages[{index}].tool_calls[{number}].id"
            message_text = (
                f"Invalid '{where}': string too long. Expected a string with maximum length {longest}, "
                f"but got a string with length {len(ident)} instead."
            )
            raise Refusal(400, message_text, where, "string_above_max_length")
        out.append(ident)
    return out


def _unasked(index: int, is_after_calls: bool, ident: Any) -> Refusal:
    message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
    where = f"messages.[{index}].role"
    if is_after_calls:
        message = f"Invalid parameter: 'tool_call_id' of '{ident}' not found in 'tool_calls' of "
        return Refusal(400, message + "previous message.", f"messages.[{index}].tool_call_id")
    return Refusal(400, message + "'tool_calls'.", where)


def _unanswered(index: int, missing: list[str]) -> Refusal:
    return Refusal(
        400,
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(missing)}",
        f"messages.[{index}].role",
    )
