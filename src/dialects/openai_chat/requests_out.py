"""Chat → a provider's request. Source: OpenAI API reference, "Create chat completion"."""

from __future__ import annotations

from typing import Any

import msgspec

from .. import openai
from ..conversation import Chat, Encoded, Schema, Tool, ToolChoice, Upstream
from ..translation import CannotCarry
from .deviations import Deviations, deviations_of
from .messages_out import MessageWriter, hint_at

_PATH = "/chat/completions"
_ENCODE = msgspec.json.Encoder().encode
# What a tier of another dialect is called here; a tier that is not here is dropped.
_TIERS = {
    **{tier: tier for tier in ("auto", "default", "flex", "scale", "priority", "fast")},
    "standard": "default",
    "standard_only": "default",
}


def path_of(upstream: Upstream) -> str:
    """Behind the provider's base path."""
    return openai.deployed(upstream, _PATH)


def encode_request(chat: Chat, upstream: Upstream) -> Encoded:
    said = deviations_of(upstream)
    dropped: list[str] = []
    request: dict[str, Any] = {"model": upstream.model, "messages": ()}
    instructions = _output(chat, said, request, dropped)
    _tools(chat, said, request, dropped)
    _knobs(chat, upstream, said, request, dropped)
    writer = MessageWriter(chat, upstream, said, dropped)
    request["messages"] = writer.written(instructions)
    if chat.stream:
        request["stream"] = True
        if said.stream_usage:
            request["stream_options"] = {"include_usage": True}
    return Encoded(path_of(upstream), _ENCODE(request), (), tuple(dict.fromkeys(dropped)))


# -- tools


def _tools(chat: Chat, said: Deviations, request: dict[str, Any], dropped: list[str]) -> None:
    if not chat.tools:
        # OpenAI refuses both without tools; a choice that commands nothing means nothing without them.
        if chat.tool_choice is not None and chat.tool_choice.mode in ("required", "only"):
            dropped.append("tool_choice")
        return
    tools = chat.tools
    if chat.tool_choice is not None:
        request["tool_choice"] = chosen = _choice(chat.tool_choice)
        if not said.allowed_tools and isinstance(chosen, dict) and "allowed_tools" in chosen:
            tools = tuple(tool for tool in tools if tool.name in chat.tool_choice.names)
            if not tools:
                raise CannotCarry("tool_choice", "it names no tool of the request", "tool_choice")
            request["tool_choice"] = chosen["allowed_tools"]["mode"]
    request["tools"] = [_tool(tool, said, dropped) for tool in tools]
    if chat.parallel_tools is not None:
        if "parallel_tools" in said.unsupported:
            dropped.append("parallel_tools")
        else:
            request["parallel_tool_calls"] = chat.parallel_tools


def _tool(tool: Tool, said: Deviations, dropped: list[str]) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        if said.strict_tools:
            function["strict"] = tool.strict
        elif tool.strict:
            dropped.append("tools.strict")
    written: dict[str, Any] = {"type": "function", "function": function}
    if tool.cached is not None:
        # OpenAI has no place for a hint at a tool.
        style = said.cache if said.cache == "cache_control" else ""
        hint_at(written, tool.cached, style, dropped)
    return written


def _choice(choice: ToolChoice) -> Any:
    named = [{"type": "function", "function": {"name": name}} for name in choice.names]
    if not named or choice.mode == "none":
        return "required" if choice.mode == "only" else choice.mode
    if choice.mode == "only" and len(named) == 1:
        return named[0]
    mode = "auto" if choice.mode == "auto" else "required"
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}


# -- knobs


