"""One ext_proc stream: its messages to the exchange's events, and its commands back to messages.

No call's memory outlives its stream; what a member's stream must know comes in the stream's metadata.
"""

from __future__ import annotations

import functools
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
from ..exchange import (
    NO_PROOF,
    SEEN_HEADERS,
    Forward,
    Hold,
    Inbound,
    Moment,
    Outcome,
    OuterCall,
    Pending,
    Reply,
    View,
    spoken,
)
from ..policy import Book
from ..policy.budgets import Ask, Verdict
from ..policy.hedging import HedgeTally
from .asking import NO_DESK, Desk, ask_for
from .cache import CacheDesk
from .capture import CaptureDesk, CaptureStream
from .member_streams import GuardedReplyStream, MemberCallStream, MemberReplyStream
from .messages import Messages, defect
from .trials import NO_TRIALS, TrialDesk, offer_copies
from .waiting import Waiting
from .wire import Stream, Wire

log = logging.getLogger("modelbroker.extproc")


# Beyond the time that a call waits for a member: for the answer itself.
_GRACE_MS = 10_000


def _now() -> Moment:
    return Moment(time.time(), time.monotonic_ns() // 1_000_000)


class OuterStream:
    """Decides: headers, then the whole body; where nobody takes the call now, once somebody does. Of a call
    whose reply may be kept for others it sees the reply, too."""

    # Of a call that others wait for, or that waits for another one, the desk hears of its end, and whether it
    # may come again. None: of this one it does not.
    _may_return: bool | None = None

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
        desk: CacheDesk | None = None,
        funds: Desk = NO_DESK,
        captures: CaptureDesk | None = None,
        trials: TrialDesk = NO_TRIALS,
    ) -> None:
        self._captures = captures
        self._messages = messages
        self._opened = opened
        self._wire = wire
        self._trials = trials if view.catalog.trials else None
        request_id = request_id_of(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES))
        self._funds = funds
        self._desk = desk if view.caches else None
        replies = self._desk.replies if self._desk is not None else None
        self._call = OuterCall(view, request_id, seal, book, hedges, replies, funds=funds)
        if self._trials is not None:
            self._call.standings = self._trials.standings
        self._waiting = waiting
        self._lag_s = 0.0
        self._size = 0  # of the body, in bytes
        # Ends the wait, once: here, or where the stream is let go of because its client has left.
        self._leave: weakref.finalize[..., OuterStream] | None = None
        # Envoy was told how long it may take: it takes only one such word for a message.
        self._has_time = False
        self._waits = 0  # how many there were
        self._waits_in = 0  # the number of the one that is on; 0: none

    def receive(self, serialized: bytes) -> None:
        message = self._messages.decode(serialized)
        kind = message.WhichOneof("request")
        if kind in ("response_headers", "response_body"):
            self._shown(kind, message)
            return
        try:
            answer = self._answer(kind, message)
        except Exception as error:  # a bug of ours is one call's error, never the process's
            log.exception("call %s failed in the broker", self._call.request_id)
            self._end(self._call.refuse(defect(error)))
            return
        if answer is not None:
            self._wire.send(answer)

    def _end(self, outcome: Outcome) -> None:
        """All is said but for a wait, or where the reply is to be seen: without a stream to the broker a
        call in flight outlives the broker."""
        if not isinstance(outcome, (Forward, Reply)):
            self._wait(outcome)
            return
        if self._leave is not None:
            self._leave()
        request_id = self._call.request_id
        if isinstance(outcome, Forward):
            self._opened(Opened(request_id, outcome.shared_facts, outcome.own_facts))
            if self._captures is not None:
                again = self._call.was_handed_back
                if self._call.capture is not None:
                    self._captures.begin(self._call.capture, again=again)
                elif again:
                    self._captures.leave(request_id)
            self._wire.send(self._messages.forward(outcome))
            if self._trials is not None and self._call.view.catalog.trials:
                offer_copies(self._call, _now(), self._trials)
            if outcome.watched and self._desk is not None:
                self._desk.watching[id(self)] = weakref.ref(self)
                self._tell_end(may_return=True)
                return
        else:
            self._opened(Opened(request_id, outcome.facts, (), outcome.status, outcome.code))
            self._wire.send(self._messages.reply(outcome))
            if outcome.sample is not None and self._captures is not None:
                self._captures.put(outcome.sample)
            if self._call.cache is not None:
                self._call.cache.quit()
        self._wire.close()

    def _wait(self, outcome: Hold | Ask | Pending) -> None:
        if isinstance(outcome, Pending):
            self._pend(outcome)
            return
        if self._call.cache is not None:
            self._tell_end(may_return=False)  # others may wait for it, and its client may leave meanwhile
        if isinstance(outcome, Hold):
            self._hold(outcome)
        else:
            ask_for(self._funds, outcome, self)

    def _hold(self, hold: Hold) -> None:
        if self._leave is None:
            self._lag_s = self._waiting.enter(self._size)
            self._leave = weakref.finalize(self, self._waiting.leave, self._size)
            self._take_time(hold.most_s)
        lag_s = self._lag_s * (self._waiting.share if hold.is_look else 1.0)
        self._wire.call_later(min(hold.wait_s + lag_s, hold.most_s), self._ready)

    def _take_time(self, most_s: float) -> None:
        """It has to be good for all of the wait."""
        if not self._has_time:
            self._has_time = True
            self._wire.send(self._messages.more_time(math.ceil(most_s * 1000) + _GRACE_MS))

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

    # -- the cache

    def _pend(self, pending: Pending) -> None:
        if self._desk is None:
            raise RuntimeError("a call waits for a cache that is not there")
        self._take_time(pending.all_s)
        self._tell_end(may_return=False)
        self._waits += 1
        self._waits_in = self._waits
        self._desk.wait(self._call.request_id, self._news, pending.asks)
        self._wire.call_later(pending.most_s, functools.partial(self._wait_over, self._waits))

    def _news(self) -> None:
        self._wait_over(self._waits_in)

    def _wait_over(self, number: int) -> None:
        if number and number == self._waits_in:
            self._waits_in = 0
            self._ready()

    def let_go(self) -> None:
        """The broker ends: its calls go on without it."""
        if self._call.cache is not None:
            self._call.cache.quit()
        self._wire.close()

    def _tell_end(self, *, may_return: bool) -> None:
        self._may_return = may_return

    def __del__(self) -> None:
        """Also where its client has left, of which nobody else tells. (A weakref.finalize says the same at
        some µs a call.)"""
        if self._may_return is not None and self._desk is not None:
            self._desk.watching.pop(id(self), None)
            self._desk.ended(self._call.request_id, self._may_return)

    def _shown(self, kind: str, message: AnyMessage) -> None:
        """The reply as its client gets it. Whatever happens here, it gets it."""
        is_headers = kind == "response_headers"
        try:
            answer, has_more = self._look_at_headers(message) if is_headers else self._look_at_body(message)
        except Exception:
            log.exception("the reply of call %s could not be kept", self._call.request_id)
            answer, has_more = b"", False
            if self._call.cache is not None:
                self._call.cache.quit()
        plain = (
            self._messages.continue_response_headers if is_headers else self._messages.continue_response_body
        )
        self._wire.send(answer or plain)
        if not has_more:
            self._wire.close()

    def _look_at_headers(self, message: AnyMessage) -> tuple[bytes, bool]:
        """(the answer, b"" for the plain one; is there more to be shown?)"""
        cache, told = self._call.cache, message.response_headers
        if cache is None or not cache.on_reply_headers(
            self._messages.headers_of(told, SEEN_HEADERS), told.end_of_stream
        ):
            return b"", False
        self._tell_end(may_return=False)
        return self._messages.show_reply_body, True

    def _look_at_body(self, message: AnyMessage) -> tuple[bytes, bool]:
        cache, told = self._call.cache, message.response_body
        if cache is None or self._desk is None:
            return b"", False
        has_more, entry = cache.on_reply_body(told.body, told.end_of_stream, time.time())
        if has_more:
            return b"", True
        if entry is not None:
            self._desk.kept()
        return self._messages.last_shown(cache.said.facts), False

    def _answer(self, kind: str | None, message: AnyMessage) -> bytes | None:
        match kind:
            case "request_headers":
                request = message.request_headers
                inbound = Inbound.of(self._messages.first_values(request))
                proof = self._messages.proof(message) if self._call.view.uses_identities else NO_PROOF
                answer = self._call.on_headers(inbound, request.end_of_stream, proof)
                if isinstance(answer, Reply):
                    return self._messages.reply(answer)
                request_id = self._call.request_id
                came_back = self._call.was_handed_back and self._desk is not None
                if came_back and self._desk is not None and self._desk.came_back(request_id):
                    self._tell_end(may_return=True)
                go_on = self._messages.strip(answer) if answer else self._messages.go_on(request_id)
                return go_on + self._messages.show_reply_headers if self._desk is not None else go_on
            case "request_body":
                body = message.request_body.body
                self._size = len(body)
                self._end(self._call.on_body(body, _now(), self._waiting.has_room(self._size)))
        return None


