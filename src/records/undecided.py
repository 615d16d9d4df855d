"""Envoy's file of calls for which no member was asked: records of those that came while nobody listened.

While the control plane is there it hears of them by the access-log service as well. So a line waits: if its
call was told there, it is known.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..core.record import CLIENT_GONE, Record
from .lost import tell

log = logging.getLogger("modelbroker.records")

WAIT_S = 5.0
REMEMBER_S = 60.0
_MOST_BYTES = 256 * 1024  # the file is emptied when it is longer and read to its end
_GONE = ("downstream_connection_termination", "downstream_remote_reset")
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class _Line(msgspec.Struct):
    """As `core.logs.UNDECIDED_FORMAT` has it; None where Envoy has nothing to say."""

    request_id: str | None = None
    asked_id: str | None = None
    stream_id: str | None = None
    started_s: str | float | None = None
    duration_us: str | int | None = None
    first_byte_us: str | int | None = None
    status: int | None = None
    details: str | None = None
    flags: str | None = None
    method: str | None = None
    path: str | None = None
    code: str | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    facts: dict[str, object] | None = None


def undecided_record(line: bytes) -> Record | None:
    """What is known of the call before it is joined with its attempts. None where the line is none."""
    try:
        told = msgspec.json.decode(line, type=_Line)
        started_s, duration_us = float(told.started_s or 0), float(told.duration_us or 0)
        first_byte_us = float(told.first_byte_us) if told.first_byte_us is not None else None
    except (msgspec.DecodeError, ValueError) as error:
        log.warning("a line of Envoy's can't be read: %s", error)
        return None
    facts = {name: value for name, value in (told.facts or {}).items() if isinstance(value, str)}
    flags = _flags(told.flags or "")
    status = told.status or 0
    code = told.code or ""
    if any(flag in _GONE for flag in flags) or (status == 0 and not flags):
        code = CLIENT_GONE
    record = Record(
        request_id=told.request_id or told.asked_id or told.stream_id or "",
        started_s=started_s,
        duration_ms=duration_us / 1000,
        first_byte_ms=None if first_byte_us is None else first_byte_us / 1000,
        status=status,
        method=told.method or "",
        path=told.path or "",
        stream=facts.get("stream") == "1",
        code=code,
        flags=flags,
        details=told.details or "",
        request_bytes=told.request_bytes or 0,
        response_bytes=told.response_bytes or 0,
        attempts_made=int(facts["attempt"]) - 1 if facts.get("attempt", "").isdecimal() else 0,
    )
    tell(record, facts)
    return record


def _flags(text: str) -> tuple[str, ...]:
    """Envoy's long names → those of its access-log service."""
    return tuple(_CAPITAL.sub("_", name).lower() for name in text.split(",") if name not in ("", "-"))


class Undecided:
    """Lines that wait, and calls that were told otherwise. No I/O, no clock."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, Record]] = []
        self._told: dict[str, float] = {}  # id → when; the oldest first

    def told(self, request_id: str, now_s: float) -> None:
        """This call has its record."""
        self._told[request_id] = now_s

    def take(self, records: Sequence[Record], now_s: float) -> None:
        self._waiting += [(now_s, record) for record in records]

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    def due(self, now_s: float) -> list[Record]:
        """Of calls that nobody else tells of, each once."""
        due = []
        while self._waiting and now_s - self._waiting[0][0] >= WAIT_S:
            record = self._waiting.pop(0)[1]
            if record.request_id not in self._told:
                self._told[record.request_id] = now_s
                due.append(record)
        while self._told and now_s - next(iter(self._told.values())) >= REMEMBER_S:
            del self._told[next(iter(self._told))]
        return due


class UndecidedFile:
    """The file at `path`, which an Envoy appends to, and which is emptied once all of it was given out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._is_broken = False

    def read(self) -> list[Record]:
        """What is new. A file that is not there (yet) has nothing to tell."""
        try:
            size = self._path.stat().st_size
            if size < self._read_bytes:
                self._read_bytes = 0
            if size == self._read_bytes:
                return []
            with self._path.open("rb") as file:
                file.seek(self._read_bytes)
                text, separator, _ = file.read(size - self._read_bytes).rpartition(b"\n")
            self._read_bytes += len(text) + len(separator)
            self._is_broken = False
        except FileNotFoundError:
            return []
        except OSError as error:
            if not self._is_broken:
                log.warning("Envoy's file of undecided calls can't be read: %s", error)
            self._is_broken = True
            return []
        return [r for line in text.splitlines() if (r := undecided_record(line)) is not None]

    def empty(self) -> None:
        """All that was read has its records: begin anew, unless there is more, or little."""
        try:
            if _MOST_BYTES < self._read_bytes == self._path.stat().st_size:
                os.truncate(self._path, 0)
                self._read_bytes = 0
        except OSError as error:
            log.warning("Envoy's file of undecided calls can't be emptied: %s", error)
