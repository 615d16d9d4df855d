"""An open-loop load: each call starts at its time, whatever became of the calls before it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import h11

from .calls import Call
from .scenarios import Ask, PoolPlan
from .wire import Received, read_reply, request_of

_SHOWN_BYTES = 240
_LATE_S = 0.1


class _Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection: one call at a time."""

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[Received] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._status, self._headers, self._body = 0, dict[str, str](), bytearray()
        self.is_usable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_usable = False
        if exc is None:
            self._feed(b"")  # the end of the connection may be the end of the body
        self._end(f"the connection was {'reset' if exc else 'closed'}")

    def close(self) -> None:
        self.is_usable = False
        if self._transport is not None:
            self._transport.abort()

    def call(
        self, target: str, headers: list[tuple[str, str]], body: bytes, patience_s: float
    ) -> asyncio.Future[Received]:
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        self._status, self._headers, self._body = 0, {}, bytearray()
        done = self._done
        whole = [("host", "broker"), *headers, ("content-length", str(len(body)))]
        request = h11.Request(method="POST", target=target, headers=whole)
        assert self._transport is not None  # noqa: S101 - it is connected
        data = self._h11.send(request) or b""
        data += self._h11.send(h11.Data(data=body)) or b""
        data += self._h11.send(h11.EndOfMessage()) or b""
        self._transport.write(data)
        self._timer = loop.call_later(patience_s, self._give_up, patience_s)
        return done

    def _give_up(self, patience_s: float) -> None:
        self._end(f"no end after {patience_s:g} s: the client gave up")
        self.close()

    def data_received(self, data: bytes) -> None:
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        try:
            self._h11.receive_data(data)
            while self._done is not None:
                event = self._h11.next_event()
                if isinstance(event, h11.Response):
                    self._status = event.status_code
                    self._headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    self._body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    self._end("")
                elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                    return
        except h11.RemoteProtocolError as error:
            self._end(f"not HTTP, or cut: {error}")

    def _end(self, broken: str) -> None:
        done, self._done = self._done, None
        if self._timer is not None:
            self._timer.cancel()
        if done is None:
            return
        try:
            self._h11.start_next_cycle()
        except h11.LocalProtocolError:
            self.close()
        if not done.done():
            done.set_result(Received(self._status, self._headers, bytes(self._body), broken))


@dataclass(slots=True)
class Load:
    """`run` makes calls to `plan`'s pool until `stop`. `phase` names what goes on, and each call keeps the
    one in which it was due. `on_call` gets each call when it has ended."""

    host: str
    port: int
    key: str
    calls_per_second: float
    on_call: Callable[[Call], None]
    phase: str = ""
    patience_s: float = 30.0
    started: int = 0
    late: int = 0  # calls that started 100 ms or more after their time: the load itself was starved
    _in_flight: Counter[str] = field(default_factory=Counter)  # by the phase in which they were due
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: list[_Connection] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _stopping: bool = False
    _draw: random.Random = field(default_factory=lambda: random.Random(7))
    _pool: str = ""

    async def run(self, plan: PoolPlan) -> None:
        """Until `stop`, then until the last call has ended."""
        self._stopping, self._pool = False, plan.name
        beginning = time.perf_counter()
        count = 0
        while not self._stopping:
            due = beginning + count / self.calls_per_second
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
                continue
            self.late += -wait > _LATE_S
            # Drawn: by turns, they would fall in with the turns in which Envoy gives calls to members.
            task = asyncio.create_task(self._one(self.started, self._draw.choice(plan.asks), due))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            self.started += 1
            count += 1
        while self._running:
            await asyncio.wait(self._running)

    def stop(self) -> None:
        self._stopping = True

    async def ended(self, phase: str, most_s: float) -> None:
        """Until no call of the phase is under way; not longer than `most_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                while self._in_flight[phase]:
                    self._quiet.clear()
                    await self._quiet.wait()

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _one(self, number: int, ask: Ask, due: float) -> None:
        phase, pool = self.phase, self._pool
        self._in_flight[phase] += 1
        headers, body = request_of(ask, pool, number, self.key)
        connection: _Connection | None = None
        try:
            connection = await self._connection()
            got = await connection.call(ask.path, headers, body, self.patience_s)
        except OSError as error:
            got = Received(broken=f"no connection to the broker: {error}")
        ended = time.perf_counter()
        if connection is not None and connection.is_usable:
            self._idle.append(connection)
        self._in_flight[phase] -= 1
        if not self._in_flight[phase]:
            self._quiet.set()
        seen = read_reply(ask, got)
        attempts = got.headers.get("x-broker-attempts", "")
        self.on_call(
            Call(
                number,
                pool,
                ask,
                phase,
                due,
                ended,
                seen,
                got.status,
                got.headers.get("x-broker-member", ""),
                int(attempts) if attempts.isdecimal() else 0,
                got.headers.get("x-broker-request-id", ""),
                "" if seen.end == "good" else _shown(got),
            )
        )

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, self.host, self.port)
        return made


def _shown(got: Received) -> str:
    text = got.body[-_SHOWN_BYTES:].decode("utf-8", "replace")
    return f"{got.broken} {text}".strip()
