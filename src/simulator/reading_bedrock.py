"""Reading Bedrock's Converse requests."""

import json
from collections.abc import Iterator
from typing import Any, Literal

from .reading import Fields, Reader, Tool, last_turn, member, objects, texts_under

_TEXT_KEYS = frozenset(
    (
        "content",
        "text",
        "toolUse",
        "input",
        "toolResult",
        "json",
        "reasoningContent",
        "reasoningText",
        "guardContent",
        "searchResult",
    )
)


def _texts(fields: Fields) -> Iterator[str]:
    for name in ("system", "messages"):
        yield from texts_under(_TEXT_KEYS, fields.get(name))


def _user_text(fields: Fields) -> str:
    turn = last_turn(fields.get("messages"), ("user",))
    return "" if turn is None else " ".join(texts_under(_TEXT_KEYS, turn))


def _tools(fields: Fields) -> list[Tool]:
    specs = objects([t.get("toolSpec") for t in objects(member(fields.get("toolConfig"), "tools"))])
    return [
        Tool(spec["name"], member(spec, "inputSchema", "json"))
        for spec in specs
        if isinstance(spec.get("name"), str)
    ]


def _forced(fields: Fields) -> str | Literal[True] | None:
    choice = member(fields.get("toolConfig"), "toolChoice")
    if isinstance(member(choice, "any"), dict):
        return True
    name = member(choice, "tool", "name")
    return name if isinstance(name, str) else None


def _schema(fields: Fields) -> tuple[bool, Any]:
    form = member(fields.get("outputConfig"), "textFormat")
    if member(form, "type") != "json_schema":
        return False, None
    text = member(form, "structure", "jsonSchema", "schema")
    try:
        return True, json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return True, None


def _limits(fields: Fields) -> list[Any]:
    return [member(fields.get("inferenceConfig"), "maxTokens")]


READER = Reader(_texts, _user_text, _tools, _forced, _schema, _limits)