class Streams:
    """Opens the broker's side of each stream, by the role that its metadata names.

    `views`: generation → view; the newest serves a generation that is not known here (an Envoy that was
    configured before this process started). `seal` is the key of the courses that calls carry, `book` what is
    known of members, and `hedges` counts. `opened` is told of each call whose body came, before it is
    answered. `desk`: where replies are kept; `funds` pay for calls; `captures`
    takes bodies, `trials` copies.
    """

    def __init__(
        self,
        messages: Messages,
        seal: bytes,
        book: Book,
        hedges: HedgeTally,
        opened: Callable[[Opened], None] = lambda opened: None,
        desk: CacheDesk | None = None,
        funds: Desk = NO_DESK,
        captures: CaptureDesk | None = None,
        trials: TrialDesk = NO_TRIALS,
    ) -> None:
        self._captures = captures
        self._funds = funds
        self._trials = trials
        self._messages = messages
        self._opened = opened
        self._seal = seal
        self._book = book
        self._hedges = hedges
        self._desk = desk
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
                    self._desk,
                    self._funds,
                    self._captures,
                    self._trials,
                )
            case "capture" if self._captures is not None:
                request_id = metadata.get("x-broker-request-id", "")
                return CaptureStream(self._messages, wire, self._captures, request_id)
            case "member" if metadata.get("x-broker-member"):
                return MemberCallStream(self._messages, wire, spoken(metadata["x-broker-member"]))
            case "member" if metadata.get("x-broker-dialect") in BUILT:
                dialect, provider = metadata["x-broker-dialect"], metadata.get("x-broker-provider", "")
                if metadata.get("x-broker-guard"):
                    request_id = metadata.get("x-broker-request-id", "")
                    return GuardedReplyStream(self._messages, wire, dialect, provider, request_id)
                return MemberReplyStream(self._messages, wire, dialect, provider)
        raise ValueError(f"no stream for {dict(metadata)}")
