"""ConverseStream's binary events as canonical ones.

Source: Amazon Bedrock API reference, ConverseStream, "Response Syntax". Real streams begin only tool calls
with contentBlockStart; texts and reasoning begin with their first delta. `p` is padding. `metadata` is last.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from ..aws_event_stream import BadEventStream, EventStreamMessage, EventStreamSplitter
from ..base import ABSENT
from ..conversation import Blob, Reasoning, Text, ToolCall, Upstream
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
    ProviderFailed,
    ReplyEvent,
    Started,
    Stopped,
    UsageGiven,
)
from ..streaming import in_words
from .blobs import redacted_kind, signature_kind
from .faults import stream_fault
from .models import model_of
from .replies_in import ImageBytes, drawn
from .wire import Cite, Tier, TokenUsage, citation_of, stop_of, stop_sequence_of, usage_of


class _ToolUse(msgspec.Struct):
    toolUseId: str
    name: str
    type: str = ""


class _ImageStart(msgspec.Struct):
    format: str = "png"


class _ImageDelta(msgspec.Struct):
    source: ImageBytes = msgspec.field(default_factory=ImageBytes)


class _Start(msgspec.Struct):
    toolUse: _ToolUse | None = None
    toolResult: msgspec.Raw = ABSENT
    image: _ImageStart | None = None


class _BlockStart(msgspec.Struct):
    contentBlockIndex: int
    start: _Start = msgspec.field(default_factory=_Start)


class _ToolInput(msgspec.Struct):
    input: str = ""


class _ReasoningDelta(msgspec.Struct):
    text: str | None = None
    signature: str | None = None
    redactedContent: str | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    toolUse: _ToolInput | None = None
    reasoningContent: _ReasoningDelta | None = None
    citation: Cite | None = None
    toolResult: msgspec.Raw = ABSENT
    image: _ImageDelta | None = None


class _BlockDelta(msgspec.Struct):
    contentBlockIndex: int
    delta: _Delta


class _AnyDelta(msgspec.Struct):
    delta: dict[str, msgspec.Raw]


class _BlockStop(msgspec.Struct):
    contentBlockIndex: int


class _MessageStop(msgspec.Struct):
    stopReason: str
    additionalModelResponseFields: msgspec.Raw = msgspec.Raw()


class _Metadata(msgspec.Struct):
    usage: TokenUsage = msgspec.field(default_factory=TokenUsage)
    serviceTier: Tier | None = None


_block_start = msgspec.json.Decoder(_BlockStart).decode
_block_delta = msgspec.json.Decoder(_BlockDelta).decode
_any_delta = msgspec.json.Decoder(_AnyDelta).decode
_block_stop = msgspec.json.Decoder(_BlockStop).decode
_message_stop = msgspec.json.Decoder(_MessageStop).decode
_metadata = msgspec.json.Decoder(_Metadata).decode


@dataclass(slots=True)
class _Part:
    """A part that goes on: its canonical index, and what is known of it only at its end."""

    index: int
    kind: type[Text] | type[Reasoning] | type[ToolCall]
    has_input: bool = False
    signature: str = ""
    redacted: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Drawn:
    """An image that comes in pieces."""

    format: str
    pieces: list[str] = field(default_factory=list)


class _Refused(ValueError):
    """The stream can't be gone on with."""


def _garbage(words: str) -> Fault:
    return Fault(Cause.GARBAGE, 502, words, "upstream_garbage")


