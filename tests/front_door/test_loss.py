"""Parts of our own that hang, a disk that is full, a clock that jumps: under load, with what clients saw.

`docs/deploy.md` has a table of it; run with `-rP` to see the figures of this machine.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.revisions.kept import Revisions
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, asks, make
from support.load import Load, load
from support.records import lines_of
from support.simulators import Simulators
from support.waiting import wait_until

Config = dict[str, Any]
LOADED = [("chat", "openai-chat"), ("messages", "anthropic-messages"), ("translated", "openai-chat")]
NO_LIMIT = resource.RLIM_INFINITY


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b", "c") as simulators:
        for simulator in simulators:
            simulator.script(faults=[{"delay_headers_ms": 30}])  # so that calls are in flight when it happens
        yield simulators


def config(sims: Simulators, weight: int = 1) -> Config:
    claude = {"provider": "c", "model": "m"}
    chat = [{"provider": "a", "model": "m", "weight": weight}, {"provider": "b", "model": "m", "weight": 1}]
    return {
        "providers": [
            provider("a", sims["a"].port, "openai-chat", "/v1"),
            provider("b", sims["b"].port, "openai-chat", "/v1"),
            provider("c", sims["c"].port, "anthropic-messages"),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "chat", "members": chat},
            {"name": "messages", "members": [claude]},
            {"name": "translated", "members": [claude]},
        ],
    }


@pytest.fixture
def broker(sims: Simulators, tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path, config(sims)) as running:
        yield running


def is_clear(got: Got) -> bool:
    """How a call may fail: no connection, a broken transfer, or an error of the broker's; never a 4xx, for
    the callers are known."""
    return bool(got.broken) or (got.status >= 500 and b'"error"' in got.body)


def one_pid(broker: Broker, name: str) -> int:
    (pid,) = broker.child_pids(name)
    return pid


def wait_until_back(broker: Broker, *old: int) -> None:
    """Others are in the places of those that were killed, and all is in effect."""
    names = ("serve", "envoy")
    wait_until(lambda: all((pids := broker.child_pids(name)) and not {*pids} & {*old} for name in names), 60)
    broker.wait_for(lambda s: s["in_effect"], 60)


def lines(broker: Broker) -> list[dict[str, Any]]:
    """Every line is whole: half a one raises ValueError."""
    return lines_of(broker)


async def under_load(broker: Broker, happens: Callable[[Load], Awaitable[None]]) -> tuple[Load, float]:
    """(what clients saw while something happened and for a while after it, when it began)"""
    async with load(broker.url, LOADED) as seen:
        await seen.reach(100)
        began_s = time.monotonic()
        await happens(seen)
        await seen.reach(seen.calls + 200)
    return seen, began_s


def assert_all_is_well(broker: Broker) -> None:
    broker.wait_for(lambda s: s["in_effect"] and not s["error"], 30)
    got = make(
        broker.url,
        [
            *asks(20, "chat"),
            *asks(20, "messages", "anthropic-messages", stream=True),
            *asks(20, "translated"),
        ],
    )
    assert [str(g) for g in got if not g.is_whole] == []


def records_lost(broker: Broker, seen: Load) -> set[str]:
    """Request ids of calls that got an answer and have no record."""
    answered = {*seen.ids, *(g.headers.get("x-broker-request-id", "") for g in seen.bad)} - {""}
    (marker,) = make(broker.url, [Ask("chat")])
    wait_until(
        lambda: marker.headers["x-broker-request-id"] in {line["request_id"] for line in lines(broker)}
    )
    return answered - {line["request_id"] for line in lines(broker)}


@pytest.mark.parametrize("name", ["serve", "envoy"])
def test_a_part_that_hangs_is_started_again(broker: Broker, name: str) -> None:
    """It lives, and answers nobody: nothing but a watch over it finds that out."""

    async def hang(seen: Load) -> None:
        pid = one_pid(broker, name)
        os.kill(pid, signal.SIGSTOP)
        await asyncio.to_thread(wait_until_back, broker, pid)

    seen, began_s = asyncio.run(under_load(broker, hang))
    print(f"{name} hangs: {seen.told(began_s)}")
    assert [str(got) for got in seen.bad if not is_clear(got)] == []
    assert "has not answered for" in broker.log()
    assert_all_is_well(broker)


def test_calls_wait_for_a_control_plane_that_is_killed(broker: Broker) -> None:
    """The supervisor holds the socket: who asks meanwhile is answered late. What it had already taken is lost
    with it."""

    async def kill(seen: Load) -> None:
        pid = one_pid(broker, "serve")
        asked = len(seen.under_way)
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until_back, broker, pid)
        assert len(seen.bad) <= asked

    seen, began_s = asyncio.run(under_load(broker, kill))
    print(f"serve is killed: {seen.told(began_s)}")
    assert [str(got) for got in seen.bad if not is_clear(got)] == []
    assert_all_is_well(broker)


def test_a_control_plane_that_is_slow_now_and_then_fails_no_call(broker: Broker) -> None:
    """It is stopped until calls have waited for two seconds, again and again: the watch leaves it alone."""
    pid = one_pid(broker, "serve")

    async def stop_now_and_then(seen: Load) -> None:
        for _ in range(3):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.to_thread(wait_until, lambda: seen.oldest_s() >= 2)
            os.kill(pid, signal.SIGCONT)
            await seen.reach(seen.calls + 100)

    seen, began_s = asyncio.run(under_load(broker, stop_now_and_then))
    print(f"serve is slow: {seen.told(began_s)}")
    assert [str(got) for got in seen.bad] == []
    assert one_pid(broker, "serve") == pid
    assert records_lost(broker, seen) == set()


def test_both_die_at_once(broker: Broker) -> None:
    async def kill(seen: Load) -> None:
        pids = {one_pid(broker, name) for name in ("serve", "envoy")}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until_back, broker, *pids)

    seen, began_s = asyncio.run(under_load(broker, kill))
    print(f"both are killed: {seen.told(began_s)}")
    assert [str(got) for got in seen.bad if not is_clear(got)] == []
    assert_all_is_well(broker)


def limit_files(pid: int, size: int) -> None:
    """Files of this process grow no further than `size` bytes: to it, that is a full disk (a quota, or a
    small file system, is not to be had everywhere). Its log is such a file here, too."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def test_a_full_disk_costs_no_call_and_no_record(broker: Broker, sims: Simulators) -> None:
    """Records wait for room. And the last good configuration stays whole, until there is some for a newer."""
    revisions = Revisions(broker.folder / "state")
    wait_until(lambda: bool(revisions.all()))
    kept = revisions.newest()
    pid = one_pid(broker, "serve")

    async def fill_up(seen: Load) -> None:
        limit_files(pid, 0)
        await asyncio.to_thread(broker.edit, config(sims, weight=7))
        await seen.reach(seen.calls + 100)
        await asyncio.to_thread(wait_until, lambda: metric(broker, "modelbroker_records_waiting") > 0)
        assert (await asyncio.to_thread(broker.status))["records"]["state"] == "waiting"
        assert revisions.newest() == kept

    seen, began_s = asyncio.run(under_load(broker, fill_up))
    print(f"the disk is full: {seen.told(began_s)}")
    assert [str(got) for got in seen.bad] == []
    limit_files(pid, NO_LIMIT)
    wait_until(lambda: revisions.newest() != kept)
    (got,) = make(broker.url, [Ask("chat")])
    wait_until(lambda: got.headers["x-broker-request-id"] in {line["request_id"] for line in lines(broker)})
    wait_until(lambda: "calls.jsonl is written again" in broker.log())
    wait_until(lambda: "revisions are kept again" in broker.log())
    assert metric(broker, "modelbroker_records_unwritten_total") == 0
    assert broker.status()["records"] == {"state": "writing", "error": None, "waiting": 0, "unwritten": 0}
    assert len(lines(broker)) == len({line["request_id"] for line in lines(broker)}) == seen.calls + 1
    assert one_pid(broker, "serve") == pid


