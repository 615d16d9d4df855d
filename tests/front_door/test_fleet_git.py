"""Brokers of a fleet that follow one repository: what is pushed is live at all of them, and no call fails."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.broker import KEY_SHA256, Broker, provider
from support.figures import enlarged, figure
from support.load import Load, load
from support.repositories import GitServer
from support.servers import Redis
from support.simulators import Simulators
from support.waiting import wait_until

FILE = "config/broker.yaml"
BROKERS = 3
EVERY_S = 1


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        yield simulators


def text(sims: Simulators, redis: Redis, member: str) -> str:
    config = {
        "providers": [provider(sim.name, sim.port, "openai-chat", "/v1") for sim in sims],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": member, "model": "m"}]}],
        "ledger": {"url": "none"},
        "redis": {"url": redis.url, "prefix": "followers"},
    }
    return yaml.safe_dump(config, sort_keys=False)


def fleet(broker: Broker) -> dict[str, Any]:
    """What `status --fleet` says."""
    command = [sys.executable, "-m", "modelbroker.cli.main", "status", "--fleet", "--format", "json"]
    done = subprocess.run([*command, "--admin", broker.admin_url], capture_output=True, timeout=60)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def serves(broker: Broker, commit: str) -> bool:
    status = broker.status()
    return bool(status) and status["in_effect"] and (status["origin"] or {}).get("commit") == commit


def test_a_push_is_live_at_all_of_them_and_no_call_fails(
    sims: Simulators, redis: Redis, tmp_path: Path
) -> None:
    (tmp_path / "server").mkdir()
    server = GitServer(tmp_path / "server")
    first = server.commit({FILE: text(sims, redis, "a")})
    words = ("--git-every", str(EVERY_S))
    source = f"git+{server.url}@main#subdirectory=config"
    live_s: list[float] = []
    spread_s: list[float] = []

    async def run(brokers: list[Broker]) -> list[Load]:
        async with AsyncExitStack() as stack:
            loads = [
                await stack.enter_async_context(load(one.url, [("chat", "openai-chat")], workers=2))
                for one in brokers
            ]
            for turn in range(min(enlarged(3), 6)):
                commit = await asyncio.to_thread(server.commit, {FILE: text(sims, redis, "ba"[turn % 2])})
                began_s = time.monotonic()
                await asyncio.to_thread(wait_until, lambda c=commit: all(serves(one, c) for one in brokers))
                live_s.append(time.monotonic() - began_s)
                spread_s.append(await asyncio.to_thread(converged, brokers[turn % BROKERS], commit))
                for seen in loads:
                    await seen.reach(seen.calls + enlarged(10))
        return loads

    with ExitStack() as stack:
        brokers = [
            stack.enter_context(Broker(tmp_path / f"broker-{number}", {}, arguments=words, source=source))
            for number in range(BROKERS)
        ]
        wait_until(lambda: all(serves(one, first) for one in brokers))
        loads = asyncio.run(run(brokers))
    figure(
        "from a push to all live",
        brokers=BROKERS,
        pushes=len(live_s),
        median_s=round(statistics.median(live_s), 2),
        longest_s=round(max(live_s), 2),
        first_to_last_s=round(max(spread_s), 2),
    )
    assert [str(got) for seen in loads for got in seen.bad] == []
    assert all(len(seen.revisions) == 2 for seen in loads)


def converged(broker: Broker, commit: str) -> float:
    """What any of them says of the fleet, once it knows: how long it was from the first to the last."""

    def told() -> dict[str, Any] | None:
        said = fleet(broker)
        commits = {one["commit"] for one in said["brokers"]}
        return said if commits == {commit} and not said["behind"] and said["took_s"] is not None else None

    said = wait_until(told)
    assert said is not None and len(said["brokers"]) == BROKERS
    return float(said["took_s"])
