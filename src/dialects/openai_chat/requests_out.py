"""Chat → a provider's request. Source: OpenAI API reference, "Create chat completion"."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from .. import openai
from ..blobs import readable
from ..conversation import (
    Audio,
    Chat,
    Document,
    Encoded,
    Image,
    Inline,
    Message,
    Part,
    PlainText,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Upstream,
    Url,
)
from ..translation import CannotCarry
from .deviations import deviation
from .requests_in import REASONING

_PATH = "/chat/completions"
# Fields that both sides call the same.
_SAME = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "top_logprobs")


def path_of(upstream: Upstream) -> str:
    if upstream.variant != "azure":
        return _PATH
    return f"/openai/deployments/{upstream.model}{_PATH}?api-version={upstream.api_version}"


def encode_request(chat: Chat, upstream: Upstream) -> Encoded:
    dropped: list[str] = []
    request: dict[str, Any] = {"model": upstream.model, "messages": list(_messages(chat, upstream))}
    _tools(chat, upstream, request)
    _knobs(chat, upstream, request, dropped)
    if chat.stream:
        request["stream"] = True
        if deviation(upstream.deviations, "stream_usage"):
            request["stream_options"] = {"include_usage": True}
    return Encoded(path_of(upstream), msgspec.json.encode(request), (), tuple(dropped))


# -- messages


def _messages(chat: Chat, upstream: Upstream) -> Iterator[dict[str, Any]]:
    role = deviation(upstream.deviations, "system_role")
    if chat.system:
        yield {"role": role, "content": _joined(chat.system)}
    for n, message in enumerate(chat.messages):
        if message.role == "assistant":
            yield _assistant(message, upstream, f"messages[{n}]")
        elif message.role == "system":
            yield {"role": role, "content": _joined([p for p in message.parts if isinstance(p, Text)])}
        else:
            yield from _user(message, upstream, f"messages[{n}]")


def _joined(texts: Any) -> Any:
    """One text as it is, several as parts."""
    texts = list(texts)
    if len(texts) == 1:
        return texts[0].text
    return [{"type": "text", "text": text.text} for text in texts]


def _user(message: Message, upstream: Upstream, field: str) -> Iterator[dict[str, Any]]:
    """Tool results are messages of their own; what they show goes into the user's message behind them."""
    shown: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    for n, part in enumerate(message.parts):
        if isinstance(part, ToolResult):
            yield _tool_message(part, upstream, shown, f"{field}.parts[{n}]")
        else:
            rest.append(_part(part, f"{field}.parts[{n}]"))
    content = [*shown, *rest]
    if not content:
        return
    plain = content[0]["text"] if len(content) == 1 and content[0]["type"] == "text" else content
    yield {"role": "user", "content": plain, **({"name": message.name} if message.name else {})}


def _tool_message(
    result: ToolResult, upstream: Upstream, shown: list[dict[str, Any]], field: str
) -> dict[str, Any]:
    texts = []
    for part in result.parts:
        if isinstance(part, Text):
            texts.append(part.text)
        else:
            shown.append(_part(part, field))
    if result.is_error and not (texts and texts[0].lower().startswith("error")):
        texts = ["Error: " + (texts[0] if texts else ""), *texts[1:]]
    content: Any = texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]
    return {"role": "tool", "tool_call_id": call_id(result.call_id, upstream), "content": content or ""}


def _part(part: Part, field: str) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(source, detail):
            image = {"url": _url(source, field), **({"detail": detail} if detail else {})}
            return {"type": "image_url", "image_url": image}
        case Audio(format, data):
            return {"type": "input_audio", "input_audio": {"data": data, "format": format}}
        case Document(source, name):
            if isinstance(source, Url):
                raise CannotCarry(field, "Chat Completions takes documents as base64 only", field)
            return {
                "type": "file",
                "file": {"filename": name or "document", "file_data": _url(source, field)},
            }
        case Refusal(text):
            return {"type": "text", "text": text}
    raise CannotCarry(field, f"a user's message has no {type(part).__name__}", field)


def _url(source: Url | Inline | PlainText, field: str) -> str:
    match source:
        case Url(url):
            return url
        case Inline(media_type, data):
            return f"data:{media_type};base64,{data}"
    raise CannotCarry(field, "Chat Completions has no documents of plain text", field)


def _assistant(message: Message, upstream: Upstream, field: str) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant"}
    texts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    reasoning: list[str] = []
    for part in message.parts:
        match part:
            case Text(text):
                texts.append({"type": "text", "text": text})
            case Refusal(text):
                texts.append({"type": "refusal", "refusal": text})
            case ToolCall():
                calls.append(_call(part, upstream))
            case Reasoning(text, blob):
                own = blob is not None and readable(blob, upstream, REASONING)
                if text and (own or blob is None):
                    reasoning.append(text)
            case _:
                raise CannotCarry(field, f"an assistant's message has no {type(part).__name__}", field)
    if texts:
        plain = len(texts) == 1 and texts[0]["type"] == "text"
        said["content"] = texts[0]["text"] if plain else texts
    else:
        said["content"] = None if calls else ""
    echo = deviation(upstream.deviations, "reasoning_field")
    if echo and reasoning:
        said[echo] = "\n\n".join(reasoning)
    if calls:
        said["tool_calls"] = calls
    return said


