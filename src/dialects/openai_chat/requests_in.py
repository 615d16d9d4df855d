"""A client's request → Chat. Source: OpenAI API reference, "Create chat completion"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .. import base, openai
from ..conversation import Cached, Chat, Effort, OutputSchema, Tool, ToolChoice
from .messages_in import cache_hint, read_messages
from .wire import (
    flag,
    integer,
    items,
    mapping,
    number,
    only_own,
    optional_mapping,
    optional_text,
    text,
    texts,
    wrong,
)

_decoder = msgspec.json.Decoder(dict[str, Any])

# What is read below, by its name in the request. `reasoning` is OpenRouter's, `thinking` DeepSeek's.
_READ = frozenset(
    (
        *("model", "messages", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"),
        *("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "seed", "stop", "n"),
        *("frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "response_format"),
        *("reasoning_effort", "reasoning", "thinking", "verbosity", "service_tier", "metadata"),
        *("user", "safety_identifier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("cache_control", "stream", "stream_options", "store", "modalities"),
    )
)
_ONLY_OWN = ("audio", "web_search_options", "moderation")


def decode_request(body: bytes) -> Chat:
    request = base.decode_request(_decoder, body)
    _refuse_own(request)
    conversation = read_messages(request.get("messages"))
    is_stream = flag(request.get("stream"), "stream") is True
    most = integer(request.get("max_completion_tokens"), "max_completion_tokens", 1)
    if most is None:
        most = integer(request.get("max_tokens"), "max_tokens", 1)
    stop = request.get("stop")
    legacy = bool(request.get("functions"))
    tools, custom = _tools(request)
    return Chat(
        model=text(request.get("model"), "model"),
        messages=conversation.messages,
        system=conversation.system,
        tools=tuple(tools),
        tool_choice=_choice(request),
        # A reply has room for one call only where the client knows no tools.
        parallel_tools=False if legacy else flag(request.get("parallel_tool_calls"), "parallel_tool_calls"),
        max_output_tokens=most,
        temperature=number(request.get("temperature"), "temperature"),
        top_p=number(request.get("top_p"), "top_p"),
        top_k=integer(request.get("top_k"), "top_k"),
        frequency_penalty=number(request.get("frequency_penalty"), "frequency_penalty"),
        presence_penalty=number(request.get("presence_penalty"), "presence_penalty"),
        seed=integer(request.get("seed"), "seed"),
        stop=(stop,) if isinstance(stop, str) else texts(stop, "stop"),
        choices=integer(request.get("n"), "n", 1) or 1,
        logprobs=flag(request.get("logprobs"), "logprobs") is True,
        top_logprobs=integer(request.get("top_logprobs"), "top_logprobs", 0),
        output=_output(request.get("response_format")),
        effort=_effort(request),
        verbosity=optional_text(request.get("verbosity"), "verbosity"),
        service_tier=optional_text(request.get("service_tier"), "service_tier"),
        user=optional_text(request.get("safety_identifier"), "safety_identifier")
        or optional_text(request.get("user"), "user"),
        metadata=_metadata(request.get("metadata")),
        cache_key=optional_text(request.get("prompt_cache_key"), "prompt_cache_key"),
        cached=_cached(request),
        stream=is_stream,
        include_usage=not is_stream or _asks_usage(request.get("stream_options")),
        dropped=tuple(_lost(request)),
        said_as=_said_as(request),
        echo={"function_call": legacy, "custom": custom} if legacy or custom else {},
    )


def _said_as(request: Mapping[str, Any]) -> dict[str, str]:
    """Where two fields say one thing: which of them this client used."""
    said = {}
    if request.get("safety_identifier"):
        said["user"] = "safety_identifier"
    if request.get("max_completion_tokens") is None and "max_tokens" in request:
        said["max_output_tokens"] = "max_tokens"
    return said


def only_members(request: Mapping[str, Any]) -> str:
    """The first field that only members of this dialect can serve; "" where there is none."""
    for name in _ONLY_OWN:
        # {} asks for a search as well, with nothing special about it.
        if request.get(name) or (name == "web_search_options" and request.get(name) == {}):
            return name
    if request.get("store") is True:
        return "store"
    modalities = request.get("modalities")
    return "modalities" if isinstance(modalities, list) and "audio" in modalities else ""


def _refuse_own(request: Mapping[str, Any]) -> None:
    if name := only_members(request):
        raise only_own(name, "only members that speak openai-chat themselves can serve it")


def _lost(request: Mapping[str, Any]) -> list[str]:
    lost = [name for name, value in request.items() if name not in _READ and value is not None]
    options = request.get("stream_options")
    if isinstance(options, dict) and options.get("include_obfuscation"):
        lost.append("stream_options.include_obfuscation")
    return lost


def _asks_usage(options: Any) -> bool:
    asked = optional_mapping(options, "stream_options")
    return flag(asked.get("include_usage"), "stream_options.include_usage") is True


def _metadata(value: Any) -> dict[str, str]:
    return {
        name: text(each, f"metadata.{name}") for name, each in optional_mapping(value, "metadata").items()
    }


def _cached(request: Mapping[str, Any]) -> Cached | None:
    """A hint for the whole prompt. OpenAI's lifetimes are all nearer to an hour than to five minutes."""
    if isinstance(request.get("cache_control"), dict):
        return cache_hint(request)
    options = optional_mapping(request.get("prompt_cache_options"), "prompt_cache_options")
    if options and options.get("mode") != "explicit":
        return Cached("1h" if options.get("ttl") else "")
    return Cached("1h") if request.get("prompt_cache_retention") == "24h" else None


