"""A provider that answers anything at all: bytes by the number that stands in the request."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_NUMBER = re.compile(rb"case-(\d+)\.")


@dataclass(frozen=True, slots=True)
class Script:
    """`pieces` one by one, then `end`: "close", "reset", "keep" (as HTTP wants it) or "stall"."""

    pieces: tuple[bytes, ...]
    end: str

    def __str__(self) -> str:
        return f"{[piece[:1500] for piece in self.pieces]!r} and then {self.end}"


class RawUpstream:
    """`with RawUpstream(scripts) as upstream:` `scripts` makes what answers the request of a number;
    a request without one is served by `otherwise`."""

    def __init__(self, scripts: Callable[[int], Script], otherwise: Script) -> None:
        self._scripts = scripts
        self._otherwise = otherwise
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: Any = None
        self.port = 0

    def __enter__(self) -> RawUpstream:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**22)
        self.port = self._server.sockets[0].getsockname()[1]

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                pass
        writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is to be used again."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: *(\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        number = _NUMBER.search(body)
        script = self._scripts(int(number[1])) if number else self._otherwise
        for piece in script.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        match script.end:
            case "keep":
                return True
            case "close":
                writer.close()
                await writer.wait_closed()
            case "stall":
                await reader.read(1)  # until Envoy has had enough, or takes the connection for a good one
        return False
