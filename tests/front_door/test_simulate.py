"""Predicted is real, through the real Envoy: traffic under an old configuration, `modelbroker simulate`, the
new one put in its place, and the same traffic again. And records decide as their calls were decided."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from modelbroker.budgets.calendars import spans
from modelbroker.cli.runtime import Overrides, prepare
from modelbroker.core.record import HIT, JOINED
from modelbroker.core.trials import CANDIDATE
from modelbroker.exchange import View
from modelbroker.simulation.deciding import Deciding, Denied
from modelbroker.simulation.learning import Learner
from modelbroker.simulation.policies import CACHE, MEMBER, Outcome, Replay
from modelbroker.simulation.reckoning import Reckoner
from modelbroker.simulation.recorded import Recorded, decode
from modelbroker.simulation.run import History, Policy, Run
from support.broker import Broker, provider
from support.budgets import team
from support.calls import Ask, make
from support.records import lines_of
from support.simulators import Simulators
from support.waiting import wait_until

TEAMS = ("sales", "search")
# What each provider counts and writes for the same question, in its own time.
WORKS = {
    "one": ({"input": 1_000, "output": 100}, 5),
    "two": ({"input": 1_250, "output": 160}, 60),
    "three": ({"input": 900, "output": 80}, 20),
}
RATES = {"one": (3, 15), "two": (1, 5), "three": (0.5, 2)}
ROLLOUT = "try-three"
Config = dict[str, Any]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*WORKS) as simulators:
        for name, (tokens, delay_ms) in WORKS.items():
            fault = {"delay_headers_ms": delay_ms}
            simulators[name].script(replies=[{"text": "x", "tokens": tokens}], faults=[fault])
        yield simulators


def config(sims: Simulators) -> Config:
    def pool(name: str, *members: tuple[str, int], **more: Any) -> Config:
        listed = [{"provider": provider, "model": "m", "weight": weight} for provider, weight in members]
        return {"name": name, "ejection": "off", "failover": "none", "members": listed, **more}

    return {
        "providers": [provider(name, sims[name].port, "openai-chat", "/v1") for name in WORKS],
        "facts": {"headers": {"task": "x-task"}},
        "callers": [team(name) for name in TEAMS],
        "pools": [
            pool("main", ("one", 50), ("two", 50)),
            pool("cheap", ("three", 1)),
            pool("kept", ("one", 1), cache={"scope": "caller"}),
        ],
        "rules": [{"name": "images", "match": {"images": True}, "pool": "cheap"}],
        "prices": [
            {"provider": name, "model": "m", "input": given, "output": written}
            for name, (given, written) in RATES.items()
        ],
        "ledger": {"url": "none"},
    }


def heavier(new: Config) -> None:
    """Other weights, and a rule by team and size."""
    new["pools"][0]["members"][0]["weight"], new["pools"][0]["members"][1]["weight"] = 20, 80
    new["rules"].append(
        {"name": "long", "match": {"team": "sales", "context.tokens": ">100"}, "pool": "cheap"}
    )


def without_one(new: Config) -> None:
    """A member leaves, a header decides, images are denied."""
    del new["pools"][0]["members"][0]
    new["rules"] = [
        {"name": "coding", "match": {"task": "code-*"}, "pool": "cheap"},
        {"name": "images", "match": {"images": True}, "deny": "no images"},
    ]


def tried(new: Config) -> None:
    """A half of one pool's calls are a candidate's, and a half of them are copied: lots of each call's id."""
    stages = [{"share": "50%"}, {"share": "100%"}]
    new["pools"][0]["rollout"] = {"to": "three/m", "name": ROLLOUT, "stages": stages}
    new["pools"][0]["shadow"] = {"to": "two/m", "share": "50%", "budget": "$1/day"}


def limited(new: Config) -> None:
    """Replies are shared, and there is a rate limit that sends calls elsewhere before it denies them."""
    new["pools"][2]["cache"]["scope"] = "all"
    steps = [{"50%": {"degrade": "cheap"}}, {"100%": "deny"}]
    new["budgets"] = [
        {"name": "calls", "by": "team", "amount": "30 calls", "per": "rolling 24h", "at": steps}
    ]


