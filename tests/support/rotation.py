"""Keys of a provider and a caller that are replaced while calls are made."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Sequence

from .broker import KEY, Broker
from .calls import Ask, Got, call, client
from .figures import enlarged, figure
from .load import Load, load
from .simulators import Simulators
from .waiting import wait_until


def asked(broker: Broker, key: str = KEY) -> Got:
    """One call of the pool `chat`."""

    async def ask() -> Got:
        async with client(broker.url) as http:
            http.headers["authorization"] = f"Bearer {key}"
            return await call(http, Ask("chat"))

    return asyncio.run(ask())


def first_with_s(sims: Simulators, key: str) -> float:
    """When the provider `main` was called with it for the first time (unix time); 0: it was not yet."""
    said = ("authorization", f"Bearer {key}")
    times = (made["time"] for made in sims["main"].calls() if said in map(tuple, made["headers"]))
    return float(min(times, default=0.0))


def came_with(sims: Simulators, key: str) -> bool:
    return first_with_s(sims, key) > 0


def rotated(broker: Broker, sims: Simulators, keys: Sequence[str], put: Callable[[str], None]) -> Load:
    """`put` each of the keys but the first, under load. The provider takes the old key beside the new one
    until this one was seen, as providers do."""

    async def run() -> Load:
        async with load(broker.url, [("chat", "openai-chat")], workers=8) as under_way:
            await under_way.reach(20)
            after_s = []
            for old, new in itertools.pairwise(keys):
                sims["main"].script(keys=[old, new])
                put_s = time.time()
                put(new)
                first_s = await asyncio.to_thread(wait_until, lambda new=new: first_with_s(sims, new))
                after_s.append(first_s - put_s)
                await under_way.reach(under_way.calls + enlarged(20))
                await under_way.end_those_under_way()  # with the old one, it may be
                sims["main"].script(keys=[new])
        seen = {"median_s": statistics.median(after_s), "longest_s": max(after_s)}
        figure("first call with a new key", **{name: round(value, 2) for name, value in seen.items()})
        return under_way

    return asyncio.run(run())
