"""Reading OpenAI's requests: chat, responses, embeddings."""

from collections.abc import Iterator
from typing import Any, Literal

from .reading import Fields, Reader, Tool, last_turn, member, objects, texts_under

# Keys whose strings are prompt text. Ids, roles, types, urls and base64 data lie under other keys.
TEXT_KEYS = frozenset(
    ("text", "content", "input", "output", "arguments", "instructions", "system", "thinking", "messages")
)
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def texts(fields: Fields) -> Iterator[str]:
    """All prompt text."""
    for name in ("system", "instructions", "messages", "input"):
        yield from texts_under(TEXT_KEYS, fields.get(name))


def user_text(turns: Any) -> str:
    """The text of the last turn that is the user's or a tool's."""
    if isinstance(turns, str):
        return turns
    turn = last_turn(turns, ("user", "tool", None))
    return "" if turn is None else " ".join(texts_under(TEXT_KEYS, turn))


def _chat_tools(fields: Fields) -> list[Tool]:
    return _tools([t.get("function") for t in objects(fields.get("tools")) if t.get("type") == "function"])


def _responses_tools(fields: Fields) -> list[Tool]:
    return _tools([tool for tool in objects(fields.get("tools")) if tool.get("type") == "function"])


def _tools(holders: Any) -> list[Tool]:
    named = [h for h in objects(holders) if isinstance(h.get("name"), str)]
    return [Tool(holder["name"], holder.get("parameters")) for holder in named]


def _forced(fields: Fields) -> str | Literal[True] | None:
    choice = fields.get("tool_choice")
    if choice == "required":
        return True
    if member(choice, "type") != "function":
        return None
    name = member(choice, "name") or member(choice, "function", "name")
    return name if isinstance(name, str) else None


def schema_of(form: Any) -> tuple[bool, Any]:
    """Whether a response format asks for JSON, and its schema."""
    if member(form, "type") not in ("json_schema", "json_object"):
        return False, None
    holder = form["json_schema"] if isinstance(form.get("json_schema"), dict) else form
    return True, holder.get("schema")


def limits(fields: Fields) -> list[Any]:
    """Where the request may limit its output."""
    return [fields.get(name) for name in _LIMITS]


CHAT = Reader(
    texts=texts,
    last_user_text=lambda fields: user_text(fields.get("messages")),
    offered_tools=_chat_tools,
    forced_tool=_forced,
    wanted_schema=lambda fields: schema_of(fields.get("response_format")),
    token_limits=limits,
)
RESPONSES = Reader(
    texts=texts,
    last_user_text=lambda fields: user_text(fields.get("input")),
    offered_tools=_responses_tools,
    forced_tool=_forced,
    wanted_schema=lambda fields: schema_of(member(fields.get("text"), "format")),
    token_limits=limits,
)
