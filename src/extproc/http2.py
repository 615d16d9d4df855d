"""ext_proc over HTTP/2 without a gRPC library: the fast transport.

One method and one kind of client, Envoy, need little of gRPC; what is here costs a thirtieth of `grpc.aio`.
The broker's side is the same as behind `grpc_transport`: an `Opener`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from .http2_connection import Connection
from .http2_stream import Limits
from .wire import Opener

__all__ = ["Http2Server", "Limits", "serve_http2"]

log = logging.getLogger("modelbroker.extproc")

_BACKLOG = 1024


class Http2Server:
    """Serves from `serve_http2` on, until `close`. `address` is what clients connect to."""

    def __init__(
        self, open_stream: Opener, limits: Limits, on_error: Callable[[BaseException], None] | None
    ) -> None:
        self.address = ""
        self._open_stream = open_stream
        self._limits = limits
        self._on_error = on_error
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._connections: set[Connection] = set()
        self._all_lost = asyncio.Event()
        self._closing = False

    async def start(self, address: str) -> None:
        """OSError where the address can't be had, ValueError where it is none."""
        loop = asyncio.get_running_loop()
        if address.startswith("fd:"):
            listening = socket.socket(fileno=int(address.removeprefix("fd:")))
            make = loop.create_unix_server if listening.family == socket.AF_UNIX else loop.create_server
            self._server = await make(self._connection, sock=listening, backlog=_BACKLOG)
            self.address = address
            return
        if address.startswith("unix:"):
            path = address.removeprefix("unix:").removeprefix("//")
            self._server = await loop.create_unix_server(self._connection, path, backlog=_BACKLOG)
            self._path = Path(path)
            self.address = f"unix:{path}"
            return
        host, colon, port = address.rpartition(":")
        if not colon or not port.isdigit():
            raise ValueError(f"{address!r} is neither unix:/path nor host:port")
        host = host.removeprefix("[").removesuffix("]")
        self._server = await loop.create_server(self._connection, host, int(port), backlog=_BACKLOG)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def close(self, grace_s: float) -> None:
        """Take no more streams, let those that are open end for `grace_s` seconds, then cut what is left."""
        if self._server is None or self._closing:
            return
        self._closing = True
        self._server.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._all_lost.wait()
        for connection in list(self._connections):
            connection.abort()
        if self._connections:
            await self._all_lost.wait()  # a turn of the loop

    def _connection(self) -> Connection:
        return Connection(self._open_stream, self._limits, self._report, self._made, self._lost)

    def _made(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._all_lost.clear()
        if self._closing:
            connection.drain()  # accepted before the listener was closed

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_lost.set()

    def _report(self, error: BaseException) -> None:
        log.error("an ext_proc stream failed", exc_info=error)
        if self._on_error is not None:
            try:
                self._on_error(error)
            except Exception:
                log.exception("on_error failed")


async def serve_http2(
    open_stream: Opener,
    address: str,
    *,
    on_error: Callable[[BaseException], None] | None = None,
    limits: Limits | None = None,
) -> Http2Server:
    """Serve the ExternalProcessor at `unix:/path`, `host:port` (port 0: any) or `fd:N`, one that listens.

    `on_error` is told of every defect (what `open_stream` and the streams raise), which is logged anyway.
    """
    server = Http2Server(open_stream, limits or Limits(), on_error)
    await server.start(address)
    return server
