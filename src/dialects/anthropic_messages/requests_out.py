"""Chat → a Messages or Count tokens request.

Sources: Anthropic API reference, "Messages", "Count tokens"; "Migrating to API version 2026-10-21"; "Prompt
caching"; "Structured outputs"; "Tool use"; Google Cloud, "Claude models", and Amazon Bedrock user guide,
"Anthropic Claude Messages API", for the variants.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from ..conversation import Cached, Chat, Encoded, Schema, Tool, Upstream
from ..translation import CannotCarry
from .content_out import Wire, Writer
from .models import traits_of
from .schemas import MOST_STRICT_TOOLS, Unenforceable, enforced, is_too_much
from .thinking_out import Thought, thought
from .wire import API_VERSION, BEDROCK_VERSION, NO_SAMPLING_SINCE, VERTEX_VERSION, path

_MOST_MARKS = 4
_PLACEHOLDER = "."  # where the dialect wants a word, and the client has none
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_TIERS = {"auto": "auto", "priority": "auto", "default": "standard_only", "standard": "standard_only"}
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "only": "tool"}
# Knobs that Anthropic has not: (name in Chat, the value that says nothing).
_UNKNOWN: tuple[tuple[str, Any], ...] = (
    ("frequency_penalty", None),
    ("presence_penalty", None),
    ("seed", None),
    ("logprobs", False),
    ("top_logprobs", None),
    ("verbosity", ""),
    ("cache_key", ""),
)
# Bedrock's cross-region profiles have the place in front of the model; only the model itself counts tokens.
_PLACE = re.compile(r"(?:us-gov|us|eu|apac|jp|au|ca|in|global)\.(?=anthropic\.)")
# With thinking a model takes no less than this of top_p.
_LEAST_TOP_P = 0.95


def encode_request(chat: Chat, upstream: Upstream) -> Encoded:
    """CannotCarry where content has no place; what the provider lacks otherwise is named in `dropped`."""
    writer = _Request(chat, upstream)
    body = writer.body()
    if upstream.variant != "bedrock" and chat.stream:
        body["stream"] = True
    headers = () if upstream.variant else (("anthropic-version", upstream.api_version or API_VERSION),)
    place = path(upstream, chat.stream, "chat")
    return Encoded(place, msgspec.json.encode(body), headers, tuple(writer.dropped))


def encode_count(chat: Chat, upstream: Upstream) -> Encoded:
    """The same prompt. Bedrock counts what an InvokeModel request would be."""
    writer = _Request(chat, upstream)
    body = writer.body()
    dropped = tuple(writer.dropped)
    if upstream.variant == "bedrock":
        inner = base64.b64encode(msgspec.json.encode(body)).decode()
        model = quote(_PLACE.sub("", upstream.model), safe=":")
        wrapped = msgspec.json.encode({"input": {"invokeModel": {"body": inner}}})
        return Encoded(f"/model/{model}/count-tokens", wrapped, (), dropped)
    for name in ("max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier"):
        body.pop(name, None)
    if upstream.variant == "vertex":
        body["model"] = upstream.model
    headers = () if upstream.variant else (("anthropic-version", upstream.api_version or API_VERSION),)
    return Encoded(path(upstream, False, "count"), msgspec.json.encode(body), headers, dropped)


class _Request:
    """One request on its way into Anthropic's words."""

    def __init__(self, chat: Chat, upstream: Upstream) -> None:
        self._chat = chat
        self._upstream = upstream
        self._traits = traits_of(upstream)
        self._writer = Writer(upstream, self._traits)
        self.dropped: dict[str, None] = {}

    def body(self) -> Wire:
        chat, writer = self._chat, self._writer
        if chat.choices > 1:
            raise CannotCarry("more than one choice", "Anthropic answers once", "choices")
        writer.write(chat.system, chat.messages)
        self._end(writer.messages)
        told = thought(chat, writer.messages, self._traits, self._upstream)
        output_config = self._output_config(told)
        tools = self._tools(output_config)
        body: Wire = self._head()
        body["max_tokens"] = told.max_tokens
        if writer.system:
            body["system"] = writer.system
        body["messages"] = writer.messages
        if tools:
            body["tools"] = [wire for wire, _ in tools]
            if (choice := self._choice()) is not None:
                body["tool_choice"] = choice
        elif chat.tool_choice is not None and chat.tool_choice.mode in ("required", "only"):
            raise CannotCarry("a forced tool call", "the request has no such tool", "tool_choice")
        if told.thinking is not None:
            body["thinking"] = told.thinking
        if output_config:
            body["output_config"] = output_config
        self._knobs(body, told)
        self._cache(body, [(wire, tool.cached) for wire, tool in tools if tool.cached is not None])
        self.dropped |= writer.dropped
        if told.dropped:
            self.dropped["effort"] = None
        return body

    def _head(self) -> Wire:
        upstream = self._upstream
        match upstream.variant:
            case "vertex":
                return {"anthropic_version": upstream.api_version or VERTEX_VERSION}
            case "bedrock":
                return {"anthropic_version": upstream.api_version or BEDROCK_VERSION}
        return {"model": upstream.model}

    def _end(self, messages: list[Wire]) -> None:
        """The last message: an answer that the model is to go on with must not end in white space."""
        last = messages[-1] if messages else None
        if last is not None and last["role"] == "assistant":
            if not self._traits.prefills:
                at = f"messages[{len(self._chat.messages) - 1}]"
                raise CannotCarry("an answer to go on with", f"{self._upstream.model} takes none", at)
            block = last["content"][-1]
            if block["type"] == "text":
                block["text"] = block["text"].rstrip()
        if not messages and not self._chat.system:
            raise CannotCarry("a conversation without a word", "Anthropic wants one message", "messages")
        if not messages or messages[0]["role"] == "assistant":  # "first message must use the "user" role"
            messages.insert(0, {"role": "user", "content": [{"type": "text", "text": _PLACEHOLDER}]})

    # -- tools

    def _tools(self, output_config: Mapping[str, Any]) -> list[tuple[Wire, Tool]]:
        """Only the tools that may be called: Anthropic has no list of those beside the tools themselves."""
        chat = self._chat
        names = chat.tool_choice.names if chat.tool_choice is not None else ()
        written = []
        for number, tool in enumerate(chat.tools):
            if names and tool.name not in names and not self._is_one_by_name():
                continue
            written.append((self._tool(tool, f"tools[{number}]"), tool))
        self._bound_strictness([wire for wire, _ in written], output_config)
        return written

    def _is_one_by_name(self) -> bool:
        """The choice itself names the tool: the others may stay, which keeps the prompt cache."""
        choice = self._chat.tool_choice
        return choice is not None and choice.mode == "only" and len(choice.names) == 1

    def _tool(self, tool: Tool, at: str) -> Wire:
        if not _TOOL_NAME.fullmatch(tool.name):
            why = "Anthropic takes up to 128 letters, digits, underscores and dashes"
            raise CannotCarry(f"a tool of the name {tool.name!r}", why, f"{at}.name")
        wire: Wire = {"name": tool.name}
        if tool.description:
            wire["description"] = tool.description
        wire["input_schema"] = _input_schema(tool.schema, at)
        if tool.strict:
            try:
                if not self._traits.enforces_schemas:
                    raise Unenforceable("the model enforces none")
                wire["input_schema"] = enforced(wire["input_schema"])
                wire["strict"] = True
            except Unenforceable:
                self.dropped["strict"] = None
        return wire

    def _bound_strictness(self, tools: Sequence[Wire], output_config: Mapping[str, Any]) -> None:
        strict = [tool for tool in tools if "strict" in tool]
        if not strict:
            return
        schemas = [tool["input_schema"] for tool in strict]
        if "format" in output_config:
            schemas.append(output_config["format"]["schema"])
        if len(strict) > MOST_STRICT_TOOLS or is_too_much(schemas):
            self.dropped["strict"] = None
            for tool in strict:
                del tool["strict"]

    def _choice(self) -> Wire | None:
        chat = self._chat
        choice = chat.tool_choice
        alone = chat.parallel_tools is False
        if choice is None:
            return {"type": "auto", "disable_parallel_tool_use": True} if alone else None
        kind = _CHOICES[choice.mode]
        if kind == "tool" and len(choice.names) != 1:
            kind = "any"
        if kind in ("any", "tool") and not self._traits.can_be_forced:
            raise CannotCarry("a forced tool call", f"{self._upstream.model} can't be forced", "tool_choice")
        wire: Wire = {"type": kind}
        if kind == "tool":
            wire["name"] = choice.names[0]
        if alone and kind != "none":
            wire["disable_parallel_tool_use"] = True
        return wire

    # -- output

    def _output_config(self, told: Thought) -> Wire:
        config: Wire = {}
        if told.effort is not None:
            config["effort"] = told.effort
        output = self._chat.output
        if output is None:
            return config
        if output.schema is None:
            raise CannotCarry("JSON without a schema", "Anthropic wants to know its schema", "output")
        if not self._traits.enforces_schemas:
            raise CannotCarry("structured output", f"{self._upstream.model} has none", "output")
        try:
            schema = enforced(output.schema)
        except Unenforceable as why:
            raise CannotCarry("the output's schema", str(why), "output.schema") from None
        if output.description:
            schema.setdefault("description", output.description)
        config["format"] = {"type": "json_schema", "schema": schema}
        return config

    # -- knobs

    def _knobs(self, body: Wire, told: Thought) -> None:
        chat = self._chat
        for name, silent in _UNKNOWN:
            if getattr(chat, name) != silent:
                self.dropped[name] = None
        stops = [stop for stop in chat.stop if stop.strip()]
        if len(stops) != len(chat.stop):
            self.dropped["stop"] = None
        if stops:
            body["stop_sequences"] = stops
        self._sampling(body, told)
        if chat.user:
            body["metadata"] = {"user_id": chat.user}
        if chat.metadata:
            self.dropped["metadata"] = None
        if chat.service_tier:
            tier = _TIERS.get(chat.service_tier)
            if tier is None or self._upstream.variant:
                self.dropped["service_tier"] = None
            else:
                body["service_tier"] = tier

    def _sampling(self, body: Wire, told: Thought) -> None:
        chat, traits = self._chat, self._traits
        temperature, top_p, top_k = chat.temperature, chat.top_p, chat.top_k
        version = self._upstream.api_version.rpartition("vertex-")[2].rpartition("bedrock-")[2]
        if not traits.samples or version >= NO_SAMPLING_SINCE:
            temperature = top_p = top_k = None
        elif told.active:
            temperature = top_k = None
            top_p = top_p if top_p is not None and top_p >= _LEAST_TOP_P else None
        elif temperature is not None and top_p is not None and not traits.samples_both:
            top_p = None
        if temperature is not None and temperature > 1:  # others' scale ends at 2
            self.dropped["temperature"] = None
            temperature = 1.0
        for name, value in (("temperature", temperature), ("top_p", top_p), ("top_k", top_k)):
            if value is not None:
                body[name] = value
            elif getattr(chat, name) is not None:
                self.dropped[name] = None

    # -- prompt cache

    def _cache(self, body: Wire, marks: list[tuple[Wire, Cached]]) -> None:
        """The last hints that there is room for. A longer time to live may not stand behind a shorter one."""
        writer = self._writer
        in_messages = writer.marks
        whole = self._chat.cached
        if whole is not None and self._upstream.variant == "bedrock":
            # It has no automatic breakpoint: the last block is where that would be.
            block = _last_block(writer.messages)
            if block is not None and not any(marked is block for marked, _ in in_messages):
                in_messages = [*in_messages, (block, whole)]
            whole = None
        if len(in_messages) > 1:
            places = {id(block): place for place, block in enumerate(_all_blocks(writer.messages))}
            in_messages = sorted(in_messages, key=lambda mark: places[id(mark[0])])
        wanted = [*marks, *writer.system_marks, *in_messages]
        most = _MOST_MARKS - (whole is not None)
        if len(wanted) > most:
            self.dropped["cached"] = None
            wanted = wanted[-most:]
        short = False
        for block, cached in wanted:
            block["cache_control"] = self._control(cached, short)
            short = cached.ttl != "1h"
        if whole is not None:
            body["cache_control"] = self._control(whole, bool(wanted) and short)

    def _control(self, cached: Cached, only_short: bool) -> Wire:
        control: Wire = {"type": "ephemeral"}
        if cached.ttl == "1h" and only_short:
            self.dropped["cached"] = None
        elif cached.ttl in ("5m", "1h"):
            control["ttl"] = cached.ttl
        return control


def _last_block(messages: Sequence[Wire]) -> Wire | None:
    block: Wire = messages[-1]["content"][-1]
    return None if "thinking" in block["type"] else block


def _all_blocks(messages: Sequence[Wire]) -> list[Wire]:
    """In the prompt's order; what stands in a tool result in front of the result itself."""
    blocks: list[Wire] = []
    for message in messages:
        for block in message["content"]:
            if block["type"] == "tool_result":
                blocks += block.get("content", ())
            blocks.append(block)
    return blocks


def _input_schema(schema: Schema | None, at: str) -> Wire:
    """Of an object: Anthropic takes no other, and no alternatives at the top."""
    if schema is None:
        return {"type": "object", "properties": {}}
    if schema.get("type", "object") != "object":
        raise CannotCarry("a tool's arguments that are no object", "Anthropic takes objects", f"{at}.schema")
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            raise CannotCarry(f"{key} at the top of a tool's schema", "Anthropic takes none", f"{at}.schema")
    return dict(schema) if "type" in schema else {"type": "object", **schema}
