"""A fleet of two whose brokers get a new candidate at different moments."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.rollouts import drive, events_of, rollout_of, say
from support.servers import Redis
from support.simulators import Simulators
from support.waiting import wait_until

NAME = "try-1"


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("own", "first", "next") as simulators:
        yield simulators


@pytest.fixture(autouse=True)
def well(sims: Simulators) -> None:
    sims.reset()


def config(sims: Simulators, redis: Redis, to: str) -> dict[str, Any]:
    return {
        "providers": [
            provider(name, sims[name].port, "openai-chat", BASES["openai-chat"])
            for name in ("own", "first", "next")
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": "chat",
                "affinity": {"by": "session", "header": "x-my-session"},
                "members": [{"provider": "own", "model": "m"}],
                "rollout": {
                    "to": f"{to}/m",
                    "name": NAME,
                    "stages": [{"share": "40%"}, {"share": "100%"}],
                    "hold": "1h",
                    "within": "2h",
                    "gates": {"errors": "20%"},
                },
            }
        ],
        "redis": {"url": redis.url, "prefix": "two"},
    }


def refused(sims: Simulators, redis: Redis, to: str, ca_file: Path) -> dict[str, Any]:
    """Envoy refuses it while there is no such file."""
    config_ = config(sims, redis, to)
    tls = provider("tls", sims["own"].port, "openai-chat") | {"ca_file": str(ca_file)}
    tls["base_url"] = tls["base_url"].replace("http:", "https:")
    config_["providers"].append(tls)
    config_["pools"].append({"name": "tls", "members": [{"provider": "tls", "model": "m"}]})
    return config_


def members(broker: Broker) -> dict[str, str]:
    """Session → who answered it."""
    asks = [Ask("chat", headers={"x-my-session": f"s{number}"}) for number in range(60)]
    got = make(broker.url, asks)
    assert all(one.is_whole for one in got)
    return {one.ask.headers["x-my-session"]: one.member for one in got}


def steps(broker: Broker) -> list[tuple[str, str]]:
    return [(one["event"], one["to"]) for one in events_of(broker)]


def test_the_one_that_is_behind_keeps_its_sessions_and_ends_nothing(
    sims: Simulators, tmp_path: Path, redis: Redis
) -> None:
    old, new = config(sims, redis, "first"), config(sims, redis, "next")
    with Broker(tmp_path / "a", old) as a, Broker(tmp_path / "b", old) as b:
        for broker in (a, b):
            wait_until(lambda broker=broker: rollout_of(broker)["phase"] == "running", 20)
        before = members(b)
        assert set(before.values()) == {"own/m", "first/m"}
        a.edit(new)
        wait_until(lambda: rollout_of(b)["fleet_to"] == "next/m", 20)
        assert set(members(a).values()) == {"own/m", "next/m"}
        assert members(b) == before
        assert "behind: the fleet has the candidate next/m" in say(b, "status").stdout
        assert b.metrics("modelbroker_rollout_behind") == {f'{{rollout="{NAME}"}}': 1.0}
        assert "the fleet has the candidate next/m" in say(b, "promote", NAME).stderr
        # What fails there is rolled back there, and not the fleet's.
        sims["first"].script(faults=[{"status": 500}])

        def ask(number: int) -> Ask:
            return Ask("chat", headers={"x-my-session": f"t{number}"})

        got = asyncio.run(drive(b, ask, lambda: rollout_of(b)["phase"] == "rolled-back"))
        assert all(one.is_whole for one in got)
        assert rollout_of(b)["reason"] == "the gate errors failed"
        assert rollout_of(a)["phase"] == "running"
        # It follows; and a commit that goes back begins nothing that was rolled back.
        b.edit(new)
        wait_until(lambda: rollout_of(b)["to"] == "next/m" and rollout_of(b)["phase"] == "running", 20)
        assert members(b) == members(a)
        assert steps(a) == [("began", "first/m"), ("began", "next/m")]
        assert steps(b) == [("began", "first/m"), ("rolled-back", "first/m"), ("began", "next/m")]
        for broker in (b, a):
            broker.edit(old)
            wait_until(lambda broker=broker: rollout_of(broker)["phase"] == "rolled-back", 20)
            assert set(members(broker).values()) == {"own/m"}
        assert "it was before: the gate errors failed" in say(a, "status").stdout
        assert steps(a) == steps(a)[:2] + steps(b)[-1:]


@pytest.mark.parametrize("is_alone", [True, False], ids=["alone", "fleet"])
def test_what_an_envoy_refuses_begins_nothing(
    sims: Simulators, tmp_path: Path, redis: Redis, is_alone: bool
) -> None:
    """The candidate of before goes on at its stage; the new one begins when Envoy takes it."""
    ca_file = tmp_path / "ca.pem"
    old, new = config(sims, redis, "first"), refused(sims, redis, "next", ca_file)
    for one in (old, new):
        one["redis"]["prefix"] = "refused"
        if is_alone:
            del one["redis"]
    with Broker(tmp_path, old, may_be_refused=True) as broker:
        wait_until(lambda: rollout_of(broker)["phase"] == "running")
        good = broker.status()["revision"]
        assert say(broker, "promote", NAME).returncode == 0
        broker.write(new)
        broker.wait_for(lambda s: s["refused_by_envoy"] and s["revision"] == good)
        # A look at it has passed since: Redis's word, or none, moves it no more.
        assert say(broker, "pause", NAME).returncode == 0
        said = rollout_of(broker)
        assert (said["to"], said["stage"], said["phase"]) == ("first/m", "100%", "paused")
        assert set(members(broker).values()) == {"first/m"}
        began = [("began", "first/m"), ("promoted", "first/m"), ("paused", "first/m")]
        assert steps(broker) == began
        trustme.CA().cert_pem.write_to_path(str(ca_file))
        wait_until(lambda: rollout_of(broker)["to"] == "next/m" and rollout_of(broker)["phase"] == "running")
        assert steps(broker) == [*began, ("began", "next/m")]
