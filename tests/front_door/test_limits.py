"""What members say of their limits: "not for N s" is no call for N s, and who is near a limit gets fewer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, asks, call, client, make
from support.simulators import SimulatorHandle, Simulators
from support.splits import assert_split
from support.waiting import wait_until

Config = dict[str, Any]
WEIGHTS = {"a": 70, "b": 25, "c": 5}
EJECTION = {"consecutive_errors": 1000, "ramp": "2s"}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*WEIGHTS) as simulators:
        yield simulators


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def config(sims: Simulators, weights: Mapping[str, int] = WEIGHTS, **pool: Any) -> Config:
    members = [{"provider": name, "model": "m", "weight": weight} for name, weight in weights.items()]
    other = [{"provider": name, "model": "m", "weight": 1} for name in ("a", "b")]
    return {
        "providers": [provider(name, sims[name].port, "openai-chat", "/v1") for name in WEIGHTS],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "chat", "ejection": EJECTION, "members": members, **pool},
            {"name": "other", "ejection": EJECTION, "members": other},
        ],
    }


@pytest.fixture
def broker(sims: Simulators, tmp_path: Any) -> Iterator[Broker]:
    with Broker(tmp_path, config(sims)) as running:
        yield running


def whole(got: list[Got]) -> Counter[str]:
    assert [str(g) for g in got if not g.is_whole] == []
    return Counter(g.member.split("/")[0] for g in got)


def state(broker: Broker, member: str, pool: str = "chat") -> dict[str, Any]:
    (found,) = [
        m for p in broker.status()["pools"] if p["name"] == pool for m in p["members"] if m["id"] == member
    ]
    return found


def is_out(broker: Broker, member: str = "a/m", pool: str = "chat") -> bool:
    return bool(state(broker, member, pool)["state"] == "out")


def say_no(broker: Broker, sims: Simulators, wait_s: float) -> None:
    """The member `a` says that it wants no call for so long, and the broker has heard it."""
    sims["a"].script(faults=[{"status": 429, "retry_after_s": wait_s}])
    assert sum(whole(make(broker.url, asks(20, "chat"))).values()) == 20
    wait_until(lambda: is_out(broker))
    sims.reset()


def received(sim: SimulatorHandle) -> int:
    return len(sim.settled_calls())


def test_a_member_that_says_not_for_30_s_gets_no_call(broker: Broker, sims: Simulators) -> None:
    began_s = time.time()
    say_no(broker, sims, 30)
    said_s = time.time()
    counts = whole(make(broker.url, asks(400, "chat")))
    assert received(sims["a"]) == 0
    assert_split(400, counts, {"b": 25, "c": 5})
    shown = state(broker, "a/m")
    assert (shown["weight"], shown["weight_in_effect"], shown["cause"]) == (70, 0, "rate-limit")
    assert began_s + 29 < shown["until_s"] <= said_s + 30
    assert broker.status()["members"]["a/m"]["last_error"]["status"] == 429
    key = '{member="a/m",pool="",reason="rate-limit"}'
    assert broker.metrics("modelbroker_member_out")[key] == 1


def test_both_pools_that_have_it_spare_it(broker: Broker, sims: Simulators) -> None:
    say_no(broker, sims, 30)
    assert is_out(broker, pool="other")
    assert whole(make(broker.url, asks(50, "other"))) == {"b": 50}
    assert received(sims["a"]) == 0


def test_an_edit_is_no_amnesty(broker: Broker, sims: Simulators) -> None:
    say_no(broker, sims, 30)
    broker.edit(config(sims, {"a": 90, "b": 5, "c": 5}, failover=1))
    counts = whole(make(broker.url, asks(100, "chat")))
    assert received(sims["a"]) == 0
    assert_split(100, counts, {"b": 5, "c": 5})
    edited = config(sims)
    edited["pools"][0]["ejection"] = {"consecutive_errors": 999}  # another cluster at Envoy
    broker.edit(edited)
    whole(make(broker.url, asks(50, "chat")))
    assert received(sims["a"]) == 0


def is_written_down(broker: Broker) -> bool:
    file = broker.folder / "state" / "health.json"
    return file.exists() and b"rate-limit" in file.read_bytes()


def test_a_restart_is_no_amnesty(broker: Broker, sims: Simulators) -> None:
    say_no(broker, sims, 60)
    for child in ("serve", "envoy"):
        wait_until(lambda: is_written_down(broker))
        (pid,) = broker.child_pids(child)
        os.kill(pid, signal.SIGKILL)
        broker.wait_for(
            lambda s, pid=pid, child=child: s["in_effect"] and broker.child_pids(child) != [pid], 60
        )
        wait_until(lambda: make(broker.url, [Ask("chat")])[0].status == 200)
        whole(make(broker.url, asks(50, "chat")))
        assert received(sims["a"]) == 0
    assert broker.stop() == 0
    broker.start()
    whole(make(broker.url, asks(50, "chat")))
    assert received(sims["a"]) == 0
    assert is_out(broker)


def test_what_was_written_down_and_is_garbage_is_said_and_forgotten(broker: Broker, sims: Simulators) -> None:
    say_no(broker, sims, 60)
    assert broker.stop() == 0
    (broker.folder / "state" / "health.json").write_bytes(b"\0 no book")
    broker.start()
    assert "health.json can't be read" in broker.log()
    assert not is_out(broker)


def test_it_comes_back_in_steps_when_its_time_is_over(broker: Broker, sims: Simulators) -> None:
    wait_s, ramp_s = 3.0, 2.0
    said_s = time.time()
    say_no(broker, sims, wait_s)
    heard_s = time.time()

    async def steadily() -> None:
        async with client(broker.url) as http:
            while time.time() < heard_s + wait_s + ramp_s + 2:
                assert (await call(http, Ask("chat"))).is_whole
                await asyncio.sleep(0.002)

    asyncio.run(steadily())
    times = {name: [entry["time"] for entry in sims[name].settled_calls()] for name in WEIGHTS}
    assert min(times["a"]) >= said_s + wait_s

    def share(since_s: float, until_s: float) -> float:
        counted = {name: sum(since_s <= t < until_s for t in times[name]) for name in WEIGHTS}
        assert sum(counted.values()) > 0
        return counted["a"] / sum(counted.values())

    back_s = min(times["a"])
    half, later = share(back_s, back_s + ramp_s / 2), share(back_s + ramp_s + 0.5, back_s + ramp_s + 2)
    assert half < later * 0.7
    assert 0.6 < later < 0.8
    assert state(broker, "a/m") == {
        "id": "a/m",
        "weight": 70,
        "priority": 0,
        "out": None,
        "weight_in_effect": 70,
        "state": "well",
    }


def headers_of(left: int, reset: str = "60s") -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": str(left),
        "x-ratelimit-reset-requests": reset,
    }


def test_a_member_close_to_its_limit_is_eased_off(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"headers": headers_of(2), "delay_headers_ms": 1}])
    whole(make(broker.url, asks(20, "chat")))
    wait_until(lambda: state(broker, "a/m")["state"] == "eased")
    assert state(broker, "a/m")["weight_in_effect"] == pytest.approx(14)
    wait_until(lambda: in_effect(broker, "a/m") == 1400)
    counts = whole(make(broker.url, asks(600, "chat")))
    assert_split(600, counts, {"a": 14, "b": 25, "c": 5})
    sims["a"].script(faults=[{"headers": headers_of(90), "delay_headers_ms": 1}])
    wait_until(lambda: whole(make(broker.url, asks(5, "chat"))) and state(broker, "a/m")["state"] == "well")


def in_effect(broker: Broker, member: str) -> int:
    """The weight that Envoy itself has."""
    with urllib.request.urlopen(f"{broker.admin_url}/status?envoy", timeout=10) as reply:
        pools = json.load(reply)["pools"]
    (found,) = [m for p in pools if p["name"] == "chat" for m in p["members"] if m["id"] == member]
    return int(found["envoy"]["weight"])


def test_a_storm_ends_with_the_first_few(broker: Broker, sims: Simulators) -> None:
    """The 70 % member refuses everything: behind the calls that were under way, none is sent to it."""
    sims["a"].script(faults=[{"status": 429, "retry_after_s": 30}])
    got = make(broker.url, asks(500, "chat", stream=True), parallel=10)
    assert [str(g) for g in got if not g.is_whole] == []
    assert received(sims["a"]) <= 20
    assert sum(g.attempts for g in got) <= 520


def forget(broker: Broker, *members: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelbroker.cli.main", "forget", "--admin", broker.admin_url, *members]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_an_operator_who_knows_better_lets_it_in_again(broker: Broker, sims: Simulators) -> None:
    say_no(broker, sims, 60)
    unknown = forget(broker, "a/typo")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no pool has a member 'a/typo'" in unknown.stderr
    assert "none was kept from anything" in forget(broker, "c/m").stdout
    assert is_out(broker)
    done = forget(broker, "a/m")
    assert (done.returncode, done.stdout) == (0, "a/m\n")
    wait_until(lambda: whole(make(broker.url, asks(20, "chat")))["a"] > 0)
    assert state(broker, "a/m")["state"] == "well"
