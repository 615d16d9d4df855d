"""A member listener's ext_proc streams: those that hold a stream up to the commit point, and those that
translate."""

from __future__ import annotations

import logging
import time

from ..core.errors import Misconfigured
from ..dialects import dialect_named
from ..envoyapi import AnyMessage
from ..exchange import (
    FilteredStream,
    Inbound,
    MemberCall,
    MemberStream,
    Mode,
    Move,
    Send,
    Spoken,
    TranslatedStream,
    WholeReply,
)
from ..exchange.member import PREAMBLE_HOLD_MS
from .messages import Messages
from .wire import Wire

log = logging.getLogger("modelbroker.extproc")

# Envoy's own limit on a member's silence is the call's per-try timeout; this only has to be longer.
_HELD_MS = 3_600_000


class ReplyStream:
    """A stream's reply, in any of its kinds: what the exchange decides, as messages to Envoy."""

    def __init__(
        self, messages: Messages, wire: Wire, stream: MemberStream | FilteredStream | TranslatedStream
    ) -> None:
        self._messages = messages
        self._wire = wire
        self._stream = stream
        self._status = ""
        self._chunks = 0  # body messages that wait for an answer
        self._over = self._is_open = False

    def receive(self, kind: str | None, message: AnyMessage) -> None:
        if self._over:
            return
        match kind:
            case "response_headers":
                request = message.response_headers
                headers = self._messages.headers(request)
                self._status = dict(headers).get(":status", "")
                move = self._stream.on_headers(headers, request.end_of_stream)
                if move is Move.HOLD:
                    # Else a good but slow first event would fail over, and be billed twice.
                    self._wire.send(self._messages.more_time(_HELD_MS))
                self._act(move)
            case "response_body":
                self._chunks += 1
                request = message.response_body
                self._act(self._stream.on_body(request.body, request.end_of_stream))

    def break_off(self, what: str) -> None:
        """A defect of ours: the client gets its dialect's error, as an event where it has read already."""
        if not self._over and not isinstance(self._stream, MemberStream):
            self._act(self._stream.break_off(what))

    def _act(self, move: Move) -> None:
        match move:
            case Move.FLOW:  # nearly always
                self._flow()
            case Move.HOLD_BRIEFLY:
                self._wire.call_later(PREAMBLE_HOLD_MS / 1000, self._hold_over)
            case Move.COMMIT:
                self._over = True
                self._wire.send(self._messages.continue_response_headers)
                for _ in range(self._chunks):
                    self._wire.send(self._messages.continue_response_body)
                self._wire.close()
            case Move.OPEN:
                self._open()
            case Move.FAIL:
                self._fail()

    def _open(self) -> None:
        stream = self._stream
        if isinstance(stream, MemberStream):
            raise RuntimeError("a stream that leaves the path can't be opened")
        self._is_open = True
        self._wire.send(self._messages.open_reply(*stream.reply_headers()))
        self._flow()

    def _flow(self) -> None:
        """Answers every piece that waits: the last one with all there is to send."""
        stream = self._stream
        if isinstance(stream, MemberStream):
            raise RuntimeError("a stream that leaves the path can't flow")
        if not self._chunks:
            return
        for _ in range(self._chunks - 1):
            self._wire.send(self._messages.piece(b""))
        self._wire.send(self._messages.piece(stream.take()))
        self._chunks = 0

    def _fail(self) -> None:
        self._over = True
        stream = self._stream
        if isinstance(stream, MemberStream):
            status, code, body = stream.failure()
            headers = (("content-type", "application/json"), *stream.kept)
            self._wire.send(self._messages.immediate(status, headers, body, code))
        else:
            self._wire.send(self._messages.failed(stream.failure(), self._status))
        self._wire.close()

    def _hold_over(self) -> None:
        if not self._over and not self._is_open:
            self._act(self._stream.on_hold_over())


class MemberReplyStream:
    """Same dialect: holds a member's stream up to the commit point, then leaves the path."""

    def __init__(self, messages: Messages, wire: Wire, dialect: str) -> None:
        self._messages = messages
        self._reply = ReplyStream(messages, wire, MemberStream(dialect_named(dialect)))

    def receive(self, serialized: bytes) -> None:
        message = self._messages.decode(serialized)
        self._reply.receive(message.WhichOneof("request"), message)


class MemberCallStream:
    """Another dialect, or the same one with something to mend: request and reply pass through here."""

    def __init__(self, messages: Messages, wire: Wire, member: Spoken) -> None:
        self._messages = messages
        self._wire = wire
        self._call = MemberCall(member, int(time.time()))
        self._mode = Mode.LEAVE
        self._reply: ReplyStream | None = None
        self._whole: WholeReply | None = None
        self._status = ""

    def receive(self, serialized: bytes) -> None:
        message = self._messages.decode(serialized)
        kind = message.WhichOneof("request")
        try:
            if kind in ("request_headers", "request_body"):
                self._request(kind, message)
            elif self._mode is Mode.STREAM:
                if self._reply is None:
                    self._reply = ReplyStream(self._messages, self._wire, self._call.stream())
                self._reply.receive(kind, message)
            else:
                self._whole_reply(kind, message)
        except Exception as error:  # a bug of ours is one call's error, never the process's
            log.exception("call %s failed in the broker", self._call.request_id)
            self._break_off(f"the broker failed on this call ({type(error).__name__})")

    def _request(self, kind: str, message: AnyMessage) -> None:
        if kind == "request_headers":
            inbound = Inbound.of(self._messages.first_values(message.request_headers))
            self._mode = self._call.on_request_headers(inbound)
            self._wire.send(self._messages.continue_request_headers)
            return
        outcome = self._call.on_request_body(message.request_body.body)
        if isinstance(outcome, Send):
            self._wire.send(self._messages.send(outcome))
            if self._mode is not Mode.LEAVE:
                return
        else:
            self._wire.send(self._messages.not_sent(outcome))
        self._wire.close()

    def _whole_reply(self, kind: str | None, message: AnyMessage) -> None:
        if self._whole is None:
            self._whole = self._call.whole()
        if kind == "response_headers":
            headers = self._messages.headers(message.response_headers)
            self._status = dict(headers).get(":status", "")
            answer = self._whole.on_headers(headers, message.response_headers.end_of_stream)
            if answer is None:
                self._wire.send(self._messages.continue_response_headers)
                return
            self._wire.send(self._messages.failed(answer, self._status))
        elif kind == "response_body":
            answer = self._whole.on_body(message.response_body.body)
            if answer is None:
                self._wire.send(self._messages.continue_response_body)
            else:
                self._wire.send(self._messages.whole(answer, self._status))
        self._wire.close()

    def _break_off(self, what: str) -> None:
        if self._reply is not None:
            self._reply.break_off(what)
            return
        error = Misconfigured(500, "broker_defect", what)
        body = self._call.error_body(error)
        self._wire.send(
            self._messages.immediate(500, (("content-type", "application/json"),), body, error.code)
        )
        self._wire.close()
