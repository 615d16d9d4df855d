"""A process of the control plane's that is kept alive, fed and heard: what shadows and scores have one of
each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from subprocess import PIPE, Popen, TimeoutExpired

from prometheus_client import Gauge

from ..core.catalog import Listen
from ..trials.copies import Address

_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.2, 10.0
_LIVED_S = 30.0
_ENDS_WITHIN_S = 2.0
_LOOK_S = 10.0
_PIPE_BYTES = 4 << 20  # more waits here, where it is counted


def address_of(listen: Listen, elsewhere: str = "") -> Address:
    """Where the broker reaches its own listener; `elsewhere` (`host:port`) says it where Envoy is not
    here."""
    tls = bool(listen.tls_cert_file)
    if elsewhere:
        host, _, port = elsewhere.rpartition(":")
        return Address(host.strip("[]"), int(port), tls)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.address, listen.address)  # noqa: S104
    return Address(host, listen.port, tls)


class _Pipe(asyncio.BaseProtocol):
    """To the child. `is_full`: what is written now would only wait in memory."""

    def __init__(self, keeper: ChildKeeper) -> None:
        self._keeper = keeper
        self.is_full = False

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._keeper.pump()


class ChildKeeper:
    """`run` keeps the child alive, while it is wanted, until it is cancelled. Who inherits says what it is
    given and what its words mean."""

    def __init__(self, module: str, what: str, log: logging.Logger, up: Gauge) -> None:
        self._module, self._what, self._log, self._up = module, what, log, up
        self._changed = asyncio.Event()
        self._child: Popen[bytes] | None = None
        self._pipe: tuple[asyncio.WriteTransport, _Pipe] | None = None
        self._is_pumping = False

    def _is_wanted(self) -> bool:
        raise NotImplementedError

    def _due(self) -> list[bytes]:
        """What it may be given now."""
        raise NotImplementedError

    def _hear(self, line: bytes) -> None:
        """A line of its own. ValueError where it says nothing that is known."""
        raise NotImplementedError

    def _lost(self) -> None:
        """It is gone, with all that it had."""
        raise NotImplementedError

    def _is_stuck(self) -> bool:
        """Does it say nothing any more?"""
        return False

    def pump(self) -> None:
        """Give it what it may have now."""
        self._is_pumping = False
        if self._pipe is None:
            return
        transport, protocol = self._pipe
        if protocol.is_full or transport.is_closing():
            return
        for piece in self._due():
            transport.write(piece)

    def pump_soon(self) -> None:
        if not self._is_pumping:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self.pump)

    async def run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            self._changed.clear()
            if not self._is_wanted():
                await self._changed.wait()
                continue
            started_s = time.monotonic()
            try:
                child = self._child = await self._spawn()
            except OSError as error:
                self._log.error("%s can't be started: %s", self._what, error)
            else:
                if await self._changes_before_the_end_of(child):
                    await self.close()
                    continue
                self._log.error("%s ended (exit code %s): starting it again", self._what, child.returncode)
            if time.monotonic() - started_s > _LIVED_S:
                backoff_s = _BACKOFF_FIRST_S
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)

    async def close(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if self._pipe is not None:
            self._pipe[0].abort()
        self._gone()
        with contextlib.suppress(OSError):
            if child.stdin is not None:
                child.stdin.close()
        try:
            await asyncio.to_thread(child.wait, _ENDS_WITHIN_S)
        except TimeoutExpired:
            child.kill()
            await asyncio.to_thread(child.wait)

    async def _spawn(self) -> Popen[bytes]:
        command = [sys.executable, "-m", self._module]
        # By `subprocess`, whose vfork costs nothing: uvloop forks a process with gRPC's threads.
        return await asyncio.to_thread(Popen, command, stdin=PIPE, stdout=PIPE, bufsize=0)

    async def _changes_before_the_end_of(self, child: Popen[bytes]) -> bool:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(lambda: _Pipe(self), child.stdin)
        transport.set_write_buffer_limits(high=_PIPE_BYTES)
        self._pipe = transport, protocol
        self._up.set(1)
        self.pump()
        listening = asyncio.create_task(self._listen_to(child))
        changing = asyncio.create_task(self._changed.wait())
        both = (listening, changing)
        try:
            while not listening.done() and not changing.done():
                await asyncio.wait(both, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if self._is_stuck():
                    self._log.error("%s says nothing any more: it is ended", self._what)
                    child.kill()
            if changing.done() and not self._is_wanted():
                return True
            await asyncio.to_thread(child.wait)
            return False
        finally:
            listening.cancel()
            changing.cancel()
            transport.abort()
            self._gone()

    def _gone(self) -> None:
        self._pipe = None
        self._up.set(0)
        self._lost()

    async def _listen_to(self, child: Popen[bytes]) -> None:
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), child.stdout)
        with contextlib.closing(transport):
            async for line in lines:
                try:
                    self._hear(line)
                except ValueError:
                    self._log.error("%s says what is no report: %.200r", self._what, line)
                    continue
                self.pump()
