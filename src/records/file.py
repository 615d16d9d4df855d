"""Records as JSON Lines in the state folder, in files of bounded size."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Protocol

import msgspec
from prometheus_client import Counter

from ..core.record import Record
from .write_ahead import Mark

log = logging.getLogger("modelbroker.records")

FILE_NAME = "calls.jsonl"
FILE_BYTES = 64 * 1024 * 1024
FILES = 4  # those before the newest: calls.jsonl.1 is the youngest of them
MOST_FILES = 32  # where the ledger has not taken them: 2 GiB
_SAY_EVERY_S = 60.0
_WRITTEN = Counter("modelbroker_records_written", "Records that have their line in the journal")
_UNWRITTEN = Counter("modelbroker_records_unwritten", "Records for which the disk had no room")
_NOT_TAKEN = Counter(
    "modelbroker_records_not_in_ledger", "Records that went with their file before the ledger had them"
)
_READ_BYTES = 1 << 20


class Reader(Protocol):
    """Who follows the file, at its own pace. From any thread."""

    def done(self, inodes: Sequence[int]) -> int:
        """Of these files, the oldest first and the newest last: how many of the oldest it has read."""

    def offset(self, inode: int) -> int:
        """How much of this file it has read, as far as that is known: bytes."""


class _NoReader:
    def done(self, inodes: Sequence[int]) -> int:
        return len(inodes)

    def offset(self, inode: int) -> int:
        return 0


class RecordFile:
    """`write` appends a line a record. A disk that is full costs no call: that is said now and then, and the
    file goes on when there is room again. An older file that `reader` has not read is kept, until there are
    `most_files` of them."""

    def __init__(
        self,
        folder: Path,
        file_bytes: int = FILE_BYTES,
        reader: Reader | None = None,
        most_files: int = MOST_FILES,
    ) -> None:
        self._path = folder / FILE_NAME
        self._file_bytes = file_bytes
        self._reader: Reader = reader or _NoReader()
        self._most_files = most_files
        self._encoder = msgspec.json.Encoder()
        self._file: FileIO | None = None
        self._size = 0
        self._is_full = False
        self._said_s: float | None = None

    def write(self, records: Sequence[Record]) -> Mark | None:
        """All of them with one write, or none (None): a line is never cut. Up to where they are written."""
        lines = self._encoder.encode_lines(records)
        try:
            file = self._open()
            if self._size and self._size + len(lines) > self._file_bytes:
                file = self._next()
            self._append(file, lines)
        except OSError as error:
            self._complain(error)
            return None
        if self._is_full:
            log.warning("records are written again")
            self._is_full, self._said_s = False, None
        _WRITTEN.inc(len(records))
        return Mark(os.fstat(file.fileno()).st_ino, self._size)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def count_dropped(self, records: Sequence[Record]) -> None:
        """Those that came while the disk made too many wait, or that it never had room for. From any
        thread."""
        _UNWRITTEN.inc(len(records))

    def _complain(self, error: OSError) -> None:
        self._is_full = True
        now_s = time.monotonic()
        if self._said_s is None or now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            log.error("records wait, for they can't be written to %s: %s", self._path, error)

    def _open(self) -> FileIO:
        if self._file is None:
            file = FileIO(self._path, "ab+", opener=_private)
            self._size = self._whole(file)
            self._file = file
        return self._file

    def _whole(self, file: FileIO) -> int:
        """The file's size, without a last line that was never written to its end: of a broker that was
        killed meanwhile."""
        size = end = file.seek(0, os.SEEK_END)
        if not file.seekable() or not size:
            return size
        while end:
            start = max(end - _READ_BYTES, 0)
            data = os.pread(file.fileno(), end - start, start)
            if (found := data.rfind(b"\n") + 1) or not start:
                end = start + found
                break
            end = start
        if end < size:
            log.warning("the last line of %s was cut: its record is lost", self._path)
            file.truncate(end)
        return end

    def _append(self, file: FileIO, lines: bytes) -> None:
        try:
            if (written := file.write(lines)) != len(lines):
                raise OSError(f"{written or 0} of {len(lines)} bytes were written")
        except OSError:
            with contextlib.suppress(OSError):  # what went wrong first is what is to be said
                file.truncate(self._size)
            raise
        self._size += len(lines)

    def _next(self) -> FileIO:
        """The newest file becomes one of those before it, and the oldest go that are no longer needed."""
        self.close()
        older = [
            path for number in range(self._most_files, 0, -1) if (path := self._numbered(number)).exists()
        ]
        self._drop([*older, self._path])
        for number in range(self._most_files, -1, -1):
            path = self._numbered(number)
            if path.exists():
                path.replace(self._numbered(number + 1))
        return self._open()

    def _drop(self, files: Sequence[Path]) -> None:
        """Of these, the oldest first: so many that there is room for one more."""
        inodes = [path.stat().st_ino for path in files]
        done = self._reader.done(inodes)
        for place, path in enumerate(files):
            left = len(files) - place
            if left <= FILES or (place >= done and left <= self._most_files):
                return
            if place >= done:
                count = _lines_from(path, self._reader.offset(inodes[place]))
                _NOT_TAKEN.inc(count)
                log.error(
                    "%s goes, for there are %d of them: %d of its records are not in the ledger",
                    path,
                    left,
                    count,
                )
            path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{FILE_NAME}.{number}") if number else self._path


class _Known(msgspec.Struct):
    request_id: str


def written_since(folder: Path, mark: Mark | None) -> frozenset[str]:
    """The ids of all records behind the mark; of all that are kept where there is none, or where what it
    marks is gone."""
    numbers = [path.name.rpartition(".")[2] for path in folder.glob(f"{FILE_NAME}.*")]
    older = sorted(int(number) for number in numbers if number.isdecimal())
    paths = [folder / FILE_NAME, *(folder / f"{FILE_NAME}.{number}" for number in older)]
    ids: set[str] = set()
    decoder = msgspec.json.Decoder(_Known)
    for path in paths:  # the newest first
        if not path.is_file():  # there is none, or it is a pipe, which would make one wait
            continue
        try:
            with path.open("rb") as file:
                is_marked = mark is not None and os.fstat(file.fileno()).st_ino == mark.inode
                if mark is not None and is_marked:
                    file.seek(mark.size)
                for line in file:
                    with contextlib.suppress(msgspec.DecodeError):  # one that was cut by a kill
                        ids.add(decoder.decode(line).request_id)
        except FileNotFoundError:
            continue
        if is_marked:
            break
    return frozenset(ids)


def _private(path: str, flags: int) -> int:
    """Records name users and customers: they are for the broker's own user."""
    return os.open(path, flags, 0o600)


def _lines_from(path: Path, offset: int) -> int:
    count = 0
    with path.open("rb") as file:
        file.seek(offset)
        while data := file.read(_READ_BYTES):
            count += data.count(b"\n")
    return count