def _call(call: ToolCall, upstream: Upstream) -> dict[str, Any]:
    ident = call_id(call.id, upstream)
    if call.custom:
        return {"id": ident, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": ident, "type": "function", "function": function}


def call_id(ident: str, upstream: Upstream) -> str:
    """Some take ids of their own form only: others are mapped, always to the same."""
    if deviation(upstream.deviations, "tool_call_ids") != "9-alphanumeric":
        return ident
    if len(ident) == 9 and ident.isalnum() and ident.isascii():
        return ident
    return hashlib.sha256(ident.encode()).hexdigest()[:9]


# -- tools and knobs


def _tools(chat: Chat, upstream: Upstream, request: dict[str, Any]) -> None:
    if not chat.tools:
        return
    strict = deviation(upstream.deviations, "strict_tools")
    tools = []
    for tool in chat.tools:
        function: dict[str, Any] = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        if tool.schema is not None:
            function["parameters"] = tool.schema
        if tool.strict is not None and strict:
            function["strict"] = tool.strict
        tools.append({"type": "function", "function": function})
    request["tools"] = tools
    choice = chat.tool_choice
    if choice is not None:
        named = [{"type": "function", "function": {"name": name}} for name in choice.names]
        if choice.mode == "only" and len(named) == 1:
            request["tool_choice"] = named[0]
        elif named:
            mode = "required" if choice.mode in ("only", "required") else "auto"
            allowed = {"mode": mode, "tools": named}
            request["tool_choice"] = {"type": "allowed_tools", "allowed_tools": allowed}
        else:
            request["tool_choice"] = choice.mode
    if chat.parallel_tools is not None:
        request["parallel_tool_calls"] = chat.parallel_tools


def _knobs(chat: Chat, upstream: Upstream, request: dict[str, Any], dropped: list[str]) -> None:
    said = upstream.deviations
    level = _effort(chat, upstream, dropped)
    refused = frozenset(deviation(said, "unsupported")) | openai.refused_knobs(upstream.model, level)
    wanted: dict[str, tuple[str, Any]] = {name: (name, getattr(chat, name)) for name in _SAME}
    wanted |= {
        "max_output_tokens": (deviation(said, "max_tokens_field"), chat.max_output_tokens),
        "stop": ("stop", list(chat.stop) or None),
        "choices": ("n", chat.choices if chat.choices > 1 else None),
        "logprobs": ("logprobs", chat.logprobs or None),
        "verbosity": ("verbosity", chat.verbosity or None),
        "service_tier": ("service_tier", _TIERS.get(chat.service_tier)),
        "user": ("user", chat.user or None),
        "cache_key": ("prompt_cache_key", chat.cache_key or None),
        "effort": ("reasoning_effort", level or None),
    }
    for name, (field, value) in wanted.items():
        if value is None:
            continue
        if name == "choices" and name in refused:
            raise CannotCarry("choices", "this provider gives one answer a call", "choices")
        if name in refused:
            dropped.append(name)
        else:
            request[field] = value
    for name, lost in (
        ("top_k", chat.top_k is not None),
        ("cached", chat.cached is not None),
        ("metadata", bool(chat.metadata)),
    ):
        if lost:
            dropped.append(name)
    _output(chat, said, request, dropped)


_TIERS = {
    "auto": "auto",
    "default": "default",
    "standard_only": "default",
    "flex": "flex",
    "priority": "priority",
}


def _effort(chat: Chat, upstream: Upstream, dropped: list[str]) -> str:
    if chat.effort is None:
        return ""
    level = openai.effort_level(chat.effort)
    traits = openai.traits_of(upstream.model)
    if not deviation(upstream.deviations, "reasoning_effort") or (traits is not None and not traits.efforts):
        if level != "none":
            dropped.append("effort")
        return ""
    return openai.closest_effort(level, traits.efforts) if traits is not None and level else level


def _output(chat: Chat, said: Mapping[str, Any], request: dict[str, Any], dropped: list[str]) -> None:
    output = chat.output
    if output is None:
        return
    if output.schema is None or not deviation(said, "json_schema"):
        request["response_format"] = {"type": "json_object"}
        if output.schema is not None:
            dropped.append("output")
        return
    schema: dict[str, Any] = {"name": output.name or "output", "schema": output.schema}
    if output.strict is not None:
        schema["strict"] = output.strict
    if output.description:
        schema["description"] = output.description
    request["response_format"] = {"type": "json_schema", "json_schema": schema}
