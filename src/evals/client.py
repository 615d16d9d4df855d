"""One call to the broker, as a client makes it, with its times."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import h11

from ..dialects import SseSplitter, Stage, dialect_named


@dataclass(frozen=True, slots=True)
class Heard:
    """`broken`: how the transfer failed, "" where it ended as HTTP wants it. Times from before the
    connection: the body's last byte; a stream's first event that says something (None: none came)."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    broken: str = ""
    latency_ms: float = 0.0
    first_event_ms: float | None = None


async def post(
    host: str,
    port: int,
    path: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    timeout_s: float,
    dialect: str = "",
    tls: ssl.SSLContext | None = None,
) -> Heard:
    """`dialect`: whose stream it may be; "": none is looked for."""
    began = time.perf_counter()
    hearing = _Hearing(began, dialect)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            wire = h11.Connection(h11.CLIENT)
            sent = [("host", "broker"), ("connection", "close"), ("content-length", str(len(body))), *headers]
            writer.write(wire.send(h11.Request(method="POST", target=path, headers=sent)) or b"")
            writer.write((wire.send(h11.Data(data=body)) or b"") + (wire.send(h11.EndOfMessage()) or b""))
            while not hearing.ended:
                hearing.take(wire, await reader.read(65_536))
    except TimeoutError:
        hearing.broken = f"no end after {timeout_s:g} s"
    except (OSError, h11.RemoteProtocolError) as error:
        hearing.broken = f"the connection broke: {error}"
    finally:
        if writer is not None:
            writer.transport.abort()
    return hearing.heard()


class _Hearing:
    def __init__(self, began: float, dialect: str) -> None:
        self._began = began
        self._dialect = dialect_named(dialect) if dialect else None
        self._splitter = SseSplitter()
        self._status, self._headers, self._body = 0, dict[str, str](), bytearray()
        self._first: float | None = None
        self._is_stream = False
        self.ended = False
        self.broken = ""

    def take(self, wire: h11.Connection, data: bytes) -> None:
        wire.receive_data(data)
        while not self.ended:
            event = wire.next_event()
            if isinstance(event, h11.Response):
                self._status = event.status_code
                self._headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
                self._is_stream = "event-stream" in self._headers.get("content-type", "")
            elif isinstance(event, h11.Data):
                self._body += event.data
                self._look(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                self.ended = True
            elif event in (h11.NEED_DATA, h11.PAUSED):
                return

    def _look(self, data: bytes) -> None:
        if self._first is not None or self._dialect is None or not self._is_stream:
            return
        if any(self._dialect.judge(event).stage is Stage.REAL for event in self._splitter.feed(data)):
            self._first = (time.perf_counter() - self._began) * 1000.0

    def heard(self) -> Heard:
        latency = (time.perf_counter() - self._began) * 1000.0
        return Heard(self._status, self._headers, bytes(self._body), self.broken, latency, self._first)
