"""Names of tools that a provider does not take: it gets others, and the client its own back.

Agents name tools after servers and plugins (`mcp__plugin_…__create_pull_request_review`), and what Anthropic
takes with its 128 characters is a 400 at OpenAI, Bedrock and Gemini with their 64. The same name always
becomes the same, so that a conversation's history agrees with its tools at every turn and with every member.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

import msgspec

from .conversation import Chat, Message, Part, Tool, ToolCall, ToolChoice, Upstream
from .replies import Choice, PartStarted, Reply, ReplyEvent
from .translation import ProviderDialect, StreamDecoder

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_KEPT = 54  # so that 64 characters hold an underscore in front and the digest behind


def alias_of(name: str) -> str:
    """A name that every provider takes: what can be kept of `name`, and a digest of it."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    kept = _NOT_IN_NAMES.sub("_", name[:_KEPT])
    begins_well = kept[:1].isalpha() or kept[:1] == "_"
    return f"{kept if begins_well else '_' + kept}_{digest}"


def renamed(chat: Chat, taken: re.Pattern[str]) -> tuple[Chat, Mapping[str, str]]:
    """(the conversation with names that match `taken` alone, alias → the client's own name)."""
    aliases = {name: alias_of(name) for name in _names(chat) if name and not taken.fullmatch(name)}
    if not aliases:
        return chat, {}
    choice = chat.tool_choice
    chat = msgspec.structs.replace(
        chat,
        tools=tuple(_tool(tool, aliases) for tool in chat.tools),
        messages=tuple(_message(message, aliases) for message in chat.messages),
        tool_choice=choice and ToolChoice(choice.mode, tuple(aliases.get(n, n) for n in choice.names)),
    )
    return chat, {alias: name for name, alias in aliases.items()}


def _names(chat: Chat) -> Iterator[str]:
    for tool in chat.tools:
        yield tool.name
    if chat.tool_choice is not None:
        yield from chat.tool_choice.names
    for message in chat.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                yield part.name


def _tool(tool: Tool, names: Mapping[str, str]) -> Tool:
    return msgspec.structs.replace(tool, name=names[tool.name]) if tool.name in names else tool


def _message(message: Message, names: Mapping[str, str]) -> Message:
    if not any(isinstance(part, ToolCall) and part.name in names for part in message.parts):
        return message
    return msgspec.structs.replace(message, parts=tuple(_part(part, names) for part in message.parts))


def _part(part: Part, names: Mapping[str, str]) -> Part:
    if isinstance(part, ToolCall) and part.name in names:
        return msgspec.structs.replace(part, name=names[part.name])
    return part


class Restoring:
    """A ProviderDialect whose replies have the client's own names."""

    def __init__(self, provider: ProviderDialect, names: Mapping[str, str]) -> None:
        self._provider = provider
        self._names = names
        self.name = provider.name
        self.deviations = provider.deviations
        self.tool_names = provider.tool_names
        self.encode_request = provider.encode_request
        self.decode_fault = provider.decode_fault

    def decode_reply(self, body: bytes, upstream: Upstream) -> Reply:
        reply = self._provider.decode_reply(body, upstream)
        choices = tuple(_choice(choice, self._names) for choice in reply.choices)
        return msgspec.structs.replace(reply, choices=choices)

    def stream_decoder(self, upstream: Upstream) -> StreamDecoder:
        return _RestoringDecoder(self._provider.stream_decoder(upstream), self._names)


def _choice(choice: Choice, names: Mapping[str, str]) -> Choice:
    return msgspec.structs.replace(choice, parts=tuple(_part(part, names) for part in choice.parts))


class _RestoringDecoder:
    def __init__(self, decoder: StreamDecoder, names: Mapping[str, str]) -> None:
        self._decoder = decoder
        self._names = names

    def feed(self, chunk: bytes) -> list[ReplyEvent]:
        return [self._event(event) for event in self._decoder.feed(chunk)]

    def end(self) -> list[ReplyEvent]:
        return [self._event(event) for event in self._decoder.end()]

    def _event(self, event: ReplyEvent) -> ReplyEvent:
        if isinstance(event, PartStarted) and isinstance(event.part, ToolCall):
            return msgspec.structs.replace(event, part=_part(event.part, self._names))
        return event
