"""Rollouts: a candidate that takes over a pool's calls stage by stage, or is rolled back by itself."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelbroker.audit.acts import os_user
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.chains import acts_of
from support.kills import kill
from support.records import lines_of, record_of
from support.rollouts import events_of, load, rollout_of, say
from support.servers import Redis
from support.simulators import Simulators
from support.waiting import wait_until

NAME = "try-1"
RATES = {"input": 3, "output": 15}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("own", "new") as simulators:
        yield simulators


@pytest.fixture(autouse=True)
def well(sims: Simulators) -> None:
    for simulator in sims:
        simulator.script(replies=[{"text": f"from {simulator.name}", "tokens": {"input": 100, "output": 10}}])
        simulator.forget()


def config(sims: Simulators, stages: list[dict[str, Any]], **rollout: Any) -> dict[str, Any]:
    """Gates as wide as a test of some seconds needs them."""
    said = {
        "to": "new/n",
        "name": NAME,
        "hold": "1s",
        "min_calls": 30,
        "within": "5m",
        "gates": {"confidence": "90%", "errors": "30%", "cost": "200%"},
        **rollout,
    }
    return {
        "providers": [
            provider("own", sims["own"].port, "openai-chat", BASES["openai-chat"]),
            provider("new", sims["new"].port, "anthropic-messages", BASES["anthropic-messages"]),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": "chat",
                "affinity": {"by": "session", "header": "x-my-session"},
                "members": [{"provider": "own", "model": "m"}],
                "rollout": {**said, "stages": stages},
            }
        ],
        "prices": [{"provider": p, "model": m, **RATES} for p, m in (("own", "m"), ("new", "n"))],
    }


def test_a_good_one_gets_there_through_all_stages(sims: Simulators, tmp_path: Path) -> None:
    stages = [
        {"shadow": "50%", "budget": "$1/day"},
        {"share": "20%"},
        {"share": "50%"},
        {"share": "100%"},
    ]
    with Broker(tmp_path, config(sims, stages)) as broker:
        got = asyncio.run(load(broker, {"done", "rolled-back"}))
        assert all(one.is_whole for one in got)
        shown = rollout_of(broker)
        assert (shown["phase"], shown["stage"]) == ("done", "100%"), events_of(broker)
        told = [(one["event"], one["at_stage"], one["stage"]) for one in events_of(broker)]
        assert told == [
            ("began", "shadow", "shadow"),
            ("promoted", "shadow", "20%"),
            ("promoted", "20%", "50%"),
            ("promoted", "50%", "100%"),
            ("done", "100%", "100%"),
        ]
        for event in events_of(broker)[1:]:
            assert event["calls"]["candidate"] >= 30
            assert [gate["verdict"] for gate in event["gates"]] == ["passed", "passed"]
        # All of it is the candidate's now, and the records said so all the while.
        (last,) = make(broker.url, [Ask("chat")])
        assert last.member == "new/n"
        record = record_of(broker, last)
        assert [record[name] for name in ("rollout", "arm", "stage")] == [NAME, "candidate", "100%"]
        lines = [line for line in lines_of(broker) if line["stage"] == "20%"]
        arms = {arm: [one for one in lines if one["arm"] == arm] for arm in ("stable", "candidate")}
        assert {one["member"] for one in arms["stable"]} == {"own/m"}
        assert {one["member"] for one in arms["candidate"]} == {"new/n"}
        copies = [line for line in lines_of(broker) if line["purpose"] == "shadow"]
        assert copies and {one["stage"] for one in copies} == {"shadow"}
        assert {one["budgets"][0]["budget"] for one in copies} == {f"shadow:{NAME}#shadow"}
        assert "promoted (20% → 50%" in broker.log()
        assert broker.metrics("modelbroker_rollout_stage") == {f'{{rollout="{NAME}"}}': 3.0}
        assert "done" in say(broker, "status").stdout


def test_a_degraded_one_is_rolled_back_before_two_in_a_hundred_met_it(
    sims: Simulators, tmp_path: Path
) -> None:
    """And no client hears of it: what fails there is answered by the pool's own members."""
    sims["new"].script(faults=[{"status": 500}])
    stages = [{"share": "1%"}, {"share": "10%"}, {"share": "100%"}]
    with Broker(tmp_path, config(sims, stages, gates={"errors": "2%"})) as broker:
        got = asyncio.run(load(broker, {"done", "rolled-back"}))
        assert rollout_of(broker)["phase"] == "rolled-back"
        assert all(one.is_whole for one in got)
        met = {line["request_id"] for line in lines_of(broker) if line["arm"] == "candidate"}
        assert 0 < len(met) < 0.02 * len(got), (len(met), len(got))
        assert len(sims["new"].settled_calls()) <= len(met)
        *_, last = events_of(broker)
        assert (last["event"], last["at_stage"], last["reason"]) == (
            "rolled-back",
            "1%",
            "the gate errors failed",
        )
        assert last["gates"][0]["candidate"]["value"] > 0.5
        assert "rolled-back (1%" in broker.log()
        sims["new"].forget()
        (after,) = make(broker.url, [Ask("chat")])
        assert after.member == "own/m" and record_of(broker, after)["arm"] == ""
        assert sims["new"].calls() == []


