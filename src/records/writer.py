"""A thread between the event loop, which serves calls, and a disk that may make one wait."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence

from prometheus_client import Gauge

from ..core.record import Record
from ..journal.writing import Mark

log = logging.getLogger("modelbroker.records")

MOST_WAITING = 20_000  # batches: a disk that hangs for longer costs records, never memory without end
MOST_KEPT = 20_000  # records for which the disk has no room: they are tried again
_AGAIN_S = 1.0
_KEPT = Gauge("modelbroker_records_waiting", "Records for which the disk has no room yet")


class Writer:
    """Calls `write` in a thread of its own, in order; where that gives no mark, again after a while.
    `written` gets, in that thread, what was written and up to where; `dropped` what came while too much
    waited."""

    def __init__(
        self,
        write: Callable[[Sequence[Record]], Mark | None],
        dropped: Callable[[Sequence[Record]], None],
        written: Callable[[Sequence[Record], Mark], None] = lambda records, mark: None,
        most_waiting: int = MOST_WAITING,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._write = write
        self._dropped = dropped
        self._written = written
        self._most_kept = most_kept
        self._waiting: queue.Queue[Sequence[Record] | None] = queue.Queue(most_waiting)
        self._kept: deque[Sequence[Record]] = deque()  # by the thread alone
        self.waiting = 0  # records for which the disk has no room
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._thread.start()

    def put(self, records: Sequence[Record]) -> None:
        try:
            self._waiting.put_nowait(records)
        except queue.Full:
            self._dropped(records)

    def close(self, patience_s: float) -> None:
        """Write what waits, for so long."""
        try:
            self._waiting.put(None, timeout=patience_s)
        except queue.Full:
            return
        self._thread.join(patience_s)

    def _run(self) -> None:
        while True:
            try:
                records = self._waiting.get(timeout=_AGAIN_S if self._kept else None)
            except queue.Empty:
                pass
            else:
                if records is None:
                    break
                self._kept.append(records)
            self._empty()
        self._empty()
        for records in self._kept:
            self._dropped(records)

    def _empty(self) -> None:
        while self._kept:
            records = self._kept[0]
            try:
                mark = self._write(records)
            except Exception:
                log.exception("records were not taken")
                self._kept.popleft()
                continue
            if mark is None:
                break
            self._kept.popleft()
            self._written(records, mark)
        while (kept := sum(map(len, self._kept))) > self._most_kept:
            self._dropped(self._kept.popleft())
        self.waiting = kept
        _KEPT.set(kept)
