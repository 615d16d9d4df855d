"""The canonical request → a provider's. Source: OpenAI API reference, "Create a model response", "Count input
tokens", "Function calling" and "Structured outputs" (strict schemas)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .. import openai
from ..conversation import Chat, Encoded, OutputSchema, Tool, Upstream
from ..translation import CannotCarry
from .items_out import ItemWriter
from .wire import deviation, path

Fields = dict[str, Any]

_LEAST_OUTPUT = 16
_MOST_METADATA, _LONGEST_VALUE = 16, 512
_TIERS = {
    **{tier: tier for tier in ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")},
    "standard": "default",
    "standard_only": "default",
}
_VERBOSITIES = frozenset(("low", "medium", "high"))
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
# Knobs of Chat that the Responses API does not have.
_LACKING = ("top_k", "frequency_penalty", "presence_penalty", "seed")


def encode_chat(chat: Chat, upstream: Upstream) -> Encoded:
    """CannotCarry where content has no place."""
    if chat.choices > 1:
        raise CannotCarry("choices", "openai-responses gives one answer a call", "choices")
    fields, dropped, writer = _prompt(chat, upstream)
    fields["store"] = False
    if chat.stream:
        fields["stream"] = True
    _limits(fields, dropped, chat, upstream)
    _sampling(fields, dropped, chat, upstream)
    reasons = chat.effort is not None and chat.effort.enabled and "effort" not in dropped
    if reasons or writer.has_own:  # a model that does not reason refuses it
        fields.setdefault("include", []).append("reasoning.encrypted_content")
    _labels(fields, dropped, chat)
    return Encoded(path(upstream, "/responses"), msgspec.json.encode(fields), (), tuple(dropped))


def encode_count(chat: Chat, upstream: Upstream) -> Encoded:
    """Only what the prompt is made of."""
    fields, _, _ = _prompt(chat, upstream)
    return Encoded(path(upstream, "/responses/input_tokens"), msgspec.json.encode(fields))


def decode_count(body: bytes) -> int:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    tokens = value.get("input_tokens") if isinstance(value, dict) else None
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise ValueError(f"no count of input tokens: {body[:60].decode('utf-8', 'replace')!r}")
    return tokens


def _prompt(chat: Chat, upstream: Upstream) -> tuple[Fields, dict[str, None], ItemWriter]:
    writer = ItemWriter(upstream)
    writer.write(chat)
    dropped = writer.dropped
    fields: Fields = {"model": upstream.model, "input": writer.items}
    if chat.system:
        fields["instructions"] = "\n\n".join(text.text for text in chat.system)
    if any(text.cached for text in chat.system) or any(tool.cached for tool in chat.tools):
        dropped["cached"] = None
    if chat.cached is not None and chat.cached.ttl:
        dropped["cached"] = None
    _tools(fields, dropped, chat)
    _text(fields, dropped, chat)
    _reasoning(fields, dropped, chat, upstream)
    return fields, dropped, writer


# -- tools and structured output


def _tools(fields: Fields, dropped: dict[str, None], chat: Chat) -> None:
    choice = chat.tool_choice
    if not chat.tools:
        if choice is not None and choice.mode in ("required", "only"):
            dropped["tool_choice"] = None
        return
    fields["tools"] = [_tool(tool, dropped) for tool in chat.tools]
    if chat.parallel_tools is not None:
        fields["parallel_tool_calls"] = chat.parallel_tools
    if choice is None:
        return
    named = [{"type": "function", "name": name} for name in choice.names]
    if choice.mode == "only" and len(named) == 1:
        fields["tool_choice"] = named[0]
    elif not named or choice.mode == "none":
        fields["tool_choice"] = choice.mode
    else:
        mode = "auto" if choice.mode == "auto" else "required"
        fields["tool_choice"] = {"type": "allowed_tools", "mode": mode, "tools": named}


def _tool(tool: Tool, dropped: dict[str, None]) -> Fields:
    """`strict` is always said: where it is not, OpenAI rewrites the schema to be strict."""
    schema = dict(tool.schema or {})
    schema.setdefault("type", "object")
    if schema["type"] == "object":
        schema.setdefault("properties", {})
    strict = bool(tool.strict)
    if strict and not is_strict(schema):
        strict, dropped["tools.strict"] = False, None
    fields: Fields = {"type": "function", "name": tool.name, "parameters": schema, "strict": strict}
    if tool.description:
        fields["description"] = tool.description
    return fields


def is_strict(schema: Any) -> bool:
    """Would OpenAI take this schema with `strict`? Every object has to be closed, and to need all of its
    properties ("Structured outputs", supported schemas)."""
    stack = [schema]
    while stack:
        inner = stack.pop()
        if isinstance(inner, list):
            stack.extend(inner)
        elif isinstance(inner, Mapping):
            properties = inner.get("properties")
            if inner.get("type") == "object" or isinstance(properties, Mapping):
                needed = inner.get("required") or []
                names = properties if isinstance(properties, Mapping) else {}
                if inner.get("additionalProperties") is not False or set(names) - set(needed):
                    return False
            if isinstance(properties, Mapping):
                stack.extend(properties.values())
            for name in ("$defs", "definitions"):
                if isinstance(defined := inner.get(name), Mapping):
                    stack.extend(defined.values())
            stack.extend(inner[name] for name in ("items", "anyOf", "allOf", "oneOf") if name in inner)
    return True


def _text(fields: Fields, dropped: dict[str, None], chat: Chat) -> None:
    text: Fields = {}
    if chat.output is not None:
        text["format"] = _format(chat.output, dropped)
    if chat.verbosity in _VERBOSITIES:
        text["verbosity"] = chat.verbosity
    elif chat.verbosity:
        dropped["verbosity"] = None
    if text:
        fields["text"] = text


def _format(output: OutputSchema, dropped: dict[str, None]) -> Fields:
    if output.schema is None:
        return {"type": "json_object"}
    strict = bool(output.strict)
    if strict and not is_strict(output.schema):
        strict, dropped["output.strict"] = False, None
    name = _NOT_IN_NAMES.sub("_", output.name)[:64] or "response"
    fields: Fields = {"type": "json_schema", "name": name, "schema": output.schema, "strict": strict}
    if output.description:
        fields["description"] = output.description
    return fields


# -- knobs


def _reasoning(fields: Fields, dropped: dict[str, None], chat: Chat, upstream: Upstream) -> None:
    """As the model's closest level. A model that is not known gets what the client says, but for "not at
    all" that was not said in OpenAI's words: who does not reason refuses the field."""
    effort = chat.effort
    if effort is None:
        return
    level, traits = openai.effort_level(effort), openai.traits_of(_model(upstream))
    if traits is not None and level:
        level = openai.closest_effort(level, traits.efforts)
    reasons = bool(traits.efforts) if traits is not None else effort.enabled or effort.level == "none"
    if not reasons or "effort" in _unsupported(upstream):
        if effort.enabled or traits is None:
            dropped["effort"] = None
        return
    reasoning: Fields = {"effort": level} if level else {}
    if effort.show and level != "none":
        reasoning["summary"] = "auto"
    if reasoning:
        fields["reasoning"] = reasoning


