"""Calls that were answered and have no record yet: in memory, and in the write-ahead file for a process that
comes after this one. Whose end nobody tells is lost.

Envoy tells of every call that lasts, each HEARTBEAT_S: one that is silent for LOST_AFTER_S is gone with its
Envoy, or its last word is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge

from ..core.logs import HEARTBEAT_S
from ..core.opened import Opened
from ..journal.writing import Mark
from .write_ahead import SEGMENT_BYTES, Segments, closed_line, open_line

log = logging.getLogger("modelbroker.records")

LOST_AFTER_S = 3 * HEARTBEAT_S
# A process that stood still has not heard what was said meanwhile.
_MOST_TICK_S = 2.0
# More segments than this are held by a few calls that last: these are opened once more in the newest.
_MOST_SEGMENTS = 8
_CALLS_A_SEGMENT = SEGMENT_BYTES // 1024  # or more
_AGAIN_S = 5.0
_LOST = Counter("modelbroker_calls_lost", "Calls whose end nobody told")
_OPEN = Gauge("modelbroker_open_entries", "Calls that were answered and have no record yet")
_UNWRITTEN = Counter("modelbroker_open_entries_unwritten", "Open entries for which the disk had no room")


@dataclass(slots=True)
class _Call:
    opened: Opened
    segment: int  # 0: it is in none


class OpenCalls:
    """For one thread. `written`: which of the calls that an earlier process left have a record behind the
    mark, whatever it had time to close."""

    def __init__(self, segments: Segments, written: Callable[[Mark | None], frozenset[str]]) -> None:
        self._segments = segments
        self._calls: dict[str, _Call] = {}
        self._seen_s: dict[str, float] = {}  # of those that have not ended: the longest silent first
        self._in: dict[int, int] = {}  # segment → calls that are open in it, the oldest first
        self._clock_s = 0.0
        self._retry_s = 0.0
        self._is_told = False
        self._mark: Mark | None = None
        self._recover(written)
        _OPEN.set(len(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    def opened(self, request_id: str) -> Opened | None:
        """What was written of a call that has no record yet."""
        call = self._calls.get(request_id)
        return call.opened if call is not None else None

    def waiting(self) -> list[Opened]:
        """Calls that have no record yet."""
        return [call.opened for call in self._calls.values()]

    def open(self, opened: Opened) -> None:
        """A call is about to be answered; or decided once more, after a failed attempt."""
        request_id = opened.request_id
        before = self._calls.get(request_id)
        self._write(request_id, opened)
        self._seen_s.pop(request_id, None)
        self._seen_s[request_id] = self._clock_s
        if before is not None:
            self._leave(before.segment)

    def seen(self, request_id: str) -> None:
        """Envoy says that it goes on."""
        if self._seen_s.pop(request_id, None) is not None:
            self._seen_s[request_id] = self._clock_s

    def ended(self, request_id: str) -> None:
        """Its end was told: its record is on the way."""
        self._seen_s.pop(request_id, None)

    def closed(self, request_ids: Sequence[str], mark: Mark | None) -> None:
        """Their records are written, up to the mark."""
        self._mark = mark
        ours = [request_id for request_id in request_ids if request_id in self._calls]
        if not ours:
            return
        self._append(closed_line(ours, mark))
        for request_id in ours:
            self._leave(self._calls.pop(request_id).segment)
            self._seen_s.pop(request_id, None)

    def tick(self, elapsed_s: float) -> list[Opened]:
        """So much time has passed; the calls that are lost by now, each once."""
        self._clock_s += min(elapsed_s, _MOST_TICK_S)
        lost = []
        for request_id, seen_s in self._seen_s.items():
            if self._clock_s - seen_s < LOST_AFTER_S:
                break
            lost.append(self._calls[request_id].opened)
        for opened in lost:
            del self._seen_s[opened.request_id]
        _LOST.inc(len(lost))
        _OPEN.set(len(self._calls))
        self._move()
        return lost

    def close(self) -> None:
        self._segments.close()

    # -- the file

    def _write(self, request_id: str, opened: Opened) -> None:
        written = self._segments.append_open(opened)
        number = self._segments.number if written else self._append(open_line(opened))
        self._calls[request_id] = _Call(opened, number)
        self._in[number] = self._in.get(number, 0) + 1

    def _append(self, line: bytes) -> int:
        """The number of the segment that has it; 0 where the disk has no room."""
        if not self._segments.append(line) and not (self._next(len(line)) and self._segments.append(line)):
            _UNWRITTEN.inc()
            return 0
        return self._segments.number

    def _next(self, room: int) -> bool:
        if self._clock_s < self._retry_s:
            return False
        try:
            self._segments.next(room)
        except OSError as error:
            self._retry_s = self._clock_s + _AGAIN_S
            if not self._is_told:
                log.error("calls go on, but can't be written ahead: %s", error)
            self._is_told = True
            return False
        if self._is_told:
            log.warning("calls are written ahead again")
            self._is_told = False
        self._in[self._segments.number] = 0
        self._drop()
        return True

    def _leave(self, segment: int) -> None:
        self._in[segment] -= 1
        if not self._in[segment]:
            self._drop()

    def _drop(self) -> None:
        """Segments in which nothing is open any more go, from the oldest on."""
        newest, gone = self._segments.number, 0
        for number in [*self._in]:
            if number and (self._in[number] or number == newest):
                break
            if number:
                del self._in[number]
                gone = number
        if gone:
            self._segments.drop_before(gone + 1)

    def _move(self) -> None:
        """Where a few calls that last hold many segments, those of the oldest are opened in the newest."""
        most = _MOST_SEGMENTS + 4 * len(self._calls) // _CALLS_A_SEGMENT
        if len(self._in) <= most:
            return
        oldest = next(number for number in self._in if number)
        for request_id, call in [*self._calls.items()]:
            if call.segment == oldest:
                self._write(request_id, call.opened)
                self._in[oldest] -= 1
        self._drop()

    def _recover(self, written: Callable[[Mark | None], frozenset[str]]) -> None:
        """Go on with what an earlier process left."""
        try:
            found = self._segments.found()
        except OSError as error:
            log.error("what calls an earlier process left is not known: %s", error)
            return
        self._mark = found.mark
        if not found.opened:
            self._segments.drop_before(self._segments.number + 1)
            return
        known = written(found.mark)
        for request_id, opened in found.opened.items():
            if request_id not in known:
                self.open(opened)
        log.info("%d calls of an earlier process have no record yet", len(self._calls))
        if self._segments.is_open or not self._calls:
            self._segments.drop_before(self._segments.number + (0 if self._segments.is_open else 1))
