"""Records as JSON Lines in the state folder, in files of bounded size."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import msgspec
from prometheus_client import Counter

from ..core.record import Record
from .write_ahead import Mark

log = logging.getLogger("modelbroker.records")

FILE_NAME = "calls.jsonl"
FILE_BYTES = 64 * 1024 * 1024
FILES = 4  # those before the newest: calls.jsonl.1 is the youngest of them
_SAY_EVERY_S = 60.0
_UNWRITTEN = Counter("modelbroker_records_unwritten", "Records for which the disk had no room")


class RecordFile:
    """`write` appends a line a record. A disk that is full costs no call: that is said now and then, and the
    file goes on when there is room again."""

    def __init__(self, folder: Path, file_bytes: int = FILE_BYTES) -> None:
        self._path = folder / FILE_NAME
        self._file_bytes = file_bytes
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
            self._file = FileIO(self._path, "ab", opener=_private)
            self._size = self._file.tell()
        return self._file

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
        """The newest file becomes one of those before it, and the oldest goes."""
        self.close()
        for number in range(FILES - 1, -1, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        return self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{FILE_NAME}.{number}") if number else self._path


class _Known(msgspec.Struct):
    request_id: str


def written_since(folder: Path, mark: Mark | None) -> frozenset[str]:
    """The ids of all records behind the mark; of all that are kept where there is none, or where what it
    marks is gone."""
    paths = [folder / FILE_NAME, *(folder / f"{FILE_NAME}.{number}" for number in range(1, FILES + 1))]
    ids: set[str] = set()
    decoder = msgspec.json.Decoder(_Known)
    for path in paths:  # the newest first
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
