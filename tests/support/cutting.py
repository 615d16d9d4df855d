"""A way to a real server that breaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

_Meanwhile = Callable[[], Awaitable[object]]


class Cutting:
    """Connections to the port `to` by way of `port`. `cut`: the next ones that say a word break, before
    the server hears it, or where it `is_heard`, with its answer; `meanwhile` is before the client sees it."""

    def __init__(self, to: int) -> None:
        self._to = to
        self.port = 0
        self._word, self._times, self._is_heard = b"", 0, False
        self._meanwhile: _Meanwhile | None = None

    def cut(
        self, word: bytes, *, is_heard: bool, times: int = 1, meanwhile: _Meanwhile | None = None
    ) -> None:
        self._word, self._is_heard, self._times, self._meanwhile = word, is_heard, times, meanwhile

    @property
    def is_over(self) -> bool:
        """All that were to break have."""
        return not self._times

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            there, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
            with contextlib.closing(there_writer):
                answers = asyncio.create_task(_pump(there, writer))
                while said := await reader.read(1 << 16):
                    is_last = self._times > 0 and self._word in said
                    if is_last:
                        answers.cancel()
                        await asyncio.gather(answers, return_exceptions=True)
                    if not is_last or self._is_heard:
                        there_writer.write(said)
                    if is_last:
                        self._times -= 1
                        await self._break(there)
                        break
                answers.cancel()

    async def _break(self, there: asyncio.StreamReader) -> None:
        if self._is_heard:
            await there.read(1 << 16)
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await meanwhile()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that goes closes the way."""
    with contextlib.suppress(OSError):
        while said := await reader.read(1 << 16):
            writer.write(said)
    writer.close()


@contextlib.asynccontextmanager
async def cutting(port: int) -> AsyncIterator[Cutting]:
    way = Cutting(port)
    async with await asyncio.start_server(way.connected, "127.0.0.1", 0) as server:
        way.port = server.sockets[0].getsockname()[1]
        yield way