class BedrockStreamDecoder:
    """Kept for one stream."""

    def __init__(self, upstream: Upstream) -> None:
        family = model_of(upstream.model, upstream.deviations).family
        self._provider = upstream.provider
        self._signature = signature_kind(family)
        self._redacted = redacted_kind(family)
        self._splitter = EventStreamSplitter()
        self._open: dict[int, _Part] = {}  # by contentBlockIndex
        self._images: dict[int, _Drawn] = {}  # the same of images that are not whole yet
        self._passed_over: set[int] = set()  # blocks of which nothing more is told
        self._begun = 0
        self._has_calls = False
        self._has_started = self._has_stopped = self._has_usage = self._is_over = False

    def feed(self, chunk: bytes) -> list[ReplyEvent]:
        if self._is_over:
            return []
        fault = ""
        try:
            messages = self._splitter.feed(chunk)
        except BadEventStream as wrong:
            messages, fault = wrong.before, str(wrong)
        events: list[ReplyEvent] = []
        for message in messages:
            events += self._message(message)
            if self._is_over:
                return events
        if fault:
            events += self._fail(_garbage(fault))
        return events

    def end(self) -> list[ReplyEvent]:
        return []

    def _fail(self, fault: Fault) -> list[ReplyEvent]:
        self._is_over = True
        return [Failed(fault)]

    def _message(self, message: EventStreamMessage) -> list[ReplyEvent]:
        headers = message.headers
        kind = headers.get(":message-type", "event")
        if kind != "event":
            code = headers.get(":exception-type") or headers.get(":error-code", "")
            return self._fail(stream_fault(code, headers.get(":error-message", ""), message.payload))
        step = self._STEPS.get(headers.get(":event-type", ""))
        if step is None:
            return [Alive()]  # of a newer service
        events: list[ReplyEvent] = []
        if not self._has_started:
            self._has_started = True
            events.append(Started())
        try:
            events += step(self, message.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            words = f"the provider's stream is not valid: {headers.get(':event-type')}: {wrong}"
            events += self._fail(_garbage(words))
        except _Refused as wrong:
            events += self._fail(_garbage(str(wrong)))
        return events

    # -- events

    def _on_block_start(self, payload: bytes) -> list[ReplyEvent]:
        event = _block_start(payload)
        at, call, image = event.contentBlockIndex, event.start.toolUse, event.start.image
        if image is not None:
            self._images[at] = _Drawn(image.format)
            return []
        # What runs at the provider is told by what the model answers.
        if event.start.toolResult is not ABSENT or (call is not None and call.type == "server_tool_use"):
            self._passed_over.add(at)
            return []
        if call is None:
            return []
        self._has_calls = True
        return self._begin(at, ToolCall(call.toolUseId, call.name, ""))

    def _on_block_delta(self, payload: bytes) -> list[ReplyEvent]:
        event = _block_delta(payload)
        at, delta = event.contentBlockIndex, event.delta
        if at in self._passed_over:
            return []
        if delta.text is not None:
            return self._more(at, Text, delta.text) if delta.text else []
        if delta.toolUse is not None:
            return self._input(at, delta.toolUse.input)
        if delta.reasoningContent is not None:
            return self._reasoning(at, delta.reasoningContent)
        if delta.citation is not None:
            citation = citation_of(delta.citation)
            if citation is None:
                return []
            events = self._more(at, Text, "")
            return [*events, Cited(self._open[at].index, citation)]
        if delta.image is not None:
            self._images.setdefault(at, _Drawn("png")).pieces.append(delta.image.source.bytes)
            return []
        return [] if delta.toolResult is not ABSENT else self._unknown(at, payload)

    def _unknown(self, at: int, payload: bytes) -> list[ReplyEvent]:
        """A block of a kind that came later than this was written: that it is there is told once."""
        kinds = ", ".join(_any_delta(payload).delta)
        if not kinds:
            return []
        self._passed_over.add(at)
        events = self._more(at, Text, in_words(kinds))
        return [*events, *self._finish(at)]

    def _on_block_stop(self, payload: bytes) -> list[ReplyEvent]:
        at = _block_stop(payload).contentBlockIndex
        self._passed_over.discard(at)
        return self._finish(at)

    def _on_message_stop(self, payload: bytes) -> list[ReplyEvent]:
        event = _message_stop(payload)
        events = [over for at in (*self._open, *self._images) for over in self._finish(at)]
        try:
            stop = stop_of(event.stopReason, self._has_calls)
        except ProviderFailed as failed:
            return [*events, *self._fail(failed.fault)]
        sequence = stop_sequence_of(event.additionalModelResponseFields, stop)
        self._has_stopped = True
        return [*events, Stopped(stop, sequence), *self._close()]

    def _on_metadata(self, payload: bytes) -> list[ReplyEvent]:
        event = _metadata(payload)
        self._has_usage = True
        tier = event.serviceTier.type if event.serviceTier else ""
        return [UsageGiven(usage_of(event.usage), tier), *self._close()]

    def _close(self) -> list[ReplyEvent]:
        """AWS documents no order of the last two events; the stream is over behind both."""
        if not (self._has_stopped and self._has_usage):
            return []
        self._is_over = True
        return [Ended()]

    # -- parts

    def _begin(self, at: int, part: Text | Reasoning | ToolCall) -> list[ReplyEvent]:
        events = self._finish(at)
        self._open[at] = _Part(self._begun, type(part))
        self._begun += 1
        events.append(PartStarted(self._open[at].index, part))
        return events

    def _more(self, at: int, kind: type[Text] | type[Reasoning], text: str) -> list[ReplyEvent]:
        events: list[ReplyEvent] = []
        part = self._open.get(at)
        if part is None or part.kind is not kind:
            events = self._begin(at, kind()) if kind is Reasoning else self._begin(at, Text(""))
            part = self._open[at]
        if text:
            events.append(Delta(part.index, text))
        return events

    def _input(self, at: int, text: str) -> list[ReplyEvent]:
        part = self._open.get(at)
        if part is None or part.kind is not ToolCall:
            raise _Refused("the provider's stream holds a tool's input without a tool call")
        if not text:
            return []
        part.has_input = True
        return [Delta(part.index, text)]

    def _reasoning(self, at: int, delta: _ReasoningDelta) -> list[ReplyEvent]:
        events: list[ReplyEvent] = []
        if delta.text:
            events = self._more(at, Reasoning, delta.text)
        if delta.signature or delta.redactedContent is not None:
            events += self._more(at, Reasoning, "")
            part = self._open[at]
            part.signature += delta.signature or ""
            if delta.redactedContent is not None:
                part.redacted.append(delta.redactedContent)
        return events

    def _finish(self, at: int) -> list[ReplyEvent]:
        if (image := self._images.pop(at, None)) is not None and any(image.pieces):
            index, self._begun = self._begun, self._begun + 1
            return [PartStarted(index, drawn(image.format, _joined(image.pieces))), PartEnded(index)]
        if (part := self._open.pop(at, None)) is None:
            return []
        events: list[ReplyEvent] = []
        if part.kind is ToolCall and not part.has_input:
            events.append(Delta(part.index, "{}"))  # what a whole reply says of a call without arguments
        if part.redacted:
            blob = Blob(self._provider, self._redacted, _joined(part.redacted))
            events.append(BlobGiven(part.index, blob, hidden=True))
        elif part.signature:
            events.append(BlobGiven(part.index, Blob(self._provider, self._signature, part.signature)))
        events.append(PartEnded(part.index))
        return events

    # Of the class: bound methods kept in the object itself would be a cycle.
    _STEPS: ClassVar[dict[str, Callable[[Any, bytes], list[ReplyEvent]]]] = {
        "messageStart": lambda _self, _payload: [],
        "contentBlockStart": _on_block_start,
        "contentBlockDelta": _on_block_delta,
        "contentBlockStop": _on_block_stop,
        "messageStop": _on_message_stop,
        "metadata": _on_metadata,
    }


def _joined(pieces: list[str]) -> str:
    """One base64 text of several."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
    except binascii.Error:
        return "".join(pieces)
