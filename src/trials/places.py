"""Where rollouts are kept: a file of the state folder, and for a fleet a Redis that its brokers share."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from ..budgets.fleet import redis_client, redis_now_s
from ..core.budgets import Fleet
from .told import Arms, Doc, Event, Turns

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger("modelbroker.rollout")

FILE_NAME, EVENTS_NAME = "rollouts.json", "rollouts.jsonl"
_KEPT_S = 180 * 86_400
_MOST_STEPS = 100
_AWAY_S, _FORGOTTEN_S = 15.0, 3_600.0
# KEYS: the rollout; its last steps. ARGV: what is there, "" for nothing; what is to be there; for how long;
# the step that led there, "" for none; how many of them are kept.
_SWAP = """
local is = redis.call('GET', KEYS[1]) or ''
if is ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
if ARGV[4] ~= '' then
  redis.call('RPUSH', KEYS[2], ARGV[4])
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[5]), -1)
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""
_encoder = msgspec.json.Encoder()
_Told = TypeVar("_Told")


class There(NamedTuple):
    """What a fleet's Redis says: the text as it is, what it means, Redis's clock, and the candidates that
    configurations have of brokers which spoke a moment ago."""

    text: str
    doc: Doc | None
    now_s: float
    had: frozenset[str]


async def surely(ask: Callable[[], Awaitable[_Told]], more: str = "") -> _Told:
    """What may be asked twice is asked once more where the connection broke: one that was kept open may be
    dead, and Redis may be back. OSError where it does not answer, and `more`."""
    from redis.exceptions import ConnectionError as Broken  # an extra

    try:
        try:
            return await ask()
        except (Broken, ConnectionError):
            return await ask()
    except Exception as error:  # of redis-py, of sockets: all the same to people
        raise OSError(f"the Redis of the fleet does not answer: {error}{more}") from None


class Folder:
    """This broker's own. Killed at any moment, a whole file is left."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE_NAME
        self._events = folder / EVENTS_NAME

    def read(self) -> dict[str, Turns]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, Turns])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.error("where rollouts were can't be read, and they begin anew: %s", error)
            return {}

    def write(self, kept: Mapping[str, Turns]) -> None:
        """OSError where the disk has no room."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(_encoder.encode(kept))
        fresh.replace(self._file)

    def tell(self, steps: Sequence[Event]) -> None:
        """OSError likewise."""
        with self._events.open("ab") as file:
            file.write(_encoder.encode_lines(steps))


class Shared:
    """The fleet's. Each method raises what redis-py and sockets do where it is away. `broker` is this one's
    name, the same over restarts."""

    def __init__(self, fleet: Fleet, password: str | None, broker: str) -> None:
        self._redis: Redis = redis_client(fleet, password)
        self._prefix = fleet.prefix
        self._broker = broker

    async def read(self, name: str, to: str) -> There:
        """What is there; and says that this broker's configuration has the candidate `to`."""
        key = self._key(name, "brokers")
        now_s = await redis_now_s(self._redis)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(self._key(name))
            pipe.hset(key, self._broker, _encoder.encode((to, round(now_s))).decode())
            pipe.expire(key, _KEPT_S)
            pipe.hgetall(key)
            text, _, _, told = await pipe.execute()
        said = {broker: msgspec.json.decode(one, type=tuple[str, float]) for broker, one in told.items()}
        if gone := [broker for broker, (_, at_s) in said.items() if abs(now_s - at_s) > _FORGOTTEN_S]:
            await self._redis.hdel(key, *gone)  # type: ignore[misc] # redis-py says "or an int"
        had = frozenset(to for to, at_s in said.values() if abs(now_s - at_s) <= _AWAY_S)
        return There(text or "", msgspec.json.decode(text, type=Doc) if text else None, now_s, had)

    async def swap(self, name: str, was: str, doc: Doc, *, is_step: bool = True) -> bool:
        """False: another broker was quicker. Not `is_step`: it is no other place than before."""
        keys = self._key(name), self._key(name, "steps")
        text, step = _encoder.encode(doc).decode(), _encoder.encode(doc.last).decode() if is_step else ""
        done: Any = self._redis.eval(_SWAP, 2, *keys, was, text, str(_KEPT_S), step, str(_MOST_STEPS))
        return bool(await done)

    async def swap_surely(self, name: str, was: str, doc: Doc) -> bool:
        """As `swap`. Where the connection broke the first may have been done and its answer lost: who comes
        too late for the second looks whether the step that is told there is its own. OSError where it is
        away; then the step may have been done."""
        asked = 0

        async def once() -> bool:
            nonlocal asked
            asked += 1
            is_done = await self.swap(name, was, doc)
            return is_done or (asked > 1 and doc.last in await self.steps(name))

        return await surely(once, "; it may have been done: `rollout status` says so, once it answers")

    async def steps(self, name: str) -> list[Event]:
        """The last ones of all brokers, the oldest first."""
        told: Any = self._redis.lrange(self._key(name, "steps"), 0, -1)
        return [msgspec.json.decode(text, type=Event) for text in await told]

    async def put(self, name: str, turn: int, arms: Arms) -> None:
        """What this broker has seen of that turn, as a whole: to say it twice means the same as once."""
        key = self._key(name, turn)
        text = _encoder.encode(arms).decode()
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(key, self._broker, text)
            pipe.expire(key, _KEPT_S)
            await pipe.execute()

    async def others(self, name: str, turn: int) -> Arms:
        """What all other brokers have seen of it."""
        told: Any = self._redis.hgetall(self._key(name, turn))
        sums = Arms()
        for broker, text in (await told).items():
            if broker != self._broker:
                sums = sums.merged(msgspec.json.decode(text, type=Arms))
        return sums

    async def own(self, name: str, turn: int) -> Arms | None:
        """What this broker said before it lost its state folder."""
        told: Any = self._redis.hget(self._key(name, turn), self._broker)
        text = await told
        return msgspec.json.decode(text, type=Arms) if text else None

    async def close(self) -> None:
        await self._redis.aclose()

    def _key(self, name: str, part: int | str | None = None) -> str:
        return f"{self._prefix}:rollout:{name}" + ("" if part is None else f":{part}")
