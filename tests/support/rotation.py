"""Keys of a provider and a caller that are replaced while calls are made."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from .broker import KEY, Broker
from .calls import Ask, Got, call, client
from .figures import enlarged
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


def came_with(sims: Simulators, key: str) -> bool:
    """The provider `main` was called with it."""
    said = ("authorization", f"Bearer {key}")
    return any(said == tuple(pair) for made in sims["main"].calls() for pair in made["headers"])


def rotated(broker: Broker, sims: Simulators, keys: Sequence[str], put: Callable[[str], None]) -> Load:
    """`put` each of the keys but the first, under load. The provider takes the old key beside the new one
    until this one was seen, as providers do."""

    async def run() -> Load:
        async with load(broker.url, [("chat", "openai-chat")], workers=8) as under_way:
            await under_way.reach(20)
            for old, new in itertools.pairwise(keys):
                sims["main"].script(keys=[old, new])
                put(new)
                await asyncio.to_thread(wait_until, lambda new=new: came_with(sims, new))
                await under_way.reach(under_way.calls + enlarged(20))
                await under_way.end_those_under_way()  # with the old one, it may be
                sims["main"].script(keys=[new])
        return under_way

    return asyncio.run(run())
