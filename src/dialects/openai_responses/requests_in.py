"""A client's request → the canonical one. Source: OpenAI API reference, "Create a model response"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...core.errors import BadRequest
from .. import openai
from ..base import ABSENT, decode_json, decode_request
from ..conversation import Cached, Chat, Effort, OutputSchema, Schema, Text, Tool, ToolChoice
from .facts import is_own_tool, refuse_brokers_response
from .items_in import Items, bad, only_own


class _Format(msgspec.Struct):
    type: str = "text"
    name: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None
    verbosity: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class _CacheOptions(msgspec.Struct):
    mode: str | None = None
    ttl: str | None = None
    comparison_response_id: str | None = None


class _StreamOptions(msgspec.Struct):
    include_obfuscation: bool | None = None


class _Body(msgspec.Struct):
    """The fields that have a place in `Chat`, without `input`. What is raw is looked at on its own."""

    model: str
    instructions: str | None = None
    include: list[str] | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: _CacheOptions | None = None
    prompt_cache_retention: str | None = None
    reasoning: _Reasoning | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: float | None = None
    text: _Text | None = None
    tool_choice: msgspec.Raw = ABSENT
    tools: list[msgspec.Raw] | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    truncation: str | None = None
    user: str | None = None


class _Tool(msgspec.Struct):
    type: msgspec.Raw = ABSENT
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    format: msgspec.Raw = ABSENT
    is_async: msgspec.Raw = msgspec.field(default=ABSENT, name="async")
    allowed_callers: msgspec.Raw = ABSENT
    defer_loading: msgspec.Raw = ABSENT
    output_schema: msgspec.Raw = ABSENT


class _Choice(msgspec.Struct):
    type: str
    name: str = ""
    mode: str = "auto"
    tools: list[_Choice] | None = None


_body = msgspec.json.Decoder(_Body)
_all_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_tool = msgspec.json.Decoder(_Tool).decode
_choice = msgspec.json.Decoder(_Choice).decode
# Fields that only members of this dialect can serve, where they say something.
_ONLY_OWN = (
    "background",
    "context_management",
    "conversation",
    "moderation",
    "previous_response_id",
    "prompt",
    "store",
)
_KEYS = {name: name.encode() for name in _Body.__struct_fields__}
_KNOBS = frozenset(_Body.__struct_fields__) | frozenset(_ONLY_OWN) | {"input"}
_LOGPROBS = "message.output_text.logprobs"
_CARRIED_INCLUDES = frozenset((_LOGPROBS, "reasoning.encrypted_content"))
# Knobs of a tool that say something to OpenAI's hosted tools only.
_TOOL_KNOBS = ("allowed_callers", "defer_loading", "output_schema")
# What a reply says again of its request as the client wrote it.
_ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "temperature",
    "tool_choice",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)
CUSTOM_SCHEMA: Schema = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The tool's input, as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}


def decode_chat(raw: bytes) -> Chat:
    """BadRequest naming the client's own field where it can't be read or translated."""
    fields = decode_request(_all_fields, raw)
    body = decode_request(_body, _without_input(fields))
    _refuse_own(fields)
    given = fields.get("input", ABSENT)
    if not openai.is_set(given):
        raise bad("input", "is missing")
    dropped = dict.fromkeys(_dropped(body, fields))
    items = Items()
    try:
        items.read(given)
        tools, echoed, custom = _tools(body.tools or [], dropped)
        choice = _tool_choice(body.tool_choice)
    except UnicodeDecodeError:
        raise BadRequest(400, "invalid_json", "the body is not valid JSON: it is not UTF-8") from None
    except RecursionError:
        raise BadRequest(400, "invalid_json", "the body is nested too deeply to be read") from None
    system = [Text(body.instructions)] if body.instructions else []
    text = body.text or _Text()
    return Chat(
        model=body.model,
        messages=tuple(items.messages),
        system=(*system, *items.system),
        tools=tools,
        tool_choice=choice,
        parallel_tools=body.parallel_tool_calls,
        max_output_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        logprobs=_LOGPROBS in (body.include or ()),
        top_logprobs=body.top_logprobs or None,
        output=_output(text.format),
        effort=_effort(body.reasoning),
        verbosity=text.verbosity or "",
        service_tier=body.service_tier or "",
        user=body.safety_identifier or body.user or "",
        metadata=body.metadata or {},
        cache_key=body.prompt_cache_key or "",
        cached=_cached(body),
        stream=bool(body.stream),
        dropped=(*dropped, *items.dropped),
        said_as={"user": "user"} if body.user and not body.safety_identifier else {},
        echo=_echo(body, fields, echoed, custom),
    )


def _without_input(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """The fields of `_Body` alone: nearly all of a request is its input, which is read once, elsewhere."""
    return b"{%b}" % b",".join(
        b'"%b":%b' % (_KEYS[name], raw) for name, raw in fields.items() if name in _KEYS
    )


def _refuse_own(fields: Mapping[str, msgspec.Raw]) -> None:
    for name in _ONLY_OWN:
        if openai.is_set(fields.get(name, ABSENT)):
            if name == "previous_response_id" and isinstance(ident := decode_json(fields[name]), str):
                refuse_brokers_response(ident)
            raise only_own(name, "this")
    options = fields.get("prompt_cache_options", ABSENT)
    if b'"prewarm"' in bytes(options) and (decode_json(options) or {}).get("prewarm"):
        raise only_own("prompt_cache_options.prewarm", "this")


def _dropped(body: _Body, fields: Mapping[str, msgspec.Raw]) -> list[str]:
    """The client's knobs that have no place in `Chat`, and fields that nobody knows."""
    names = [name for name, raw in fields.items() if name not in _KNOBS and openai.is_set(raw)]
    if body.truncation not in (None, "disabled"):
        names.append("truncation")
    if set(body.include or ()) - _CARRIED_INCLUDES:
        names.append("include")
    if body.stream_options and body.stream_options.include_obfuscation:
        names.append("stream_options")
    if reasoning := body.reasoning:
        names += [f"reasoning.{knob}" for knob in ("context", "mode") if getattr(reasoning, knob) is not None]
    if body.prompt_cache_options and body.prompt_cache_options.comparison_response_id:
        names.append("prompt_cache_options.comparison_response_id")
    return names