def traffic(world: int) -> list[Ask]:
    """One after the other: who is first where replies are kept is no matter of luck."""
    asks = []
    for number in range(72):
        text = f"World {world}, question {number}. " + "word " * (200 if number % 4 == 0 else 5)
        pool = "kept" if number % 6 == 5 else "main"
        if pool == "kept":
            text = f"World {world}, question {number % 4}."
        headers = {"authorization": f"Bearer key-{TEAMS[number % 2]}"}
        if number % 7 == 0:
            headers["x-task"] = "code-review"
        image = number % 9 == 0 and pool == "main"
        more = {"temperature": 0} if pool == "kept" else {}
        asks.append(Ask(pool, question=text, image=image, headers=headers, more=more, stream=number % 5 == 0))
    return asks


def sent(broker: Broker, asks: list[Ask]) -> list[Recorded]:
    """Their records, in the order of the calls."""

    ids = [got.headers["x-broker-request-id"] for got in make(broker.url, asks, parallel=1)]
    wanted = set(ids)

    def found() -> dict[str, Recorded] | None:
        lines = [line for line in lines_of(broker) if line["request_id"] in wanted]
        known = {line["request_id"]: decode(json.dumps(line)) for line in lines}
        return known if len(known) == len(wanted) else None

    known = wait_until(found, 30)
    assert known is not None
    return [known[one] for one in ids]


def view_of(settings: Config) -> View:
    texts = {"broker.yaml": yaml.safe_dump(settings)}
    return prepare(texts, Overrides(), {"KEY_OF_PROVIDERS": "sk"}).view


def outcomes(settings: Config, calls: list[Recorded], stage: str = "") -> list[Outcome]:
    """What `simulate` makes of each of them."""
    ready = prepare({"broker.yaml": yaml.safe_dump(settings)}, Overrides(), {"KEY_OF_PROVIDERS": "sk"})
    learner = Learner()
    for call in calls:
        learner.take(call)
    learned = learner.learned()
    reckoner = Reckoner(ready.prices, learned)
    stages = {ROLLOUT: stage} if stage else {}
    run = Run(History(reckoner), Policy(Replay(ready.view, spans), reckoner, learned, stages))
    judged = [run.take(call) for call in calls]
    return [one[1].outcome for one in judged if one is not None]


