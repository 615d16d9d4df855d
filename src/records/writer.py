"""A thread between the event loop, which serves calls, and a disk that may make one wait."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence

from ..core.record import Record

log = logging.getLogger("modelbroker.records")

MOST_WAITING = 20_000  # batches: a disk that hangs for longer costs records, never memory without end


class Writer:
    """Calls `write` in a thread of its own, in order. `dropped` gets what came while too much waited."""

    def __init__(
        self,
        write: Callable[[Sequence[Record]], None],
        dropped: Callable[[Sequence[Record]], None],
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._write = write
        self._dropped = dropped
        self._waiting: queue.Queue[Sequence[Record] | None] = queue.Queue(most_waiting)
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
        while (records := self._waiting.get()) is not None:
            try:
                self._write(records)
            except Exception:
                log.exception("records were not taken")
