"""A fleet that is fed by git, whose brokers pull a new candidate at different moments, under load."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml
from support.broker import KEY_SHA256, Broker, provider
from support.load import Load, load
from support.repositories import GitServer
from support.rollouts import events_of, rollout_of
from support.servers import Redis
from support.simulators import Simulators
from support.waiting import wait_until

FILE = "broker.yaml"
NAMES = ("own", "first", "next")
STEPS = [
    ("began", "first/m", "40%"),
    ("began", "next/m", "40%"),
    ("promoted", "next/m", "100%"),
    ("done", "next/m", "100%"),
]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*NAMES) as simulators:
        yield simulators


def text(sims: Simulators, redis: Redis, to: str, hold: str, errors: str) -> str:
    """Each candidate has a stage of the same name."""
    rollout = {
        "to": f"{to}/m",
        "name": "try",
        "stages": [{"share": "40%", "hold": hold}, {"share": "100%", "hold": "1s"}],
        "within": "2h",
        "min_calls": 20,
        "gates": {"errors": errors},
    }
    config = {
        "providers": [provider(name, sims[name].port, "openai-chat", "/v1") for name in NAMES],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": "own", "model": "m"}], "rollout": rollout}],
        "ledger": {"url": "none"},
        "redis": {"url": redis.url, "prefix": "pulled"},
    }
    return yaml.safe_dump(config, sort_keys=False)


def is_at(broker: Broker, to: str, phase: str) -> bool:
    said = rollout_of(broker)
    return (said["to"], said["phase"], said["fleet_to"]) == (to, phase, None)


def test_each_pulls_when_it_does_and_all_come_to_the_same_end(
    sims: Simulators, redis: Redis, tmp_path: Path
) -> None:
    """`late` pulls from a mirror that lags behind. Meanwhile the old candidate fails, slowly: calls of it
    that are under way when it pulls are answered by others, and say nothing of the new one."""
    (tmp_path / "server").mkdir()
    server = GitServer(tmp_path / "server")
    mirror = tmp_path / "mirror.git"
    server.commit({FILE: text(sims, redis, "first", "1h", "90%")})
    subprocess.run(["git", "clone", "--quiet", "--bare", str(server.bare), str(mirror)], check=True)

    def broker(name: str, url: str) -> Broker:
        return Broker(tmp_path / name, {}, arguments=("--git-every", "1"), source=f"git+{url}@main")

    async def run(early: Broker, late: Broker) -> list[Load]:
        async with AsyncExitStack() as stack:
            loads = [
                await stack.enter_async_context(load(one.url, [("chat", "openai-chat")], workers=6))
                for one in (early, late)
            ]
            for seen in loads:
                await seen.reach(20)
            await asyncio.to_thread(server.commit, {FILE: text(sims, redis, "next", "4s", "30%")})
            await asyncio.to_thread(wait_until, lambda: rollout_of(late)["fleet_to"] == "next/m")
            assert is_at(early, "next/m", "running")
            sims["first"].script(faults=[{"delay_headers_ms": 700, "status": 500}])
            await loads[1].reach(loads[1].calls + 20)
            await asyncio.to_thread(server.git, "push", "--quiet", str(mirror), "HEAD:main")
            for one in (early, late):
                await asyncio.to_thread(wait_until, lambda one=one: is_at(one, "next/m", "done"))
        return loads

    with broker("early", server.url) as early, broker("late", f"file://{mirror}") as late:
        for one in (early, late):
            wait_until(lambda one=one: is_at(one, "first/m", "running") and one.status()["in_effect"])
        loads = asyncio.run(run(early, late))
        wait_until(lambda: events_of(early) == events_of(late))
        told = events_of(early)
    assert [str(got) for seen in loads for got in seen.bad] == []
    assert [(one["event"], one["to"], one["stage"]) for one in told] == STEPS
    assert [one["turn"] for one in told] == [1, 2, 3, 3]
    failed = [gate["candidate"]["value"] for one in told[2:] for gate in one["gates"]]
    assert failed == [0.0, 0.0]
