"""What a request is: its surface, model, wish to stream, text, tools - read from the raw bytes once."""

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from .script import Dialect, Surface

# The last path segments that name a surface: base URLs differ between providers, the ends do not.
_ENDS: tuple[tuple[str, Surface], ...] = (
    ("/chat/completions", "openai-chat"),
    ("/responses", "openai-responses"),
    ("/embeddings", "openai-embeddings"),
    ("/messages/count_tokens", "anthropic-count-tokens"),
    ("/messages", "anthropic-messages"),
)
_ALLOWED: dict[str, frozenset[str]] = {
    "openai": frozenset(("openai-chat", "openai-responses", "openai-embeddings")),
    "anthropic-messages": frozenset(("anthropic-messages", "anthropic-count-tokens")),
}
# Keys whose strings are prompt text. Ids, roles, types, urls and base64 data lie under other keys.
_TEXT_KEYS = frozenset(
    ("text", "content", "input", "output", "arguments", "instructions", "system", "thinking", "messages")
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request as received; `headers` are lower-cased names, `data` the JSON body or None."""

    method: str
    path: str  # without the query
    query: str
    headers: Mapping[str, str]
    body: bytes
    surface: Surface | None
    data: Any

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON body's members; empty when it is no object."""
        return cast(dict[str, Any], self.data) if isinstance(self.data, dict) else {}

    @property
    def model(self) -> str | None:
        model = self.fields.get("model")
        return model if isinstance(model, str) else None

    @property
    def stream(self) -> bool:
        return self.fields.get("stream") is True

    @property
    def anthropic(self) -> bool:
        """Whether answers, errors too, take Anthropic's shape."""
        if self.surface in ("anthropic-messages", "anthropic-count-tokens"):
            return True
        return self.surface in (None, "models") and "anthropic-version" in self.headers


def read_call(
    method: str, target: str, headers: Mapping[str, str], body: bytes, dialect: Dialect | None
) -> Call:
    """The call in a request; a surface `dialect` does not speak counts as unknown."""
    path, _, query = target.partition("?")
    return Call(method, path, query, headers, body, surface_of(method, path, dialect), read_json(body))


def surface_of(method: str, path: str, dialect: Dialect | None) -> Surface | None:
    """The surface a request is for, None when there is none here."""
    path = path.rstrip("/")
    if method == "GET":
        return "models" if path.endswith("/models") or "/models/" in path else None
    for end, surface in _ENDS:
        if method == "POST" and path.endswith(end):
            return surface if dialect is None or surface in _ALLOWED.get(dialect, (dialect,)) else None
    return None


def read_json(body: bytes) -> Any:
    """The JSON value in `body`; None when there is none."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    # The fast decoder refuses some JSON that providers accept, such as lone surrogates.
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def credential(headers: Mapping[str, str]) -> str | None:
    """The key a request carries, without its scheme; None when there is none."""
    for name in ("authorization", "x-api-key", "api-key"):
        value = headers.get(name, "").strip()
        if value:
            scheme, _, rest = value.partition(" ")
            return rest.strip() if rest and scheme.lower() in ("bearer", "basic") else value
    return None


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth > 32:
        return
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in _TEXT_KEYS:
                yield from _texts(item, depth + 1)


def size_tokens(size: int) -> int:
    """The token count of `size` UTF-8 bytes of text: four bytes a token, rounded up."""
    return -(-size // 4)


def text_size(text: str) -> int:
    """UTF-8 bytes of `text`, lone surrogates included."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def input_tokens(call: Call) -> int:
    """The tokens of a prompt: four bytes of its text a token, rounded up; at least 1.

    Text is every string under the keys text, content, input, output, arguments, instructions, system and
    thinking; tool definitions and images count nothing. An embeddings input of token numbers counts them.
    """
    numbers, size = 0, 0
    for name in ("system", "instructions", "messages", "input"):
        size += sum(text_size(text) for text in _texts(call.fields.get(name)))
    given = call.fields.get("input")
    if isinstance(given, list):
        numbers = sum(len(i) if isinstance(i, list) else isinstance(i, int) for i in given)
    return max(1, size_tokens(size) + numbers)


def last_user_text(call: Call) -> str:
    """The text of the last user turn (tool results too); empty when there is none."""
    turns = call.fields.get("input" if call.surface == "openai-responses" else "messages")
    if isinstance(turns, str):
        return turns
    for turn in reversed(turns) if isinstance(turns, list) else ():
        if isinstance(turn, dict) and turn.get("role") in ("user", "tool", None):
            return " ".join(_texts(turn))
    return ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function tool on offer and the JSON schema of its arguments."""

    name: str
    schema: Any


def offered_tools(call: Call) -> list[Tool]:
    """The function tools a request offers, in order; the provider's own tools are left out."""
    out: list[Tool] = []
    tools = call.fields.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            continue
        holder = tool.get("function") if call.surface == "openai-chat" else tool
        if not isinstance(holder, dict) or not isinstance(holder.get("name"), str):
            continue
        kind = tool.get("type")
        if kind not in (("custom", None) if call.anthropic else ("function",)):
            continue
        out.append(Tool(holder["name"], holder.get("input_schema" if call.anthropic else "parameters")))
    return out


def forced_tool(call: Call, tools: list[Tool]) -> Tool | None:
    """The tool `tool_choice` forces the model to call; None when the model is free."""
    choice = call.fields.get("tool_choice")
    if not tools:
        return None
    if choice == "required":
        return tools[0]
    if not isinstance(choice, dict):
        return None
    if choice.get("type") == "any":
        return tools[0]
    function = choice.get("function")
    named = choice.get("name") or (function.get("name") if isinstance(function, dict) else None)
    if choice.get("type") in ("tool", "function") and named:
        return next((tool for tool in tools if tool.name == named), None)
    return None


def wanted_schema(call: Call) -> tuple[bool, Any]:
    """Whether the answer must be JSON, and its schema (None when any object will do)."""
    fields = call.fields
    if call.surface == "openai-chat":
        form = fields.get("response_format")
    elif call.surface == "openai-responses":
        form = (fields.get("text") or {}).get("format") if isinstance(fields.get("text"), dict) else None
    else:
        config = fields.get("output_config")
        form = config.get("format") if isinstance(config, dict) else fields.get("output_format")
    if not isinstance(form, dict) or form.get("type") not in ("json_schema", "json_object"):
        return False, None
    holder = form.get("json_schema") if isinstance(form.get("json_schema"), dict) else form
    return True, cast(dict[str, Any], holder).get("schema")


def token_limit(call: Call) -> int | None:
    """The most output tokens the request allows, None when it does not say."""
    for name in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        value = call.fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def embedding_inputs(call: Call) -> list[Any]:
    """The inputs to embed: texts, or lists of token numbers."""
    given = call.fields.get("input")
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return given
    return [given]


def pack_floats(values: list[float]) -> str:
    """Base64 of little-endian 32-bit floats: an embedding of encoding_format base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
