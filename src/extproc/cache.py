"""The replies that calls share, on the event loop: who waits is woken, what is old goes, and the fleet's
store is asked and told."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from prometheus_client import Counter, Gauge

from ..policy.caching import CacheKey
from ..policy.kept import Entry, Memory, ReplyCache

log = logging.getLogger("modelbroker.extproc")

# A call that is handed back comes again on another stream, right behind the end of its first one.
_HANDBACK_S = 0.5
_EXPIRE_EACH_S = 10.0
_EVICTIONS = Counter("modelbroker_cache_evictions", "Cached replies that went for the want of room")
_BYTES = Gauge("modelbroker_cache_bytes", "What cached replies take of the broker's memory")
_ENTRIES = Gauge("modelbroker_cache_replies", "Replies in the broker's memory")
_WAITING = Gauge("modelbroker_cache_calls_waiting", "Calls that wait for the reply of an equal one")


class Shared(Protocol):
    """A store that the brokers of a fleet share. None of it raises: what does not work is not found."""

    async def get(self, key: str) -> Entry | None: ...

    async def put(self, key: str, entry: Entry) -> None: ...

    async def close(self) -> None: ...


class Watching(Protocol):
    """A stream that sees a reply."""

    def let_go(self) -> None:
        """See no more of it."""


class CacheDesk:
    """Belongs to one event loop, and is used on its thread alone."""

    def __init__(self, most_bytes: int) -> None:
        self.replies = ReplyCache(Memory(most_bytes), wake=self._wake)
        self._wakers: dict[str, weakref.WeakMethod[Callable[[], None]]] = {}
        self._orphans: dict[str, asyncio.TimerHandle] = {}
        # By their id, until they end. (A WeakSet is the same at a µs a call.)
        self.watching: dict[int, weakref.ref[Watching]] = {}
        self._shared: Shared | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._evicted = 0
        memory = self.replies.memory
        _BYTES.set_function(lambda: memory.bytes)
        _ENTRIES.set_function(lambda: len(memory))

    def configure(self, most_bytes: int, shared: Shared | None) -> None:
        """What the configuration says now."""
        self.replies.memory.shrink(most_bytes)
        old, self._shared = self._shared, shared
        self.replies.is_shared = shared is not None
        if old is not None and old is not shared:
            self._start(old.close())
        self._count()

    # -- calls that wait, and their ends

    def wait(self, request_id: str, waker: Callable[[], None], asks: CacheKey | None) -> None:
        """`waker`, a method of the stream's, is called once there is news; it does not keep the stream."""
        self._wakers[request_id] = weakref.WeakMethod(waker)
        _WAITING.set(self.replies.waiting)
        if asks is not None:
            self._start(self._ask(asks, request_id))

    def ended(self, request_id: str, may_return: bool) -> None:
        """The stream of this call is over. `may_return`: it may be handed back, and then come again."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # the collector found it, and runs on another thread
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self.ended, request_id, may_return)
            return
        self._wakers.pop(request_id, None)
        if not (may_return and self.replies.flights.leads(request_id)):
            self.replies.leave(request_id)
            return
        self._orphans[request_id] = loop.call_later(_HANDBACK_S, self._give_up, request_id)

    def _give_up(self, request_id: str) -> None:
        del self._orphans[request_id]
        self.replies.leave(request_id)

    def came_back(self, request_id: str) -> bool:
        """A call was handed back. True: others wait for it, or may."""
        if (timer := self._orphans.pop(request_id, None)) is not None:
            timer.cancel()
        return self.replies.flights.leads(request_id)

    def _wake(self, request_ids: Iterable[str]) -> None:
        loop = asyncio.get_running_loop()
        for request_id in request_ids:
            if (waker := self._wakers.pop(request_id, None)) is not None:
                loop.call_soon(_called, waker)
        _WAITING.set(self.replies.waiting)

    # -- replies

    def kept(self) -> None:
        """A reply has been put into the memory."""
        self._count()

    def settle(self, request_id: str, paid: str) -> None:
        """The record of the call that left a reply is there: `paid` is what it used (as in Entry). Only now
        the fleet gets it, and those who have to be told it."""
        found = self.replies.settle(request_id, paid)
        if found is not None and self._shared is not None:
            key, entry = found
            self._start(self._shared.put(key.text, entry))

    async def _ask(self, key: CacheKey, request_id: str) -> None:
        try:
            entry = await self._shared.get(key.text) if self._shared is not None else None
            if entry is not None:
                self.replies.memory.put(key, entry)
                self._count()
        finally:  # whatever came of it, the call goes on
            self._wake((request_id,))

    # -- life

    async def run(self) -> None:
        """Until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_EXPIRE_EACH_S)
            self.replies.memory.expire(time.time())
            self._count()

    def let_go(self) -> None:
        """The broker ends, and takes no call with it."""
        for watching in list(self.watching.values()):
            if (stream := watching()) is not None:
                stream.let_go()

    async def close(self) -> None:
        for timer in self._orphans.values():
            timer.cancel()
        self._orphans.clear()
        if self._shared is not None:
            await self._shared.close()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _count(self) -> None:
        if evicted := self.replies.memory.evicted - self._evicted:
            self._evicted += evicted
            _EVICTIONS.inc(evicted)


def _called(waker: weakref.WeakMethod[Callable[[], None]]) -> None:
    if (method := waker()) is not None:
        method()
