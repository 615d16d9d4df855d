"""What was spent, over restarts: a snapshot in the state folder, and the records that were written behind it.

All of it is done by the thread that writes records, so that the snapshot is that of a whole number of
records: its mark says up to which byte of which file. A broker that is killed at any moment reads the rest
from there."""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from ..core.budgets import Charge
from ..core.record import Record
from ..policy.budgets import Accounts, named, window_named
from .calendars import spans

log = logging.getLogger("modelbroker.budgets")

FILE_NAME = "budgets.json"
EVERY_S = 5.0


class _Snapshot(msgspec.Struct):
    """`spent`: account → [slot, amount] each. `inode` and `size`: of the file of records that was the
    newest."""

    spent: dict[str, list[tuple[int, int]]]
    inode: int = 0
    size: int = 0


class _Line(msgspec.Struct):
    budgets: list[Charge] = []


class Kept:
    """`records`: the newest file of records; older ones have .1, .2 … behind their name."""

    def __init__(self, folder: Path, records: Path) -> None:
        self._file = folder / FILE_NAME
        self._records = records
        self._spent = Accounts(spans)
        self._more: queue.SimpleQueue[Charge] = queue.SimpleQueue()
        self._written_s = time.monotonic()
        self._is_new = False
        self._mark = (0, 0)  # inode and size of the newest file of records

    def read(self) -> Iterator[tuple[str, int, int]]:
        """(account, slot, spent) of all that was spent before, while nothing is written yet."""
        kept = self._read_snapshot()
        for account, slots in kept.spent.items():
            try:
                spans(window_named(named(account)[2]), time.time())
            except (KeyError, ValueError) as error:  # of another version, or a time zone that is no more
                log.warning("what was spent in %s is not known any more: %s", account, error)
                continue
            for slot, spent in slots:
                self._spent.restore(account, slot, spent)
        found = self._behind(kept)
        if found is None:
            log.warning(
                "the records behind what budgets were when they were last kept are gone: "
                "what was spent between is not known"
            )
        count = 0
        for charge in _charges(found or ()):
            try:
                self._spent.replay(charge)
            except (KeyError, ValueError) as error:
                log.warning("a charge of %s is not known any more: %s", charge.budget, error)
            count += 1
        self._is_new = count > 0
        if self._records.is_file():
            newest = self._records.stat()
            self._mark = newest.st_ino, newest.st_size
        self._spent.sweep(time.time())
        for name, known in self._spent.accounts.items():
            for slot, (spent, _) in known.slots.items():
                yield name, slot, spent

    def add(self, charges: Iterable[Charge]) -> None:
        """What no record says; from any thread."""
        for charge in charges:
            self._more.put(charge)

    def written(self, records: Sequence[Record], inode: int, size: int) -> None:
        """These records are in the file with this inode, which has so many bytes now. In the thread that
        writes them."""
        self._mark = inode, size
        for record in records:
            for charge in record.budgets:
                self._spent.replay(charge)
                self._is_new = True
        if self._is_new and time.monotonic() - self._written_s >= EVERY_S:
            self.write()

    def write(self) -> None:
        """A new snapshot in the place of the one before."""
        while not self._more.empty():
            self._spent.replay(self._more.get())
        self._written_s, self._is_new = time.monotonic(), False
        self._spent.sweep(time.time())
        spent = {
            name: [(slot, held[0]) for slot, held in account.slots.items()]
            for name, account in self._spent.accounts.items()
        }
        fresh = self._file.with_suffix(".new")
        try:
            kept = _Snapshot(spent, *self._mark)
            fresh.touch(mode=0o600)
            with fresh.open("wb") as file:
                file.write(msgspec.json.encode(kept))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._file)
        except OSError as error:
            log.warning("what was spent can't be kept in %s: %s", self._file, error)

    def _read_snapshot(self) -> _Snapshot:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Snapshot)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("what was spent before is read from records alone: %s: %s", self._file, error)
        return _Snapshot({})

    def _behind(self, kept: _Snapshot) -> list[tuple[Path, int]] | None:
        """(file of records, from which byte on), the oldest first; None where the one of the mark is gone."""
        files = [
            path for path in (self._records, *_older(self._records)) if path.is_file()
        ]  # the newest first; a pipe would make one wait
        behind: list[tuple[Path, int]] = []
        for path in files:
            is_marked = kept.inode and path.stat().st_ino == kept.inode
            behind.insert(0, (path, kept.size if is_marked else 0))
            if is_marked:
                return behind
        return behind if not kept.inode else None


def _older(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}.{number}") for number in range(1, 100)]


def _charges(files: Iterable[tuple[Path, int]]) -> Iterator[Charge]:
    decoder = msgspec.json.Decoder(_Line)
    for path, start in files:
        with path.open("rb") as file:
            file.seek(start)
            for line in file:
                if b'"budgets":[{' not in line:  # nearly free where there are none
                    continue
                try:
                    yield from decoder.decode(line).budgets
                except msgspec.DecodeError:  # half a line, of a broker that was killed
                    log.warning("a line of %s could not be read for budgets", path)