# -- tools


def _tools(
    raws: list[msgspec.Raw], dropped: dict[str, None]
) -> tuple[tuple[Tool, ...], list[Any], frozenset[str]]:
    """(the tools, as a reply says them again, names of the custom ones)."""
    tools: list[Tool] = []
    echoed: list[Any] = []
    custom: set[str] = set()
    for number, raw in enumerate(raws):
        field = f"tools[{number}]"
        try:
            tool = _tool(raw)
        except msgspec.DecodeError as wrong:
            message, _, path = str(wrong).partition(" - at ")
            raise bad(field + path.strip("`").removeprefix("$"), message) from None
        if is_own_tool(tool.type, tool.format, tool.is_async):
            raise only_own(field, f"such a tool ({decode_json(tool.type)})")
        if not tool.name:
            raise bad(f"{field}.name", "is missing")
        kind = decode_json(tool.type)
        for knob in _TOOL_KNOBS:
            if (value := getattr(tool, knob)) is not ABSENT and openai.is_set(value):
                dropped[f"tools.{kind}.{knob}"] = None
        if kind == "custom":
            custom.add(tool.name)
            tools.append(Tool(tool.name, tool.description or "", CUSTOM_SCHEMA))
            echoed.append(raw)
        else:
            tools.append(Tool(tool.name, tool.description or "", tool.parameters, tool.strict))
            text = bytes(raw)
            known = b'"parameters"' in text and b'"strict"' in text
            echoed.append(raw if known else _said_again(tool))
    return tuple(tools), echoed, frozenset(custom)


def _said_again(tool: _Tool) -> dict[str, Any]:
    """A function as a response has it: with the fields that a request may leave out."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def _tool_choice(raw: msgspec.Raw) -> ToolChoice | None:
    if not openai.is_set(raw):
        return None
    field = "tool_choice"
    if bytes(raw)[:1] == b'"':
        mode = decode_json(raw)
        if mode in ("auto", "none", "required"):
            return ToolChoice(mode)
        raise bad(field, f"{mode!r} is none of auto, none, required")
    try:
        choice = _choice(raw)
    except msgspec.DecodeError as wrong:
        message, _, path = str(wrong).partition(" - at ")
        raise bad(field + path.strip("`").removeprefix("$"), message) from None
    if choice.type in ("function", "custom"):
        if not choice.name:
            raise bad(f"{field}.name", "is missing")
        return ToolChoice("only", (choice.name,))
    if choice.type != "allowed_tools":
        raise only_own(field, f"a choice of {choice.type}")
    allowed = choice.tools or []
    for number, tool in enumerate(allowed):
        if tool.type not in ("function", "custom"):
            raise only_own(f"{field}.tools[{number}]", f"a choice of {tool.type}")
    names = tuple(tool.name for tool in allowed)
    if choice.mode not in ("auto", "required"):
        raise bad(f"{field}.mode", f"{choice.mode!r} is none of auto, required")
    if choice.mode == "auto":
        return ToolChoice("auto", names)
    return ToolChoice("only", names) if names else ToolChoice("required")


# -- knobs


def _output(format: _Format | None) -> OutputSchema | None:
    if format is None or format.type == "text":
        return None
    if format.type == "json_object":
        return OutputSchema()
    if format.type != "json_schema":
        raise bad("text.format.type", f"{format.type!r} is none of text, json_schema, json_object")
    if format.schema is None:
        raise bad("text.format.schema", "is missing")
    return OutputSchema(format.name, format.schema, format.strict, format.description or "")


def _effort(reasoning: _Reasoning | None) -> Effort | None:
    if reasoning is None:
        return None
    show = True if reasoning.summary or reasoning.generate_summary else None
    if reasoning.effort is None and show is None:
        return None
    level = reasoning.effort or ""
    return Effort(level != "none", level, show=show)


def _cached(body: _Body) -> Cached | None:
    """A hint for the whole prompt. OpenAI's lifetimes, 30 minutes and more, are as long as any of others."""
    options = body.prompt_cache_options
    if options is not None and options.mode != "explicit":
        return Cached("1h" if options.ttl else "")
    return Cached("1h") if body.prompt_cache_retention == "24h" else None


def _echo(
    body: _Body, fields: Mapping[str, msgspec.Raw], tools: list[Any], custom: frozenset[str]
) -> dict[str, Any]:
    echo: dict[str, Any] = {
        name: raw
        for name in _ECHOED
        if (raw := fields.get(name, ABSENT)) is not ABSENT and bytes(raw) != b"null"
    }
    if tools:
        echo["tools"] = tools
    if body.text is not None:
        echo["text"] = {"format": {"type": "text"}, **(decode_json(fields["text"]) or {})}
    if custom:
        echo["custom"] = custom
    # Who asks for summaries, or means to send reasoning back, looks for its text there.
    asks = body.reasoning is not None and bool(body.reasoning.summary or body.reasoning.generate_summary)
    if asks or "reasoning.encrypted_content" in (body.include or ()):
        echo["summaries"] = True
    return echo
