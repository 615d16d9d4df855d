"""Rollouts as they are kept: alone, over restarts, and by brokers that share a Redis."""

from __future__ import annotations

import asyncio
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.acts import BROKER, COMMAND, TOKEN, By
from modelbroker.core.budgets import Fleet
from modelbroker.core.trials import CANDIDATE, STABLE
from modelbroker.policy.rollout import DONE, PAUSED, ROLLED_BACK, RUNNING
from modelbroker.trials.rollouts import Rollouts
from modelbroker.trials.told import Event, Score, done_by, missed
from support.arms import Clock, calls, record, rollout
from support.servers import Redis

BEN = By(COMMAND, "ben")


def test_it_goes_its_way_and_a_restart_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        clock, moved = Clock(), 0

        def changed() -> None:
            nonlocal moved
            moved += 1

        first = Rollouts(tmp_path, "one", changed, clock)
        first.configured([rollout()])
        first.take(calls(clock, 60, "10%"))
        clock.now_s += 2
        await first.look()
        state = first.state("r")
        assert state is not None and (state.phase, state.stage, state.turn) == (RUNNING, 1, 2)
        first.take(calls(clock, 30, "10%"))  # of the stage before: they say nothing of this one
        await first.close()

        again = Rollouts(tmp_path, "one", changed, clock)
        again.configured([rollout()])
        assert again.state("r") == state
        (shown,) = await again.shown()
        assert shown["calls"] == {STABLE: 60, CANDIDATE: 0}
        again.take([record(clock, n, CANDIDATE, stage="100%") for n in range(60)])
        clock.now_s += 2
        await again.look()
        assert (await again.shown())[0]["phase"] == DONE
        # Another candidate begins anew.
        again.configured([rollout("b/n")])
        state = again.state("r")
        assert state is not None and (state.phase, state.stage, state.to) == (RUNNING, 0, "b/n")
        assert moved >= 5

    asyncio.run(run())


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ({}, 1),
        ({"outcome": "refused", "attempts_made": 0}, 0),
        ({"outcome": "client_gone"}, 0),
        ({"outcome": "client_gone", "purpose": "shadow"}, 1),
        ({"outcome": "lost"}, 0),
        ({"cache": "hit", "attempts_made": 0}, 0),
        ({"degraded_from": "chat", "pool": "cheap"}, 0),
        ({"pool": "chat"}, 1),  # others had to answer
        ({"pool": "chat~b/n"}, 0),  # decided by the configuration that was before, for its candidate
        ({"pool": "chat~b/n", "purpose": "shadow"}, 0),
        ({"started_s": 999.9, "pool": "chat"}, 0),  # likewise, and that candidate was gone when it failed
    ],
)
def test_what_counts(tmp_path: Path, more: dict[str, Any], counts: int) -> None:
    async def run() -> None:
        clock = Clock()
        one = Rollouts(tmp_path, "one", now_s=clock)
        one.configured([rollout()])
        one.take([record(clock, 1, CANDIDATE, **more)])
        (shown,) = await one.shown()
        assert shown["calls"][CANDIDATE] == counts
        failed = more.get("purpose") == "shadow" or more.get("pool") == "chat"
        if counts:
            assert shown["gates"][0][CANDIDATE]["value"] == float(failed)

    asyncio.run(run())


