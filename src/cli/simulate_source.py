"""Where a simulation's calls come from, and the file in which they wait for it: in the order of time, in
bounded memory."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from ..core.errors import Misconfigured
from ..ledger.database import Position
from ..ledger.journal import Journal
from ..simulation.recorded import Recorded, decode

# Calls that are sorted together, and those that are written at once.
_RUN, _FRAME = 20_000, 500
Heard = Callable[[int, int], None]


class Spool:
    """`add` calls in any order, then iterate, as often as wanted, in that of time. A file that nobody else
    sees, and that is gone with the process."""

    def __init__(self, run: int = _RUN, frame: int = _FRAME) -> None:
        self._run, self._frame = run, frame
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="modelbroker-simulate-")  # noqa: SIM115
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[Recorded]).decode
        self._open: list[Recorded] = []
        self._runs: list[tuple[int, int, list[tuple[int, int]]]] = []  # first and last ms, frames
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
        self._runs.append((self._open[0].at_ms, self._open[-1].at_ms, frames))
        self._open = []

    def __iter__(self) -> Iterator[Recorded]:
        self._end_run()
        self._file.flush()
        runs = self._runs
        if all(one[1] < other[0] for one, other in itertools.pairwise(runs)):
            for run in runs:
                yield from self._read(run[2])
            return
        yield from heapq.merge(*(self._read(run[2]) for run in runs), key=_order)

    def _read(self, frames: list[tuple[int, int]]) -> Iterator[Recorded]:
        for offset, length in frames:
            self._file.seek(offset)
            yield from self._decode(self._file.read(length))

    def close(self) -> None:
        self._file.close()


def _order(call: Recorded) -> tuple[int, str]:
    return call.at_ms, call.request_id


def from_file(path: Path, since_ms: int, until_ms: int, heard: Heard) -> Iterator[Recorded]:
    """Lines as the journal has them, or as `--write-traffic` wrote them. Misconfigured where one is none."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            read = 0
            for number, line in enumerate(file, 1):
                read += len(line)
                if not line.strip():
                    continue
                try:
                    call = decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    message = f"{path}:{number}: is no record of a call ({error}): give a calls.jsonl"
                    raise Misconfigured(500, "bad_traffic", message) from None
                if since_ms <= call.at_ms < until_ms:
                    yield call
                if number % 1_000 == 0:
                    heard(read, size)
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}: give a file of records (calls.jsonl)"
        raise Misconfigured(500, "bad_traffic", message) from None


def from_journal(folder: Path, since_ms: int, until_ms: int, heard: Heard) -> Iterator[Recorded]:
    """What the state folder still has of calls.jsonl, where there is no ledger."""
    journal = Journal(folder, Position())
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
                if since_ms <= call.at_ms < until_ms:
                    yield call
            heard(left - journal.behind(), left)
    if bad:
        print(f"warning: {bad} lines of the journal in {folder} are no records", file=sys.stderr)


def spooled(calls: Iterable[Recorded], each: Callable[[Recorded], None], out: IO[bytes] | None) -> Spool:
    """All of them; `each` sees them in the order in which they come. `out` gets them as lines."""
    spool = Spool()
    encoder = msgspec.json.Encoder()
    for call in calls:
        each(call)
        spool.add(call)
        if out is not None:
            out.write(encoder.encode(call) + b"\n")
    return spool
