"""What each broker of a fleet serves, told through the Redis that they share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..budgets.fleet import redis_client, redis_now_s
from ..core.budgets import Fleet

# A broker that said nothing for so long is away, and after so long it is forgotten.
AWAY_S, FORGOTTEN_S = 15.0, 3_600.0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One broker's word. `broker` is its name over restarts, `host` the machine's, `admin` where it is asked.
    `revision`: what it last loaded, `serving`: what its Envoys have, since `serving_s`; `is_in_effect`: they
    have all of it. `changed_s`: when it came to that from another one, over restarts; 0: it never served
    another. `source`: where it is from; of a repository, the commit that is `wanted` there as it saw at
    `looked_s`. `at_s`: when it said all this. `life` is its process's. Times are Redis's, in seconds."""

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
    changed_s: float = 0.0
    source: str = ""
    wanted: str = ""
    looked_s: float = 0.0
    at_s: float = 0.0
    life: str = ""


class Ago(NamedTuple):
    """How long ago (seconds), by a broker's own clocks, which differ from machine to machine; None: never."""

    serving_s: float
    changed_s: float | None = None
    looked_s: float | None = None

    def of(self, told: Told, now_s: float) -> Told:
        """What it tells at `now_s`."""
        return msgspec.structs.replace(
            told,
            at_s=now_s,
            serving_s=now_s - self.serving_s,
            changed_s=now_s - self.changed_s if self.changed_s is not None else 0.0,
            looked_s=now_s - self.looked_s if self.looked_s is not None else 0.0,
        )


class Board:
    """Methods raise what redis-py and sockets do where Redis is away. `twin`: who says something under this
    one's name, for the state folder of one is a copy of the other's."""

    def __init__(self, fleet: Fleet, password: str | None) -> None:
        self._redis = redis_client(fleet, password)
        self._key = f"{fleet.prefix}:fleet"
        self._told_s = math.inf
        self.twin: Told | None = None

    async def tell(self, told: Told, ago: Ago) -> list[Told]:
        """What all have told, this one too."""
        now_s = await redis_now_s(self._redis)
        told = ago.of(told, now_s)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(self._key, told.broker)
            pipe.hset(self._key, told.broker, msgspec.json.encode(told).decode())
            pipe.expire(self._key, int(FORGOTTEN_S))
            pipe.hgetall(self._key)
            before, *_, rows = await pipe.execute()
        self._look_for_twin(told, before)
        found = []
        for broker, row in rows.items():
            with contextlib.suppress(msgspec.MsgspecError):
                one = msgspec.json.decode(row, type=Told)
                if abs(now_s - one.at_s) < FORGOTTEN_S:
                    found.append(one)
                    continue
            await self._forget(broker)
        return sorted(found, key=lambda one: (one.host, one.broker))

    def _look_for_twin(self, told: Told, before: str | None) -> None:
        with contextlib.suppress(msgspec.MsgspecError):
            other = msgspec.json.decode(before or "null", type=Told | None)
            if other is not None and other.life != told.life and other.at_s > self._told_s:
                self.twin = other
        if self.twin is not None and told.at_s - self.twin.at_s > AWAY_S:
            self.twin = None
        self._told_s = told.at_s

    async def leave(self, broker: str) -> None:
        """It ends, and is nobody's drift."""
        await self._forget(broker)

    async def _forget(self, broker: str) -> None:
        await self._redis.hdel(self._key, broker)  # type: ignore[misc] # redis-py says "or an int"

    async def close(self) -> None:
        await self._redis.aclose()


class Drift(NamedTuple):
    """`newest`: the revision that is to be served, as far as is known; `behind` serve another one, `away` say
    nothing any more. `took_s`: how long it took from the first broker that served it to the last; None: not
    all do."""

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
    newest = _newest(there)
    behind = tuple(one for one in there if one.serving != newest or not one.is_in_effect)
    times = [one.serving_s for one in there if one.serving == newest]
    return Drift(newest, behind, away, None if behind else max(times) - min(times))


def _newest(there: Sequence[Told]) -> str:
    """What the repository names, where all have theirs from there; else what somebody has changed to last."""
    serving = [one for one in there if one.serving]  # who has just begun serves nothing yet
    if not serving:
        return ""
    are_of_one = len({one.source for one in serving}) == 1 and all(one.wanted for one in serving)
    if are_of_one and not any(one.is_rolled_back for one in serving):
        wanted = max(serving, key=lambda one: one.looked_s).wanted
        # Where nobody serves it (it is on its way, or no good), times have to say it.
        serving = [one for one in serving if one.commit == wanted] or serving
    return max(serving, key=lambda one: (_new_s(one.serving, serving), one.serving)).serving


def _new_s(revision: str, serving: Sequence[Told]) -> float:
    """When it was news: when a broker left another one for it last. That one stayed with it, or has just
    begun with it, says nothing; where there are none but such, the first of them counts."""
    having = [one for one in serving if one.serving == revision]
    return max(
        (one.changed_s for one in having if one.changed_s), default=min(one.serving_s for one in having)
    )
