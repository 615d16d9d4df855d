"""Processes of the control plane's own that are kept alive, heard and ended: each does what calls must not
wait for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any, Generic, TypeVar

_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.2, 10.0
_LIVED_S = 30.0  # one that lived so long is started again at once
_LOOK_S = 10.0


What = TypeVar("What")


class ChildKeeper(Generic[What]):
    """`run` keeps the child alive while one is wanted, until it is cancelled; `close` lets it come to its
    end, for `ends_within_s`, and ends it. Who inherits says what is wanted (`What`: its settings, say), which
    process that is and what its lines mean, and sets `_changed` where that changes."""

    def __init__(self, what: str, log: logging.Logger, ends_within_s: float) -> None:
        """`what` it is, as the log names it."""
        self._what, self._log, self._ends_within_s = what, log, ends_within_s
        self._changed = asyncio.Event()
        self._child: Popen[bytes] | None = None
        self._why_lost = ""  # of the last time that it ended, though it was wanted

    # -- what the child is

    def _wanted(self) -> What | None:
        """None: no child is wanted now."""
        raise NotImplementedError

    def _words(self, wanted: What) -> Sequence[str]:
        """What Python is given to be this process."""
        raise NotImplementedError

    def _descriptors(self, wanted: What) -> Sequence[int]:
        """Of open files that it has beside its standard ones."""
        return ()

    async def _begun(self, child: Popen[bytes], wanted: What) -> None:
        """It runs. OSError where it has ended already."""
        raise NotImplementedError

    def _hear(self, line: bytes) -> None:
        """A line that it said. ValueError where that means nothing."""
        raise NotImplementedError

    def _lost(self) -> None:
        """It ended, though it was wanted, or can't be started: `_why_lost` says which."""
        raise NotImplementedError

    def _is_outdated(self) -> bool:
        """`_changed` is set: does that end this child?"""
        return True

    def _is_stuck(self) -> bool:
        """Does it say nothing any more? Then another one takes its place."""
        return False

    def _look_s(self) -> float:
        """How often that is asked, in seconds."""
        return _LOOK_S

    def _release(self, child: Popen[bytes]) -> None:
        """It gets nothing any more, so that it ends."""
        if child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()

    # -- its life

    async def run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            self._changed.clear()
            if (wanted := self._wanted()) is None:
                await self._changed.wait()
                continue
            started_s = time.monotonic()
            try:
                child = await self._start(wanted)
            except OSError as error:
                self._why_lost = f"can't be started: {error}"
                self._log.error("%s %s", self._what, self._why_lost)
            else:
                if await self._is_outdated_before_its_end(child):
                    await self.close()
                    continue
                self._why_lost = f"ended (exit code {child.returncode})"
                self._log.error("%s %s: starting it again", self._what, self._why_lost)
            self._child = None
            self._lost()
            if time.monotonic() - started_s > _LIVED_S:
                backoff_s = _BACKOFF_FIRST_S
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)

    async def close(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        self._release(child)
        try:
            await asyncio.to_thread(child.wait, self._ends_within_s)
        except TimeoutExpired:
            child.kill()
            await asyncio.to_thread(child.wait)

    async def _start(self, wanted: What) -> Popen[bytes]:
        command = [sys.executable, *self._words(wanted)]
        # By `subprocess`, whose vfork costs nothing: uvloop forks a process with gRPC's threads.
        child = await asyncio.to_thread(_begin, command, self._descriptors(wanted))
        self._child = child
        try:
            await self._begun(child, wanted)
        except OSError:
            await self.close()
            raise
        return child

    async def _is_outdated_before_its_end(self, child: Popen[bytes]) -> bool:
        listening = asyncio.create_task(self._listen_to(child))
        changing = asyncio.create_task(self._changed.wait())
        try:
            while not listening.done():
                waited_for = (listening, changing)
                await asyncio.wait(waited_for, timeout=self._look_s(), return_when=asyncio.FIRST_COMPLETED)
                if changing.done():
                    if self._is_outdated():
                        return True
                    self._changed.clear()
                    changing = asyncio.create_task(self._changed.wait())
                if self._is_stuck():
                    self._log.error("%s says nothing any more: it is ended", self._what)
                    child.kill()
            await self._ended(child)
            return False
        finally:
            listening.cancel()
            changing.cancel()

    async def _ended(self, child: Popen[bytes]) -> None:
        """Its output did: nearly always it is over. One that can't be heard is of no use."""
        try:
            await asyncio.to_thread(child.wait, self._ends_within_s)
        except TimeoutExpired:
            self._log.error("%s can't be heard any more: it is ended", self._what)
            child.kill()
            await asyncio.to_thread(child.wait)

    async def _listen_to(self, child: Popen[bytes]) -> None:
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), child.stdout)
        with contextlib.closing(transport):
            while True:
                try:
                    line = await lines.readline()
                except ValueError:  # longer than any report: what is left of it comes as another one
                    self._log.error("%s says what is no report: a line without end", self._what)
                    continue
                if not line:
                    return
                try:
                    self._hear(line)
                except ValueError:
                    self._log.error("%s says what is no report: %.200r", self._what, line)
                except Exception:  # a bug of ours is one report's, never the child's
                    self._log.exception("a report of %s was not heard", self._what)


def _begin(command: Sequence[str], descriptors: Sequence[int]) -> Popen[bytes]:
    pipes: Any = {"stdin": PIPE, "stdout": PIPE, "bufsize": 0}
    # gRPC's own lines say of each try what the child says once, and in the log's form.
    environ = {"GRPC_VERBOSITY": "ERROR", **os.environ}
    return Popen(command, pass_fds=descriptors, env=environ, **pipes)  # noqa: S603 - a module of ours


def log_level() -> str:
    """That of the control plane, for a child's own log."""
    return logging.getLevelName(logging.getLogger().getEffectiveLevel())
