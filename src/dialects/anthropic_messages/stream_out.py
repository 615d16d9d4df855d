"""Canonical events → a stream for a client of this dialect.

Source: Anthropic API reference, "Streaming Messages"; the SDK's lib/streaming/_messages.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..blobs import tagged
from ..conversation import Blob, Image, Part, Reasoning, Refusal, Text, ToolCall
from ..replies import (
    Alive,
    BlobGiven,
    Cited,
    Delta,
    Ended,
    Failed,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    Stop,
    Stopped,
    Usage,
    UsageGiven,
)
from ..streaming import OneAtATime, in_words
from ..translation import Context
from .content_out import input_of
from .faults import error_object
from .replies_out import (
    by_ttl,
    call_block,
    citation_block,
    id_of,
    redacted_block,
    signature_of,
    stop_of,
    thinking_block,
    usage_counts,
    whole_usage,
    wrapped,
)
from .wire import attached

Wire = dict[str, Any]

_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n'
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Block:
    """The part in hand. `index` is its block's, None while it is not certain what that will be."""

    part: Part
    index: int | None = None
    blob: Blob | None = None
    hidden: bool = False
    is_object: bool = False  # arguments have begun as an object
    held: list[str] = field(default_factory=list)  # arguments that have not


class MessageStream:
    """One block after the other, each with a number of its own: parts may have none, or two."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._order = OneAtATime()
        self._out: list[bytes] = []
        self._block: _Block | None = None
        self._blocks = 0
        self._started = self._refuses = self._over = False
        self._stopped: Stopped | None = None
        self._usage = Usage()

    def encode(self, events: Sequence[ReplyEvent]) -> bytes:
        for event in self._order.order(events):
            if self._over:
                break
            if getattr(event, "choice", 0) == 0:
                _HANDLERS[type(event)](self, event)
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _say(self, name: str, value: Wire) -> None:
        self._out.append(b"event: %s\ndata: %s\n\n" % (name.encode(), _encode(value)))

    def _on_start(self, event: Started) -> None:
        if self._started:
            return
        self._started = True
        if event.usage is not None:
            self._usage = event.usage
        message: Wire = {
            "id": id_of(event.id, self._context),
            "type": "message",
            "role": "assistant",
            "model": event.model or self._context.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": whole_usage(event.usage, event.service_tier),
        }
        self._say("message_start", {"type": "message_start", "message": message})

    def _on_alive(self, _: Alive) -> None:
        self._out.append(_PING)

    def _on_usage(self, event: UsageGiven) -> None:
        self._usage = event.usage

    def _on_cited(self, event: Cited) -> None:
        self._delta({"type": "citations_delta", "citation": citation_block(event.citation)})

    def _on_stopped(self, event: Stopped) -> None:
        self._stopped = event

    # -- parts

    def _on_part(self, part: Part) -> None:
        if not self._started:
            self._on_start(Started())
        block = self._block = _Block(part)
        match part:
            case Text(text) | Refusal(text):
                self._refuses = self._refuses or isinstance(part, Refusal)
                self._begin(block, {"type": "text", "text": ""})
                if text:
                    self._on_delta(text)
            case Image():
                self._begin(block, {"type": "text", "text": ""})
                self._on_delta(in_words(part))
            case ToolCall(ident, name, arguments):
                self._begin(block, call_block(ident, name))
                if arguments:
                    self._on_delta(arguments)
            case Reasoning(text, blob, hidden):
                if text:
                    self._on_delta(text)
                if blob is not None:
                    self._on_blob(blob, hidden)

    def _begin(self, block: _Block, content: Wire) -> None:
        block.index, self._blocks = self._blocks, self._blocks + 1
        start = {"type": "content_block_start", "index": block.index, "content_block": content}
        self._say("content_block_start", start)

    def _delta(self, delta: Wire) -> None:
        block = self._block
        if block is not None and block.index is not None:
            self._out.append(_DELTA % (block.index, _encode(delta)))

    def _on_delta(self, text: str) -> None:
        block = self._block
        if block is None or not text:
            return
        kind = type(block.part)
        if kind is ToolCall:
            self._on_arguments(block, text)
        elif kind is Reasoning:
            if block.index is None:
                self._begin(block, thinking_block("", ""))
            self._delta({"type": "thinking_delta", "thinking": text})
        else:
            self._delta({"type": "text_delta", "text": text})

    def _on_arguments(self, block: _Block, text: str) -> None:
        """Arguments pass as they come once they begin as an object; others wait until they can be wrapped."""
        if not block.is_object:
            block.held.append(text)
            custom = isinstance(block.part, ToolCall) and block.part.custom
            text = "".join(block.held)
            if custom or not text.lstrip().startswith("{"):
                return
            block.is_object = True
            block.held.clear()
        self._delta({"type": "input_json_delta", "partial_json": text})

    def _on_blob(self, blob: Blob, hidden: bool) -> None:
        block = self._block
        if block is None:
            return
        block.blob = blob
        if isinstance(block.part, Reasoning):
            block.hidden = hidden

    def _on_part_end(self) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        if isinstance(block.part, Reasoning):
            self._end_reasoning(block)
            return
        if block.held:
            self._block = block
            arguments = "".join(block.held)
            custom = isinstance(block.part, ToolCall) and block.part.custom
            whole = bytes(wrapped(arguments) if custom else input_of(arguments)).decode()
            self._delta({"type": "input_json_delta", "partial_json": whole})
            self._block = None
        self._end_block(block)
        if block.blob is not None:
            self._whole_block(redacted_block(attached(block.blob)))

    def _end_reasoning(self, block: _Block) -> None:
        if block.index is None:
            if block.blob is None:
                return
            if block.hidden:
                self._whole_block(redacted_block(tagged(block.blob)))
                return
            self._begin(block, thinking_block("", ""))
        self._block = block
        self._delta({"type": "signature_delta", "signature": signature_of(block.blob)})
        self._block = None
        self._end_block(block)

    def _whole_block(self, content: Wire) -> None:
        block = _Block(Text(""))
        self._begin(block, content)
        self._end_block(block)

    def _end_block(self, block: _Block) -> None:
        self._say("content_block_stop", {"type": "content_block_stop", "index": block.index})

    # -- the end

    def _on_failed(self, event: Failed) -> None:
        self._over = True
        self._say("error", error_object(event.fault, self._context))

    def _on_end(self) -> None:
        if not self._started:
            self._on_start(Started())
        self._over = True
        stopped = self._stopped or Stopped(Stop.END)
        usage = usage_counts(self._usage)
        usage["cache_creation"] = by_ttl(self._usage)
        delta = stop_of(stopped.stop, stopped.stop_sequence, self._refuses)
        self._say("message_delta", {"type": "message_delta", "delta": delta, "usage": usage})
        self._out.append(_MESSAGE_STOP)


# By class: nearly every event is a Delta, and the patterns of `match` are slow on these classes.
_HANDLERS: Mapping[type, Callable[[MessageStream, Any], None]] = {
    Delta: lambda stream, event: stream._on_delta(event.text),
    PartStarted: lambda stream, event: stream._on_part(event.part),
    PartEnded: lambda stream, _: stream._on_part_end(),
    BlobGiven: lambda stream, event: stream._on_blob(event.blob, event.hidden),
    Cited: MessageStream._on_cited,
    Stopped: MessageStream._on_stopped,
    UsageGiven: MessageStream._on_usage,
    Started: MessageStream._on_start,
    Alive: MessageStream._on_alive,
    Ended: lambda stream, _: stream._on_end(),
    Failed: MessageStream._on_failed,
}
