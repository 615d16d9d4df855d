"""The journal of calls in batches, and how far it was read: that is in a file beside it.

What was sent and not yet noted when the process was killed comes once more.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..journal.reading import Journal, Piece, Position


class Lines:
    """`batch` gives the one in hand, and the next behind `finish`. `is_known`: somebody had noted how far
    the journal was read."""

    def __init__(self, folder: Path, position_name: str) -> None:
        self._folder, self._path = folder, folder / position_name
        kept = _kept(self._path)
        self.is_known = kept is not None
        self._position = kept or Position()
        self._journal: Journal | None = None
        self._piece: Piece | None = None
        self._done = 0  # lines of the piece that are done with
        self._in_hand = 0

    def batch(self, most: int) -> tuple[bytes, ...] | None:
        """At most so many lines; None: there are none now."""
        journal = self._journal = self._journal or Journal(self._folder, self._position)
        if self._piece is None:
            self._piece, self._done = journal.read(), 0
        if self._piece is None:
            return None
        lines = self._piece.lines[self._done : self._done + (self._in_hand or most)]
        self._in_hand = len(lines)
        return lines

    def finish(self) -> None:
        """All of the batch is where it should be."""
        if (piece := self._piece) is None:
            return
        self._done, self._in_hand = self._done + self._in_hand, 0
        self._position = Position(piece.position.file, piece.position.offset - self._left())
        _keep(self._path, self._position)
        if self._done == len(piece.lines):
            self._piece = None

    def _left(self) -> int:
        """Bytes of the piece that are not done with."""
        return sum(len(line) + 1 for line in self._piece.lines[self._done :]) if self._piece else 0

    @property
    def behind_bytes(self) -> int:
        return (self._journal or Journal(self._folder, self._position)).behind() + self._left()

    @property
    def inode(self) -> int:
        return self._journal.inode if self._journal else 0

    @property
    def offset(self) -> int:
        return self._position.offset

    @property
    def torn(self) -> int:
        return self._journal.torn if self._journal else 0

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()


def _kept(path: Path) -> Position | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Position)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _keep(path: Path, position: Position) -> None:
    fresh = path.with_suffix(".position.new")
    fresh.write_bytes(msgspec.json.encode(position))
    fresh.replace(path)
