"""The sockets of the control plane: gRPC for configuration and access logs, HTTP/2 for calls."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, Protocol

import grpc

from ..core.errors import Misconfigured
from ..extproc import grpc_transport
from ..extproc.http2 import serve_http2
from ..extproc.wire import Opener

_GRPC_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    # Envoy asks every few seconds whether we are there, which gRPC takes for abuse; and we ask it.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


class Server(Protocol):
    async def close(self, grace_s: float) -> None:
        """Take nothing new, let what is open end for `grace_s` seconds, then cut it."""


class _GrpcServer:
    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    async def close(self, grace_s: float) -> None:
        await self._server.stop(grace_s)


async def serve_grpc(address: str, *handlers: grpc.GenericRpcHandler[Any, Any]) -> Server:
    """Misconfigured where the address can't be had."""
    server = grpc.aio.server(options=_GRPC_OPTIONS)
    server.add_generic_rpc_handlers(handlers)
    await _remove_stale_socket(address)
    try:
        server.add_insecure_port(address)
    except RuntimeError:  # whose text is advice for gRPC's developers
        why = await asyncio.to_thread(_why_not_bound, address)
        raise Misconfigured(500, "address_in_use", f"can't listen on {address}: {why}") from None
    await server.start()
    return _GrpcServer(server)


async def serve_ext_proc(open_stream: Opener, address: str, transport: str, fd: int | None = None) -> Server:
    """`transport`: `http2`, our own, or `grpc`, by the book. `fd`: a socket that listens at `address`
    already, for the former. Misconfigured as for `serve_grpc`."""
    if transport == "grpc":
        return await serve_grpc(address, grpc_transport.handler(open_stream))
    if fd is not None:
        return await serve_http2(open_stream, f"fd:{fd}")
    await _remove_stale_socket(address)
    try:
        return await serve_http2(open_stream, address)
    except OSError as error:
        message = f"can't listen on {address}: {error.strerror or error}"
        raise Misconfigured(500, "address_in_use", message) from None


def _why_not_bound(address: str) -> str:
    """The system's own word."""
    try:
        if address.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
                one.bind((host.strip("[]"), int(port)))
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return "it could not be had"


async def _remove_stale_socket(address: str) -> None:
    """A process that was killed leaves its socket's name behind; one that answers is somebody's."""
    if not address.startswith("unix:"):
        return
    path = address.removeprefix("unix:")
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        await asyncio.to_thread(Path(path).unlink, missing_ok=True)
        return
    writer.close()
    message = f"another control plane listens on {address}: end it, or give this one sockets of its own"
    raise Misconfigured(500, "address_in_use", message)
