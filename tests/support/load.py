"""Constant load on the front door while something is done to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx

from .calls import Ask, Got, call, client

# Between a worker's calls: the load is to be constant, and leave the machine to the broker.
THINKING_S = 0.03


@dataclass(slots=True)
class Load:
    """What the workers got. `wanted(got)` is "" for a good reply, else what is wrong with it."""

    good: Counter[tuple[str, str, bool]] = field(default_factory=Counter)  # (pool, dialect, stream)
    bad: list[Got] = field(default_factory=list)
    revisions: set[str] = field(default_factory=set)
    attempts: Counter[int] = field(default_factory=Counter)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, got: Got) -> None:
        self._more.set()
        if not got.is_whole or not got.text:
            self.bad.append(got)
            return
        self.good[got.ask.pool, got.ask.dialect, got.ask.stream] += 1
        self.revisions.add(got.headers["x-broker-revision"])
        self.attempts[got.attempts] += 1

    async def reach(self, calls: int) -> None:
        """Wait until so many calls were made."""
        while self.calls < calls:
            self._more.clear()
            await self._more.wait()

    @property
    def calls(self) -> int:
        return sum(self.good.values()) + len(self.bad)


@contextlib.asynccontextmanager
async def load(url: str, pools: Sequence[tuple[str, str]], workers: int = 20) -> AsyncIterator[Load]:
    """Whole and streamed calls to (pool, dialect) pairs all the while; half of the workers keep their
    connections, half make a new one for each call. At the end all calls under way are awaited."""
    result, over = Load(), asyncio.Event()

    async def work(http: httpx.AsyncClient, number: int) -> None:
        turn = number
        while not over.is_set():
            pool, dialect = pools[turn // 2 % len(pools)]
            result.note(await call(http, Ask(pool, dialect, stream=turn % 2 == 0)))
            turn += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), THINKING_S)

    async with client(url) as keeping, client(url) as closing:
        closing.headers["connection"] = "close"
        tasks = [asyncio.create_task(work((keeping, closing)[n % 2], n // 2)) for n in range(workers)]
        try:
            yield result
        finally:
            over.set()
            await asyncio.gather(*tasks)
