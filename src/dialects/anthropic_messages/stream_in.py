"""A provider's stream → canonical events: server-sent events, or Bedrock's binary event stream around the
same JSON.

Sources: Anthropic API reference, "Streaming Messages"; Amazon Bedrock API reference,
InvokeModelWithResponseStream, `ResponseStream`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ..aws_event_stream import BadEventStream, EventStreamMessage, EventStreamSplitter
from ..base import decode_json
from ..conversation import Blob, Refusal, Text, Upstream
from ..replies import (
    Alive,
    BlobGiven,
    Cause,
    Cited,
    Delta,
    Ended,
    Failed,
    Fault,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    Stopped,
    UsageGiven,
)
from ..sse import SseSplitter
from .faults import stream_fault, thrown
from .replies_in import (
    BlockOut,
    StopDetails,
    UsageOut,
    added,
    citation_from,
    part_of,
    refusal_of,
    stop_of,
    usage_of,
)
from .wire import SIGNATURE


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: UsageOut | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = -1
    delta: _Delta | None = None
    content_block: BlockOut | None = None
    message: _Message | None = None
    usage: UsageOut | None = None


_event = msgspec.json.Decoder(_Event)


class _Odd(ValueError):
    """An event that can't stand where it stands."""


@dataclass(slots=True)
class _Open:
    """A block that goes on. `part` is its number among the parts, None for one that is passed over."""

    part: int | None
    is_call: bool = False
    has_input: bool = False