def metric(broker: Broker, name: str) -> float:
    """One that has no labels."""
    return broker.metrics(name, labels=False).get("", 0.0)


def test_a_disk_that_hangs_costs_records_and_no_call(sims: Simulators, tmp_path: Path) -> None:
    """Opening a pipe that nobody reads waits for ever, as a network's disk may."""
    state = tmp_path / "state"
    state.mkdir()
    os.mkfifo(state / "calls.jsonl")
    with Broker(tmp_path, config(sims)) as broker:
        pid = one_pid(broker, "serve")

        async def nothing(seen: Load) -> None:
            await seen.reach(seen.calls + 200)

        seen, began_s = asyncio.run(under_load(broker, nothing))
        print(f"the disk hangs: {seen.told(began_s)}")
        assert [str(got) for got in seen.bad] == []
        assert one_pid(broker, "serve") == pid


def test_envoys_log_on_a_full_disk(sims: Simulators, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "envoy.log").symlink_to("/dev/full")
    with Broker(tmp_path, config(sims)) as broker:
        pid = one_pid(broker, "envoy")

        async def kill(seen: Load) -> None:
            old = one_pid(broker, "serve")
            os.kill(old, signal.SIGKILL)  # Envoy warns of it
            await asyncio.to_thread(wait_until_back, broker, old)

        seen, began_s = asyncio.run(under_load(broker, kill))
        print(f"Envoy's log is full: {seen.told(began_s)}")
        assert [str(got) for got in seen.bad if not is_clear(got)] == []
        assert_all_is_well(broker)
        assert one_pid(broker, "envoy") == pid


