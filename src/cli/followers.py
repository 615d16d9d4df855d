"""The control plane's side of a journal's follower: it is kept alive, heard, and ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any, Generic, TypeVar

import msgspec

from ..journal.reports import ENDS_WITHIN_S, OFF, WAITING, Report
from .children import ChildKeeper, log_level

Settings = TypeVar("Settings")


class FollowerKeeper(ChildKeeper[Settings], Generic[Settings]):
    """Of the process `module`, a `journal.following.run`. `want` says what holds from now on; `done` and
    `offset` are for the journal's file. Who inherits counts what reports say (`_count`)."""

    def __init__(self, what: str, log: logging.Logger, module: str, folder: Path) -> None:
        super().__init__(what, log, ENDS_WITHIN_S + 1)
        self._module, self._folder = module, folder
        self._settings: Settings | None = None
        self._off = OFF  # why there is no follower: `off`, or what is wrong
        self._report = Report()
        self._reported_s = 0.0

    def want(self, settings: Settings | None, why_not: str = "") -> None:
        """None: no follower, because nobody wants one or because of what is wrong."""
        self._off = "" if settings is not None else why_not or OFF
        if settings != self._settings:
            self._settings = settings
            self._changed.set()
        if settings is None:
            is_off = self._off == OFF
            self._heard(Report(state=OFF if is_off else WAITING, error="" if is_off else self._off))

    def done(self, inodes: Sequence[int]) -> int:
        """Of these files, the oldest first, how many of the oldest it has read."""
        return self.done_of(inodes, self._report.inode)

    def done_of(self, inodes: Sequence[int], at: int) -> int:
        """The same of any journal that it follows, of which it reads the file `at`."""
        if self._off == OFF:
            return len(inodes)
        return inodes.index(at) if at in inodes else 0

    def offset(self, inode: int) -> int:
        """How much of this file it has read: bytes."""
        report = self._report
        return report.offset if report.inode == inode else 0

    def status(self) -> dict[str, Any]:
        report = self._report
        return {
            "state": report.state,
            "place": report.place or None,
            "error": report.error or None,
            "behind_bytes": report.behind_bytes,
            "taken": report.taken,
            "refused": report.refused,
            "reported_at": self._reported_s or None,
        }

    def _count(self, before: Report, report: Report) -> None:
        """In metrics. `taken` and `refused` of a new follower begin at 0."""
        raise NotImplementedError

    def _wanted(self) -> Settings | None:
        return self._settings

    def _words(self, wanted: Settings) -> Sequence[str]:
        return "-m", self._module, log_level(), str(self._folder.absolute())

    async def _begun(self, child: Popen[bytes], wanted: Settings) -> None:
        if child.stdin is not None:  # not in the command line, which anybody may read
            child.stdin.write(msgspec.json.encode(wanted) + b"\n")

    def _lost(self) -> None:
        self._heard(Report(state=WAITING, place=self._report.place, error="its follower ended"))

    def _hear(self, line: bytes) -> None:
        self._heard(msgspec.json.decode(line, type=Report))

    def _heard(self, report: Report) -> None:
        before, self._report = self._report, report
        self._reported_s = time.time()
        self._count(before, report)


def more_than(before: int, now: int) -> int:
    """How much a count has grown since the last report; a new follower counts from the beginning."""
    return now - before if now >= before else now
