"""The chain on the disk: segments in a folder, the newest of them written to, all of them read.

One process writes (the follower, behind a lock). A kill at any point leaves whole lines and perhaps a piece
of one, which the next start cuts off; how far each journal is in the chain stands in the chain's own lines,
so that what was not written is read again, and nothing twice.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import IO

from ..core.acts import AUDIT_CHECKPOINT, AUDIT_EXPIRED, Act, Detail
from ..core.ids import RANDOM_BYTES, request_id_of
from .chain import (
    BEFORE_FIRST,
    Checkpoint,
    Line,
    Source,
    digest,
    first_of,
    line_of,
    own_line,
    read,
    segment_name,
    signed_line,
)
from .events import Event, of_act
from .keys import Signer

log = logging.getLogger("modelbroker.audit")

FOLDER = "audit"
SEGMENT_BYTES = 16 << 20
CHECKPOINT_EVERY = 1_000  # events
CHECKPOINT_EVERY_S = 10.0
_READ_BYTES = 1 << 20
_NEVER_MS = 1 << 62


def segments(folder: Path) -> list[tuple[int, Path]]:
    """(first line, file), the oldest first."""
    found = ((first_of(path.name), path) for path in folder.glob("*.jsonl"))
    return sorted((first, path) for first, path in found if first is not None)


def lines_in(file: IO[bytes]) -> Iterator[bytes]:
    """Whole lines, without their newlines; a last one without is left out."""
    for line in file:
        if line.endswith(b"\n"):
            yield line[:-1]


class Chain:
    """`append` events, `checkpoint` now and then, `expire`. OSError leaves it as it was on the disk: it is to
    be opened anew then."""

    def __init__(
        self,
        folder: Path,
        signer: Signer,
        clock: Callable[[], float] = time.time,
        segment_bytes: int = SEGMENT_BYTES,
        every: int = CHECKPOINT_EVERY,
        every_s: float = CHECKPOINT_EVERY_S,
    ) -> None:
        self._folder, self._signer, self._clock = folder, signer, clock
        self._segment_bytes, self._every, self._every_s = segment_bytes, every, every_s
        self._file: FileIO | None = None
        self._size = 0
        self._chain = ""
        self._last_key = ""
        self._unsigned = 0
        self._signed_s = clock()
        self.key = signer.public
        self.seq, self.hash = 0, BEFORE_FIRST
        self.checkpoint_line = b""
        self.checkpoint_seq, self.checkpoint_at_ms = 0, 0
        self.positions: dict[str, tuple[str, int]] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._recover()

    def append(self, events: Sequence[tuple[Event, Source]]) -> None:
        """In this order. Those up to `positions` are in the chain when it fails half way."""
        at = 0
        while at < len(events):
            self._make_room()
            seq, last, piece, room = self.seq, self.hash, bytearray(), self._segment_bytes - self._size
            most = max(1, self._every - self._unsigned)
            taken = 0
            for event, source in events[at:]:
                line = line_of(seq + 1, last, event, source)
                if taken and (taken >= most or len(piece) + len(line) > room):
                    break
                seq, last, taken = seq + 1, digest(line), taken + 1
                piece += line + b"\n"
            self._write(bytes(piece))
            self.seq, self.hash = seq, last
            for _, (journal, file, offset) in events[at : at + taken]:
                self.positions[journal] = file, offset
            self._unsigned += taken
            at += taken
            if self._unsigned >= self._every:
                self.checkpoint()

    def tick(self) -> None:
        """A checkpoint, where one is due."""
        if self._unsigned and self._clock() - self._signed_s >= self._every_s:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Sign what is there, unless it is signed already."""
        if self._unsigned:
            self._sign(opens=False)

    def expire(self, keep_s: int, most_bytes: int) -> int:
        """Take whole segments away that are older than `keep_s` (0: none is), or for which there is no room;
        never the newest. The chain tells of it first. How many events that were."""
        there = segments(self._folder)
        sizes = [path.stat().st_size for _, path in there]
        now_ms = int(self._clock() * 1000)
        gone = 0
        while gone + 1 < len(there):
            is_old = keep_s and _opened_ms(there[gone + 1][1]) < now_ms - keep_s * 1000
            if not is_old and sum(sizes[gone:]) <= most_bytes:
                break
            gone += 1
        if not gone:
            return 0
        first, through = there[0][0], there[gone][0] - 1
        self._tell(AUDIT_EXPIRED, {"first_seq": first, "through_seq": through, "segments": gone})
        self.checkpoint()
        for _, path in there[:gone]:
            path.unlink()
        self._sync_folder()
        return through - first + 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- lines of its own

    def _tell(self, word: str, details: dict[str, Detail]) -> None:
        self._make_room()
        line = own_line(self.seq + 1, self.hash, self._act(word, details))
        self._write(line + b"\n")
        self.seq, self.hash = self.seq + 1, digest(line)
        self._unsigned += 1

    def _act(self, word: str, details: dict[str, Detail]) -> Event:
        at_ms = int(self._clock() * 1000)
        name = request_id_of(at_ms, secrets.token_bytes(RANDOM_BYTES))
        return of_act(Act(name, at_ms, word, details=details))

    def _sign(self, *, opens: bool) -> None:
        self._chain = self._chain or secrets.token_hex(16)
        said = Checkpoint(self._chain, self.key, dict(self.positions), opens)
        event = self._act(AUDIT_CHECKPOINT, {"signs_seq": self.seq, "hash": self.hash, "key": said.key})
        line = signed_line(self.seq + 1, self.hash, event, said, self._signer.sign)
        self._write(line + b"\n")
        self._sync()
        self.seq, self.hash = self.seq + 1, digest(line)
        self._unsigned, self._last_key = 0, said.key
        self._signed_s = self._clock()
        self._note_checkpoint(line, event.at_ms)

    def _note_checkpoint(self, line: bytes, at_ms: int) -> None:
        self.checkpoint_line, self.checkpoint_seq, self.checkpoint_at_ms = line, self.seq, at_ms

    # -- files

    def _make_room(self) -> None:
        """A segment that can be written to, with its opening checkpoint."""
        is_other = bool(self._last_key) and self._last_key != self.key
        if self._file is not None and self._size < self._segment_bytes and not is_other:
            return
        if self._file is not None and not is_other:
            self.checkpoint()
        self.close()
        path = self._folder / segment_name(self.seq + 1)
        self._file, self._size = FileIO(path, "ab+", opener=_private), 0
        self._sync_folder()
        self._sign(opens=True)

    def _write(self, data: bytes) -> None:
        if (file := self._file) is None:
            raise OSError("the chain is closed")
        try:
            if (written := file.write(data)) != len(data):
                raise OSError(f"{written or 0} of {len(data)} bytes were written")
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(self._size)
            raise
        self._size += len(data)

    def _sync(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())

    def _sync_folder(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    # -- where it stands

    def _recover(self) -> None:
        while there := segments(self._folder):
            first, path = there[-1]
            file = FileIO(path, "ab+", opener=_private)
            self._size = _whole(file, path)
            if not self._size:  # killed before its first line was there
                file.close()
                path.unlink()
                continue
            self._file = file
            self._read(first, path)
            return

    def _read(self, first: int, path: Path) -> None:
        self.seq = first - 1
        with path.open("rb") as file:
            for raw in lines_in(file):
                self.seq, self.hash = self.seq + 1, digest(raw)
                self._unsigned += 1
                try:
                    line = read(raw)
                except ValueError:
                    log.error("%s: event %d is none: `modelbroker audit verify` tells more", path, self.seq)
                    continue
                self.seq = line.seq
                self._take_over(line, raw)

    def _take_over(self, line: Line, raw: bytes) -> None:
        if line.src is not None:
            self.positions[line.src[0]] = line.src[1], line.src[2]
        if (said := line.checkpoint) is not None:
            self._chain, self._last_key, self._unsigned = said.chain, said.key, 0
            self.positions.update(said.positions)
            self._note_checkpoint(raw, line.event.at_ms)


class ChainReader:
    """Lines behind `after`, in their order, as they come. `missed` counts those that were taken away before
    they were read."""

    def __init__(self, folder: Path, after: int) -> None:
        self._folder, self.after = folder, after
        self._file: IO[bytes] | None = None
        self._first = 0
        self.missed = 0

    def read(self, most: int, most_bytes: int) -> list[tuple[Line, bytes]]:
        """So many, and up to so many bytes, but one at least, where there is one. What is behind `after` next
        time is the reader's to say."""
        found: list[tuple[Line, bytes]] = []
        size, seq = 0, self.after
        while len(found) < most and (raw := self._next()) is not None:
            try:
                line = read(raw)
            except ValueError:  # `verify` is to tell of it
                continue
            if line.seq <= seq:
                continue
            found.append((line, raw))
            seq, size = line.seq, size + len(raw)
            if size >= most_bytes:
                break
        return found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next(self) -> bytes | None:
        while True:
            if self._file is None and not self._open():
                return None
            if (raw := self._line()) is not None:
                return raw
            newer = next((one for one in segments(self._folder) if one[0] > self._first), None)
            if newer is None:
                return None
            if (raw := self._line()) is not None:  # written between the two looks
                return raw
            self._turn_to(*newer)

    def _line(self) -> bytes | None:
        if (file := self._file) is None:
            return None
        at = file.tell()
        line = file.readline()
        if line.endswith(b"\n"):
            return line[:-1]
        file.seek(at)
        return None

    def _open(self) -> bool:
        there = segments(self._folder)
        if not there:
            return False
        first, path = next((one for one in reversed(there) if one[0] <= self.after + 1), there[0])
        if first > self.after + 1:
            self.missed += first - self.after - 1
            self.after = first - 1
        return self._turn_to(first, path)

    def _turn_to(self, first: int, path: Path) -> bool:
        self.close()
        try:
            self._file, self._first = path.open("rb"), first
        except FileNotFoundError:  # taken away meanwhile
            return False
        return True


def _opened_ms(path: Path) -> int:
    """When the segment was begun: what stands before it is older. One that can't be read is not old."""
    with path.open("rb") as file, contextlib.suppress(ValueError):
        for raw in lines_in(file):
            return read(raw).event.at_ms
    return _NEVER_MS


def _whole(file: FileIO, path: Path) -> int:
    """Its size, without a last line that was never written to its end."""
    size = end = file.seek(0, os.SEEK_END)
    while end:
        start = max(end - _READ_BYTES, 0)
        data = os.pread(file.fileno(), end - start, start)
        if (found := data.rfind(b"\n") + 1) or not start:
            end = start + found
            break
        end = start
    if end < size:
        log.warning("the last line of %s was cut by a kill: it is written again", path)
        file.truncate(end)
    return end


def _private(path: str, flags: int) -> int:
    """Events name users and customers: they are for the broker's own user."""
    return os.open(path, flags, 0o600)