def test_it_goes_on_where_it_was_and_does_as_it_is_told(sims: Simulators, tmp_path: Path) -> None:
    stages = [{"share": "20%"}, {"share": "60%"}, {"share": "100%"}]
    with Broker(tmp_path, config(sims, stages, hold="1h", within="2h")) as broker:
        wait_until(lambda: rollout_of(broker)["phase"] == "running", 10)
        assert say(broker, "promote", NAME).returncode == 0
        asks = [Ask("chat", headers={"x-my-session": f"s{number}"}) for number in range(60)]
        before = {one.ask.headers["x-my-session"]: one.member for one in make(broker.url, asks)}
        wait_until(lambda: sum(rollout_of(broker)["calls"].values()) == 60, 20)
        calls = rollout_of(broker)["calls"]
        assert calls["candidate"] > 15 and calls["stable"] > 5
        assert say(broker, "pause", NAME).returncode == 0

        kill(broker, "serve")
        wait_until(lambda: broker.status(), 20)
        assert broker.stop() == 0
        broker.start()

        shown = rollout_of(broker)
        assert (shown["phase"], shown["stage"], shown["calls"]) == ("paused", "60%", calls)
        after = {one.ask.headers["x-my-session"]: one.member for one in make(broker.url, asks)}
        assert after == before
        assert "a rollout that is paused can't pause" in say(broker, "pause", NAME).stderr
        assert "there is no rollout 'x'" in say(broker, "resume", "x").stderr
        assert say(broker, "resume", NAME).returncode == 0
        assert say(broker, "rollback", NAME).returncode == 0
        assert {one.member for one in make(broker.url, asks)} == {"own/m"}
        assert say(broker, "resume", NAME).returncode == 0
        assert rollout_of(broker)["stage"] == "20%" and rollout_of(broker)["calls"]["candidate"] == 0
        told = [one["event"] for one in events_of(broker)]
        assert told == ["began", "promoted", "paused", "resumed", "rolled-back", "resumed"]


