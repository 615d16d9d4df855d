"""The control plane's side of shadows: the process that sends copies is kept alive, fed, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

import msgspec
from prometheus_client import Gauge

from ..core.catalog import Catalog, Listen
from ..core.trials import Shadow
from ..exchange.trying import Copy
from ..trials.copies import Address, Copies, Waiting
from ..trials.frames import Report, frame

log = logging.getLogger("modelbroker.shadow")

_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.2, 10.0
_LIVED_S = 30.0
_ENDS_WITHIN_S = 2.0
_PIPE_BYTES = 4 << 20  # more waits here, where it is counted
_UP = Gauge("modelbroker_shadow_up", "1 while copies of calls can be sent")


def address_of(listen: Listen, elsewhere: str = "") -> Address:
    """Where the broker reaches its own listener; `elsewhere` (`host:port`) says it where Envoy is not
    here."""
    tls = bool(listen.tls_cert_file)
    if elsewhere:
        host, _, port = elsewhere.rpartition(":")
        return Address(host.strip("[]"), int(port), tls)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.address, listen.address)  # noqa: S104
    return Address(host, listen.port, tls)


def shadows_of(catalog: Catalog) -> dict[str, Shadow]:
    """All that there are, by name; those of rollouts among them."""
    found: dict[str, Shadow] = {}
    for trials in catalog.trials.values():
        found |= {shadow.name: shadow for shadow in trials.shadows}
        for stage in trials.rollout.stages if trials.rollout is not None else ():
            if stage.shadow is not None:
                found[stage.shadow.name] = stage.shadow
    return found


class _Pipe(asyncio.BaseProtocol):
    """To the sender. `is_full`: what is written now would only wait in memory."""

    def __init__(self, keeper: CopyKeeper) -> None:
        self._keeper = keeper
        self.is_full = False

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._keeper.pump()


class CopyKeeper:
    """`offer` never waits and never fails; `run` keeps the sender alive until it is cancelled."""

    def __init__(self, elsewhere: str = "") -> None:
        self._elsewhere = elsewhere
        self._copies = Copies()
        self._at = Address("127.0.0.1", 0, False)
        self._shadows: dict[str, Shadow] = {}
        self._changed = asyncio.Event()
        self._child: Popen[bytes] | None = None
        self._pipe: tuple[asyncio.WriteTransport, _Pipe] | None = None
        self._is_pumping = False

    def configured(self, catalog: Catalog) -> None:
        before, self._shadows = self._shadows, shadows_of(catalog)
        self._at = address_of(catalog.listen, self._elsewhere)
        self._copies.forget(self._shadows.__contains__)
        if bool(before) != bool(self._shadows):
            self._changed.set()

    def offer(self, copy: Copy) -> None:
        waiting = Waiting(time.monotonic(), copy.shadow, copy.path, copy.headers, copy.body)
        if self._copies.offer(waiting) and not self._is_pumping:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self.pump)

    def missed(self, shadow: Shadow) -> None:
        self._copies.unfit(shadow)

    def pump(self) -> None:
        """Give the sender what may be sent now."""
        self._is_pumping = False
        if self._pipe is None:
            return
        transport, protocol = self._pipe
        if protocol.is_full or transport.is_closing():
            return
        for head, body in self._copies.due(time.monotonic(), self._at):
            for piece in frame(head, body):
                transport.write(piece)

    def status(self) -> dict[str, Any]:
        shown = self._copies.shown()
        return {name: {"to": one.to, **shown.get(name, {})} for name, one in sorted(self._shadows.items())}

    async def run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while True:
            self._changed.clear()
            if not self._shadows:
                await self._changed.wait()
                continue
            started_s = time.monotonic()
            try:
                child = self._child = await self._spawn()
            except OSError as error:
                log.error("the sender of copies can't be started: %s", error)
            else:
                if await self._changes_before_the_end_of(child):
                    await self.close()
                    continue
                log.error("the sender of copies ended (exit code %s): starting it again", child.returncode)
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
        command = [sys.executable, "-m", "modelbroker.trials.sender"]
        # By `subprocess`, whose vfork costs nothing: uvloop forks a process with gRPC's threads.
        return await asyncio.to_thread(Popen, command, stdin=PIPE, stdout=PIPE, bufsize=0)

    async def _changes_before_the_end_of(self, child: Popen[bytes]) -> bool:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(lambda: _Pipe(self), child.stdin)
        transport.set_write_buffer_limits(high=_PIPE_BYTES)
        self._pipe = transport, protocol
        _UP.set(1)
        self.pump()
        listening = asyncio.create_task(self._listen_to(child))
        changing = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait((listening, changing), return_when=asyncio.FIRST_COMPLETED)
            if changing.done() and not self._shadows:
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
        _UP.set(0)
        self._copies.lost()

    async def _listen_to(self, child: Popen[bytes]) -> None:
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), child.stdout)
        with contextlib.closing(transport):
            async for line in lines:
                try:
                    report = msgspec.json.decode(line, type=Report)
                except msgspec.MsgspecError:
                    log.error("the sender of copies says what is no report: %.200r", line)
                    continue
                self._copies.over(report, time.monotonic())
                self.pump()
