"""The load generator, a process of its own: commands as JSON lines on stdin, an answer to each on stdout.

`open` connects and makes one call on each connection that nobody counts; `run` measures one slice;
`close` ends the connections. CPU is read between the three, so that connecting is not in it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import uvloop
from client import Connection, Outcome, request_bytes
from traffic import request_body

_OPEN_TIMEOUT_S = 30
# Calls that are under way when a slice ends may take this long.
_DRAIN_S = 20
# uvloop's timers tick in milliseconds, too coarse for latencies: the last bit is waited for in turns of
# the loop, which go on serving the connections.
_SPIN_S = 0.002
_EXAMPLES = 3
_AFTER_ERROR_S = 0.02


@dataclass
class Slice:
    """What one `run` found. Latencies in µs; `first` up to the first word of a stream."""

    calls: int = 0
    errors: int = 0
    examples: list[str] = field(default_factory=list)
    latencies: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)

    def count(self, outcome: Outcome, due: float) -> None:
        self.calls += 1
        if outcome.error:
            self.errors += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(outcome.error)
            return
        self.latencies.append(round((outcome.ended - due) * 1e6))
        if outcome.first_word:
            self.first.append(round((outcome.first_word - due) * 1e6))


class Load:
    def __init__(self) -> None:
        self._connections: list[Connection] = []
        self._request = b""
        self._connect: Any = None

    async def open(
        self,
        port: int,
        connections: int,
        size: int,
        stream: bool,
        spaced: bool,
        key: str,
        fresh: bool,
    ) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        body = request_body(size, stream=stream, spaced=spaced)
        self._request = request_bytes(f"127.0.0.1:{port}", body, key, fresh)

        async def connect() -> Connection:
            _, protocol = await loop.create_connection(lambda: Connection(stream), "127.0.0.1", port)
            return protocol

        self._connect = connect
        async with asyncio.timeout(_OPEN_TIMEOUT_S):
            self._connections = [await connect() for _ in range(connections)]
            outcomes = await asyncio.gather(*(one.call(self._request) for one in self._connections))
        errors = [outcome.error for outcome in outcomes if outcome.error]
        return {"errors": len(errors), "examples": errors[:_EXAMPLES]}

    async def close(self) -> dict[str, Any]:
        for connection in self._connections:
            connection.close()
        self._connections = []
        return {}

    async def run(self, seconds: float, rate: float) -> dict[str, Any]:
        """`rate` 0: every connection calls as fast as it gets answers."""
        started, cpu = time.perf_counter(), time.process_time()
        work = self._at_rate(seconds, rate) if rate else self._closed_loop(seconds)
        result = await work
        return {
            "calls": result.calls,
            "errors": result.errors,
            "examples": result.examples,
            "latencies": sorted(result.latencies) if rate else [],
            "first": sorted(result.first) if rate else [],
            "wall_s": time.perf_counter() - started,
            "client_cpu_s": time.process_time() - cpu,
        }

    async def _closed_loop(self, seconds: float) -> Slice:
        result = Slice()
        ends = time.perf_counter() + seconds

        async def one(connection: Connection) -> None:
            while (now := time.perf_counter()) < ends:
                if connection.is_closed:
                    connection = await self._connect()
                    self._connections.append(connection)
                outcome = await connection.call(self._request)
                result.count(outcome, now)
                if outcome.error:
                    await asyncio.sleep(_AFTER_ERROR_S)

        await self._bounded([one(connection) for connection in list(self._connections)], seconds, result)
        return result

    async def _at_rate(self, seconds: float, rate: float) -> Slice:
        """Calls start when they are due, whatever became of those before; latency counts from then on."""
        result = Slice()
        idle = deque(self._connections)
        waiting: deque[asyncio.Future[None]] = deque()
        begin = time.perf_counter() + _SPIN_S

        async def one(due: float) -> None:
            while not idle:  # the proxy is behind: the call waits, and the wait is part of its latency
                turn = asyncio.get_running_loop().create_future()
                waiting.append(turn)
                await turn
            connection = idle.pop()
            try:
                if connection.is_closed:
                    connection = await self._connect()
                    self._connections.append(connection)
                result.count(await connection.call(self._request), due)
            finally:
                idle.append(connection)
                if waiting:
                    waiting.popleft().set_result(None)

        async with asyncio.TaskGroup() as group:
            tasks = []
            for number in range(max(1, int(seconds * rate))):
                due = begin + number / rate
                await _until(due)
                tasks.append(group.create_task(one(due)))
            group.create_task(self._bounded(tasks, 0, result))
        return result

    async def _bounded(self, work: list[Any], seconds: float, result: Slice) -> None:
        """Wait for all; what takes far too long is cut and is an error."""
        tasks = [asyncio.ensure_future(one) for one in work]
        _, late = await asyncio.wait(tasks, timeout=seconds + _DRAIN_S)
        for task in late:
            task.cancel()
        if late:
            result.errors += len(late)
            result.examples.append(f"{len(late)} calls had no answer {_DRAIN_S} s after the end")
        for task in tasks:
            if task not in late:
                task.result()


async def _until(due: float) -> None:
    if (wait := due - _SPIN_S - time.perf_counter()) > 0:
        await asyncio.sleep(wait)
    while time.perf_counter() < due:  # noqa: ASYNC110 - nothing happens when a call is due
        await asyncio.sleep(0)


async def main() -> None:
    load = Load()
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        method = {"open": load.open, "run": load.run, "close": load.close}[command.pop("do")]
        try:
            answer = await method(**command)
        except (OSError, TimeoutError) as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