def _model(upstream: Upstream) -> str:
    return upstream.model.rpartition("/")[2]


def _unsupported(upstream: Upstream) -> Sequence[str]:
    """Knobs that this provider refuses, by their names in `Chat`."""
    names: Sequence[str] = deviation(upstream, "unsupported")
    return names


def _limits(fields: Fields, dropped: dict[str, None], chat: Chat, upstream: Upstream) -> None:
    if (most := chat.max_output_tokens) is not None:
        if upstream.max_output_tokens is not None:
            most = min(most, upstream.max_output_tokens)
        fields["max_output_tokens"] = max(most, _LEAST_OUTPUT)
    if chat.stop:
        dropped["stop"] = None


def _sampling(fields: Fields, dropped: dict[str, None], chat: Chat, upstream: Upstream) -> None:
    """A model that reasons refuses to be sampled otherwise."""
    level = (fields.get("reasoning") or {}).get("effort", "")
    refused = {*openai.refused_knobs(_model(upstream), level), *_unsupported(upstream)}
    for name in ("temperature", "top_p"):
        if getattr(chat, name) is not None:
            if name in refused:
                dropped[name] = None
            else:
                fields[name] = getattr(chat, name)
    if chat.logprobs:
        if "logprobs" in refused:
            dropped["logprobs"] = None
        else:
            fields["include"] = ["message.output_text.logprobs"]
            if chat.top_logprobs:
                fields["top_logprobs"] = chat.top_logprobs
    for name in _LACKING:
        if getattr(chat, name) is not None:
            dropped[name] = None


def _labels(fields: Fields, dropped: dict[str, None], chat: Chat) -> None:
    if chat.service_tier:
        if tier := _TIERS.get(chat.service_tier):
            fields["service_tier"] = tier
        else:
            dropped["service_tier"] = None
    if chat.user:
        fields["user"] = openai.bounded(chat.user)
    if chat.cache_key:
        fields["prompt_cache_key"] = openai.bounded(chat.cache_key)
    if chat.metadata:
        if _is_metadata(chat.metadata):
            fields["metadata"] = chat.metadata
        else:
            dropped["metadata"] = None


def _is_metadata(metadata: Mapping[str, str]) -> bool:
    """OpenAI bounds both number and length."""
    return len(metadata) <= _MOST_METADATA and all(
        len(key) <= openai.LONGEST_KEY and len(value) <= _LONGEST_VALUE for key, value in metadata.items()
    )