def simulate(broker: Broker, new: Path, since_s: float, *more: str) -> subprocess.CompletedProcess[str]:
    since = datetime.fromtimestamp(since_s, UTC).isoformat()
    state = ["--state-dir", str(broker.folder / "state"), "--since", since]
    command = [sys.executable, "-m", "modelbroker.cli.main", "simulate", "--config", str(new), *state, *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def is_as_predicted(outcome: Outcome, call: Recorded) -> bool:
    lot = outcome.lot
    if (lot is not None) != bool(call.arm):
        return False
    if lot is not None and 0 < lot.chance < 1:  # whose it is, is another lot the next time
        arm, pool = (lot.candidate, "main~three/m") if call.arm == CANDIDATE else (lot.stable, "main")
        outcome = msgspec.structs.replace(outcome, shares=arm, pool=pool)
    if call.cache in (HIT, JOINED):
        return outcome.kind == CACHE and outcome.pool == call.pool
    if not call.attempts:
        return (outcome.kind, outcome.code, outcome.rule) == ("refused", call.code, call.rule)
    members = {one.member for one in call.eligible if one.chance > 0}
    told = (outcome.kind, outcome.rule, outcome.pool, outcome.degraded_from)
    return (
        told == (MEMBER, call.rule, call.pool, call.degraded_from)
        and {member for member, _ in outcome.shares} == members
        and (len(members) > 1 or call.member in members)
    )


def decides_as_it_was(deciding: Deciding, call: Recorded) -> None:
    """Facts out of the record give the very decision."""
    decision = deciding.decision(call, call.started_s)
    if isinstance(decision, Denied):
        assert (decision.code, decision.rule) == (call.code, call.rule)
        return
    if call.arm == CANDIDATE:
        assert (decision.rule, decision.pool) == (call.rule, "main")
        return
    assert (decision.rule, decision.pool) == (call.rule, call.degraded_from or call.pool)
    if call.attempts and not call.degraded_from:
        assert [member.id for member in decision.eligible] == [one.member for one in call.eligible]
        whole = sum(member.weight for member in decision.eligible)
        for member, one in zip(decision.eligible, call.eligible, strict=True):
            assert abs(member.weight / whole - one.chance) < 1e-5


def test_worlds(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("broker")
    old = config(sims)
    changes: list[Callable[[Config], None]] = [heavier, without_one, limited, tried]
    with Broker(folder, old) as broker:
        for world, change in enumerate(changes):
            new = copy.deepcopy(old)
            change(new)
            new["pools"][2]["cache"]["version"] = "2"  # the broker goes on: nothing of before is to be found
            path = folder / f"new-{world}.yaml"
            path.write_text(yaml.safe_dump(new))
            since_s = time.time()
            before = sent(broker, traffic(world))
            stage = "50%" if change is tried else ""
            said = ("--rollout-stage", stage) if stage else ()
            ran = simulate(broker, path, since_s, "--format", "json", "--fail-if", "cost > +1000%", *said)
            assert ran.returncode == 0, ran.stderr
            told = json.loads(ran.stdout)
            predicted = outcomes(new, before, stage)
            broker.edit(new)
            if stage:
                assert wait_until(lambda: rollout_began(broker), 30)
            after = sent(broker, traffic(world))
            for outcome, call in zip(predicted, after, strict=True):
                assert is_as_predicted(outcome, call), (outcome, call)
            compare(told, before, after)
            if stage:
                again(broker, new, after)
            for settings, calls in ((old, before), (new, after)):
                deciding = Deciding(view_of(settings))
                for call in calls:
                    decides_as_it_was(deciding, call)
            broker.edit(old)


def rollout_began(broker: Broker) -> bool:
    with urllib.request.urlopen(f"{broker.admin_url}/rollouts", timeout=10) as reply:
        return bool(json.load(reply)["rollouts"])


def again(broker: Broker, new: Config, calls: list[Recorded]) -> None:
    """What the broker did under the rollout, decided again: each call is whose it was, and has the copies
    that it had."""
    wanted = {call.request_id for call in calls}
    made = outcomes(new, calls)
    expected = {call.request_id for call, one in zip(calls, made, strict=True) for _ in one.copies}
    assert 5 < len(expected) < len(calls)

    def copied() -> set[str]:
        lines = [line for line in lines_of(broker) if line.get("shadow_of") in wanted]
        return {line["shadow_of"] for line in lines}

    assert wait_until(lambda: copied() >= expected, 30)
    assert copied() == expected
    arms = [call.arm for call in calls if call.arm]
    assert 0.2 < arms.count(CANDIDATE) / len(arms) < 0.8
    for call, outcome in zip(calls, made, strict=True):
        assert is_as_predicted(outcome, call), (outcome, call)
        if outcome.lot is not None:
            assert outcome.lot.chance == (call.arm == CANDIDATE) and outcome.lot.share is None


def compare(told: dict[str, Any], before: list[Recorded], after: list[Recorded]) -> None:
    """The command's figures, and what came of it."""
    total = told["total"]
    cost = total["cost"]
    assert total["calls"] == len(before) and not cost["unknown"]
    spent = [
        sum(call.cost.total or 0 for call in calls if call.cost is not None) for calls in (before, after)
    ]
    assert cost["old"] == spent[0]
    assert cost["low"] <= spent[1] <= cost["high"]
    assert total["refusals"]["new"] == sum(call.was_refused for call in after)
    assert total["degradations"]["new"] == sum(bool(call.degraded_from) for call in after if call.attempts)
    assert total["cache_hits"]["new"] == sum(call.was_hit for call in after)
    at_members = [call for call in after if call.attempts]
    latency = total["latency"]
    if latency["new"] is not None:
        # A busy machine is slower than it was: whom the mean is of has to be right, not the machine.
        mean = sum(call.duration_ms for call in at_members) / len(at_members)
        assert latency["low"] / 2 <= mean <= latency["high"] * 2 + 500
    else:
        assert "not enough overlap" in latency["why"]