# -- tools


def _tools(request: Mapping[str, Any]) -> tuple[list[Tool], list[str]]:
    """(the tools, names of those that take any text: a function of one text stands for each)."""
    tools: list[Tool] = []
    custom: list[str] = []
    for n, given in enumerate(items(request.get("tools"), "tools")):
        field = f"tools[{n}]"
        tool = mapping(given, field)
        kind = tool.get("type", "function")
        if kind == "function":
            function = mapping(tool.get("function"), f"{field}.function")
            tools.append(_tool(function, f"{field}.function", cache_hint(tool) or cache_hint(function)))
        elif kind == "custom":
            free = mapping(tool.get("custom"), f"{field}.custom")
            tools.append(_custom_tool(free, f"{field}.custom"))
            custom.append(tools[-1].name)
        else:
            raise only_own(f"{field}.type", f"{kind!r} can't be translated: function and custom can")
    for n, given in enumerate(items(request.get("functions"), "functions")):
        tools.append(_tool(mapping(given, f"functions[{n}]"), f"functions[{n}]", None))
    return tools, custom


def _custom_tool(free: Mapping[str, Any], field: str) -> Tool:
    form = optional_mapping(free.get("format"), f"{field}.format")
    if form.get("type", "text") != "text":
        raise only_own(f"{field}.format", "a grammar can't be translated")
    name = text(free.get("name"), f"{field}.name")
    return Tool(name, optional_text(free.get("description"), f"{field}.description"), openai.CUSTOM_SCHEMA)


def _tool(function: Mapping[str, Any], field: str, cached: Cached | None) -> Tool:
    parameters = function.get("parameters")
    return Tool(
        text(function.get("name"), f"{field}.name"),
        optional_text(function.get("description"), f"{field}.description"),
        None if parameters is None else mapping(parameters, f"{field}.parameters"),
        flag(function.get("strict"), f"{field}.strict"),
        cached,
    )


def _choice(request: Mapping[str, Any]) -> ToolChoice | None:
    choice, field = request.get("tool_choice"), "tool_choice"
    if choice is None:
        choice, field = request.get("function_call"), "function_call"
    match choice:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case "any":  # Mistral's
            return ToolChoice("required")
        case {"type": "allowed_tools"}:
            return _allowed(mapping(choice.get("allowed_tools"), f"{field}.allowed_tools"), field)
        case {"type": "function" | "custom"}:
            return ToolChoice("only", (_named(choice, field),))
        case {"name": str(name)} if field == "function_call":
            return ToolChoice("only", (name,))
    raise wrong(field, "has to be auto, none, required, a function, or allowed_tools")


def _named(chosen: Mapping[str, Any], field: str) -> str:
    kind = "custom" if chosen.get("type") == "custom" else "function"
    tool = mapping(chosen.get(kind), f"{field}.{kind}")
    return text(tool.get("name"), f"{field}.{kind}.name")


def _allowed(allowed: Mapping[str, Any], field: str) -> ToolChoice:
    names = []
    for n, given in enumerate(items(allowed.get("tools"), f"{field}.allowed_tools.tools")):
        here = f"{field}.allowed_tools.tools[{n}]"
        names.append(_named(mapping(given, here), here))
    match allowed.get("mode"):
        case "auto" | "required" as mode:
            return ToolChoice(mode, tuple(names))
    raise wrong(f"{field}.allowed_tools.mode", "has to be auto or required")


# -- output and effort


def _output(value: Any) -> OutputSchema | None:
    asked = optional_mapping(value, "response_format")
    match asked.get("type"):
        case "json_schema":
            field = "response_format.json_schema"
            named = mapping(asked.get("json_schema"), field)
            schema = named.get("schema")
            return OutputSchema(
                optional_text(named.get("name"), f"{field}.name"),
                None if schema is None else mapping(schema, f"{field}.schema"),
                flag(named.get("strict"), f"{field}.strict"),
                optional_text(named.get("description"), f"{field}.description"),
            )
        case "json_object":
            return OutputSchema()
        case "text":
            return None
        case None if not asked:
            return None
    raise only_own("response_format.type", "has to be text, json_object or json_schema")


def _effort(request: Mapping[str, Any]) -> Effort | None:
    level = optional_text(request.get("reasoning_effort"), "reasoning_effort")
    asked = optional_mapping(request.get("reasoning"), "reasoning")
    thinking = optional_mapping(request.get("thinking"), "thinking")
    level = level or optional_text(asked.get("effort"), "reasoning.effort")
    budget = integer(asked.get("max_tokens"), "reasoning.max_tokens", 1)
    if budget is None:
        budget = integer(thinking.get("budget_tokens"), "thinking.budget_tokens", 1)
    off = asked.get("enabled") is False or thinking.get("type") == "disabled" or level == "none"
    on = asked.get("enabled") is True or thinking.get("type") in ("enabled", "adaptive")
    if not (off or on or level or budget is not None):
        return None
    show = None if not asked else asked.get("exclude") is not True
    return Effort(not off, "none" if off else level, budget, on and not level and budget is None, show)
