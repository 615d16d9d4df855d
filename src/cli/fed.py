"""Children that are given work as they can take it: shadows and scores have one each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from subprocess import Popen

from ..core.catalog import Listen
from ..metrics import Up
from ..trials.copies import Address
from .children import ChildKeeper

_ENDS_WITHIN_S = 2.0
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

    def __init__(self, keeper: FedKeeper) -> None:
        self._keeper = keeper
        self.is_full = False

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._keeper.pump()


class FedKeeper(ChildKeeper[str]):
    """Of a child, a module, that is wanted or not. Who inherits says what it is given and what its words
    mean."""

    def __init__(self, module: str, what: str, log: logging.Logger, up: Up) -> None:
        super().__init__(what, log, _ENDS_WITHIN_S)
        self._module, self._up = module, up
        self._pipe: tuple[asyncio.WriteTransport, _Pipe] | None = None
        self._is_pumping = False

    def _is_wanted(self) -> bool:
        raise NotImplementedError

    def _due(self) -> list[bytes]:
        """What it may be given now."""
        raise NotImplementedError

    def _heard(self, line: bytes) -> None:
        """A line of its own. ValueError where it says nothing that is known."""
        raise NotImplementedError

    def _gone(self) -> None:
        """With all that it had."""
        raise NotImplementedError

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

    # -- its life

    def _wanted(self) -> str | None:
        if not self._is_wanted():
            self._up.is_up = None
            return None
        self._up.is_up = self._up.is_up or False  # until it has begun
        return self._module

    def _words(self, wanted: str) -> Sequence[str]:
        return "-m", wanted

    async def _begun(self, child: Popen[bytes], wanted: str) -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(lambda: _Pipe(self), child.stdin)
        transport.set_write_buffer_limits(high=_PIPE_BYTES)
        self._pipe = transport, protocol
        self._up.is_up = True
        self.pump()

    def _is_outdated(self) -> bool:
        return not self._is_wanted()

    def _hear(self, line: bytes) -> None:
        self._heard(line)
        self.pump()

    def _lost(self) -> None:
        if self._pipe is not None:
            self._pipe[0].abort()
        self._pipe = None
        self._up.is_up = False
        self._gone()

    def _release(self, child: Popen[bytes]) -> None:
        self._lost()
        super()._release(child)
