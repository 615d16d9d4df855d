"""A client's Messages or Count tokens request → Chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ...core.errors import BadRequest
from .. import openai
from ..base import ABSENT, decode_request
from ..conversation import Chat, Effort, Message, OutputSchema, Text, Tool, ToolChoice
from . import blocks
from .content_in import Reader, Within, cached_of, invalid, own_only
from .fields import FIELDS
from .wire import OWN_BLOCKS

Value = TypeVar("Value")
Fields = Mapping[str, msgspec.Raw]

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str | None)
_number = msgspec.json.Decoder(float | None)
_count = msgspec.json.Decoder(int | None)
_flag = msgspec.json.Decoder(bool | None)
_strings = msgspec.json.Decoder(list[str] | None)
_messages = msgspec.json.Decoder(list[blocks.MessageIn])
_system = msgspec.json.Decoder(str | list[blocks.TextBlock] | None)
_tools = msgspec.json.Decoder(list[dict[str, Any]] | None)
_tool_choice = msgspec.json.Decoder(blocks.ToolChoiceIn | None)
_thinking = msgspec.json.Decoder(blocks.ThinkingIn | None)
_output_config = msgspec.json.Decoder(blocks.OutputConfigIn | None)
_format = msgspec.json.Decoder(blocks.FormatIn | None)
_metadata = msgspec.json.Decoder(blocks.MetadataIn | None)
_cache_control = msgspec.json.Decoder(blocks.CacheControl | None)

_MODES = {"auto": "auto", "any": "required", "tool": "only", "none": "none"}
# What other dialects call it.
_TIERS = {"standard_only": "default"}
# Fields with a treatment of their own below; all others go by FIELDS.
_READ = frozenset(
    (
        "model",
        "max_tokens",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "metadata",
        "service_tier",
        "stream",
        "cache_control",
    )
)
_TOOL_FIELDS = frozenset(("name", "description", "input_schema", "strict", "cache_control", "type"))
# Knobs of a tool with no place elsewhere → the value that says what is said without them.
_TOOL_KNOBS: Mapping[str, Any] = {"eager_input_streaming": False, "input_examples": []}
_DIRECT = ["direct"]


def own_field(fields: Mapping[str, msgspec.Raw]) -> str:
    """The first top-level field that only this dialect can serve, "" if there is none."""
    for name, raw in fields.items():
        known = FIELDS.get(name)
        if known is not None and known.treatment == "same-dialect" and openai.is_set(raw):
            if name == "inference_geo" and bytes(raw) == b'"global"':
                continue
            return name
    return "max_tokens" if bytes(fields.get("max_tokens", ABSENT)) == b"0" else ""


def tool_own_field(tool: Mapping[str, Any], at: str) -> str:
    """The same of one tool: tools that run at Anthropic or that it defines, and what goes with them."""
    if tool.get("type") not in (None, "custom"):
        return f"{at}.type"
    if tool.get("defer_loading"):
        return f"{at}.defer_loading"
    if tool.get("allowed_callers") not in (None, [], _DIRECT):
        return f"{at}.allowed_callers"
    return ""


def decode_request_body(body: bytes) -> Chat:
    """BadRequest naming the client's own field where it can't be read or said in another dialect."""
    fields = decode_request(_fields, body)
    if own := own_field(fields):
        raise own_only(own, "it")
    reader = Reader()
    tools = _tools_of(fields, reader)
    system, messages = _conversation(fields, reader)
    effort, output, dropped = _thought(fields)
    choice, parallel = _choice(fields)
    metadata = _value(_metadata, fields, "metadata")
    tier = _value(_string, fields, "service_tier") or ""
    stop = _value(_strings, fields, "stop_sequences")
    stream = _value(_flag, fields, "stream")
    cached = _value(_cache_control, fields, "cache_control")
    return Chat(
        model=_value(_string, fields, "model") or "",
        messages=messages,
        system=system,
        tools=tools,
        tool_choice=choice,
        parallel_tools=parallel,
        max_output_tokens=_value(_count, fields, "max_tokens"),
        temperature=_value(_number, fields, "temperature"),
        top_p=_value(_number, fields, "top_p"),
        top_k=_value(_count, fields, "top_k"),
        stop=tuple(stop or ()),
        output=output,
        effort=effort,
        service_tier=_TIERS.get(tier, tier),
        user=(metadata.user_id if metadata else None) or "",
        cached=cached_of(cached),
        stream=bool(stream),
        dropped=tuple(dict.fromkeys((*_unsaid(fields), *dropped, *reader.dropped))),
    )


def _value(decoder: msgspec.json.Decoder[Value | None], fields: Fields, name: str) -> Value | None:
    raw = fields.get(name)
    return None if raw is None else _decoded(decoder, raw, name)


def _decoded(decoder: msgspec.json.Decoder[Value], raw: msgspec.Raw, at: str) -> Value:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as wrong:
        raise _bad(wrong, at) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid(at, "can't be read") from None


def _bad(wrong: msgspec.ValidationError, at: str) -> BadRequest:
    message, _, path = str(wrong).partition(" - at ")
    param = at + path.strip("`").removeprefix("$")
    if message.startswith("Invalid value '"):
        value = message.removeprefix("Invalid value '").removesuffix("'")
        if value in OWN_BLOCKS:
            return own_only(param, value)
        return invalid(param, f"{value!r} is not known here")
    return invalid(param, message)


def _unsaid(fields: Fields) -> list[str]:
    """Top-level fields that say something and have no place in Chat."""
    said = []
    for name, raw in fields.items():
        if name in _READ or not openai.is_set(raw):
            continue
        if name == "speed" and bytes(raw) == b'"standard"':
            continue
        said.append(name)
    return said


# -- messages


def _conversation(fields: Fields, reader: Reader) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    raw = fields.get("messages")
    if raw is None:
        raise invalid("messages", "is missing")
    given = _decoded(_messages, raw, "messages")
    system = list(_texts(_value(_system, fields, "system"), reader, "system"))
    last_user = max((i for i, message in enumerate(given) if message.role == "user"), default=-1)
    messages: list[Message] = []
    for index, message in enumerate(given):
        content = message.content
        if message.role == "system":
            if bytes(message.output_config) not in (b"", b"null", b"{}"):
                reader.dropped.append("messages.output_config")
            # Anthropic itself does not show one that ends with the user's next message.
            if message.clear_at == "next_user_message" and index < last_user:
                continue
            if texts := _texts(content, reader, f"messages[{index}].content"):
                if messages:
                    messages.append(Message("system", texts))
                else:
                    system += texts
        elif isinstance(content, str):
            messages.append(Message(message.role, (Text(content),)))
        else:
            read = reader.user if message.role == "user" else reader.assistant
            try:
                messages.append(Message(message.role, read(content)))
            except Within as wrong:
                raise wrong.told(f"messages[{index}].content") from None
    return tuple(system), tuple(messages)


def _texts(content: str | Sequence[blocks.Block] | None, reader: Reader, at: str) -> tuple[Text, ...]:
    if isinstance(content, str):
        return (Text(content),) if content else ()
    texts = []
    for index, block in enumerate(content or ()):
        if not isinstance(block, blocks.TextBlock):
            raise invalid(f"{at}[{index}].type", "a system prompt holds text only")
        texts.append(reader.text(block))
    return tuple(texts)


# -- tools


def _tools_of(fields: Fields, reader: Reader) -> tuple[Tool, ...]:
    given = _value(_tools, fields, "tools")
    return tuple(_tool(tool, f"tools[{index}]", reader) for index, tool in enumerate(given or ()))


def _tool(tool: Mapping[str, Any], at: str, reader: Reader) -> Tool:
    if own := tool_own_field(tool, at):
        raise own_only(own, str(tool.get("type") or "it"))
    name, schema = tool.get("name"), tool.get("input_schema")
    description, strict = tool.get("description"), tool.get("strict")
    if not isinstance(name, str) or not name:
        raise invalid(f"{at}.name", "is to be a text")
    if not isinstance(schema, dict):
        raise invalid(f"{at}.input_schema", "is to be an object")
    if not isinstance(description, str | None):
        raise invalid(f"{at}.description", "is to be a text")
    if not isinstance(strict, bool | None):
        raise invalid(f"{at}.strict", "is to be true or false")
    control = tool.get("cache_control")
    try:
        cached = cached_of(msgspec.convert(control, blocks.CacheControl | None))
    except msgspec.ValidationError as wrong:
        raise _bad(wrong, f"{at}.cache_control") from None
    for key, value in tool.items():
        if key in _TOOL_KNOBS:
            if value is not None and value != _TOOL_KNOBS[key]:
                reader.dropped.append(f"tools.{key}")
        elif key not in _TOOL_FIELDS and key not in ("defer_loading", "allowed_callers"):
            raise invalid(f"{at}.{key}", "is not known here")
    return Tool(name, description or "", schema, strict, cached)


def _choice(fields: Fields) -> tuple[ToolChoice | None, bool | None]:
    choice = _value(_tool_choice, fields, "tool_choice")
    if choice is None:
        return None, None
    if choice.type == "tool" and not choice.name:
        raise invalid("tool_choice.name", "is missing")
    names = (choice.name,) if choice.type == "tool" else ()
    disabled = choice.disable_parallel_tool_use
    return ToolChoice(_MODES[choice.type], names), None if disabled is None else not disabled  # type: ignore[arg-type]


# -- thinking and structured output


def _thought(fields: Fields) -> tuple[Effort | None, OutputSchema | None, list[str]]:
    thinking = _value(_thinking, fields, "thinking")
    config = _value(_output_config, fields, "output_config") or blocks.OutputConfigIn()
    dropped = []
    if openai.is_set(config.task_budget):
        dropped.append("output_config.task_budget")
    older = _value(_format, fields, "output_format")
    if older is not None and config.format is not None:
        raise invalid("output_format", "stands beside output_config.format; give one of them")
    form = config.format or older
    output = OutputSchema(form.name, form.schema, True) if form is not None else None
    if thinking is not None and openai.is_set(thinking.block_binding):
        dropped.append("thinking.block_binding")
    return _effort(thinking, config.effort or ""), output, dropped


def _effort(thinking: blocks.ThinkingIn | None, level: str) -> Effort | None:
    if thinking is None:
        return Effort(level=level) if level else None
    # Notes between tool calls are all that is left of thinking with `between_tools`.
    if thinking.type in ("disabled", "between_tools"):
        return Effort(enabled=False)
    if thinking.type == "enabled" and thinking.budget_tokens is None:
        raise invalid("thinking.budget_tokens", "is missing")
    return Effort(
        level=level,
        budget_tokens=thinking.budget_tokens,
        adaptive=thinking.type == "adaptive",
        show=None if thinking.display is None else thinking.display != "omitted",
    )
