"""The control plane's side of the ledger: its follower is kept alive, heard, and ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec
from prometheus_client import Counter, Gauge

from ..core.catalog import LedgerPlace
from ..ledger.place import default_url
from ..ledger.reports import ENDS_WITHIN_S, Report, Settings
from ..metrics import Up
from .children import ChildKeeper, log_level
from .secrets import Resolved

log = logging.getLogger("modelbroker.ledger")

_UP = Up("modelbroker_ledger_up", "1 while the ledger takes records")
_BEHIND = Gauge("modelbroker_ledger_behind_bytes", "Of records that are not in the ledger yet")
_TAKEN = Counter("modelbroker_ledger_records", "Records that went into the ledger")
_REFUSED = Counter("modelbroker_ledger_refused_records", "Records, or lines, that no database takes")
_NOT_YET = Report("starting", "")


def settings_of(place: LedgerPlace, resolved: Resolved, state_dir: Path) -> Settings | None:
    """None where there is no ledger, or nobody knows its URL."""
    if not place.is_on or resolved.ledger_why:
        return None
    url = resolved.ledger_url or default_url(state_dir)
    return Settings(str(state_dir.absolute()), url, place.retention_s)


class LedgerKeeper(ChildKeeper[Settings]):
    """Of the follower. `configured` says what holds from now on. `done` and `offset` are for the file of
    records."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__("the ledger's follower", log, ENDS_WITHIN_S + 1)
        self._state_dir = state_dir
        self._settings: Settings | None = None
        self._off = ""  # why there is no follower: `off`, or what is wrong
        self._report = _NOT_YET
        self._reported_s = 0.0

    def configured(self, place: LedgerPlace, resolved: Resolved) -> None:
        settings = settings_of(place, resolved, self._state_dir)
        self._off = "" if settings else resolved.ledger_why or "off"
        if settings != self._settings:
            self._settings = settings
            self._changed.set()
        if settings is None:
            self._heard(Report("off" if self._off == "off" else "waiting", "", self._off))
        elif _UP.is_up is None:
            _UP.is_up = False  # until it follows

    def done(self, inodes: Sequence[int]) -> int:
        if self._off == "off":
            return len(inodes)
        at = self._report.inode
        return inodes.index(at) if at in inodes else 0

    def offset(self, inode: int) -> int:
        report = self._report
        return report.offset if report.inode == inode else 0

    def status(self) -> dict[str, Any]:
        report = self._report
        return {
            "state": report.state,
            "database": report.database or None,
            "error": report.error or None,
            "behind_bytes": report.behind_bytes,
            "taken": report.taken,
            "refused": report.refused,
            "reported_at": self._reported_s or None,
        }

    def _wanted(self) -> Settings | None:
        return self._settings

    def _words(self, wanted: Settings) -> Sequence[str]:
        return "-m", "modelbroker.ledger.follow", log_level(), wanted.folder

    async def _begun(self, child: Popen[bytes], wanted: Settings) -> None:
        if child.stdin is not None:  # not in the command line, which anybody may read
            child.stdin.write(msgspec.json.encode(wanted) + b"\n")

    def _lost(self) -> None:
        self._heard(Report("waiting", self._report.database, "its follower ended"))

    def _hear(self, line: bytes) -> None:
        self._heard(msgspec.json.decode(line, type=Report))

    def _heard(self, report: Report) -> None:
        before, self._report = self._report, report
        self._reported_s = time.time()
        _UP.is_up = None if report.state == "off" else report.state == "following"
        _BEHIND.set(report.behind_bytes)
        # A new follower counts from the beginning.
        _TAKEN.inc(report.taken - before.taken if report.taken >= before.taken else report.taken)
        _REFUSED.inc(report.refused - before.refused if report.refused >= before.refused else report.refused)