class MessageEvents:
    """JSON of one event after the other → canonical events. It ends itself after Ended or Failed."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._open: dict[int, _Open] = {}
        self._parts = 0
        self._usage = UsageOut()
        self._started = self._stopped = self._has_calls = False
        self.over = False

    def take(self, data: bytes) -> list[ReplyEvent]:
        if self.over:
            return []
        try:
            event = _event.decode(data)
            events = list(self._on(event, data))
        except (ValueError, RecursionError) as wrong:  # msgspec's are ValueErrors too
            return self.fail(_garbage(str(wrong) if isinstance(wrong, _Odd) else "", data))
        return events

    def fail(self, fault: Fault) -> list[ReplyEvent]:
        self.over = True
        return [Failed(fault)]

    def _on(self, event: _Event, data: bytes) -> Iterator[ReplyEvent]:
        match event.type:
            case "content_block_delta":
                return self._on_delta(event)
            case "content_block_start":
                return self._on_block(event)
            case "content_block_stop":
                return self._on_block_end(event.index)
            case "message_start":
                return self._on_start(event)
            case "message_delta":
                return self._on_stop(event)
            case "message_stop":
                return self._on_end()
            case "error":
                return iter(self.fail(stream_fault(data)))
        # Pings, and events of kinds that came later than this was written.
        return iter((Alive(),))

    def _on_start(self, event: _Event) -> Iterator[ReplyEvent]:
        message = event.message
        if message is None or self._started:
            raise _Odd("a message begins within another one" if self._started else "no message begins")
        self._started = True
        usage = message.usage
        if usage is not None:
            self._usage = usage
        tier = (usage.service_tier if usage is not None else None) or ""
        yield Started(message.id, message.model, None, usage_of(usage) if usage is not None else None, tier)

    def _on_block(self, event: _Event) -> Iterator[ReplyEvent]:
        block, index = event.content_block, event.index
        if block is None or index < 0 or index in self._open or self._stopped:
            raise _Odd(f"block {index} begins where none can")
        part = part_of(block, self._issuer)
        if part is None:
            self._open[index] = _Open(None)
            return
        number, self._parts = self._parts, self._parts + 1
        opened = self._open[index] = _Open(number, block.type == "tool_use")
        match block.type:
            case "text":
                yield PartStarted(number, Text(""))
                if block.text:
                    yield Delta(number, block.text)
                for citation in part.citations if isinstance(part, Text) else ():
                    yield Cited(number, citation)
            case "thinking":
                yield PartStarted(number, msgspec.structs.replace(part, text="", blob=None))
                if block.thinking:
                    yield Delta(number, block.thinking)
                if block.signature:
                    yield BlobGiven(number, Blob(self._issuer, SIGNATURE, block.signature))
            case "redacted_thinking":
                blob = part.blob  # type: ignore[union-attr]
                yield PartStarted(number, msgspec.structs.replace(part, blob=None))
                yield BlobGiven(number, blob, hidden=True)  # type: ignore[arg-type]
            case "tool_use":
                self._has_calls = True
                arguments = part.arguments  # type: ignore[union-attr]
                yield PartStarted(number, msgspec.structs.replace(part, arguments=""))
                # What follows comes in pieces; an input that is given at once is all of it.
                if arguments.replace(" ", "") not in ("", "{}"):
                    opened.has_input = True
                    yield Delta(number, arguments)

    def _on_delta(self, event: _Event) -> Iterator[ReplyEvent]:
        opened, delta = self._open.get(event.index), event.delta
        if opened is None or delta is None:
            raise _Odd(f"more of block {event.index}, which is not open")
        number = opened.part
        if number is None:
            return
        match delta.type:
            case "text_delta" if delta.text:
                yield Delta(number, delta.text)
            case "input_json_delta" if delta.partial_json:
                opened.has_input = True
                yield Delta(number, delta.partial_json)
            case "thinking_delta" if delta.thinking:
                yield Delta(number, delta.thinking)
            case "signature_delta" if delta.signature:
                yield BlobGiven(number, Blob(self._issuer, SIGNATURE, delta.signature))
            case "citations_delta":
                if (citation := citation_from(delta.citation)) is not None:
                    yield Cited(number, citation)

    def _on_block_end(self, index: int) -> Iterator[ReplyEvent]:
        opened = self._open.pop(index, None)
        if opened is None:
            raise _Odd(f"the end of block {index}, which is not open")
        if opened.part is None:
            return
        if opened.is_call and not opened.has_input:
            yield Delta(opened.part, "{}")  # as a whole reply has it
        yield PartEnded(opened.part)

    def _on_stop(self, event: _Event) -> Iterator[ReplyEvent]:
        delta = event.delta or _Delta()
        if event.usage is not None:
            added(self._usage, event.usage)
        if delta.stop_reason is not None and not self._stopped:
            for index in list(self._open):
                yield from self._on_block_end(index)
            if (refusal := refusal_of(delta.stop_details)) is not None:
                number, self._parts = self._parts, self._parts + 1
                yield PartStarted(number, Refusal(""))
                yield Delta(number, refusal.text)
                yield PartEnded(number)
            self._stopped = True
            yield Stopped(stop_of(delta.stop_reason, self._has_calls), delta.stop_sequence)
        if event.usage is not None:
            yield UsageGiven(usage_of(self._usage), event.usage.service_tier or "")

    def _on_end(self) -> Iterator[ReplyEvent]:
        if not self._stopped:
            raise _Odd("the message ends without a reason")
        self.over = True
        yield Ended()


def _garbage(why: str, data: bytes) -> Fault:
    shown = data[:60].decode("utf-8", "replace")
    words = why or f"an event begins with {shown!r}"
    return Fault(Cause.GARBAGE, 502, f"the provider's stream is not valid: {words}", "upstream_garbage")


class SseDecoder:
    """Server-sent events."""

    def __init__(self, upstream: Upstream) -> None:
        self._splitter = SseSplitter()
        self._events = MessageEvents(upstream.provider)

    def feed(self, chunk: bytes) -> list[ReplyEvent]:
        out: list[ReplyEvent] = []
        for event in self._splitter.feed(chunk):
            out += self._events.take(event.data)
        return out

    def end(self) -> list[ReplyEvent]:
        """The last event may lack the blank line behind it; half of one is nothing."""
        out: list[ReplyEvent] = []
        for event in self._splitter.feed(b"\n\n"):
            if decode_json(event.data) is not None:
                out += self._events.take(event.data)
        return out


class BedrockDecoder:
    """Bedrock's binary event stream."""

    def __init__(self, upstream: Upstream) -> None:
        self._splitter = EventStreamSplitter()
        self._events = MessageEvents(upstream.provider)

    def feed(self, chunk: bytes) -> list[ReplyEvent]:
        if self._events.over:
            return []
        fault: str | None = None
        try:
            messages = self._splitter.feed(chunk)
        except BadEventStream as wrong:
            messages, fault = wrong.before, str(wrong)
        out: list[ReplyEvent] = []
        for message in messages:
            if self._events.over:
                return out
            out += self._take(message)
        if fault is not None and not self._events.over:
            out += self._events.fail(_garbage(fault, b""))
        return out

    def _take(self, message: EventStreamMessage) -> list[ReplyEvent]:
        if (fault := thrown(message)) is not None:
            return self._events.fail(fault)
        try:
            data = unwrapped(message)
        except ValueError as wrong:
            return self._events.fail(_garbage(str(wrong), message.payload))
        return self._events.take(data) if data is not None else []

    def end(self) -> list[ReplyEvent]:
        return []


class _Chunk(msgspec.Struct):
    bytes: str | None = None


_chunk = msgspec.json.Decoder(_Chunk)


def unwrapped(message: EventStreamMessage) -> bytes | None:
    """The JSON of Anthropic's event in a message of Bedrock's; None for another kind of message."""
    if message.headers.get(":event-type") != "chunk":
        return None
    try:
        inner = _chunk.decode(message.payload).bytes
        return None if inner is None else base64.b64decode(inner, validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error):
        raise ValueError("a chunk of the event stream can't be read") from None
