"""OpenAI Responses' strictness: known fields, calls that are answered, reasoning that is its own.

https://platform.openai.com/docs/api-reference/responses/create and the official SDK's parameter types
"""

import re
from typing import Any

from ..memory import Memory
from ..refusal import Refusal
from ..requests import Call
from ..seals import Seals
from . import accounts, tool_names
from .messages_fields import enumerate_objects

PARAMETERS = frozenset(
    (
        "access_programs",
        "background",
        "background_options",
        "context_management",
        "conversation",
        "image",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    )
)
COUNT_PARAMETERS = frozenset(
    (
        "conversation",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "personality",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    )
)
# Items whose fields are known here.
ITEMS: dict[str, frozenset[str]] = {
    "message": frozenset(("content", "id", "phase", "role", "status", "type")),
    "function_call": frozenset(
        ("arguments", "async", "call_id", "caller", "id", "name", "namespace", "status", "type")
    ),
    "function_call_output": frozenset(
        ("call_id", "caller", "id", "name", "namespace", "output", "status", "type")
    ),
    "reasoning": frozenset(("content", "encrypted_content", "id", "status", "summary", "type")),
}
_PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
_LONGEST_CALL_ID = 64
_ID = re.compile(r"[A-Za-z0-9_-]*")
# Call and answer, by the answer's type.
_ANSWERS = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}


def check(call: Call, seals: Seals, memory: Memory) -> None:
    """The call's `input` has the whole conversation, earlier responses too. Raises Refusal."""
    known = COUNT_PARAMETERS if call.surface == "openai-count-tokens" else PARAMETERS
    for name in call.fields:
        if name not in known:
            raise _unknown(name)
    accounts.check_openai(call, memory)
    tool_names.check_openai(call)
    items = enumerate_objects(call.fields.get("input"))
    for index, item in items:
        _check_item(index, item, seals, memory)
    _check_calls([item for _, item in items])
    _check_companions([item for _, item in items], memory)


def _unknown(name: str) -> Refusal:
    return Refusal(400, f"Unknown parameter: '{name}'.", name, "unknown_parameter")


def _check_item(index: int, item: dict[str, Any], seals: Seals, memory: Memory) -> None:
    kind = item.get("type", "message")
    where = f"input[{index}]"
    known = ITEMS.get(kind) if isinstance(kind, str) else None
    for name in item if known is not None else ():
        if known is not None and name not in known:
            raise _unknown(f"{where}.{name}")
    _check_id(f"{where}.id", item.get("id"))
    ident, prefix = item.get("id"), _PREFIXES.get(str(kind))
    if isinstance(ident, str) and prefix is not None and not ident.startswith(prefix):
        message = f"Invalid '{where}.id': '{ident}'. Expected an ID that begins with '{prefix}'."
        raise Refusal(400, message, f"{where}.id", "invalid_value")
    call_id = item.get("call_id")
    if isinstance(call_id, str) and len(call_id) > _LONGEST_CALL_ID:
        message = (
            f"Invalid '{where}.call_id': string too long. Expected a string with maximum length "
            f"{_LONGEST_CALL_ID}, but got a string with length {len(call_id)} instead."
        )
        raise Refusal(400, message, f"{where}.call_id", "string_above_max_length")
    if kind == "reasoning":
        _check_reasoning(item, seals, memory)


def _check_id(where: str, ident: Any) -> None:
    if isinstance(ident, str) and not _ID.fullmatch(ident):
        message = (
            f"Invalid '{where}': '{ident}'. Expected an ID that contains letters, numbers, underscores, or "
            "dashes, but this value contained additional characters."
        )
        raise Refusal(400, message, where, "invalid_value")


def _check_reasoning(item: dict[str, Any], seals: Seals, memory: Memory) -> None:
    ident, hidden = item.get("id"), item.get("encrypted_content")
    if hidden is not None and seals.open("encrypted", hidden) is None:
        message = f"The encrypted content for item {ident} could not be verified."
        raise Refusal(400, message, None, "invalid_encrypted_content")
    if hidden is None and isinstance(ident, str) and not memory.has_item(ident):
        message = (
            f"Item with id '{ident}' not found. Items are not persisted when `store` is set to false. Try "
            "again with `store` set to true, or remove this item from your input."
        )
        raise Refusal(404, message, "input", None, "invalid_request_error")


def _check_calls(items: list[dict[str, Any]]) -> None:
    """That every answer has its call before it, and every call its answer behind it."""
    made: dict[str, set[Any]] = {kind: set() for kind in _ANSWERS.values()}
    open_calls: dict[Any, None] = {}
    for item in items:
        kind, ident = str(item.get("type")), item.get("call_id")
        if not isinstance(ident, str):
            continue
        if kind in made:
            made[kind].add(ident)
            open_calls[ident] = None
        elif kind in _ANSWERS:
            if ident not in made[_ANSWERS[kind]]:
                message = f"No tool call found for {kind.replace('_', ' ')} with call_id {ident}."
                raise Refusal(400, message, "input")
            open_calls.pop(ident, None)
    for ident in open_calls:
        raise Refusal(400, f"No tool output found for function call {ident}.", "input")


def _check_companions(items: list[dict[str, Any]], memory: Memory) -> None:
    """That a stored item which was made with reasoning comes with it."""
    given = {item.get("id") for item in items if isinstance(item.get("id"), str)}
    for item in items:
        ident = item.get("id")
        needed = memory.reasoning_of(ident) if isinstance(ident, str) else ""
        if needed and needed != ident and needed not in given:
            kind = item.get("type")
            message = (
                f"Item '{ident}' of type '{kind}' was provided without its required 'reasoning' item: "
                f"'{needed}'."
            )
            raise Refusal(400, message, "input")
