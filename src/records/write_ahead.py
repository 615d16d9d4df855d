"""The write-ahead file: what was opened and what was closed, in segments that outlive a kill.

A segment is written through memory (mmap): a line is there for whoever reads the file next as soon as it is
copied, without a call of the kernel's. Its room is taken when it is made, so that a full disk is told then.
What is behind the last line is zeros. A power cut can lose what the kernel had not written yet.
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ..core.opened import Opened, Pairs, Shared
from ..journal.writing import Mark

log = logging.getLogger("modelbroker.records")

FOLDER = "open"
SEGMENT_BYTES = 4 * 1024 * 1024


class _Shared(msgspec.Struct, frozen=True, array_like=True, tag="s", tag_field="kind"):
    """Pairs of many calls, which later lines of the segment name by their number."""

    number: int
    pairs: Pairs


class _Open(msgspec.Struct, frozen=True, array_like=True, tag="o", tag_field="kind"):
    request_id: str
    shared: int | Pairs
    own: tuple[tuple[str, str], ...]
    status: int
    code: str


class _Closed(msgspec.Struct, frozen=True, array_like=True, tag="c", tag_field="kind"):
    mark: Mark | None
    request_ids: tuple[str, ...]


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Shared | _Open | _Closed)


def open_line(opened: Opened) -> bytes:
    """With all that it says."""
    return _ENCODER.encode(("o", opened[0], tuple(opened.shared), *opened[2:])) + b"\n"


def closed_line(request_ids: Sequence[str], mark: Mark | None) -> bytes:
    return _ENCODER.encode(("c", mark, request_ids)) + b"\n"


@dataclass(slots=True)
class Found:
    """What an earlier process left: calls that nobody closed, in the order in which they were opened, and
    how far it had written records."""

    opened: dict[str, Opened] = field(default_factory=dict)
    mark: Mark | None = None

    def read(self, segment: bytes) -> None:
        """Segments in their order. A line that was cut by a kill is of a call that was not answered yet."""
        shared: dict[int, Pairs] = {}
        lines = segment.split(b"\0", 1)[0].split(b"\n")
        for line in lines[:-1]:
            try:
                entry = _DECODER.decode(line)
            except msgspec.DecodeError as error:
                log.warning("a line of the write-ahead file can't be read: %s", error)
                continue
            if isinstance(entry, _Closed):
                self.mark = entry.mark or self.mark
                for request_id in entry.request_ids:
                    self.opened.pop(request_id, None)
            elif isinstance(entry, _Shared):
                shared[entry.number] = entry.pairs
            else:
                pairs = shared.get(entry.shared, ()) if isinstance(entry.shared, int) else entry.shared
                opened = Opened(entry.request_id, pairs, entry.own, entry.status, entry.code)
                self.opened[entry.request_id] = opened


class Segments:
    """The files: the newest is written to, the others wait until all that they opened is closed."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._number = max(self._numbers(), default=0)
        self._map: mmap.mmap | None = None
        self._at = self._size = 0
        self._shared: dict[Shared, int] = {}  # what the segment that is written to has of them

    @property
    def number(self) -> int:
        """Of the segment that is written to."""
        return self._number

    @property
    def is_open(self) -> bool:
        return self._map is not None

    def found(self) -> Found:
        """What earlier segments hold. OSError where they can't be read."""
        found = Found()
        for number in sorted(self._numbers()):
            found.read(self._path(number).read_bytes())
        return found

    def append(self, line: bytes) -> bool:
        """False where it does not fit in the segment that is written to: `next` makes another."""
        end = self._at + len(line)
        if self._map is None or end >= self._size:
            return False
        self._map[self._at : end] = line
        self._at = end
        return True

    def append_open(self, opened: Opened) -> bool:
        """The same of an open entry. What many calls share is written once a segment."""
        shared = opened.shared
        if not isinstance(shared, Shared):
            return self.append(open_line(opened))
        number = self._shared.get(shared)
        if number is not None:
            return self.append(_ENCODER.encode(("o", opened[0], number, *opened[2:])) + b"\n")
        number = len(self._shared)
        line = _ENCODER.encode(("s", number, tuple(shared))) + b"\n"
        if not self.append(line + _ENCODER.encode(("o", opened[0], number, *opened[2:])) + b"\n"):
            return False
        self._shared[shared] = number
        return True

    def next(self, room: int = 0) -> None:
        """Begin a segment, with room for a line of so many bytes. OSError where the disk has none."""
        self.close()
        size = max(self._segment_bytes, room + 1)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(self._number + 1)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
            self._map = mmap.mmap(file, size)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(file)
        self._at, self._size, self._number = 0, size, self._number + 1
        self._shared.clear()

    def drop_before(self, number: int) -> None:
        """Segments go from the oldest on, or what one of them closed would be open again."""
        for older in sorted(self._numbers()):
            if older < number:
                self._path(older).unlink(missing_ok=True)

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return [int(path.stem) for path in self._folder.glob("*.log") if path.stem.isdecimal()]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.log"