def test_scores_of_calls_that_count_are_taken(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        one = Rollouts(tmp_path, "one", now_s=clock)
        one.configured([rollout(quality_ppm=200_000)])
        records = calls(clock, 100, "10%")
        one.take(records)
        good = {STABLE: 0.9, CANDIDATE: 0.2}
        told = [Score(each.request_id, good[each.arm]) for each in records]
        half = len(told) // 2
        assert one.posted([*told[:half], Score("nobody", 1.0), Score(records[-1].request_id, 7.0)]) == half
        assert one.posted(told) == len(told) - half  # what was said already counts once
        await one.look()
        state = one.state("r")
        assert state is not None and (state.phase, state.reason) == (ROLLED_BACK, "the gate quality failed")

    asyncio.run(run())


def test_who_did_not_look_hears_of_every_step(tmp_path: Path, redis: Redis) -> None:
    """One was busy while the others went through two stages and a pause: it tells all of it, in order, once.
    A broker that is new tells where it found the rollout, and not again what others have told."""

    async def run() -> None:
        clock = Clock()
        fleet = Fleet(redis.url, prefix="busy", timeout_ms=2_000)
        told: dict[str, list[Event]] = {}

        def broker(name: str) -> Rollouts:
            (tmp_path / name).mkdir()
            one = Rollouts(tmp_path / name, name, now_s=clock, told=told.setdefault(name, []).append)
            one.configured([rollout(hold_ms=0)], fleet)
            return one

        quick, busy, commanded = (broker(name) for name in ("quick", "busy", "commanded"))
        for one in (quick, busy, commanded):
            await one.look()
        quick.take(calls(clock, 90, "10%"))
        clock.now_s += 2
        await quick.look()
        await quick.command("r", "pause", By(TOKEN, "ana"))
        await quick.command("r", "resume", By(COMMAND, "ben"))
        await quick.look()
        await commanded.command("r", "pause", By(TOKEN, "eve"))
        await busy.look()
        await quick.look()
        steps = ["began", "promoted", "paused", "resumed", "paused"]
        assert [event.event for event in told["quick"]] == steps
        assert told["busy"] == told["commanded"] == told["quick"]
        # Each is told with who took it, not with who happened to command when it was heard of.
        whose = [By(), By(), By(TOKEN, "ana"), By(COMMAND, "ben"), By(TOKEN, "eve")]
        assert [done_by(event) for event in told["commanded"]] == whose
        late = broker("late")
        await late.look()
        assert told["late"] == told["quick"][-1:]
        for one in (quick, busy, commanded, late):
            await one.close()

    asyncio.run(run())


@given(st.data())
def test_however_seldom_one_looks_each_step_is_told_once_in_order(data: st.DataObject) -> None:
    turns = data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=12).map(accumulate).map(list))
    steps = [Event(float(n), "r", "promoted", "", "", RUNNING, turn, "") for n, turn in enumerate(turns)]
    looks = sorted(data.draw(st.sets(st.integers(0, len(steps) - 1), min_size=1)))
    told: list[Event] = []
    for look in looks:
        # Others may be further than what was just read, and the oldest are not kept.
        more = data.draw(st.integers(look + 1, len(steps)))
        first = data.draw(st.integers(0, int(told[-1].at_s) if told else look))
        told += missed(steps[first:more], told[-1] if told else None, steps[look])
    assert told == steps[looks[0] : looks[-1] + 1]


def test_where_the_last_step_told_is_no_longer_kept_later_turns_are() -> None:
    steps = [Event(float(n), "r", "promoted", "", "", RUNNING, n, "") for n in range(9)]
    assert missed(steps[4:], steps[2], steps[7]) == steps[4:8]
    own = Event(0.5, "r", "rolled-back", "", "", ROLLED_BACK, 5, "")
    assert missed(steps, own, steps[7]) == steps[6:8]
    assert missed([], steps[2], steps[7]) == [steps[7]]


@pytest.mark.parametrize(("reason", "actor"), [("by command", COMMAND), ("every gate passed", BROKER)])
def test_steps_that_were_kept_before_it_was_known_who_took_them(reason: str, actor: str) -> None:
    kept = {"at_s": 1.5, "rollout": "r", "event": "promoted", "at_stage": "", "stage": "", "phase": RUNNING}
    event = msgspec.convert({**kept, "turn": 2, "reason": reason}, Event)
    assert done_by(event) == By(actor)


def test_a_fleet_agrees_with_redis_and_without(tmp_path: Path, redis: Redis) -> None:
    async def run() -> None:
        clock = Clock()
        fleet = Fleet(redis.url, prefix="rolls", timeout_ms=2_000)
        brokers = [Rollouts(tmp_path / name, name, now_s=clock) for name in ("one", "two")]
        for broker in brokers:
            broker.configured([rollout(hold_ms=0)], fleet)
        for broker in brokers:
            await broker.look()
        assert brokers[0].state("r") == brokers[1].state("r")
        # Neither has seen enough by itself.
        for broker in brokers:
            broker.take([record(clock, n, arm) for n in range(16) for arm in (STABLE, CANDIDATE)])
        clock.now_s += 2
        for _ in range(3):
            for broker in brokers:
                await broker.look()
        states = [broker.state("r") for broker in brokers]
        assert states[0] == states[1] and states[0] is not None and states[0].stage == 1
        await brokers[1].command("r", "pause", BEN)
        await brokers[0].look()
        assert (state := brokers[0].state("r")) is not None and state.phase == PAUSED
        await brokers[0].command("r", "resume", BEN)

        # Redis goes away: nobody is promoted, nobody can be told, and what fails here is rolled back here.
        redis.kill()
        clock.now_s += 10
        brokers[1].take([record(clock, n, CANDIDATE, stage="100%") for n in range(90)])
        await brokers[1].look()
        assert (state := brokers[1].state("r")) is not None and (state.phase, state.stage) == (PAUSED, 1)
        with pytest.raises(OSError, match="does not answer"):
            await brokers[0].command("r", "rollback", BEN)
        brokers[0].take([record(clock, n, CANDIDATE, stage="100%", failed=True) for n in range(90)])
        await brokers[0].look()
        assert (state := brokers[0].state("r")) is not None and state.phase == ROLLED_BACK
        # It comes back, empty: the others hear of it.
        redis.start()
        for _ in range(3):
            for broker in brokers:
                await broker.look()
        assert brokers[0].state("r") == brokers[1].state("r")
        assert (state := brokers[1].state("r")) is not None and state.phase == ROLLED_BACK
        for broker in brokers:
            await broker.close()

    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    asyncio.run(run())
