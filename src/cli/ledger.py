"""The control plane's side of the ledger: its follower is kept alive, heard, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

import msgspec
from prometheus_client import Counter, Gauge

from ..core.catalog import LedgerPlace
from ..ledger.place import default_url
from ..ledger.reports import ENDS_WITHIN_S, Report, Settings
from .secrets import Resolved

log = logging.getLogger("modelbroker.ledger")

_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.2, 10.0
_LIVED_S = 30.0
_UP = Gauge("modelbroker_ledger_up", "1 while the ledger takes records")
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


class LedgerKeeper:
    """`configured` says what holds from now on; `run` keeps the follower alive until it is cancelled, `close`
    lets it catch up and ends it. `done` and `offset` are for the file of records."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._settings: Settings | None = None
        self._off = ""  # why there is no follower: `off`, or what is wrong
        self._changed = asyncio.Event()
        self._child: Popen[bytes] | None = None
        self._report = _NOT_YET
        self._reported_s = 0.0

    def configured(self, place: LedgerPlace, resolved: Resolved) -> None:
        settings = settings_of(place, resolved, self._state_dir)
        self._off = "" if settings else resolved.ledger_why or "off"
        if settings != self._settings:
            self._settings = settings
            self._changed.set()
        if settings is None:
            self._hear(Report("off" if self._off == "off" else "waiting", "", self._off))

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

    async def run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            self._changed.clear()
            if (settings := self._settings) is None:
                await self._changed.wait()
                continue
            started_s = time.monotonic()
            try:
                child = self._child = await self._spawn(settings)
            except OSError as error:
                log.error("the ledger's follower can't be started: %s", error)
            else:
                if await self._changes_before_the_end_of(child):
                    await self._end(child)
                    continue
                log.error("the ledger's follower ended (exit code %s): starting it again", child.returncode)
            if time.monotonic() - started_s > _LIVED_S:
                backoff_s = _BACKOFF_FIRST_S
            self._hear(Report("waiting", self._report.database, "its follower ended"))
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)

    async def close(self) -> None:
        if self._child is not None:
            await self._end(self._child)

    async def _spawn(self, settings: Settings) -> Popen[bytes]:
        level = logging.getLevelName(logging.getLogger().getEffectiveLevel())
        command = [sys.executable, "-m", "modelbroker.ledger.follow", level, settings.folder]
        # By `subprocess`, whose vfork costs nothing: uvloop forks a process with gRPC's threads.
        child = await asyncio.to_thread(Popen, command, stdin=PIPE, stdout=PIPE, bufsize=0)
        if child.stdin is not None:  # not in the command line, which anybody may read
            child.stdin.write(msgspec.json.encode(settings) + b"\n")
        return child

    async def _changes_before_the_end_of(self, child: Popen[bytes]) -> bool:
        listening = asyncio.create_task(self._listen_to(child))
        changing = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait((listening, changing), return_when=asyncio.FIRST_COMPLETED)
            if changing.done():
                return True
            await asyncio.to_thread(child.wait)
            return False
        finally:
            listening.cancel()
            changing.cancel()

    async def _listen_to(self, child: Popen[bytes]) -> None:
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), child.stdout)
        with contextlib.closing(transport):
            await self._hear_all(lines)

    async def _hear_all(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            try:
                self._hear(msgspec.json.decode(line, type=Report))
            except msgspec.MsgspecError:
                log.error("the ledger's follower says what is no report: %.200r", line)

    def _hear(self, report: Report) -> None:
        before, self._report = self._report, report
        self._reported_s = time.time()
        _UP.set(report.state == "following")
        _BEHIND.set(report.behind_bytes)
        # A new follower counts from the beginning.
        _TAKEN.inc(report.taken - before.taken if report.taken >= before.taken else report.taken)
        _REFUSED.inc(report.refused - before.refused if report.refused >= before.refused else report.refused)

    async def _end(self, child: Popen[bytes]) -> None:
        """With the end of its input it catches up, for a bounded time."""
        self._child = None
        if child.stdin is not None:
            child.stdin.close()
        try:
            await asyncio.to_thread(child.wait, ENDS_WITHIN_S + 1)
        except TimeoutExpired:
            child.kill()
            await asyncio.to_thread(child.wait)
