"""Replies of captured calls, on their way to their clients: a stream of its own for each, in which Envoy
tells and waits for nothing. Whatever happens here, the call goes on.

A call's request comes from the stream that has decided it; the two meet by the call's id. One whose reply
never came is known by its record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from prometheus_client import Counter, Gauge

from ..core.record import Record
from ..core.traffic import CUT_BY_SIZE, CUT_SHORT, Sample
from ..core.trials import ToScore
from ..exchange.capturing import ToCapture
from .messages import Messages
from .wire import Wire

log = logging.getLogger("modelbroker.extproc")

_LATE_S = 2.0  # behind a call's record: its reply may still be on its way here
_MOST_S = 3 * 3_600.0  # a call of which nobody ever tells
_HEADERS = frozenset((":status", "x-broker-member"))
_SAMPLE_BYTES = 2_000  # beside its bodies
CAPTURED = Counter("modelbroker_capture_samples", "Captured calls, by what became of them", ["result"])
_UNDER_WAY = Gauge("modelbroker_capture_calls", "Captured calls whose reply has not come to its end")


class _UnderWay:
    """A call whose reply is awaited, or seen."""

    __slots__ = ("at_s", "chunks", "is_cut", "is_seen", "member", "reply_bytes", "size", "status", "to")

    def __init__(self, to: ToCapture, size: int) -> None:
        self.to = to
        self.size = size  # what is held of it, in bytes
        self.at_s = time.monotonic()
        self.is_seen = False
        self.status: int | None = None
        self.member = ""
        self.chunks: list[bytes] = []
        self.reply_bytes = 0
        self.is_cut = False

    def sample(self, *, is_whole: bool) -> Sample:
        sample = self.to.sample
        cut = CUT_BY_SIZE if self.is_cut or sample.cut else "" if is_whole else CUT_SHORT
        reply = b"".join(self.chunks) if self.is_seen and not self.is_cut else None
        return replace(sample, status=self.status, member=self.member, reply=reply, cut=cut)


class CaptureDesk:
    """Belongs to one event loop. `offer` takes samples, and says whether there was room; `scored` gets those
    that are to be scored: None where there was no room here. What is held here takes at most
    `most_bytes`."""

    def __init__(
        self,
        offer: Callable[[Sample], bool],
        scored: Callable[[ToScore, Sample | None], None] = lambda to, sample: None,
    ) -> None:
        self._offer = offer
        self._scored = scored
        self.most_bytes = 64 << 20
        self._held = 0
        self._calls: dict[str, _UnderWay] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        _UNDER_WAY.set_function(lambda: len(self._calls))

    def begin(self, to: ToCapture, *, again: bool = False) -> None:
        """The call goes on to a member. One that was handed back begins again: its request alone is kept
        once. Whatever happens here, it goes on."""
        sample = to.sample
        waited = sample.request_id in self._calls  # for a reply: nothing of it was kept so far
        self._forget(sample.request_id)
        if not to.wants_reply:
            if waited or not again:
                self.put(sample)
            return
        size = len(sample.request or b"") + _SAMPLE_BYTES
        if self._held + size > self.most_bytes:
            self._drop(to)
            return
        self._held += size
        self._calls[sample.request_id] = _UnderWay(to, size)

    def put(self, sample: Sample) -> None:
        """All of it is known: of one that was under way the broker itself has said the last word."""
        call = self._calls.get(sample.request_id)
        self._forget(sample.request_id)
        if call is not None and call.to.scores is not None:
            self._score(call.to.scores, replace(sample, request=call.to.sample.request))
        try:
            result = "taken" if self._offer(sample) else "dropped"
        except Exception as error:  # no text of the call may be in what is logged
            log.error("call %s was not captured (%s)", sample.request_id, type(error).__name__)
            result = "failed"
        CAPTURED.labels(result).inc()

    def leave(self, request_id: str) -> None:
        """It was handed back, and what comes now is nobody's to see."""
        self._forget(request_id)

    # -- its reply

    def seen(self, request_id: str) -> _UnderWay | None:
        call = self._calls.get(request_id)
        if call is not None:
            call.is_seen = True
        return call

    def take(self, call: _UnderWay, chunk: bytes) -> bool:
        """Is there more of it to be seen?"""
        call.reply_bytes += len(chunk)
        if call.reply_bytes > call.to.most_bytes:
            call.is_cut = True
            return False
        if self._held + len(chunk) > self.most_bytes:
            self._forget(call.to.sample.request_id)
            self._drop(call.to)
            return False
        self._held += len(chunk)
        call.size += len(chunk)
        call.chunks.append(chunk)
        return True

    def end(self, call: _UnderWay, *, is_whole: bool) -> None:
        """Its reply is here, as far as there is one. Told twice, it counts once."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # the collector found its stream, and runs on another thread
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(lambda: self.end(call, is_whole=is_whole))
            return
        if self._calls.get(call.to.sample.request_id) is not call:
            return
        self._forget(call.to.sample.request_id)
        to, sample = call.to, call.sample(is_whole=is_whole)
        if to.word:
            self.put(to.kept(sample))
        if to.scores is not None:
            self._score(to.scores, sample)

    def _drop(self, to: ToCapture) -> None:
        if to.word:
            CAPTURED.labels("dropped").inc()
        if to.scores is not None:
            self._score(to.scores, None)

    def _score(self, to: ToScore, sample: Sample | None) -> None:
        try:
            self._scored(to, sample)
        except Exception as error:  # likewise
            log.error("an answer was not scored (%s)", type(error).__name__)

    def records(self, records: Sequence[Record]) -> None:
        """These calls have ended: those whose reply nobody has seen by then had none."""
        if not self._calls:
            return
        for record in records:
            call = self._calls.get(record.request_id)
            if call is not None and not call.is_seen:
                asyncio.get_running_loop().call_later(_LATE_S, self._ended, call)

    def _ended(self, call: _UnderWay) -> None:
        if not call.is_seen:
            self.end(call, is_whole=False)

    def _forget(self, request_id: str) -> None:
        if (call := self._calls.pop(request_id, None)) is not None:
            self._held -= call.size

    async def run(self) -> None:
        """Until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(60)
            before_s = time.monotonic() - _MOST_S
            for call in [call for call in self._calls.values() if call.at_s < before_s]:
                self.end(call, is_whole=False)

    def close(self) -> None:
        """The broker ends: what is here by now is all that there will be."""
        for call in list(self._calls.values()):
            self.end(call, is_whole=False)


class CaptureStream:
    """Sees one reply. It never answers: Envoy does not wait."""

    def __init__(self, messages: Messages, wire: Wire, desk: CaptureDesk, request_id: str) -> None:
        self._messages = messages
        self._wire = wire
        self._desk = desk
        self._call = desk.seen(request_id)

    def receive(self, serialized: bytes) -> None:
        call = self._call
        if call is None:  # begun before this process, or no room
            self._wire.close()
            return
        message = self._messages.decode(serialized)
        kind = message.WhichOneof("request")
        ends = False
        if kind == "response_headers":
            told = dict(self._messages.headers_of(message.response_headers, _HEADERS))
            call.status, call.member = int(told.get(":status") or 0) or None, told.get("x-broker-member", "")
            ends = message.response_headers.end_of_stream
        elif kind == "response_body":
            ends = message.response_body.end_of_stream
            if not self._desk.take(call, message.response_body.body):
                ends = True
        if ends:
            self._call = None
            self._desk.end(call, is_whole=True)
            self._wire.close()

    def __del__(self) -> None:
        """Also where its client has left, or its provider broke off."""
        if self._call is not None:
            self._desk.end(self._call, is_whole=False)
