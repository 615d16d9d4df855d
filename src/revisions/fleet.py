"""What each broker of a fleet serves, told through the Redis that they share."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..budgets.fleet import redis_client
from ..core.budgets import Fleet

# A broker that said nothing for so long is away, and after so long it is forgotten.
AWAY_S, FORGOTTEN_S = 15.0, 3_600.0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One broker's word. `broker` is its name over restarts, `host` the machine's, `admin` where it is asked.
    `revision`: what it last loaded, `serving`: what its Envoys have, since `serving_s`; `is_in_effect`: they
    have all of it. `at_s`: when it said so. Times are Redis's, in seconds."""

    broker: str
    host: str
    version: str
    admin: str = ""
    revision: str = ""
    serving: str = ""
    commit: str = ""
    is_in_effect: bool = False
    is_rolled_back: bool = False
    envoys: int = 0
    error: str = ""
    serving_s: float = 0.0
    at_s: float = 0.0


class Board:
    """Methods raise what redis-py and sockets do where Redis is away."""

    def __init__(self, fleet: Fleet, password: str | None) -> None:
        self._redis = redis_client(fleet, password)
        self._key = f"{fleet.prefix}:fleet"

    async def tell(self, told: Told, serving_for_s: float) -> list[Told]:
        """What all have told, this one too. It serves what it serves for so long: clocks of machines differ,
        and Redis's counts."""
        seconds, micros = await self._redis.time()
        now_s = seconds + micros / 1e6
        told = msgspec.structs.replace(told, at_s=now_s, serving_s=now_s - serving_for_s)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(self._key, told.broker, msgspec.json.encode(told).decode())
            pipe.expire(self._key, int(FORGOTTEN_S))
            pipe.hgetall(self._key)
            *_, rows = await pipe.execute()
        found = []
        for broker, row in rows.items():
            with contextlib.suppress(msgspec.MsgspecError):
                one = msgspec.json.decode(row, type=Told)
                if abs(now_s - one.at_s) < FORGOTTEN_S:
                    found.append(one)
                    continue
            await self._forget(broker)
        return sorted(found, key=lambda one: (one.host, one.broker))

    async def leave(self, broker: str) -> None:
        """It ends, and is nobody's drift."""
        await self._forget(broker)

    async def _forget(self, broker: str) -> None:
        await self._redis.hdel(self._key, broker)  # type: ignore[misc] # redis-py says "or an int"

    async def close(self) -> None:
        await self._redis.aclose()


class Drift(NamedTuple):
    """`newest`: the revision that was served last of all; `behind` serve another one, `away` say nothing any
    more. `took_s`: how long it took from the first broker that served it to the last; None: not all do."""

    newest: str
    behind: tuple[Told, ...]
    away: tuple[Told, ...]
    took_s: float | None


def drift(fleet: Sequence[Told], now_s: float) -> Drift:
    """Pure. `now_s` is Redis's time, as a broker that was just asked has it. (What was said long before, or
    before Redis's clock was set back, is of nobody who is there.)"""
    away = tuple(one for one in fleet if abs(now_s - one.at_s) > AWAY_S)
    there = [one for one in fleet if one not in away]
    if not there:
        return Drift("", (), away, None)
    # By when it was first served: a broker that comes late serves an old one since a moment ago.
    first_s: dict[str, float] = {}
    for one in there:
        if not one.serving:
            continue  # it has just begun, and serves nothing yet
        first_s[one.serving] = min(first_s.get(one.serving, one.serving_s), one.serving_s)
    newest = max(first_s, key=lambda revision: first_s[revision], default="")
    behind = tuple(one for one in there if one.serving != newest or not one.is_in_effect)
    times = [one.serving_s for one in there if one.serving == newest]
    return Drift(newest, behind, away, None if behind else max(times) - min(times))
