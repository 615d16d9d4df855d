"""The exporter: sends what the journal's records say to a collector, in a process of its own, so that no call
waits for one. The control plane starts it (cli/telemetry.py).

How far it has come is in a file beside the journal, written behind each batch that the collector took: what
was sent and not yet noted when the process was killed is sent once more.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec

from .. import __version__
from ..core.record import Record
from ..journal.following import run, source_of
from ..journal.reading import Journal, Piece, Position
from ..journal.reports import FOLLOWING, WAITING, Report
from .reports import Settings
from .sending import Bad, Patience, Sender, Unsent, sender_of
from .spans import LogLine, Span, log_of, spans_of
from .wire import logs_request, resource_of, traces_request

log = logging.getLogger("modelbroker.telemetry")

LOCK_NAME, POSITION_NAME = "telemetry.lock", "telemetry.position"
WHAT = "the telemetry"
BATCH = 256  # calls in one request: well below the 4 MiB that collectors take
Item = TypeVar("Item")


class Exporter:
    """`journal.following.Follower`. One batch a step."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = Path(settings.folder)
        self._records = msgspec.json.Decoder(Record)
        kept = kept_position(self._folder)
        self._since_s = settings.since_s if kept is None else 0.0
        self._position = kept or Position()
        self._journal: Journal | None = None
        self._piece: Piece | None = None
        self._done = 0  # lines of the piece that are sent
        self._has_spans = False  # of the batch in hand, which the collector has; its logs are still to go
        self._sender: Sender | None = None
        self._patience = Patience()
        own = {"service.version": __version__, "service.instance.id": source_of(self._folder)}
        self._resource = resource_of({"service.name": "modelbroker", **own, **settings.resource})
        self.taken = self.refused = 0

    def step(self) -> bool:
        journal = self._journal = self._journal or Journal(self._folder, self._position)
        if self._piece is None:
            self._piece, self._done = journal.read(), 0
        if (piece := self._piece) is None:
            return False
        self._patience.check()
        lines = piece.lines[self._done : self._done + BATCH]
        self._export([record for line in lines if (record := self._record(line)) is not None])
        self._done += len(lines)
        left = sum(len(line) + 1 for line in piece.lines[self._done :])
        self._position = Position(piece.position.file, piece.position.offset - left)
        keep_position(self._folder, self._position)
        if self._done == len(piece.lines):
            self._piece = None
        return True

    def report(self, error: str = "") -> Report:
        journal, position = self._journal, self._position
        waiting = sum(len(line) + 1 for line in self._piece.lines[self._done :]) if self._piece else 0
        return Report(
            state=WAITING if error else FOLLOWING,
            place=self._settings.endpoint,
            error=error,
            behind_bytes=(journal or Journal(self._folder, position)).behind() + waiting,
            inode=journal.inode if journal else 0,
            offset=position.offset,
            taken=self.taken,
            refused=self.refused,
            torn=journal.torn if journal else 0,
        )

    def why_to_wait(self, error: Exception) -> str | None:
        if isinstance(error, Unsent):
            self._patience.heard(error)
        return str(error) if isinstance(error, (Unsent, OSError)) else None

    def disconnect(self) -> None:
        """What was read is not read again."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def close(self) -> None:
        self.disconnect()
        if self._journal is not None:
            self._journal.close()

    def _record(self, line: bytes) -> Record | None:
        """None: it is none, or of a time before anything was to be sent."""
        try:
            record = self._records.decode(line)
        except (msgspec.MsgspecError, ValueError) as error:
            self._refuse(f"a line of the journal is no record: {error}")
            return None
        ended_s = record.started_s + record.duration_ms / 1000
        return record if record.trace_id or ended_s >= self._since_s else None

    def _export(self, records: Sequence[Record]) -> None:
        settings, places = self._settings, self._settings.places
        wanted = records if settings.spans else ()
        spans = [found for record in wanted if (found := spans_of(record, places))]
        if not self._has_spans:
            self._deliver("traces", spans, self._traces)
        self._has_spans = True
        if settings.logs:
            lines = [log_of(record, places) for record in records]
            self._deliver("logs", lines, self._logs)
        self._has_spans = False
        self.taken += len(records if settings.logs else spans)

    def _traces(self, calls: Sequence[Sequence[Span]]) -> bytes:
        return traces_request(self._resource, chain.from_iterable(calls))

    def _logs(self, lines: Sequence[LogLine]) -> bytes:
        return logs_request(self._resource, lines)

    def _deliver(
        self, kind: str, items: Sequence[Item], request_of: Callable[[Sequence[Item]], bytes]
    ) -> None:
        """All of them, but those that the collector will never take."""
        if not items:
            return
        self._sender = self._sender or sender_of(self._settings)
        try:
            rejected, why = self._sender.send(kind, request_of(items))
        except Bad as error:
            if len(items) == 1:
                self._refuse(f"the collector refuses the {kind} of a call: {error}")
                return
            half = len(items) // 2
            self._deliver(kind, items[:half], request_of)
            self._deliver(kind, items[half:], request_of)
            return
        if rejected:
            self.refused += rejected
            log.error("the collector did not take %d of the %s: %.200s", rejected, kind, why)

    def _refuse(self, why: str) -> None:
        self.refused += 1
        log.error("%s", why)


def kept_position(folder: Path) -> Position | None:
    """None where nobody has noted one."""
    try:
        return msgspec.json.decode((folder / POSITION_NAME).read_bytes(), type=Position)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def keep_position(folder: Path, position: Position) -> None:
    path = folder / POSITION_NAME
    fresh = path.with_suffix(".position.new")
    fresh.write_bytes(msgspec.json.encode(position))
    fresh.replace(path)


def _begin(line: bytes) -> Exporter:
    return Exporter(msgspec.json.decode(line, type=Settings))


def _lock(line: bytes) -> Path:
    return Path(msgspec.json.decode(line, type=Settings).folder) / LOCK_NAME


if __name__ == "__main__":
    sys.exit(run(_begin, _lock, WHAT, log))
