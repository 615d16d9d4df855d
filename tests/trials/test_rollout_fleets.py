"""Rollouts of a fleet whose brokers get a new configuration at different moments."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from modelbroker.core.acts import TOKEN, By
from modelbroker.core.budgets import Fleet
from modelbroker.core.trials import CANDIDATE, STABLE, Rollout
from modelbroker.policy.rollout import DONE, ROLLED_BACK, RUNNING
from modelbroker.trials.rollouts import Rollouts
from modelbroker.trials.told import Event
from prometheus_client import REGISTRY
from support.arms import Clock, calls, record, rollout
from support.servers import Redis

OLD, NEW = rollout("a/m"), rollout("b/n")
ANA = By(TOKEN, "ana")


class Brokers:
    """Those of a fleet, by name; `events` are the steps that each told."""

    def __init__(
        self, folder: Path, redis: Redis, prefix: str, *, unheld_s: float = 600.0, timeout_ms: int = 20_000
    ) -> None:
        self._folder = folder
        self._fleet = Fleet(redis.url, prefix=prefix, timeout_ms=timeout_ms)
        self._unheld_s = unheld_s
        self.clock = Clock()
        self.events: dict[str, list[Event]] = {}

    def start(self, name: str, *, ahead_s: float = 0.0) -> Rollouts:
        (self._folder / name).mkdir(exist_ok=True)
        told = self.events.setdefault(name, [])
        return Rollouts(
            self._folder / name,
            name,
            now_s=lambda: self.clock.now_s + ahead_s,
            told=told.append,
            unheld_s=self._unheld_s,
        )

    def forget(self, name: str) -> None:
        shutil.rmtree(self._folder / name)

    def told(self, name: str) -> list[tuple[str, str]]:
        return [(event.event, event.to) for event in self.events[name]]

    def configure(self, broker: Rollouts, *rollouts: Rollout, is_in_effect: bool = True) -> None:
        broker.configured(rollouts, self._fleet, is_in_effect=is_in_effect)


def test_brokers_that_differ_do_not_fight(tmp_path: Path, redis: Redis) -> None:
    """One has the new candidate, and the other has not yet seen the commit: the new one begins once, and the
    other stays where it was, says so, and follows when it has the new one, too."""

    async def run() -> None:
        fleet = Brokers(tmp_path, redis, "differ")
        first, second = fleet.start("first"), fleet.start("second")
        for broker in (first, second):
            fleet.configure(broker, OLD)
            await broker.look()
        await first.command("r", "promote", ANA)
        await second.look()
        fleet.configure(first, NEW)
        for _ in range(5):
            for broker in (first, second):
                await broker.look()
        (here,), (there,) = await first.shown(), await second.shown()
        assert (here["to"], here["stage"], here["fleet_to"]) == ("b/n", "10%", None)
        assert (there["to"], there["stage"], there["fleet_to"]) == ("a/m", "100%", "b/n")
        assert fleet.told("first") == [("began", "a/m"), ("promoted", "a/m"), ("began", "b/n")]
        assert fleet.told("second") == fleet.told("first")[:2]
        # Over a restart it is behind as well, and an empty Redis does not make it the one that counts.
        await second.close()
        second = fleet.start("second")
        fleet.configure(second, OLD)
        redis.kill()
        redis.start()
        for broker in (second, first, second):
            await broker.look()
        assert (await second.shown())[0]["fleet_to"] == "b/n"
        # Alone, or in another fleet, it is behind nobody.
        alone = Rollouts(tmp_path / "second", "second", now_s=fleet.clock)
        alone.configured([OLD])
        assert (await alone.shown())[0]["fleet_to"] is None
        fleet.configure(second, NEW)
        await second.look()
        assert second.state("r") == first.state("r")
        assert fleet.told("second") == fleet.told("first")
        for broker in (first, second):
            await broker.close()

    asyncio.run(run())


def test_whose_envoy_refuses_a_candidate_neither_begins_nor_follows_it(tmp_path: Path, redis: Redis) -> None:
    """Whoever came back from what he had followed would take the fleet back to the one before."""

    async def run() -> None:
        fleet = Brokers(tmp_path, redis, "refuses")
        taking, refusing = fleet.start("taking"), fleet.start("refusing")
        for broker in (taking, refusing):
            fleet.configure(broker, OLD)
            await broker.look()
        fleet.configure(refusing, NEW, is_in_effect=False)
        await refusing.look()
        with pytest.raises(ValueError, match="has not begun yet"):
            await refusing.command("r", "promote", ANA)
        fleet.configure(taking, NEW, is_in_effect=False)
        taking.in_effect()
        for broker in (taking, refusing):
            await broker.look()
        fleet.configure(refusing, OLD)
        for broker in (refusing, taking, refusing):
            await broker.look()
        assert fleet.told("taking") == [("began", "a/m"), ("began", "b/n")]
        assert fleet.told("refusing") == [("began", "a/m")]
        assert (await refusing.shown())[0]["fleet_to"] == "b/n"
        # What is known here goes on, whatever else is new and on its way.
        fleet.configure(taking, NEW, is_in_effect=False)
        assert (await taking.command("r", "promote", ANA))["stage"] == "100%"
        for broker in (taking, refusing):
            await broker.close()

    asyncio.run(run())


def test_a_new_candidate_has_no_calls_before_the_fleet_has_agreed(tmp_path: Path, redis: Redis) -> None:
    """The one before it was done, and had all calls: its stage is not the new one's, also while Redis is
    away."""

    async def run() -> None:
        fleet = Brokers(tmp_path, redis, "agreed")
        one = fleet.start("one")
        fleet.configure(one, OLD)
        await one.look()
        await one.command("r", "promote", ANA)
        await one.command("r", "promote", ANA)
        assert (state := one.state("r")) is not None and state.phase == DONE
        redis.kill()
        try:
            fleet.configure(one, NEW)
            await one.look()
            assert one.state("r") is None
            assert (await one.shown())[0]["phase"] == "waiting"
        finally:
            redis.start()
        await one.look()
        assert (state := one.state("r")) is not None and (state.phase, state.stage) == (RUNNING, 0)
        await one.close()

    asyncio.run(run())


def test_what_was_rolled_back_stays_so(tmp_path: Path, redis: Redis) -> None:
    """Whoever comes back to a candidate that was rolled back, by a commit or as a pod that knows nothing of
    it, begins nothing: that takes the command."""

    async def run() -> None:
        fleet = Brokers(tmp_path, redis, "stays", unheld_s=0.0)
        one = fleet.start("one")
        fleet.configure(one, OLD)
        await one.look()
        one.take([record(fleet.clock, n, CANDIDATE, failed=True) for n in range(60)])
        one.take([record(fleet.clock, n, STABLE) for n in range(60)])
        await one.look()
        assert (state := one.state("r")) is not None and state.phase == ROLLED_BACK
        fleet.configure(one, NEW)
        await one.look()
        fleet.configure(one, OLD)
        await one.look()
        assert (state := one.state("r")) is not None and (state.phase, state.to) == (ROLLED_BACK, "a/m")
        assert "it was before" in state.reason
        fresh = fleet.start("fresh")
        fleet.configure(one)
        fleet.configure(fresh, NEW)
        await fresh.look()
        await fresh.look()
        fleet.configure(fresh, OLD)
        await fresh.look()
        assert (state := fresh.state("r")) is not None and state.phase == ROLLED_BACK
        await fresh.command("r", "resume", ANA)
        assert (state := fresh.state("r")) is not None and state.phase == RUNNING
        for broker in (one, fresh):
            await broker.close()

    asyncio.run(run())


def test_what_was_rolled_back_while_nobody_could_be_told_is_told_behind_the_next_candidate(
    tmp_path: Path, redis: Redis
) -> None:
    async def run() -> None:
        fleet = Brokers(tmp_path, redis, "untold")
        one, two = fleet.start("one"), fleet.start("two")
        for broker in (one, two):
            fleet.configure(broker, OLD)
            await broker.look()
        redis.kill()
        one.take([record(fleet.clock, n, CANDIDATE, failed=True) for n in range(60)])
        one.take([record(fleet.clock, n, STABLE) for n in range(60)])
        await one.look()
        assert (state := one.state("r")) is not None and state.phase == ROLLED_BACK
        redis.start()
        for broker in (two, one):
            fleet.configure(broker, NEW)
            await broker.look()
        await one.look()
        for broker in (two, one):
            await broker.look()
            fleet.configure(broker, OLD)
            await broker.look()
            assert (state := broker.state("r")) is not None and state.phase == ROLLED_BACK
            await broker.close()

    asyncio.run(run())


def test_commands_to_brokers_that_are_behind(tmp_path: Path, redis: Redis) -> None:
    async def run() -> None:
        fleet = Brokers(tmp_path, redis, "commands")
        first, second, third = (fleet.start(name) for name in ("first", "second", "third"))
        for broker in (first, second, third):
            fleet.configure(broker, OLD)
            await broker.look()
        fleet.configure(first, NEW)
        for broker in (first, second, third):
            await broker.look()
        with pytest.raises(ValueError, match="the fleet has the candidate b/n"):
            await second.command("r", "promote", ANA)
        # Of two that are behind one is told to roll back, and both do; the fleet's candidate goes on.
        assert (await second.command("r", "rollback", ANA))["phase"] == ROLLED_BACK
        for broker in (third, first):
            await broker.look()
        assert (await third.shown())[0]["phase"] == ROLLED_BACK
        assert (await first.shown())[0]["phase"] == RUNNING
        # What one of them begins is the fleet's from now on.
        (shown, _) = await second.command("r", "resume", ANA), await third.look()
        assert (shown["phase"], shown["fleet_to"]) == (RUNNING, None)
        assert third.state("r") == second.state("r")
        for told in (shown["last"], (await third.shown())[0]["last"]):
            assert (told["actor"], told["by"]) == ANA
        await first.look()
        assert (await first.shown())[0]["fleet_to"] == "a/m"
        for broker in (first, second, third):
            await broker.close()

    asyncio.run(run())


def test_clocks_that_differ_by_minutes_neither_end_a_stage_nor_hide_calls(
    tmp_path: Path, redis: Redis
) -> None:
    async def run() -> None:
        fleet = Brokers(tmp_path, redis, "clocks")
        fast, slow = fleet.start("fast", ahead_s=7_200.0), fleet.start("slow", ahead_s=-600.0)
        held = rollout(hold_ms=3_600_000)
        for broker in (fast, slow):
            fleet.configure(broker, held)
            await broker.look()
        for ahead_s, broker in ((7_200.0, fast), (-600.0, slow)):
            clock = Clock()
            clock.now_s += ahead_s
            broker.take(calls(clock, 60, "10%"))
        for broker in (slow, fast, slow):
            await broker.look()
        for broker in (fast, slow):
            (shown,) = await broker.shown()
            assert (shown["stage"], shown["calls"]) == ("10%", {STABLE: 120, CANDIDATE: 120})
            await broker.close()

    asyncio.run(run())


def test_a_redis_that_hangs_does_not_keep_anybody_from_looking(tmp_path: Path, redis: Redis) -> None:
    """Each look waits for it a second; what fails is rolled back by the next."""

    async def run() -> None:
        fleet = Brokers(tmp_path, redis, "hangs", timeout_ms=1_000)
        one = fleet.start("one")
        fleet.configure(one, OLD)
        looking = asyncio.create_task(one.run())

        async def until(holds: Callable[[], bool]) -> None:
            async with asyncio.timeout(15):
                while not holds():  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)

        await until(lambda: one.state("r") is not None)
        assert redis._process is not None
        redis._process.send_signal(signal.SIGSTOP)
        try:
            await until(lambda: REGISTRY.get_sample_value("modelbroker_rollout_redis_away") == 1)
            one.take([record(fleet.clock, n, CANDIDATE, failed=True) for n in range(60)])
            one.take([record(fleet.clock, n, STABLE) for n in range(60)])
            await until(lambda: (state := one.state("r")) is not None and state.phase == ROLLED_BACK)
        finally:
            redis._process.send_signal(signal.SIGCONT)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await one.close()

    asyncio.run(run())


NAMES = ("a", "b", "c")
_history = st.lists(st.sampled_from(["x/1", "x/1", "y/2", "y/2", "z/3"]), min_size=3, max_size=5).filter(
    lambda commits: all(one != other for one, other in pairwise(commits))
)
_one = st.integers(0, 2)
# What happens at one broker, and who looks afterwards, in this order.
_acts = st.lists(
    st.tuples(st.sampled_from(["pull", "pull", "rollback", "lose"]), _one, st.lists(_one, max_size=6)),
    min_size=2,
    max_size=8,
)


@example(["x/1", "y/2", "x/1"], [("pull", 0, [0]), ("lose", 0, []), ("rollback", 1, [0])], "redis", 600.0)
@settings(deadline=None, max_examples=60)
@given(_history, _acts, st.sampled_from(["folders", "redis"]), st.sampled_from([0.0, 600.0]))
def test_however_commits_arrive_each_moves_the_fleet_once_at_most(
    tmp_path_factory: pytest.TempPathFactory,
    redis: Redis,
    commits: list[str],
    acts: list[tuple[str, int, list[int]]],
    loses: str,
    unheld_s: float,
) -> None:
    """Brokers pull the commits of one branch, each when it does; look, roll back by command, and lose their
    folders (as pods do), or Redis loses all. Nothing is begun without a pull, what was rolled back has no
    client again, and in the end all are at the same place."""

    if loses == "redis":
        unheld_s = 600.0  # it has lost as well who is there: they have to have the time to say it

    async def run() -> None:
        fleet = Brokers(tmp_path_factory.mktemp("fleet"), redis, "drawn", unheld_s=unheld_s)
        at = [0, 0, 0]
        brokers = [fleet.start(name) for name in NAMES]
        back: set[str] = set()
        pulled = 1

        async def look(number: int) -> None:
            await brokers[number].look()
            state = brokers[number].state("r")
            if loses == "folders" and state is not None and state.to in back:
                assert state.phase == ROLLED_BACK

        def begun() -> int:
            """How many beginnings there were, whoever told them."""
            told = [step for steps in fleet.events.values() for step in steps]
            return len({(step.turn, step.to) for step in told if step.event == "began"})

        for broker in brokers:
            fleet.configure(broker, rollout(commits[0]))
            await broker.look()
        for what, number, looks in acts:
            if what == "pull" and at[number] + 1 < len(commits):
                at[number] += 1
                pulled += 1
                fleet.configure(brokers[number], rollout(commits[at[number]]))
            elif what == "rollback" and (state := brokers[number].state("r")) is not None and state.is_on:
                with contextlib.suppress(ValueError, OSError):
                    await brokers[number].command("r", "rollback", ANA)
                    back.add(commits[at[number]])
                    if loses == "redis":  # what nobody else has heard of yet goes with it
                        looks = [*range(3), *looks]
            elif what == "lose" and loses == "redis":
                redis.kill()
                redis.start()
            elif what == "lose":
                await brokers[number].close()
                fleet.forget(NAMES[number])
                brokers[number] = fleet.start(NAMES[number])
                fleet.configure(brokers[number], rollout(commits[at[number]]))
            for each in looks:
                await look(each)
        assert begun() <= pulled
        for number, broker in enumerate(brokers):
            if at[number] + 1 < len(commits):
                fleet.configure(broker, rollout(commits[-1]))
                pulled += 1
        for _ in range(3):
            for number in range(3):
                await look(number)
        assert begun() <= pulled
        states = [broker.state("r") for broker in brokers]
        if unheld_s == 0 or states[0] is not None:
            assert states[0] == states[1] == states[2] and states[0] is not None
            assert states[0].phase == (ROLLED_BACK if commits[-1] in back else RUNNING)
        for broker in brokers:
            await broker.close()

    redis.kill()
    redis.start()
    asyncio.run(run())
