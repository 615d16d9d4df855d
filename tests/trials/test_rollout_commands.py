"""Commands to a rollout of a fleet while its Redis, or the way to it, breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from modelbroker.core.acts import TOKEN, By
from modelbroker.core.budgets import Fleet
from modelbroker.policy.rollout import PAUSED, ROLLED_BACK, RUNNING
from modelbroker.trials.rollouts import Rollouts
from modelbroker.trials.told import Event
from support.arms import Clock, rollout
from support.cutting import Cutting, cutting
from support.servers import Redis

OLD, NEW = rollout("a/m"), rollout("b/n")
ANA, BEN = By(TOKEN, "ana"), By(TOKEN, "ben")
SWAP = b"EVAL"


class Two:
    """`one` reaches the Redis by a way that breaks, `other` always."""

    def __init__(self, folder: Path, redis: Redis, way: Cutting, prefix: str) -> None:
        self.events: dict[str, list[Event]] = {"one": [], "other": []}
        self._fleets: dict[int, Fleet] = {}
        self.one, self.other = self._broker(folder, "one"), self._broker(folder, "other")
        by_way = f"redis://127.0.0.1:{way.port}/0"
        self._fleets[id(self.one)] = Fleet(by_way, prefix=prefix, timeout_ms=5_000)
        self._fleets[id(self.other)] = Fleet(redis.url, prefix=prefix, timeout_ms=5_000)

    def _broker(self, folder: Path, name: str) -> Rollouts:
        (folder / name).mkdir()
        return Rollouts(folder / name, name, now_s=Clock(), told=self.events[name].append)

    async def configure(self, broker: Rollouts, to: str = "a/m") -> None:
        broker.configured([OLD if to == "a/m" else NEW], self._fleets[id(broker)])
        await broker.look()

    async def look(self) -> None:
        for broker in (self.one, self.other, self.one):
            await broker.look()

    def told(self, name: str) -> list[tuple[str, str]]:
        return [(event.event, event.by) for event in self.events[name]]


def run(folder: Path, redis: Redis, prefix: str, work: Callable[[Two, Cutting], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        async with cutting(redis.port) as way:
            two = Two(folder, redis, way, prefix)
            try:
                for broker in (two.one, two.other):
                    await two.configure(broker)
                await work(two, way)
            finally:
                for broker in (two.one, two.other):
                    await broker.close()

    asyncio.run(all_of_it())


def phases(two: Two) -> list[str]:
    return [state.phase if (state := broker.state("r")) else "" for broker in (two.one, two.other)]


@pytest.mark.parametrize("word", [b"TIME", b"HSET", SWAP])
@pytest.mark.parametrize("is_heard", [False, True], ids=["unheard", "unanswered"])
def test_a_connection_that_breaks_fails_no_command(
    tmp_path: Path, redis: Redis, word: bytes, is_heard: bool
) -> None:
    """It is done once, whatever Redis has heard of it, and told once by everybody."""

    async def work(two: Two, way: Cutting) -> None:
        way.cut(word, is_heard=is_heard)
        assert (await two.one.command("r", "pause", ANA))["phase"] == PAUSED
        assert way.is_over
        await two.look()
        assert phases(two) == [PAUSED, PAUSED]
        assert two.told("one") == two.told("other") == [("began", ""), ("paused", "ana")]

    run(tmp_path, redis, f"breaks-{word.decode()}-{is_heard}", work)


def test_one_that_was_done_unheard_of_and_another_behind_it(tmp_path: Path, redis: Redis) -> None:
    """Its answer is lost, and another broker goes on from there before it asks again: it was done."""

    async def work(two: Two, way: Cutting) -> None:
        way.cut(SWAP, is_heard=True, meanwhile=lambda: two.other.command("r", "resume", BEN))
        await two.one.command("r", "pause", ANA)
        await two.look()
        assert phases(two) == [RUNNING, RUNNING]
        assert two.told("one") == two.told("other") == [("began", ""), ("paused", "ana"), ("resumed", "ben")]

    run(tmp_path, redis, "behind-it", work)


def test_one_that_came_too_late(tmp_path: Path, redis: Redis) -> None:
    async def work(two: Two, way: Cutting) -> None:
        way.cut(SWAP, is_heard=False, meanwhile=lambda: two.other.command("r", "pause", BEN))
        with pytest.raises(ValueError, match="another broker has just moved it"):
            await two.one.command("r", "pause", ANA)
        await two.look()
        assert two.told("one") == two.told("other") == [("began", ""), ("paused", "ben")]

    run(tmp_path, redis, "too-late", work)


def test_a_way_that_stays_broken_says_that_it_may_have_been_done(tmp_path: Path, redis: Redis) -> None:
    """And the next look follows what was."""

    async def work(two: Two, way: Cutting) -> None:
        way.cut(SWAP, is_heard=True, times=2)
        with pytest.raises(
            OSError, match=r"the Redis of the fleet does not answer: .*; it may have been done"
        ):
            await two.one.command("r", "pause", ANA)
        assert two.told("one") == [("began", "")]
        await two.look()
        assert two.told("one") == two.told("other") == [("began", ""), ("paused", "ana")]

    run(tmp_path, redis, "stays-broken", work)


def test_a_redis_that_is_killed_at_the_step_itself(tmp_path: Path, redis: Redis) -> None:
    async def work(two: Two, way: Cutting) -> None:
        async def kill() -> None:
            redis.kill()

        way.cut(SWAP, is_heard=False, meanwhile=kill)
        try:
            with pytest.raises(OSError, match="the Redis of the fleet does not answer"):
                await two.one.command("r", "pause", ANA)
            assert phases(two) == [RUNNING, RUNNING]
        finally:
            redis.start()
        # It is back, empty, and the connections of before are dead.
        assert (await two.one.command("r", "pause", ANA))["phase"] == PAUSED

        async def lose() -> None:
            redis.kill()
            redis.start()

        way.cut(SWAP, is_heard=True, meanwhile=lose)
        with pytest.raises(ValueError, match="or their Redis lost it: look, and say it again"):
            await two.one.command("r", "resume", ANA)
        assert (await two.one.command("r", "resume", ANA))["phase"] == RUNNING
        await two.look()
        assert phases(two) == [RUNNING, RUNNING]
        assert two.told("one") == [("began", ""), ("paused", "ana"), ("resumed", "ana")]

    run(tmp_path, redis, "killed", work)


def test_one_that_is_behind(tmp_path: Path, redis: Redis) -> None:
    async def work(two: Two, way: Cutting) -> None:
        await two.configure(two.other, "b/n")
        await two.look()
        # What an empty Redis does not know is known here.
        redis.kill()
        redis.start()
        with pytest.raises(ValueError, match="the fleet has the candidate b/n"):
            await two.one.command("r", "promote", ANA)
        # A rollback is in effect here, and others hear of it by the next look.
        way.cut(SWAP, is_heard=False)
        assert (await two.one.command("r", "rollback", ANA))["phase"] == ROLLED_BACK
        assert way.is_over
        await two.look()
        await two.configure(two.other)
        assert phases(two) == [ROLLED_BACK, ROLLED_BACK]
        # What it begins for all is begun once.
        await two.configure(two.other, "b/n")
        await two.look()
        way.cut(SWAP, is_heard=True)
        assert (await two.one.command("r", "resume", ANA))["fleet_to"] is None
        await two.look()
        assert [step for step in two.told("one") if step[0] == "began"] == [("began", ""), ("began", "ana")]

    run(tmp_path, redis, "behind", work)
