"""Gemini's strictness: known fields, answered function calls, and thought signatures that are its own.

https://ai.google.dev/gemini-api/docs/function-calling
https://ai.google.dev/gemini-api/docs/thought-signatures
"""

import base64
import binascii
from typing import Any

from ..gemini import signs_always
from ..memory import Memory
from ..reading import objects
from ..reading_gemini import get
from ..refusal import Refusal
from ..requests import Call
from ..seals import Seals
from . import gemini_fields, tool_names

# What the documentation offers for calls that another model made; also seen encoded once more.
DUMMIES = frozenset(("skip_thought_signature_validator", "context_engineering_is_the_way_to_go"))
_DATA = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
_MISSING = (
    "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
    "correctly, and missing thought_signature may lead to degraded model performance. Additional data, "
    "function call `default_api:{name}` , position {position}. Please refer to "
    "https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
)


def check(call: Call, seals: Seals, memory: Memory) -> None:
    """Raises Refusal."""
    gemini_fields.check("GenerateContentRequest", call.fields, call.platform == "vertex")
    tool_names.check_gemini(call)
    contents = _contents(call.fields)
    for index, content in enumerate(contents):
        _check_content(index, content, seals)
    _check_calls(contents)
    if signs_always(call.model):
        _check_signed(contents)


def check_count(call: Call, seals: Seals, memory: Memory) -> None:
    """Raises Refusal."""
    gemini_fields.check("CountTokensRequest", call.fields, call.platform == "vertex")


def check_embeddings(call: Call, seals: Seals, memory: Memory) -> None:
    """Raises Refusal."""
    kinds = {"embedContent": "EmbedContentRequest", "batchEmbedContents": "BatchEmbedContentsRequest"}
    kind = kinds.get(call.route.operation)
    if kind is not None:
        gemini_fields.check(kind, call.fields, call.platform == "vertex")


def _contents(fields: dict[str, Any]) -> list[dict[str, Any]]:
    given = get(fields, "contents")
    # One alone need not be in a list.
    return [given] if isinstance(given, dict) else objects(given)


def _parts(content: Any) -> list[dict[str, Any]]:
    given = get(content, "parts")
    return [given] if isinstance(given, dict) else objects(given)


def _check_content(index: int, content: dict[str, Any], seals: Seals) -> None:
    role = content.get("role")
    if role not in (None, "", "user", "model", "function"):
        raise Refusal(400, "Please use a valid role: user, model.")
    where = f"GenerateContentRequest.contents[{index}]"
    if not get(content, "parts"):
        raise Refusal(400, f"* {where}.parts: contents.parts must not be empty.\n")
    for number, part in enumerate(_parts(content)):
        if all(get(part, name) is None for name in _DATA):
            what = "required oneof field 'data' must have one initialized field"
            raise Refusal(400, f"* {where}.parts[{number}].data: {what}\n")
        answer = get(part, "functionResponse")
        if answer is not None and not get(answer, "name"):
            place = f"{where}.parts[{number}].function_response.name"
            raise Refusal(400, f"* {place}: Name cannot be empty.\n")
        signature = get(part, "thoughtSignature")
        if signature is not None:
            _check_signature(f"contents[{index}].parts[{number}].thought_signature", signature, seals)


def _check_signature(where: str, signature: Any, seals: Seals) -> None:
    text = signature if isinstance(signature, str) else ""
    if text in DUMMIES or seals.open("thought", text) is not None:
        return
    try:
        plain = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        message = f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed for \"{text}\""
        raise Refusal(400, message, where) from None
    if plain not in {dummy.encode() for dummy in DUMMIES}:
        raise Refusal(400, "Corrupted thought signature.")


def _turns(contents: list[dict[str, Any]]) -> list[tuple[bool, list[dict[str, Any]]]]:
    """Who speaks (the model, or not) and what: consecutive contents of one side are one turn."""
    out: list[tuple[bool, list[dict[str, Any]]]] = []
    for content in contents:
        is_models = content.get("role") == "model"
        if not out or out[-1][0] != is_models:
            out.append((is_models, []))
        out[-1][1].extend(_parts(content))
    return out


def _having(parts: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [part for part in parts if get(part, name) is not None]


def _check_calls(contents: list[dict[str, Any]]) -> None:
    """That function calls follow a turn of the user's, and are all answered by the next one."""
    open_calls: list[dict[str, Any]] = []
    for index, (is_models, parts) in enumerate(_turns(contents)):
        calls, answers = _having(parts, "functionCall"), _having(parts, "functionResponse")
        if answers and not open_calls:
            raise Refusal(
                400,
                "Please ensure that function response turn comes immediately after a function call turn.",
            )
        if len(answers) != len(open_calls):
            raise Refusal(
                400,
                "Please ensure that the number of function response parts is equal to the number of function "
                "call parts of the function call turn.",
            )
        if calls and (index == 0 or not is_models):
            raise Refusal(
                400,
                "Please ensure that function call turn comes immediately after a user turn or after a "
                "function response turn.",
            )
        open_calls = calls


def _check_signed(contents: list[dict[str, Any]]) -> None:
    """That each step since the user last spoke has the signature of its first function call."""
    missing: tuple[str, int] | None = None
    for position, (is_models, parts) in enumerate(_turns(contents), 1):
        if not is_models and not _having(parts, "functionResponse"):
            missing = None  # a new turn: what went before is not checked
        calls = _having(parts, "functionCall")
        if is_models and calls and get(calls[0], "thoughtSignature") is None and missing is None:
            missing = (str(get(calls[0], "functionCall", "name")), position)
    if missing is not None:
        raise Refusal(400, _MISSING.format(name=missing[0], position=missing[1]))
