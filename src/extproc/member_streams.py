"""A member listener's ext_proc streams: those that hold a stream up to the commit point, and those that
translate."""

from __future__ import annotations

import logging
import time

from ..core.errors import Misconfigured
from ..core.keys import FIRST_EVENT_BY, HANDBACK, MOST_MESSAGE_MS
from ..dialects import Context, client_dialect, dialect_named
from ..envoyapi import AnyMessage
from ..exchange import (
    Answer,
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

_GRACE_MS = 5_000


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
        self._deadline_ms = 0

    def expect_by(self, deadline_ms: int) -> None:
        """The first event has to be there by then, of the monotonic clock."""
        if deadline_ms:
            self._deadline_ms = deadline_ms
            self._wire.call_later(max(0.0, deadline_ms / 1000 - time.monotonic()), self._late)

    def _held_ms(self) -> int:
        """How long Envoy is to wait for an answer: longer than the broker itself does, unless it hangs."""
        if not self._deadline_ms:
            return MOST_MESSAGE_MS
        return max(0, self._deadline_ms - time.monotonic_ns() // 1_000_000) + _GRACE_MS

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
                    self._wire.send(self._messages.more_time(self._held_ms()))
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
        self._wire.send(self._messages.piece(stream.take(), stream.told(), stream.used()))
        self._chunks = 0

    def _fail(self) -> None:
        self._over = True
        stream = self._stream
        if isinstance(stream, MemberStream):
            status, code, body = stream.failure()
            headers = (("content-type", "application/json"), *stream.kept)
            answer = Answer(status, headers, (), body, code, stream.cause)
        else:
            answer = stream.failure()
        self._wire.send(self._messages.failed(answer, self._status, time.time()))
        self._wire.close()

    def _hold_over(self) -> None:
        if not self._over and not self._is_open:
            self._act(self._stream.on_hold_over())

    def _late(self) -> None:
        if not self._over and not self._is_open:
            self._act(self._stream.on_late())


class MemberReplyStream:
    """Same dialect: holds a member's stream up to the commit point, then leaves the path."""

    def __init__(self, messages: Messages, wire: Wire, dialect: str, provider: str) -> None:
        self._messages = messages
        self._stream = MemberStream(dialect_named(dialect), provider=provider)
        self._reply = ReplyStream(messages, wire, self._stream)

    def receive(self, serialized: bytes) -> None:
        message = self._messages.decode(serialized)
        kind = message.WhichOneof("request")
        if kind == "response_headers":
            told = self._messages.attributes(message)
            self._stream.handback = told.get(HANDBACK, "")
            self._reply.expect_by(int(told.get(FIRST_EVENT_BY) or 0))
        self._reply.receive(kind, message)


class GuardedReplyStream:
    """Same dialect: holds a member's stream up to the commit point, and watches it to its end."""

    def __init__(self, messages: Messages, wire: Wire, dialect: str, provider: str, request_id: str) -> None:
        self._messages = messages
        self._wire = wire
        self._dialect = client_dialect(dialect)
        self._provider = provider
        self._request_id = request_id
        self._reply: ReplyStream | None = None

    def receive(self, serialized: bytes) -> None:
        message = self._messages.decode(serialized)
        kind = message.WhichOneof("request")
        try:
            if self._reply is None:
                told = self._messages.attributes(message)
                self._reply = ReplyStream(self._messages, self._wire, self._stream(told.get(HANDBACK, "")))
                self._reply.expect_by(int(told.get(FIRST_EVENT_BY) or 0))
            self._reply.receive(kind, message)
        except Exception as error:  # a bug of ours is one call's error, never the process's
            log.exception("call %s failed in the broker", self._request_id)
            if self._reply is None:
                raise
            self._reply.break_off(f"the broker failed on this call ({type(error).__name__})")

    def _stream(self, handback: str) -> FilteredStream:
        context = Context(self._request_id, int(time.time()))
        return FilteredStream(
            self._dialect, None, (), context, handback=handback, provider=self._provider, guard=True
        )


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
            elif self._reply is not None:
                self._reply.receive(kind, message)
            elif self._mode is Mode.STREAM:
                self._reply = ReplyStream(self._messages, self._wire, self._call.stream())
                self._reply.expect_by(self._call.first_event_by_ms)
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
            self._wire.send(self._messages.failed(answer, self._status, time.time()))
        elif kind == "response_body":
            answer = self._whole.on_body(message.response_body.body)
            if answer is None:
                self._wire.send(self._messages.continue_response_body)
            elif answer.cause is None:
                self._wire.send(self._messages.whole(answer))
            else:
                self._wire.send(self._messages.failed(answer, self._status, time.time()))
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
