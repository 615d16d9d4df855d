"""Reading Anthropic's requests."""

from typing import Any, Literal

from .reading import Fields, Reader, Tool, member, objects
from .reading_openai import limits, schema_of, texts, user_text


def _tools(fields: Fields) -> list[Tool]:
    own = [t for t in objects(fields.get("tools")) if t.get("type") in ("custom", None)]
    return [Tool(t["name"], t.get("input_schema")) for t in own if isinstance(t.get("name"), str)]


def _forced(fields: Fields) -> str | Literal[True] | None:
    choice = fields.get("tool_choice")
    kind, name = member(choice, "type"), member(choice, "name")
    if kind == "any":
        return True
    return name if kind == "tool" and isinstance(name, str) else None


def _schema(fields: Fields) -> tuple[bool, Any]:
    config = fields.get("output_config")
    return schema_of(member(config, "format") if config is not None else fields.get("output_format"))


READER = Reader(
    texts=texts,
    last_user_text=lambda fields: user_text(fields.get("messages")),
    offered_tools=_tools,
    forced_tool=_forced,
    wanted_schema=_schema,
    token_limits=limits,
)
