"""Where a simulation's calls come from, and the files in which they wait for it: in the order of time, in
bounded memory."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import msgspec
from sqlalchemy import func, select

from ..core.errors import Misconfigured
from ..journal.reading import Journal, Position
from ..ledger.database import Ledger
from ..ledger.recorded import recorded
from ..ledger.tables import CALLS
from ..simulation.recorded import Recorded, below_zero, decode

# Calls that are sorted together, and those that are written at once.
_RUN, _FRAME = 20_000, 500
# What is worth a process of its own.
_LARGE_BYTES, _LARGE_CALLS = 64 << 20, 50_000
Heard = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Source:
    """`kind` is `file`, `ledger` or `journal`, `place` a path or a URL. `first` and `last` (exclusive) bound
    what is read of it: bytes of a file, else ms of time."""

    kind: str
    place: str
    since_ms: int
    until_ms: int
    first: int = 0
    last: int = 1 << 62

    def parts(self, count: int) -> list[Source]:
        """For as many processes at most; one where it is not worth while."""
        if count < 2 or self.kind == "journal":
            return [self]
        first, last, is_large = self._extent()
        if not is_large:
            return [self]
        edges = [first + (last - first) * number // count for number in range(count)]
        return [
            replace(self, first=edge, last=after)
            for edge, after in itertools.pairwise([*edges[:1], *edges[1:], 1 << 62])
        ]

    def _extent(self) -> tuple[int, int, bool]:
        if self.kind == "file":
            try:
                size = Path(self.place).stat().st_size
            except OSError:
                return 0, 0, False  # reading it says what is wrong
            return 0, size, size >= _LARGE_BYTES
        with Ledger(self.place, creates=False) as ledger, ledger.reading() as connection:
            query = select(func.min(CALLS.c.at_ms), func.max(CALLS.c.at_ms), func.count())
            query = query.where(CALLS.c.at_ms >= self.since_ms, CALLS.c.at_ms < self.until_ms)
            first, last, calls = connection.execute(query).one()
        return first or 0, last or 0, calls >= _LARGE_CALLS

    def read(self, heard: Heard) -> Iterator[Recorded]:
        """In no order. Misconfigured where it can't be."""
        match self.kind:
            case "file":
                return self._file(heard)
            case "journal":
                return self._journal(heard)
        return self._ledger(heard)

    def _ledger(self, heard: Heard) -> Iterator[Recorded]:
        first, last = max(self.first, self.since_ms), min(self.last, self.until_ms)
        with Ledger(self.place, creates=False) as ledger:
            for number, call in enumerate(recorded(ledger, first, last)):
                if number % 1_000 == 0:
                    heard(call.at_ms - first, last - first)
                yield call

    def _file(self, heard: Heard) -> Iterator[Recorded]:
        """Lines as the journal has them, or as `--write-traffic` wrote them: those that begin in the part."""
        path = Path(self.place)
        try:
            size = min(path.stat().st_size, self.last) - self.first
            with path.open("rb") as file:
                if self.first:
                    file.seek(self.first - 1)
                    file.readline()
                at = file.tell()
                for number, line in enumerate(file, 1):
                    if at >= self.last:
                        return
                    at += len(line)
                    if not line.strip():
                        continue
                    try:
                        call = decode(line)
                        if wrong := below_zero(call):
                            raise msgspec.ValidationError(f"less than nothing - at `$.{wrong}`")
                    except (msgspec.DecodeError, UnicodeDecodeError) as error:
                        where = f"{path}:{number}" if not self.first else f"{path}, before byte {at}"
                        message = f"{where}: is no record of a call ({error}): give a calls.jsonl"
                        raise Misconfigured(500, "bad_traffic", message) from None
                    if self.since_ms <= call.at_ms < self.until_ms:
                        yield call
                    if number % 1_000 == 0:
                        heard(at - self.first, size)
        except OSError as error:
            message = f"{path} can't be read: {error.strerror}: give a file of records (calls.jsonl)"
            raise Misconfigured(500, "bad_traffic", message) from None

    def _journal(self, heard: Heard) -> Iterator[Recorded]:
        """What the state folder still has of calls.jsonl, where there is no ledger."""
        journal = Journal(Path(self.place), Position())
        bad = 0
        with contextlib.closing(journal):
            left = max(journal.behind(), 1)
            while (piece := journal.read()) is not None:
                for line in piece.lines:
                    try:
                        call = decode(line)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        bad += 1
                        continue
                    if self.since_ms <= call.at_ms < self.until_ms:
                        yield call
                heard(left - journal.behind(), left)
        if bad:
            print(f"warning: {bad} lines of the journal in {self.place} are no records", file=sys.stderr)


_Frame = tuple[int, int]  # where it begins, and how long it is


@dataclass(slots=True)
class Run:
    """Calls in the order of time, from `first_ms` to `last_ms`, in a file at `path`."""

    path: str
    first_ms: int
    last_ms: int
    frames: list[_Frame]

    def __iter__(self) -> Iterator[Recorded]:
        decoder = msgspec.msgpack.Decoder(list[Recorded])
        with open(self.path, "rb") as file:  # noqa: PTH123
            for offset, length in self.frames:
                file.seek(offset)
                yield from decoder.decode(file.read(length))


class Spool:
    """`add` calls in any order; `close`; then the `runs` hold them."""

    def __init__(self, path: Path, run: int = _RUN, frame: int = _FRAME) -> None:
        self._path = str(path)
        self._run, self._frame = run, frame
        self._file: IO[bytes] = path.open("wb")
        self._encode = msgspec.msgpack.Encoder().encode
        self._open: list[Recorded] = []
        self.runs: list[Run] = []
        self.calls = 0

    def add(self, call: Recorded) -> None:
        self._open.append(call)
        self.calls += 1
        if len(self._open) >= self._run:
            self._end_run()

    def _end_run(self) -> None:
        if not self._open:
            return
        self._open.sort(key=_order)
        frames = []
        for start in range(0, len(self._open), self._frame):
            data = self._encode(self._open[start : start + self._frame])
            frames.append((self._file.tell(), len(data)))
            self._file.write(data)
        self.runs.append(Run(self._path, self._open[0].at_ms, self._open[-1].at_ms, frames))
        self._open = []

    def close(self) -> None:
        self._end_run()
        self._file.close()


def in_order(runs: list[Run]) -> Iterator[Recorded]:
    """All of their calls in that of time."""
    runs = sorted(runs, key=lambda run: (run.first_ms, run.last_ms))
    if all(one.last_ms < other.first_ms for one, other in itertools.pairwise(runs)):
        return itertools.chain.from_iterable(runs)
    return heapq.merge(*runs, key=_order)


def _order(call: Recorded) -> tuple[int, str]:
    return call.at_ms, call.request_id