def test_a_state_folder_that_is_gone(broker: Broker) -> None:
    """Envoy and the control plane come back without it, or make it anew."""
    shutil.rmtree(broker.folder / "state")
    for name in ("envoy", "serve"):
        pid = one_pid(broker, name)
        os.kill(pid, signal.SIGKILL)
        wait_until_back(broker, pid)
        assert_all_is_well(broker)


def test_a_start_on_a_full_disk_says_so(sims: Simulators, tmp_path: Path) -> None:
    (tmp_path / "broker.yaml").write_text(yaml.safe_dump(config(sims)))
    flags = ["--config", str(tmp_path / "broker.yaml"), "--state-dir", str(tmp_path / "state")]
    command = [sys.executable, "-m", "modelbroker.cli.main", "up", "--port", "0", "--admin-port", "0", *flags]
    environ = {**os.environ, "KEY_OF_PROVIDERS": "sk-provider-secret", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, NO_LIMIT)),
    )
    assert done.returncode == 1
    assert "there is no folder for sockets: No usable temporary directory found" in done.stderr
    assert "TMPDIR says where it may be" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("modelbroker-*")) == []


CLOCK = """
import os, time
_true = time.time
def _jumped():
    with open(os.environ["TEST_CLOCK"]) as file:
        return _true() + float(file.read())
time.time = _jumped
"""


@pytest.mark.parametrize("jump_s", [6 * 3600, -6 * 3600], ids=["forward", "backward"])
def test_a_clock_that_jumps_fails_no_call(sims: Simulators, tmp_path: Path, jump_s: int) -> None:
    """Only the calendar's clock jumps: nothing waits by it. Started again in the other time it serves."""
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    clock = tmp_path / "clock"
    clock.write_text("0")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environ = {"PYTHONPATH": os.pathsep.join(paths), "TEST_CLOCK": str(clock)}
    with Broker(tmp_path, config(sims), environ=environ) as broker:
        pid = one_pid(broker, "serve")
        before_s = broker.status()["loaded_at"]

        async def jump(seen: Load) -> None:
            new = tmp_path / "clock.new"
            new.write_text(str(jump_s))
            new.replace(clock)
            await seen.reach(seen.calls + 200)
            await asyncio.to_thread(broker.edit, config(sims, weight=9))

        seen, began_s = asyncio.run(under_load(broker, jump))
        print(f"the clock jumps by {jump_s} s: {seen.told(began_s)}")
        assert [str(got) for got in seen.bad] == []
        assert records_lost(broker, seen) == set()
        assert one_pid(broker, "serve") == pid
        assert abs(broker.status()["loaded_at"] - before_s - jump_s) < 600  # it did jump
        os.kill(pid, signal.SIGKILL)
        wait_until_back(broker, pid)
        assert_all_is_well(broker)
