"""Reading Gemini's requests. Its fields have two spellings, camelCase and snake_case: both are read."""

import re
from collections.abc import Iterator
from typing import Any, Literal

from .reading import Fields, Reader, Tool, last_turn, objects, texts_under

_TEXT_KEYS = frozenset(("contents", "parts", "text"))
_HUMP = re.compile(r"[A-Z]")


def get(value: Any, *path: str) -> Any:
    """What lies below `value` at these camelCase keys, in either spelling."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value[key] if key in value else value.get(snake(key))
    return value


def snake(name: str) -> str:
    """`systemInstruction` as `system_instruction`."""
    return _HUMP.sub(lambda hump: "_" + hump[0].lower(), name)


def _texts(fields: Fields) -> Iterator[str]:
    fields = get(fields, "generateContentRequest") or fields
    for turn in (get(fields, "systemInstruction"), *objects(get(fields, "contents"))):
        yield from texts_under(_TEXT_KEYS, turn)
        for part in objects(get(turn, "parts")):
            yield from _leaves(get(part, "functionCall", "args"))
            yield from _leaves(get(part, "functionResponse", "response"))


def _leaves(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < 32:
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from _leaves(item, depth + 1)


def _user_text(fields: Fields) -> str:
    contents = get(fields, "contents")
    turn = last_turn(contents, ("user", "function", None))
    said = [t for t in objects(get(turn, "parts")) if isinstance(t.get("text"), str)]
    answers = [get(part, "functionResponse", "response") for part in objects(get(turn, "parts"))]
    return " ".join([*(part["text"] for part in said), *(leaf for a in answers for leaf in _leaves(a))])


def _tools(fields: Fields) -> list[Tool]:
    declared = [f for t in objects(get(fields, "tools")) for f in objects(get(t, "functionDeclarations"))]
    return [
        Tool(f["name"], _json_schema(get(f, "parametersJsonSchema") or get(f, "parameters")))
        for f in declared
        if isinstance(f.get("name"), str)
    ]


def _json_schema(schema: Any) -> Any:
    """A schema in Google's spelling of types (STRING, OBJECT) as JSON Schema."""
    if isinstance(schema, list):
        return [_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _json_schema(item) for key, item in schema.items()}
    if isinstance(kind := schema.get("type"), str):
        out["type"] = kind.lower()
    return out


def _forced(fields: Fields) -> str | Literal[True] | None:
    config = get(fields, "toolConfig", "functionCallingConfig")
    mode = get(config, "mode")
    if not isinstance(mode, str) or mode.upper() != "ANY":
        return None
    allowed = get(config, "allowedFunctionNames")
    named = allowed[0] if isinstance(allowed, list) and allowed else None
    return named if isinstance(named, str) else True


def _schema(fields: Fields) -> tuple[bool, Any]:
    config = get(fields, "generationConfig")
    if get(config, "responseMimeType") != "application/json":
        return False, None
    return True, _json_schema(get(config, "responseJsonSchema") or get(config, "responseSchema"))


def _limits(fields: Fields) -> list[Any]:
    return [get(fields, "generationConfig", "maxOutputTokens")]


READER = Reader(_texts, _user_text, _tools, _forced, _schema, _limits)
