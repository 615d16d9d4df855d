"""Constant load on the front door while something is done to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx

from .calls import Ask, Got, call, client
from .figures import figure

# Between a worker's calls: the load is to be constant, and leave the machine to the broker.
THINKING_S = 0.05


@dataclass(slots=True)
class Load:
    """What the workers got. `wanted(got)` is "" for a good reply, else what is wrong with it."""

    good: Counter[tuple[str, str, bool]] = field(default_factory=Counter)  # (pool, dialect, stream)
    bad: list[Got] = field(default_factory=list)
    revisions: set[str] = field(default_factory=set)
    attempts: Counter[int] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)  # of calls that were answered well
    longest_s: float = 0.0  # that a call took, whatever came of it
    last_bad_s: float = 0.0  # when the last call failed, by time.monotonic()
    under_way: dict[int, float] = field(default_factory=dict)  # a worker's call → since when
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, got: Got) -> None:
        self._more.set()
        if not got.is_whole or not got.text:
            self.bad.append(got)
            self.last_bad_s = time.monotonic()
            return
        self.good[got.ask.pool, got.ask.dialect, got.ask.stream] += 1
        self.ids.add(got.headers["x-broker-request-id"])
        self.revisions.add(got.headers["x-broker-revision"])
        self.attempts[got.attempts] += 1

    async def reach(self, calls: int) -> None:
        """Wait until so many calls were made."""
        while self.calls < calls:
            self._more.clear()
            await self._more.wait()

    async def end_those_under_way(self) -> None:
        """Wait until every call has ended that is under way now."""
        begun = set(self.under_way.items())
        while begun & self.under_way.items():
            self._more.clear()
            await self._more.wait()

    @property
    def calls(self) -> int:
        return sum(self.good.values()) + len(self.bad)

    def oldest_s(self) -> float:
        """For how long the call has waited that waits longest."""
        return time.monotonic() - min(self.under_way.values(), default=time.monotonic())

    def tell(self, seconds: float) -> None:
        """For the tables of the docs."""
        streams = sum(count for (_, _, stream), count in self.good.items() if stream)
        told = {"calls": self.calls, "failed": len(self.bad), "streams": streams}
        figure("load", **told, seconds=round(seconds, 1), longest_s=round(self.longest_s, 2))

    def told(self, since_s: float) -> str:
        """What clients saw, for a table: how many calls failed, how, and until when after `since_s`."""
        seen = Counter(_seen(got) for got in self.bad)
        until = f", the last {self.last_bad_s - since_s:.1f} s later" if self.bad else ""
        kinds = "; ".join(f"{count} {kind}" for kind, count in seen.most_common())
        longest = f"; the longest call took {self.longest_s:.1f} s"
        return f"{len(self.bad)} of {self.calls} calls failed{until}{': ' if kinds else ''}{kinds}{longest}"


def _seen(got: Got) -> str:
    """How a call failed, as its client says it."""
    if got.broken:
        return ("broken off in mid-reply, " if got.status else "") + got.broken.partition(":")[0]
    try:
        return f"{got.status} {json.loads(got.body)['error'].get('code')}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{got.status} {got.body[:80]!r}"


@contextlib.asynccontextmanager
async def load(url: str, pools: Sequence[tuple[str, str]], workers: int = 12) -> AsyncIterator[Load]:
    """Whole and streamed calls to (pool, dialect) pairs all the while; half of the workers keep their
    connections, half make a new one for each call. At the end all calls under way are awaited."""
    result, over, loaded_s = Load(), asyncio.Event(), time.monotonic()

    async def work(http: httpx.AsyncClient, number: int) -> None:
        turn = number // 2
        while not over.is_set():
            pool, dialect = pools[turn // 2 % len(pools)]
            result.under_way[number] = began_s = time.monotonic()
            got = await call(http, Ask(pool, dialect, stream=turn % 2 == 0))
            del result.under_way[number]
            result.longest_s = max(result.longest_s, time.monotonic() - began_s)
            result.note(got)
            turn += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), THINKING_S)

    async with client(url) as keeping, client(url) as closing:
        closing.headers["connection"] = "close"
        tasks = [asyncio.create_task(work((keeping, closing)[n % 2], n)) for n in range(workers)]
        try:
            yield result
        finally:
            over.set()
            await asyncio.gather(*tasks)
            result.tell(time.monotonic() - loaded_s)