def test_scores_from_outside_roll_back_what_answers_worse(sims: Simulators, tmp_path: Path) -> None:
    stages = [{"share": "50%"}, {"share": "100%"}]
    gates = {"quality": "20%", "errors": "50%"}
    with Broker(tmp_path, config(sims, stages, gates=gates)) as broker:
        asks = [Ask("chat", headers={"x-my-session": f"s{number}"}) for number in range(200)]
        make(broker.url, asks)
        wait_until(lambda: sum(rollout_of(broker)["calls"].values()) == 200, 20)
        assert rollout_of(broker)["phase"] == "running"  # nobody knows how good it is
        arms = {line["request_id"]: line["arm"] for line in lines_of(broker)}
        scores = [
            {"request_id": request_id, "value": 0.9 if arm == "stable" else 0.3}
            for request_id, arm in arms.items()
        ]
        request = urllib.request.Request(
            f"{broker.admin_url}/rollouts/scores", json.dumps(scores).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert json.load(reply) == {"taken": 200, "of": 200}
        wait_until(lambda: rollout_of(broker)["phase"] == "rolled-back", 20)
        assert rollout_of(broker)["reason"] == "the gate quality failed"


@pytest.mark.parametrize("agrees", [True, False])
def test_a_candidate_that_says_otherwise_gets_no_client(
    sims: Simulators, tmp_path: Path, agrees: bool
) -> None:
    """By the replies that are captured of both: nobody has to send scores."""
    told = "The capital of France is Paris, and it has two million inhabitants."
    otherwise = "I would rather not speak of geography; shall we talk about cooking instead?"
    tokens = {"input": 100, "output": 10}
    sims["own"].script(replies=[{"text": told, "tokens": tokens}])
    sims["new"].script(replies=[{"text": told if agrees else otherwise, "tokens": tokens}])
    stages = [{"shadow": "100%", "budget": "$1/day"}, {"share": "100%", "gates": {"errors": "50%"}}]
    gates = {"quality": "30%", "errors": "50%"}
    said = config(sims, stages, gates=gates)
    said["capture"] = {"rules": [{"match": {}, "pools": "chat"}], "encryption": "none"}
    with Broker(tmp_path, said) as broker:
        got = asyncio.run(load(broker, {"done", "rolled-back"}))
        assert all(one.is_whole for one in got)
        shown = rollout_of(broker)
        assert shown["phase"] == ("done" if agrees else "rolled-back"), shown
        if not agrees:
            assert shown["reason"] == "the gate quality failed" and shown["stage"] == "shadow"
            assert {one.member for one in got} == {"own/m"}


def whose(broker: Broker) -> list[tuple[str, str]]:
    """(actor, user) of the rollout's steps that people took."""
    steps = [one for one in acts_of(broker) if one["act"].startswith("rollout.")]
    return [(one["actor"], one["user"]) for one in steps if one["actor"] != "broker"]


def test_brokers_of_a_fleet_agree(sims: Simulators, tmp_path: Path, redis: Redis) -> None:
    stages = [{"share": "40%"}, {"share": "70%"}, {"share": "100%"}]
    token = "the-token-of-ana-for-commands"
    said = {
        **config(sims, stages, hold="2s"),
        "redis": {"url": redis.url, "prefix": "rolls"},
        "admin": {"users": [{"name": "ana", "token": {"env": "TOKEN_OF_ANA"}}]},
    }
    one, two = (Broker(tmp_path / name, said, environ={"TOKEN_OF_ANA": token}) for name in "ab")
    with one as first, two as second:
        wait_until(lambda: rollout_of(second)["phase"] == "running", 20)
        # Calls of one broker alone move both of them, step by step.
        asyncio.run(load(first, {"done", "rolled-back"}))
        wait_until(lambda: rollout_of(second)["phase"] == "done", 20)
        told = [[(one["event"], one["at_s"]) for one in events_of(broker)] for broker in (first, second)]
        assert told[0] == told[1] and [event for event, _ in told[0]][-1] == "done"
        (tmp_path / "token").write_text(token)
        assert say(second, "rollback", NAME, "--token", f"file:{tmp_path / 'token'}").returncode == 0
        wait_until(lambda: rollout_of(first)["phase"] == "rolled-back", 20)
        assert say(first, "resume", NAME).returncode == 0
        wait_until(lambda: rollout_of(second)["phase"] == "running", 20)
        # Each tells whose commands they were, whichever got them.
        for broker in (first, second):
            wait_until(lambda broker=broker: whose(broker) == [("token", "ana"), ("command", os_user())], 20)
        # A session is of the same arm at each.
        asks = [Ask("chat", headers={"x-my-session": f"s{number}"}) for number in range(20)]
        members = [
            {one.ask.headers["x-my-session"]: one.member for one in make(broker.url, asks)}
            for broker in (first, second)
        ]
        assert members[0] == members[1] and len(set(members[0].values())) == 2
        # The figures are those of both.
        wait_until(lambda: sum(rollout_of(first)["calls"].values()) == 40, 20)
