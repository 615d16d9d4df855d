"""Lines in files of bounded size in the state folder: the newest by its name, older ones numbered."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Protocol

import msgspec

log = logging.getLogger("modelbroker.records")

CALLS = "calls.jsonl"
FILE_BYTES = 64 * 1024 * 1024
FILES = 4  # those before the newest: calls.jsonl.1 is the youngest of them
MOST_FILES = 32  # where somebody has not read them: 2 GiB
_SAY_EVERY_S = 60.0
_READ_BYTES = 1 << 20


class Reader(Protocol):
    """Who follows the file, at its own pace. From any thread."""

    def done(self, inodes: Sequence[int]) -> int:
        """Of these files, the oldest first and the newest last: how many of the oldest it has read."""

    def offset(self, inode: int) -> int:
        """How much of this file it has read, as far as that is known: bytes."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far lines were written: into the file with this inode, up to so many bytes."""

    inode: int
    size: int


class LineFile:
    """`write` appends. A disk that is full costs no call: that is said now and then, and the file goes on
    when there is room again. An older file that one of `readers` (by what they are) has not read is kept,
    until there are `most_files` of them; `unread` is told how many lines go that this reader had not."""

    def __init__(
        self,
        path: Path,
        file_bytes: int = FILE_BYTES,
        readers: Mapping[str, Reader] | None = None,
        most_files: int = MOST_FILES,
        unread: Callable[[str, int], None] = lambda reader, lines: None,
    ) -> None:
        self._path = path
        self._file_bytes = file_bytes
        self._readers = readers or {}
        self._most_files = most_files
        self._unread = unread
        self._file: FileIO | None = None
        self._size = 0
        self.error = ""  # why lines wait: the disk is full, say
        self._said_s: float | None = None

    def write(self, lines: bytes) -> Mark | None:
        """All of them with one write, or none (None): a line is never cut. Up to where they are written."""
        try:
            file = self._open()
            if self._size and self._size + len(lines) > self._file_bytes:
                file = self._next()
            self._append(file, lines)
        except OSError as error:
            self._complain(error)
            return None
        if self.error:
            log.warning("%s is written again", self._path)
            self.error, self._said_s = "", None
        return Mark(os.fstat(file.fileno()).st_ino, self._size)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _complain(self, error: OSError) -> None:
        self.error = error.strerror or str(error)
        now_s = time.monotonic()
        if self._said_s is None or now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            log.error("what is to be written to %s waits: %s", self._path, error)

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
            log.warning("the last line of %s was cut: it is lost", self._path)
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
        done = {name: reader.done(inodes) for name, reader in self._readers.items()}
        for place, path in enumerate(files):
            left = len(files) - place
            waiting = [name for name, read in done.items() if place >= read]
            if left <= FILES or (waiting and left <= self._most_files):
                return
            for name in waiting:
                count = _lines_from(path, self._readers[name].offset(inodes[place]))
                self._unread(name, count)
                log.error(
                    "%s goes, for there are %d of them: the %s has not read %d of its lines",
                    path,
                    left,
                    name,
                    count,
                )
            path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


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
