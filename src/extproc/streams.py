"""One ext_proc stream: its messages to the exchange's events, and its commands back to messages.

No call's memory outlives its stream; what a member's stream must know comes in the stream's metadata.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import Protocol

from ..dialects import BUILT, dialect_named
from ..envoyapi import AnyMessage
from ..exchange import Forward, Inbound, MemberStream, Move, OuterCall, Strip, View
from ..exchange.member import PREAMBLE_HOLD_MS
from .messages import Messages, defect

log = logging.getLogger("modelbroker.extproc")

# Envoy's own limit on a member's silence is the call's per-try timeout; this only has to be longer.
_HELD_MS = 3_600_000


class Wire(Protocol):
    """The transport's side of a stream: bytes of one message out, the end, a timer."""

    def send(self, message: bytes) -> None:
        """Queue one message for Envoy."""

    def close(self) -> None:
        """End the stream cleanly once everything queued is sent."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back on the same thread, unless the stream has ended by then."""


class Stream(Protocol):
    """The broker's side of a stream."""

    def receive(self, serialized: bytes) -> None:
        """Take one ProcessingRequest. DecodeError where the bytes are none: the transport ends the stream."""


# (the stream's metadata, its wire) → the broker's side of it
Opener = Callable[[Mapping[str, str], Wire], Stream]


class OuterStream:
    """Decides: headers, then the whole body."""

    def __init__(self, messages: Messages, wire: Wire, view: View) -> None:
        self._messages = messages
        self._wire = wire
        self._call = OuterCall(view, os.urandom(16).hex())

    def receive(self, serialized: bytes) -> None:
        message = self._messages.decode(serialized)
        kind = message.WhichOneof("request")
        try:
            answer = self._answer(kind, message)
        except Exception as error:  # a bug of ours is one call's error, never the process's
            log.exception("call %s failed in the broker", self._call.request_id)
            answer = self._messages.reply(self._call.refuse(defect(error)))
        if answer is not None:
            self._wire.send(answer)
        if kind == "request_body":
            # All is said: without a stream to the broker a call in flight outlives the broker.
            self._wire.close()

    def _answer(self, kind: str | None, message: AnyMessage) -> bytes | None:
        match kind:
            case "request_headers":
                request = message.request_headers
                inbound = Inbound.of(self._messages.first_values(request))
                answer = self._call.on_headers(inbound, request.end_of_stream)
                match answer:
                    case None:
                        return self._messages.continue_request_headers
                    case Strip():
                        return self._messages.strip(answer)
                return self._messages.reply(answer)
            case "request_body":
                outcome = self._call.on_body(message.request_body.body)
                if isinstance(outcome, Forward):
                    return self._messages.forward(outcome)
                return self._messages.reply(outcome)
        return None


class MemberReplyStream:
    """Holds a member's stream up to the commit point, then leaves the path."""

    def __init__(self, messages: Messages, wire: Wire, dialect: str) -> None:
        self._messages = messages
        self._wire = wire
        self._stream = MemberStream(dialect_named(dialect))
        self._chunks = 0  # body messages that wait for an answer
        self._over = False

    def receive(self, serialized: bytes) -> None:
        if self._over:
            return
        message = self._messages.decode(serialized)
        match message.WhichOneof("request"):
            case "response_headers":
                request = message.response_headers
                move = self._stream.on_headers(self._messages.headers(request), request.end_of_stream)
                if move is Move.HOLD:
                    # Else a good but slow first event would fail over, and be billed twice.
                    self._wire.send(self._messages.more_time(_HELD_MS))
                self._act(move)
            case "response_body":
                self._chunks += 1
                self._act(
                    self._stream.on_body(message.response_body.body, message.response_body.end_of_stream)
                )

    def _act(self, move: Move) -> None:
        match move:
            case Move.HOLD_BRIEFLY:
                self._wire.call_later(PREAMBLE_HOLD_MS / 1000, self._hold_over)
            case Move.COMMIT:
                self._over = True
                self._wire.send(self._messages.continue_response_headers)
                for _ in range(self._chunks):
                    self._wire.send(self._messages.continue_response_body)
                self._wire.close()
            case Move.FAIL:
                self._over = True
                status, code, body = self._stream.failure()
                headers = (("content-type", "application/json"),)
                self._wire.send(self._messages.immediate(status, headers, body, code))
                self._wire.close()

    def _hold_over(self) -> None:
        if not self._over:
            self._act(self._stream.on_hold_over())


class Streams:
    """Opens the broker's side of each stream, by the role that its metadata names.

    `views`: generation → view; the newest serves a generation that is not known here (an Envoy that was
    configured before this process started).
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._views: dict[str, View] = {}
        self._newest: View | None = None

    def set_views(self, newest: View, older: Mapping[str, View]) -> None:
        self._views = {**older, newest.generation: newest}
        self._newest = newest

    def open(self, metadata: Mapping[str, str], wire: Wire) -> Stream:
        """ValueError where the stream is not one of ours."""
        match metadata.get("x-broker-role"):
            case "outer" if self._newest is not None:
                view = self._views.get(metadata.get("x-broker-generation", ""), self._newest)
                return OuterStream(self._messages, wire, view)
            case "member" if metadata.get("x-broker-dialect") in BUILT:
                return MemberReplyStream(self._messages, wire, metadata.get("x-broker-dialect", ""))
        raise ValueError(f"no stream for {dict(metadata)}")
