"""Records as JSON Lines in the state folder, in files of bounded size."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import Counter

from ..core.record import Record
from ..journal.writing import CALLS, FILE_BYTES, MOST_FILES, LineFile, Mark, Reader

_WRITTEN = Counter("modelbroker_records_written", "Records that have their line in the journal")
_UNWRITTEN = Counter("modelbroker_records_unwritten", "Records for which the disk had no room")
_UNREAD = Counter(
    "modelbroker_records_unread",
    "Records that went with their file before this reader had them: the ledger, say",
    ["reader"],
)


class RecordFile:
    """`write` appends a line a record (`LineFile`)."""

    def __init__(
        self,
        folder: Path,
        file_bytes: int = FILE_BYTES,
        readers: Mapping[str, Reader] | None = None,
        most_files: int = MOST_FILES,
    ) -> None:
        def unread(reader: str, lines: int) -> None:
            _UNREAD.labels(reader).inc(lines)

        for reader in readers or ():
            _UNREAD.labels(reader)  # 0 is told from the beginning
        self._lines = LineFile(folder / CALLS, file_bytes, readers, most_files, unread)
        self._encoder = msgspec.json.Encoder()
        self._unwritten = 0

    def status(self, waiting: int) -> dict[str, Any]:
        """`waiting`: records that are yet to be written. `unwritten`: those that never will be."""
        error = self._lines.error
        state = "waiting" if error else "writing"
        return {"state": state, "error": error or None, "waiting": waiting, "unwritten": self._unwritten}

    def write(self, records: Sequence[Record]) -> Mark | None:
        """All of them, or none (None). Up to where they are written."""
        if (mark := self._lines.write(self._encoder.encode_lines(records))) is not None:
            _WRITTEN.inc(len(records))
        return mark

    def close(self) -> None:
        self._lines.close()

    def count_dropped(self, records: Sequence[Record]) -> None:
        """Those that came while the disk made too many wait, or that it never had room for. From any
        thread."""
        _UNWRITTEN.inc(len(records))
        self._unwritten += len(records)


class _Known(msgspec.Struct):
    request_id: str


def written_since(folder: Path, mark: Mark | None) -> frozenset[str]:
    """The ids of all records behind the mark; of all that are kept where there is none, or where what it
    marks is gone."""
    numbers = [path.name.rpartition(".")[2] for path in folder.glob(f"{CALLS}.*")]
    older = sorted(int(number) for number in numbers if number.isdecimal())
    paths = [folder / CALLS, *(folder / f"{CALLS}.{number}" for number in older)]
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
