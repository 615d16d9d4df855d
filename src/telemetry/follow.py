"""The exporter: sends what the journal's records say to a collector, in a process of its own, so that no call
waits for one. The control plane starts it (cli/telemetry.py).

How far it has come is in a file beside the journal.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import msgspec

from ..core.record import Record
from ..journal.following import run
from ..journal.reports import Report
from .delivery import Delivery
from .lines import Lines
from .reports import Settings
from .spans import LogLine, Span, log_of, spans_of
from .wire import logs_request, traces_request

log = logging.getLogger("modelbroker.telemetry")

LOCK_NAME, POSITION_NAME = "telemetry.lock", "telemetry.position"
WHAT = "the telemetry"
BATCH = 256  # calls in one request: well below the 4 MiB that collectors take


class Exporter:
    """`journal.following.Follower`. One batch a step."""

    def __init__(self, settings: Settings) -> None:
        self._settings, folder = settings, Path(settings.folder)
        self._records = msgspec.json.Decoder(Record)
        self._lines = Lines(folder, POSITION_NAME)
        self._since_s = 0.0 if self._lines.is_known else settings.since_s
        self._has_spans = False  # of the batch in hand, which the collector has; its logs are still to go
        self._delivery = Delivery(settings, folder)
        self.taken = 0

    def step(self) -> bool:
        lines = self._lines.batch(BATCH)
        if lines is None:
            return False
        self._delivery.check()
        self._export([record for line in lines if (record := self._record(line)) is not None])
        self._lines.finish()
        return True

    def report(self, error: str = "") -> Report:
        return self._delivery.report(self._lines, self.taken, error)

    def why_to_wait(self, error: Exception) -> str | None:
        return self._delivery.why_to_wait(error)

    def disconnect(self) -> None:
        """What was read is not read again."""
        self._delivery.close()

    def close(self) -> None:
        self.disconnect()
        self._lines.close()

    def _record(self, line: bytes) -> Record | None:
        """None: it is none, or of a time before anything was to be sent."""
        try:
            record = self._records.decode(line)
        except (msgspec.MsgspecError, ValueError) as error:
            self._delivery.refuse(f"a line of the journal is no record: {error}")
            return None
        ended_s = record.started_s + record.duration_ms / 1000
        return record if record.trace_id or ended_s >= self._since_s else None

    def _export(self, records: Sequence[Record]) -> None:
        settings, places = self._settings, self._settings.places
        wanted = records if settings.spans else ()
        spans = [found for record in wanted if (found := spans_of(record, places))]
        if not self._has_spans:
            self._delivery.send("traces", spans, self._traces)
        self._has_spans = True
        if settings.logs:
            lines = [log_of(record, places) for record in records]
            self._delivery.send("logs", lines, self._logs)
        self._has_spans = False
        self.taken += len(records if settings.logs else spans)

    def _traces(self, calls: Sequence[Sequence[Span]]) -> bytes:
        return traces_request(self._delivery.resource, chain.from_iterable(calls))

    def _logs(self, lines: Sequence[LogLine]) -> bytes:
        return logs_request(self._delivery.resource, lines)


def _begin(line: bytes) -> Exporter:
    return Exporter(msgspec.json.decode(line, type=Settings))


def _lock(line: bytes) -> Path:
    return Path(msgspec.json.decode(line, type=Settings).folder) / LOCK_NAME


if __name__ == "__main__":
    sys.exit(run(_begin, _lock, WHAT, log))
