"""One ext_proc stream: its messages to the exchange's events, and its commands back to messages.

No call's memory outlives its stream; what a member's stream must know comes in the stream's metadata.
"""

from __future__ import annotations

import logging
import math
import os
import time
import weakref
from collections.abc import Callable, Mapping

from ..core.ids import RANDOM_BYTES, request_id_of
from ..core.opened import Opened
from ..dialects import BUILT
from ..envoyapi import AnyMessage
from ..exchange import Forward, Hold, Inbound, Moment, OuterCall, Reply, Strip, View, spoken
from ..policy import Book
from ..policy.budgets import Ask, Verdict
from ..policy.hedging import HedgeTally
from .asking import Desk, ask_for
from .member_streams import GuardedReplyStream, MemberCallStream, MemberReplyStream
from .messages import Messages, defect
from .waiting import Waiting
from .wire import Stream, Wire

log = logging.getLogger("modelbroker.extproc")


# Beyond the time that a call waits for a member: for the answer itself.
_GRACE_MS = 10_000


def _now() -> Moment:
    return Moment(time.time(), time.monotonic_ns() // 1_000_000)


class OuterStream:
    """Decides: headers, then the whole body; where nobody takes the call now, once somebody does."""

    def __init__(
        self,
        messages: Messages,
        wire: Wire,
        view: View,
        seal: bytes,
        book: Book,
        hedges: HedgeTally,
        waiting: Waiting,
        opened: Callable[[Opened], None],
        funds: Desk,
    ) -> None:
        self._messages = messages
        self._opened = opened
        self._wire = wire
        request_id = request_id_of(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES))
        self._call = OuterCall(view, request_id, seal, book, hedges, funds)
        self._funds = funds
        self._waiting = waiting
        self._lag_s = 0.0
        self._size = 0  # of the body, in bytes
        # Ends the wait, once: here, or where the stream is let go of because its client has left.
        self._leave: weakref.finalize[..., OuterStream] | None = None

    def receive(self, serialized: bytes) -> None:
        message = self._messages.decode(serialized)
        kind = message.WhichOneof("request")
        try:
            answer = self._answer(kind, message)
        except Exception as error:  # a bug of ours is one call's error, never the process's
            log.exception("call %s failed in the broker", self._call.request_id)
            self._end(self._call.refuse(defect(error)))
            return
        if answer is not None:
            self._wire.send(answer)

    def _end(self, outcome: Forward | Reply | Hold | Ask) -> None:
        """All is said but for a Hold or an Ask: without a stream to the broker a call in flight outlives the
        broker."""
        if isinstance(outcome, Hold):
            self._hold(outcome)
            return
        if isinstance(outcome, Ask):
            ask_for(self._funds, outcome, self)
            return
        if self._leave is not None:
            self._leave()
        request_id = self._call.request_id
        if isinstance(outcome, Forward):
            self._opened(Opened(request_id, outcome.shared_facts, outcome.own_facts))
            self._wire.send(self._messages.forward(outcome))
        else:
            self._opened(Opened(request_id, outcome.facts, (), outcome.status, outcome.code))
            self._wire.send(self._messages.reply(outcome))
        self._wire.close()

    def _hold(self, hold: Hold) -> None:
        if self._leave is None:
            self._lag_s = self._waiting.enter(self._size)
            self._leave = weakref.finalize(self, self._waiting.leave, self._size)
            # Envoy takes only one such word for a message: it has to be good for all of the wait.
            self._wire.send(self._messages.more_time(math.ceil(hold.most_s * 1000) + _GRACE_MS))
        self._wire.call_later(min(hold.wait_s + self._lag_s, hold.most_s), self._ready)

    def on_verdict(self, verdict: Verdict) -> None:
        """What budgets say to the Ask."""
        self._ready(verdict)

    def _ready(self, verdict: Verdict | None = None) -> None:
        try:
            outcome = self._call.on_ready(_now(), verdict)
        except Exception as error:
            log.exception("call %s failed in the broker", self._call.request_id)
            outcome = self._call.refuse(defect(error))
        self._end(outcome)

    def _answer(self, kind: str | None, message: AnyMessage) -> bytes | None:
        match kind:
            case "request_headers":
                request = message.request_headers
                inbound = Inbound.of(self._messages.first_values(request))
                answer = self._call.on_headers(inbound, request.end_of_stream)
                match answer:
                    case None:
                        return self._messages.go_on(self._call.request_id)
                    case Strip():
                        return self._messages.strip(answer)
                return self._messages.reply(answer)
            case "request_body":
                body = message.request_body.body
                self._size = len(body)
                self._end(self._call.on_body(body, _now(), self._waiting.has_room(self._size)))
        return None


class Streams:
    """Opens the broker's side of each stream, by the role that its metadata names.

    `views`: generation → view; the newest serves a generation that is not known here (an Envoy that was
    configured before this process started). `funds` pay for calls. `seal` is the key of the courses that
    calls carry, `book` what is known of members, and `hedges` counts. `opened` is told of each call whose
    body came, before it is answered."""

    def __init__(
        self,
        messages: Messages,
        seal: bytes,
        book: Book,
        hedges: HedgeTally,
        funds: Desk,
        opened: Callable[[Opened], None] = lambda opened: None,
    ) -> None:
        self._funds = funds
        self._messages = messages
        self._opened = opened
        self._seal = seal
        self._book = book
        self._hedges = hedges
        self._waiting = Waiting()
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
                return OuterStream(
                    self._messages,
                    wire,
                    view,
                    self._seal,
                    self._book,
                    self._hedges,
                    self._waiting,
                    self._opened,
                    self._funds,
                )
            case "member" if metadata.get("x-broker-member"):
                return MemberCallStream(self._messages, wire, spoken(metadata["x-broker-member"]))
            case "member" if metadata.get("x-broker-dialect") in BUILT:
                dialect, provider = metadata["x-broker-dialect"], metadata.get("x-broker-provider", "")
                if metadata.get("x-broker-guard"):
                    request_id = metadata.get("x-broker-request-id", "")
                    return GuardedReplyStream(self._messages, wire, dialect, provider, request_id)
                return MemberReplyStream(self._messages, wire, dialect, provider)
        raise ValueError(f"no stream for {dict(metadata)}")
