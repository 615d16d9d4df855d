"""A journal (calls.jsonl, say, and the older files beside it), read line by line while it is written.

Files are renamed when a new one is begun: one is known by its inode and its first line, whatever its name.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from .writing import CALLS

READ_AT_ONCE = 1 << 20
_TAIL_BYTES = 256
_ENDS = b"\n"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a journal was read: which file, and how many bytes of it."""

    file: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines, without what ends them, and the position behind them."""

    lines: tuple[bytes, ...]
    position: Position


class Journal:
    """`read` gives what is there, in the order in which it was written; None where there is no more now.

    Nothing is left out: where a position can't be right (the file is another one, or shorter), the file is
    read from its beginning, or the journal from its oldest file."""

    def __init__(self, folder: Path, position: Position, name: str = CALLS) -> None:
        self._folder, self._name = folder, name
        self._sought: Position | None = position
        self._file: FileIO | None = None
        self._id = ""
        self._offset = 0
        self._tail = b""  # the last bytes that were read
        self.torn = 0  # last lines that were never ended, in files that are done with

    @property
    def inode(self) -> int:
        """Of the file that is being read; 0: none yet. Older ones are done with."""
        return os.fstat(self._file.fileno()).st_ino if self._file is not None else 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self) -> Piece | None:
        while True:
            if self._file is None and not self._begin():
                return None
            if (file := self._file) is None:
                return None
            if (piece := self._piece(file)) is not None:
                return piece
            # Asked before the last look: nobody writes to a file behind which there is a newer one.
            newer = self._newer()
            if (piece := self._piece(file)) is not None:
                return piece
            if newer is None:
                return None
            self.torn += _size(file) > self._offset
            self._turn_to(newer)

    def behind(self) -> int:
        """Bytes that are not read yet."""
        files = self._files()
        inodes = [inode for inode, _ in files]
        at = inodes.index(self.inode) if self.inode in inodes else -1
        sizes = [_size_of(path) for _, path in files[max(at, 0) :]]
        return max(sum(sizes) - (self._offset if at >= 0 else 0), 0)

    # -- one file

    def _piece(self, file: FileIO) -> Piece | None:
        if not self._is_as_read(file):
            self._offset, self._tail = 0, b""
        wanted = READ_AT_ONCE
        while True:
            data = os.pread(file.fileno(), wanted, self._offset)
            end = data.rfind(_ENDS) + 1
            if end or len(data) < wanted:
                break
            wanted *= 2  # one line that is longer
        if not end:
            return None
        if not self._offset or not self._id:
            self._id = _identity(file)
        self._offset += end
        self._tail = data[max(end - _TAIL_BYTES, 0) : end]
        return Piece(tuple(data[: end - 1].split(_ENDS)), Position(self._id, self._offset))

    def _is_as_read(self, file: FileIO) -> bool:
        """Whether it still begins with what was read: a machine that lost its power may have lost the file's
        end, and a write that found no room for all of it is undone."""
        if not self._tail:
            return _size(file) >= self._offset
        return os.pread(file.fileno(), len(self._tail), self._offset - len(self._tail)) == self._tail

    # -- all of them

    def _begin(self) -> bool:
        """The file where reading goes on; False: there is none."""
        sought, files = self._sought, self._files()
        if sought is not None and sought.file:
            for _, path in files:
                file = _opened(path)
                if file is None:
                    return self._begin()  # it was renamed meanwhile
                if _identity(file) == sought.file:
                    self._file, self._id, self._sought = file, sought.file, None
                    self._offset = sought.offset if _ends_at(file, sought.offset) else 0
                    return True
                file.close()
        for _, path in files:  # the oldest, where its name still stands
            self._sought = None
            self._file, self._id, self._offset = _opened(path), "", 0
            return self._file is not None or self._begin()
        return False

    def _newer(self) -> tuple[int, Path] | None:
        """The file behind this one; the oldest where this one is gone. None: this is the newest."""
        files = self._files()
        inodes = [inode for inode, _ in files]
        at = inodes.index(self.inode) if self.inode in inodes else -1
        return files[at + 1] if at + 1 < len(files) else None

    def _turn_to(self, newer: tuple[int, Path]) -> None:
        inode, path = newer
        file = _opened(path)
        if file is None or os.fstat(file.fileno()).st_ino != inode:  # renamed meanwhile: look again
            if file is not None:
                file.close()
            return
        self.close()
        self._file, self._id, self._offset, self._tail = file, "", 0, b""

    def _files(self) -> list[tuple[int, Path]]:
        """(inode, path), the oldest first: a state that did not change while it was looked at."""
        before: list[tuple[int, Path]] | None = None
        while before != (now := self._scan()):
            before = now
        return now

    def _scan(self) -> list[tuple[int, Path]]:
        found = []
        for path in self._folder.glob(f"{self._name}*"):
            number = path.name.removeprefix(self._name).removeprefix(".")
            if path.name == self._name or number.isdecimal():
                try:
                    found.append((-int(number or 0), path.stat().st_ino, path))
                except FileNotFoundError:
                    continue
        return [(inode, path) for _, inode, path in sorted(found)]


def _opened(path: Path) -> FileIO | None:
    try:
        return FileIO(path, "rb")
    except FileNotFoundError:
        return None


def _size(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


def _identity(file: FileIO) -> str:
    """ "" while its first line is not whole."""
    wanted, data = 4096, b""
    while _ENDS not in data:
        before, data = len(data), os.pread(file.fileno(), wanted, 0)
        if len(data) == before:
            return ""
        wanted *= 2
    first = data.partition(_ENDS)[0]
    return f"{os.fstat(file.fileno()).st_ino}:{hashlib.sha256(first).hexdigest()[:16]}"


def _ends_at(file: FileIO, offset: int) -> bool:
    """Whether a line ends there."""
    return not offset or os.pread(file.fileno(), 1, offset - 1) == _ENDS


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
