"""A Service without a cluster: each connection goes to one of the pods behind it and stays there, whatever
becomes of the list of pods meanwhile, as kube-proxy does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import Counter


class Service:
    """`with Service(port_a, port_b) as service:`; `port` is its own."""

    def __init__(self, *ports: int) -> None:
        self._ports = ports
        self._turn = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.made: Counter[int] = Counter()  # connections to each pod so far
        self.refused: Counter[int] = Counter()  # of them those that no pod took
        self.port = 0

    def to(self, *ports: int) -> None:
        """The pods that get new connections from now on."""
        self._ports = ports

    def __enter__(self) -> Service:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        port = self._ports[next(self._turn) % len(self._ports)]
        self.made[port] += 1
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            self.refused[port] += 1
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_pass(reader, inner_writer), _pass(inner_reader, writer))
        except OSError:
            pass
        finally:
            for each in (writer, inner_writer):
                each.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
