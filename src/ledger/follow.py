"""The follower: takes the journal's records into the ledger, in a process of its own, so that SQL never makes
a call wait.

The control plane starts it (cli/ledger.py). The first line of standard input are its settings (JSON; they
may hold a password, which no command line should); standard output has its reports, a line each. It ends
when standard input does: then it catches up for a bounded time.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from ..core.errors import Misconfigured
from ..core.record import Record
from .database import Ledger, Position
from .journal import Journal, Piece
from .place import place_of
from .reports import ENDS_WITHIN_S, Report, Settings
from .rows import at_ms_of, rows_of

log = logging.getLogger("modelbroker.ledger")

ID_NAME, LOCK_NAME = "ledger.id", "ledger.lock"
_NICE = 5
_POLL_S = 0.2
_REPORT_EVERY_S = 1.0
_SAY_EVERY_S = 60.0
_EXPIRE_EVERY_S = 600.0
_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.5, 10.0
# What decoding says of what is no record, and drivers of a value that is not of its column's type.
_NO_RECORD = (msgspec.MsgspecError, ValueError, TypeError, KeyError, AttributeError, StatementError)


class Follower:
    """`step` does one piece of work, and says whether there may be more. Errors of the database are
    SQLAlchemy's: nothing is lost by them, and the next step begins where the last whole one ended."""

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
            "waiting" if error else "following",
            place_of(self._settings.url),
            error,
            (journal or Journal(self._folder, self._position)).behind(),
            journal.inode if journal else 0,
            self._position.offset,
            self.taken,
            self.refused,
            self._torn + (journal.torn if journal else 0),
        )

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
                self._refuse(f"the database refuses a record: {_in_short(error)}")
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
            log.warning("what is older than the ledger's retention stays for now: %s", _in_short(error))
            gone = 0
        if gone:
            log.info("%d calls are older than the ledger's retention and went", gone)
            return True
        self._expired_s = self._clock()
        return False


def source_of(folder: Path) -> str:
    """The id of a state folder, made at the first time."""
    path = folder / ID_NAME
    with contextlib.suppress(FileNotFoundError):
        if kept := path.read_text(encoding="ascii").strip():
            return kept
    made = secrets.token_hex(8)
    fresh = path.with_suffix(".new")
    fresh.write_text(made, encoding="ascii")
    fresh.replace(path)
    return made


@contextlib.contextmanager
def locked(folder: Path, *, waits: bool) -> Iterator[bool]:
    """One follower a journal; False where another one has it and this one does not wait."""
    with (folder / LOCK_NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except OSError:
            yield False
            return
        yield True


def follow(follower: Follower, ending: threading.Event, say: Callable[[Report], None]) -> None:
    """Until `ending` is set, and then for as long as there is more to take."""
    backoff_s, said_s, told_s, wrong = _BACKOFF_FIRST_S, 0.0, 0.0, ""
    while True:
        is_last_look = ending.is_set()
        try:
            more = follower.step()
        except (SQLAlchemyError, Misconfigured, OSError) as error:
            follower.disconnect()
            why = error.message if isinstance(error, Misconfigured) else _in_short(error)
            if why != wrong or time.monotonic() - said_s > _SAY_EVERY_S:
                log.error("the ledger waits, records stay in the journal: %s", why)
                wrong, said_s = why, time.monotonic()
            say(follower.report(why))
            if ending.wait(backoff_s):
                return
            backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)
            continue
        if wrong:
            log.warning("the ledger goes on")
        backoff_s, was_wrong, wrong = _BACKOFF_FIRST_S, wrong, ""
        if was_wrong or not more or time.monotonic() - told_s > _REPORT_EVERY_S:
            say(follower.report())
            told_s = time.monotonic()
        if not more:
            if is_last_look:
                return
            ending.wait(_POLL_S)


def _record(line: bytes) -> dict[str, Any]:
    # PostgreSQL's text has no room for this character.
    record: dict[str, Any] = msgspec.json.decode(line.replace(b"\\u0000", b"\\ufffd"))
    return record


def _in_short(error: BaseException) -> str:
    """The database's own words, without statements and parameters: those hold what calls say."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(told).strip().splitlines()
    return lines[0] if lines else type(told).__name__


def _end_with_input(ending: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    ending.set()
    time.sleep(ENDS_WITHIN_S)  # a database that hangs must not keep this process
    os._exit(0)


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the control plane, which ends this
    os.nice(_NICE)  # calls go first
    logging.basicConfig(
        level=sys.argv[1] if len(sys.argv) > 1 else "INFO",
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    settings = msgspec.json.decode(_first_line(), type=Settings)
    ending, last = threading.Event(), [b""]
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    threading.Thread(target=_end_with_input, args=(ending,), daemon=True).start()

    def say(report: Report) -> None:
        if (line := msgspec.json.encode(report) + b"\n") != last[0]:
            last[0] = line
            with contextlib.suppress(BrokenPipeError):
                os.write(1, line)

    with locked(Path(settings.folder), waits=True):
        follower = Follower(settings)
        try:
            follow(follower, ending, say)
        finally:
            follower.close()
    return 0


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


if __name__ == "__main__":
    sys.exit(main())
