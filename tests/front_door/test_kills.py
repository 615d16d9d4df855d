"""Parts of the broker are killed under load: what is in flight may fail, clearly; all later calls work."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, asks, call_all, make
from support.kills import is_alive
from support.load import Load, load
from support.simulators import Simulators
from support.waiting import wait_until

Config = dict[str, Any]
LOADED = [("chat", "openai-chat"), ("messages", "anthropic-messages")]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b", "c") as simulators:
        for simulator in simulators:
            simulator.script(faults=[{"delay_headers_ms": 30}])  # so that calls are in flight when it happens
        yield simulators


def config(sims: Simulators, weight: int = 1) -> Config:
    return {
        "providers": [
            provider("a", sims["a"].port, "openai-chat"),
            provider("b", sims["b"].port, "openai-chat"),
            provider("c", sims["c"].port, "anthropic-messages"),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": "chat",
                "members": [
                    {"provider": "a", "model": "m", "weight": weight},
                    {"provider": "b", "model": "m", "weight": 1},
                ],
            },
            {"name": "messages", "members": [{"provider": "c", "model": "m"}]},
        ],
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims)) as running:
        yield running


@pytest.fixture(scope="module")
def first_revision(broker: Broker) -> str:
    return str(broker.status()["revision"])


@pytest.fixture
def revision(broker: Broker, sims: Simulators, first_revision: str) -> str:
    broker.write(config(sims))
    broker.wait_for(lambda s: s["in_effect"] and s["serving"] == first_revision and not s["error"])
    return first_revision


def kill(broker: Broker, name: str) -> int:
    """SIGKILL one of the broker's processes; its id."""
    (pid,) = broker.child_pids(name)
    os.kill(pid, signal.SIGKILL)
    return pid


def wait_until_back(broker: Broker, name: str, old: int) -> None:
    wait_until(lambda: bool(pids := broker.child_pids(name)) and old not in pids)
    broker.wait_for(lambda s: s["in_effect"], timeout_s=30)


def is_clear(got: Got) -> bool:
    """How a call may fail: no connection, a broken transfer, or an error of the broker's."""
    return bool(got.broken) or (got.status >= 500 and b'"error"' in got.body)


async def kill_under_load(broker: Broker, name: str) -> tuple[Load, list[Got]]:
    """(what came while it happened, what came afterwards)"""
    async with load(broker.url, LOADED) as under_way:
        await under_way.reach(100)
        old = kill(broker, name)
        await asyncio.to_thread(wait_until_back, broker, name, old)
        later = await call_all(
            broker.url, [*asks(50, "chat"), *asks(50, "messages", "anthropic-messages", stream=True)], 20
        )
        await under_way.reach(under_way.calls + 200)
    return under_way, later


@pytest.mark.parametrize("name", ["envoy", "serve"])
def test_killed_under_load(broker: Broker, sims: Simulators, revision: str, name: str) -> None:
    under_way, later = asyncio.run(kill_under_load(broker, name))
    print(
        f"{name}: {len(under_way.bad)} of {under_way.calls} failed", *{str(g.status) for g in under_way.bad}
    )
    assert [str(got) for got in under_way.bad if not is_clear(got)] == []
    assert [str(got) for got in later if not got.is_whole] == []
    assert {got.headers["x-broker-revision"] for got in later} == {revision}
    assert "starting it again" in broker.log()
    (edited,) = {broker.edit(config(sims, weight=7))}  # and edits work as before
    assert make(broker.url, asks(1, "chat"))[0].headers["x-broker-revision"] == edited


def test_a_whole_reply_in_flight_outlives_the_control_plane(broker: Broker, sims: Simulators) -> None:
    """Replies in the client's own dialect need no Python: what was decided before goes on."""
    sims["c"].script(faults=[{"delay_headers_ms": 1500}])
    sims["c"].forget()

    async def run() -> list[Got]:
        calls = asyncio.create_task(call_all(broker.url, asks(5, "messages", "anthropic-messages")))
        await asyncio.to_thread(wait_until, lambda: len(sims["c"].calls()) == 5)
        old = kill(broker, "serve")
        await asyncio.to_thread(wait_until_back, broker, "serve", old)
        return await calls

    try:
        assert [str(got) for got in asyncio.run(run()) if not got.is_whole] == []
    finally:
        sims["c"].script(faults=[{"delay_headers_ms": 30}])


def test_the_control_plane_killed_while_the_configuration_is_broken(
    broker: Broker, sims: Simulators, revision: str
) -> None:
    broker.write("pools: [\n")
    broker.wait_for(lambda s: s["error"])
    wait_until_back(broker, "serve", kill(broker, "serve"))
    status = broker.status()
    assert status["revision"] == status["serving"] == revision
    assert "broker.yaml:" in status["error"]
    wait_until_back(broker, "envoy", kill(broker, "envoy"))
    results = make(broker.url, asks(20, "chat"))
    assert {(got.status, got.headers["x-broker-revision"]) for got in results} == {(200, revision)}
    broker.write(config(sims, weight=3))
    status = broker.wait_for(lambda s: not s["error"] and s["serving"] == s["revision"] != revision)
    assert make(broker.url, asks(1, "chat"))[0].headers["x-broker-revision"] == status["revision"]


def test_killed_and_edited_meanwhile(broker: Broker, sims: Simulators, revision: str) -> None:
    (pid,) = broker.child_pids("serve")
    os.kill(pid, signal.SIGSTOP)  # it sees nothing of the edit, and is killed
    broker.write(config(sims, weight=17))
    os.kill(pid, signal.SIGKILL)
    wait_until_back(broker, "serve", pid)
    status = broker.wait_for(lambda s: s["serving"] == s["revision"])
    assert status["revision"] != revision
    got = make(broker.url, asks(20, "chat"))
    assert {(g.status, g.headers["x-broker-revision"]) for g in got} == {(200, status["revision"])}


def test_a_restart_of_the_control_plane_changes_nothing_in_envoy(sims: Simulators, tmp_path: Path) -> None:
    """What Envoy has already is not sent again, but for secrets: their versions are each process's own."""
    with Broker(tmp_path, config(sims)) as running:
        wait_until_back(running, "serve", kill(running, "serve"))
        pushes = running.metrics("modelbroker_xds_pushes_total")
        assert {kind for kind, count in pushes.items() if count} <= {'{type="Secret"}'}
        assert running.status()["serving"] == running.status()["revision"]
        assert make(running.url, asks(1, "chat"))[0].is_whole
    assert running.left_behind() == []


def test_all_ends_with_a_supervisor_that_is_killed(sims: Simulators, tmp_path: Path) -> None:
    running = Broker(tmp_path, config(sims))
    running.start()
    children = [*running.child_pids("envoy"), *running.child_pids("serve")]
    assert len(children) == 2
    assert running.process is not None
    running.process.kill()
    running.process.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in children), 60)
    with running:  # on the same state folder
        assert make(running.url, [Ask("chat")])[0].is_whole


def test_nothing_is_left_running(sims: Simulators, tmp_path: Path) -> None:
    """After kills, too."""
    running = Broker(tmp_path, config(sims))
    with running:
        for name in ("envoy", "serve"):
            wait_until_back(running, name, kill(running, name))
        assert running.left_behind()
    assert running.left_behind() == []
