"""Records as JSON Lines in the state folder, in files of bounded size."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

import msgspec

from ..core.record import Record

log = logging.getLogger("modelbroker.records")

FILE_NAME = "calls.jsonl"
_FILE_BYTES = 64 * 1024 * 1024
_FILES = 4  # the newest and those before it


class RecordFile:
    """`write` appends one line; a disk that is full is said once and costs no call."""

    def __init__(self, folder: Path) -> None:
        self._handler = RotatingFileHandler(
            folder / FILE_NAME, maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8", delay=True
        )
        self._failed = False

    def write(self, record: Record) -> None:
        line = msgspec.json.encode(record).decode()
        try:
            entry = logging.LogRecord("calls", logging.INFO, "", 0, line, None, None)
            if self._handler.shouldRollover(entry):
                self._handler.doRollover()
            if self._handler.stream is None:
                self._handler.stream = self._handler._open()
            self._handler.stream.write(line + "\n")
            self._handler.flush()
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("records can't be written to %s: %s", self._handler.baseFilename, error)
            self._failed = True

    def close(self) -> None:
        self._handler.close()
