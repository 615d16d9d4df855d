"""Lines in a file that is rotated by its size."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..sink import Sent, SinkAway, SinkSettings

_PIECE = 1 << 16


class File:
    """`path`, then `path.1` (the one before it) to `path.N`: at most `files` together. A batch is taken when
    the disk has it."""

    most_events = 2_000
    most_bytes = 4 << 20
    again_s = 0.0

    def __init__(self, settings: SinkSettings) -> None:
        options = settings.options
        self._path = Path(options["path"])
        self._most_file_bytes = int(options.get("most_bytes", str(100 << 20)))
        self._files = int(options.get("files", "10"))
        self._fd = -1

    def send(self, events: Sequence[Sent]) -> None:
        data = b"".join(event.line + b"\n" for event in events)
        try:
            size = self._open()
            if size and size + len(data) > self._most_file_bytes:
                self._rotate()
                size = self._open()
            self._write(data, size)
        except OSError as error:
            self.close()
            why = error.strerror or type(error).__name__
            raise SinkAway(f"{self._path} can't be written: {why}") from None

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _open(self) -> int:
        """The file's size. It is opened again where another one has taken its place, or none has."""
        if self._fd >= 0 and self._is_at_its_place():
            return os.fstat(self._fd).st_size
        self.close()
        is_new = not self._path.exists()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO would wait
        self._fd = os.open(self._path, flags, 0o600)
        about = os.fstat(self._fd)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(0, "it is no file")
        if is_new:
            self._sync_folder()
        return self._mend(about.st_size)

    def _is_at_its_place(self) -> bool:
        here = os.fstat(self._fd)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def _mend(self, size: int) -> int:
        """Half a line at the end is what a crash left of a batch, which is written again as a whole."""
        at = size
        while at > 0:
            start = max(0, at - _PIECE)
            piece = os.pread(self._fd, at - start, start)
            if (newline := piece.rfind(b"\n")) >= 0:
                at = start + newline + 1
                break
            at = start
        if at != size:
            os.ftruncate(self._fd, at)
        return at

    def _write(self, data: bytes, size: int) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
            os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):  # no line of a batch that was not taken as a whole
                os.ftruncate(self._fd, size)
            raise

    def _rotate(self) -> None:
        self.close()
        for number in range(self._files - 1, 0, -1):
            older = self._numbered(number)
            newer = self._numbered(number - 1) if number > 1 else self._path
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)
        self._sync_folder()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _sync_folder(self) -> None:
        """Else a name may be gone after a loss of power."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def open_sink(settings: SinkSettings) -> File:
    return File(settings)
