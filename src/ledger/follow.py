"""The ledger's follower: takes the journal's records into the ledger, in a process of its own, so that SQL
never makes a call wait. The control plane starts it (cli/ledger.py).
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from ..core.errors import Misconfigured
from ..core.record import Record
from ..journal.following import run, source_of
from ..journal.reading import Journal, Piece, Position
from ..journal.reports import FOLLOWING, WAITING, Report
from .database import Ledger, in_short
from .place import place_of
from .reports import Settings
from .rows import at_ms_of, rows_of

log = logging.getLogger("modelbroker.ledger")

LOCK_NAME = "ledger.lock"
WHAT = "the ledger"
_EXPIRE_EVERY_S = 600.0
# What decoding says of what is no record, and drivers of a value that is not of its column's type.
_NO_RECORD = (msgspec.MsgspecError, ValueError, TypeError, KeyError, AttributeError, StatementError)


class Follower:
    """`journal.following.Follower`. Errors of the database are SQLAlchemy's."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._folder = Path(settings.folder)
        self._name = f"{socket.gethostname()}:{self._folder.absolute()}"
        self._ledger: Ledger | None = None
        self._journal: Journal | None = None
        self._source = ""
        self._position = Position()
        self._piece: Piece | None = None  # what is read and not yet written
        self._expired_s = 0.0
        self.taken = self.refused = self._torn = 0

    def step(self) -> bool:
        ledger, journal = self._open()
        if self._piece is None:
            self._piece = journal.read()
        if self._piece is None:
            return self._expire(ledger)
        self._write(ledger, self._piece)
        self._position, self._piece = self._piece.position, None
        return True

    def report(self, error: str = "") -> Report:
        journal = self._journal
        return Report(
            state=WAITING if error else FOLLOWING,
            place=place_of(self._settings.url),
            error=error,
            behind_bytes=(journal or Journal(self._folder, self._position)).behind(),
            inode=journal.inode if journal else 0,
            offset=self._position.offset,
            taken=self.taken,
            refused=self.refused,
            torn=self._torn + (journal.torn if journal else 0),
        )

    def why_to_wait(self, error: Exception) -> str | None:
        if isinstance(error, Misconfigured):
            return error.message
        return in_short(error) if isinstance(error, (SQLAlchemyError, OSError)) else None

    def disconnect(self) -> None:
        """After an error of the database: the next step connects again, and asks it how far it has read. It
        may be another one that took the first one's place, and lacks what that had last."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None
        if self._journal is not None:
            self._torn += self._journal.torn
            self._journal.close()
            self._journal, self._piece = None, None

    def close(self) -> None:
        self.disconnect()

    def _open(self) -> tuple[Ledger, Journal]:
        if self._ledger is None:
            self._ledger = Ledger(self._settings.url)
        if self._journal is None:
            self._source = source_of(self._folder)
            self._position = self._ledger.position(self._source)
            self._journal = Journal(self._folder, self._position)
        return self._ledger, self._journal

    def _write(self, ledger: Ledger, piece: Piece) -> None:
        kept_from_ms = self._kept_from_ms()
        try:
            records = [_record(line) for line in piece.lines]
            records = [record for record in records if at_ms_of(record) >= kept_from_ms]
            self._take(ledger, records, piece.position)
        except _NO_RECORD:  # one by one, then: the others are good
            records = [record for line in piece.lines if (record := self._good_record(line)) is not None]
            records = [record for record in records if at_ms_of(record) >= kept_from_ms]
            self._take(ledger, records, piece.position)

    def _good_record(self, line: bytes) -> dict[str, Any] | None:
        try:
            record = _record(line)
            msgspec.convert(record, Record)
            rows_of([record], self._source)
        except _NO_RECORD as error:
            self._refuse(f"a line of the journal is no record: {error}")
            return None
        return record

    def _take(self, ledger: Ledger, records: list[dict[str, Any]], position: Position) -> None:
        rows = rows_of(records, self._source)
        now_ms = int(self._clock() * 1000)
        try:
            try:
                ledger.take(rows, self._source, self._name, position, now_ms)
            except IntegrityError:  # somebody dropped a partition
                ledger.forget_partitions()
                ledger.take(rows, self._source, self._name, position, now_ms)
        except (DataError, IntegrityError, OverflowError) as error:
            if len(records) <= 1:
                self._refuse(f"the database refuses a record: {in_short(error)}")
                self._take(ledger, [], position)
                return
            half = len(records) // 2
            self._take(ledger, records[:half], self._position)
            self._take(ledger, records[half:], position)
        else:
            self.taken += len(records)

    def _refuse(self, why: str) -> None:
        self.refused += 1
        log.error("%s", why)

    def _kept_from_ms(self) -> int:
        retention_s = self._settings.retention_s
        return int((self._clock() - retention_s) * 1000) if retention_s else 0

    def _expire(self, ledger: Ledger) -> bool:
        if not self._settings.retention_s or self._clock() - self._expired_s < _EXPIRE_EVERY_S:
            return False
        try:
            gone = ledger.expire(self._kept_from_ms())
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            # Somebody reads what is to go, for long: records go on coming meanwhile.
            log.warning("what is older than the ledger's retention stays for now: %s", in_short(error))
            gone = 0
        if gone:
            log.info("%d calls are older than the ledger's retention and went", gone)
            return True
        self._expired_s = self._clock()
        return False


def _record(line: bytes) -> dict[str, Any]:
    # PostgreSQL's text has no room for this character.
    record: dict[str, Any] = msgspec.json.decode(line.replace(b"\\u0000", b"\\ufffd"))
    return record


def _begin(line: bytes) -> Follower:
    return Follower(msgspec.json.decode(line, type=Settings))


def _lock(line: bytes) -> Path:
    return Path(msgspec.json.decode(line, type=Settings).folder) / LOCK_NAME


if __name__ == "__main__":
    sys.exit(run(_begin, _lock, WHAT, log))