def _knobs(
    chat: Chat, upstream: Upstream, said: Deviations, request: dict[str, Any], dropped: list[str]
) -> None:
    if chat.choices > 1 and "choices" in said.unsupported:
        raise CannotCarry("choices", "this provider gives one answer to a call", "choices")
    level = _effort(chat, upstream, said, request, dropped)
    refused = said.unsupported | openai.refused_knobs(upstream.model, level)
    tier = _TIERS.get(chat.service_tier, "")
    wanted: tuple[tuple[str, str, Any], ...] = (
        ("max_output_tokens", said.max_tokens_field, chat.max_output_tokens),
        ("temperature", "temperature", chat.temperature),
        ("top_p", "top_p", chat.top_p),
        ("frequency_penalty", "frequency_penalty", chat.frequency_penalty),
        ("presence_penalty", "presence_penalty", chat.presence_penalty),
        ("seed", said.seed_field, chat.seed),
        ("stop", "stop", chat.stop or None),
        ("choices", "n", chat.choices if chat.choices > 1 else None),
        ("logprobs", "logprobs", chat.logprobs or None),
        ("top_logprobs", "top_logprobs", chat.top_logprobs),
        ("verbosity", "verbosity", chat.verbosity or None),
        ("service_tier", "service_tier", tier or None),
        ("user", "user", openai.bounded(chat.user) or None),
        ("cache_key", "prompt_cache_key", openai.bounded(chat.cache_key) or None),
    )
    for name, field, value in wanted:
        if value is None:
            continue
        if name not in refused:
            request[field] = value
        elif not (name in ("temperature", "top_p") and value == 1):  # 1 is what it does anyway
            dropped.append(name)
    if chat.top_k is not None:
        if "top_k" in said.extra:
            request["top_k"] = chat.top_k
        else:
            dropped.append("top_k")
    if chat.service_tier and not tier:
        dropped.append("service_tier")
    if chat.metadata:  # OpenAI takes it only with replies that it is to keep
        dropped.append("metadata")
    if chat.cached is not None:
        hint_at(request, chat.cached, said.cache if said.cache == "cache_control" else "", dropped)


def _effort(
    chat: Chat, upstream: Upstream, said: Deviations, request: dict[str, Any], dropped: list[str]
) -> str:
    """The level that is said; "" where none is, or none is known."""
    effort = chat.effort
    forced = chat.tool_choice is not None and chat.tool_choice.mode in ("required", "only")
    if forced and chat.tools and said.forced_choice == "not-thinking":
        if effort is not None and effort.enabled:
            dropped.append("effort")
        request["thinking"] = {"type": "disabled"}
        return "none"
    if effort is None:
        return ""
    wanted = openai.effort_level(effort)
    traits = openai.traits_of(upstream.model)
    levels = said.efforts or (openai.EFFORT_LEVELS if traits is None else traits.efforts)
    if said.reasoning_style == "none" or not levels:
        if wanted != "none":
            dropped.append("effort")
        return ""
    if said.reasoning_style == "reasoning":
        return _reasoning_object(chat, wanted, levels, request)
    if said.reasoning_style == "thinking":
        if wanted == "none":
            request["thinking"] = {"type": "disabled"}
            return "none"
        request["thinking"] = {"type": "enabled"}
    level = openai.closest_effort(wanted, levels)
    if level:
        request["reasoning_effort"] = level
    elif wanted:
        dropped.append("effort")
    return level


def _reasoning_object(chat: Chat, wanted: str, levels: tuple[str, ...], request: dict[str, Any]) -> str:
    """OpenRouter's: a level or a number of tokens, never both."""
    effort = chat.effort
    if effort is None:
        return ""
    said: dict[str, Any] = {}
    level = openai.closest_effort(wanted, levels)
    if effort.enabled and effort.budget_tokens is not None and not effort.level:
        said["max_tokens"] = effort.budget_tokens
    elif level:
        said["effort"] = level
    else:
        said["enabled"] = effort.enabled
    if effort.show is False:
        said["exclude"] = True
    request["reasoning"] = said
    return level


# -- structured output


def _output(chat: Chat, said: Deviations, request: dict[str, Any], dropped: list[str]) -> str:
    """What the instructions have to say of it, where the provider can't be held to a schema."""
    output = chat.output
    if output is None:
        return ""
    if output.schema is None:
        request["response_format"] = {"type": "json_object"}
        return ""
    if said.json_schema:
        named: dict[str, Any] = {"name": output.name or "output", "schema": output.schema}
        if output.strict is not None:
            named["strict"] = output.strict
        if output.description:
            named["description"] = output.description
        request["response_format"] = {"type": "json_schema", "json_schema": named}
        return ""
    request["response_format"] = {"type": "json_object"}
    dropped.append("output")
    return schema_in_words(output.schema, output.description)


def schema_in_words(schema: Schema, description: str) -> str:
    """For a provider that can't be held to one."""
    shown = _ENCODE(schema).decode()
    words = f"Answer with one JSON object and nothing else. It has to conform to this JSON schema:\n{shown}"
    return f"{words}\n{description}" if description else words
