"""What a simulation decides once for calls that are alike comes to the same as each call by itself, whatever
budgets, pools and trials there are."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.budgets.calendars import spans
from modelbroker.core.usage import Usage
from modelbroker.policy.ceilings import Ceilings
from modelbroker.policy.estimates import Estimates
from modelbroker.policy.seats import Plan
from modelbroker.simulation.deciding import view_of
from modelbroker.simulation.policies import Replay
from support.worlds import loaded

from .test_predicted import simulated, world
from .test_run import called

AMOUNTS = {
    "calls": ["20 calls", "60 calls", "200 calls"],
    "tokens": ["20000 tokens", "200000 tokens", "900000 tokens"],
    "dollars": ["$0.5", "$2", "$9"],
}
# A caller whose token tells more than its name; nobody asks for the files.
TOLD = {"name": "anna", "spiffe": "spiffe://prod.example.com/anna"}
LISTEN = {"tls": {"cert_file": "a.pem", "key_file": "b.pem", "client_ca_file": "c.pem"}}


def steps(draw: random.Random) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if draw.random() < 0.5:
        found.append({f"{draw.choice([20, 40, 60])}%": {"degrade": draw.choice(["long", "premium"])}})
    if draw.random() < 0.4:
        found.append({f"{draw.choice([70, 80])}%": {"degrade": draw.choice(["everyday", "premium"])}})
    if draw.random() < 0.7 or not found:
        found.append({"100%": "deny"})
    return found


def budgets(draw: random.Random) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    lenders: dict[str, list[str]] = {unit: [] for unit in AMOUNTS}
    for number in range(draw.randint(1, 4)):
        unit, name = draw.choice(list(AMOUNTS)), f"b{number}"
        one = {"name": name, "amount": draw.choice(AMOUNTS[unit]), "at": steps(draw)}
        one["per"] = draw.choice(["rolling 24h", "day", "rolling 30m"])
        if by := draw.choice(["", "team", "caller", "user", "pool", "provider"]):
            one["by"] = by
        if draw.random() < 0.4:
            one["match"] = draw.choice([{"pool": "premium"}, {"pool": "everyday"}, {"team": "red"}])
        if unit == "dollars" and draw.random() < 0.5:
            one["on_unknown_cost"] = draw.choice(["deny", "allow", "$0.01"])
        if lenders[unit] and draw.random() < 0.5:
            one["borrows_from"] = draw.choice(lenders[unit])
        if by != "provider":
            lenders[unit].append(name)
        found.append(one)
    return found


def widened(config: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The same with all that may stand in the way of what is decided once."""
    new = copy.deepcopy(config)
    for pool in new["pools"][:3]:
        pool.pop("routing", None)
        pool.pop("affinity", None)
        match draw.randrange(4):
            case 0:
                pool["routing"] = "cheapest"
            case 1:
                pool["affinity"] = {"by": draw.choice(["user", "session", "prefix"])}
        if draw.random() < 0.3 and len(pool["members"]) > 1:
            pool["hedge"] = {"after": "2s"}
    if draw.random() < 0.5:
        new["pools"][0]["shadow"] = [{"to": "b/small", "share": "30%", "budget": "$0.05/day"}]
        stages = [{"share": draw.choice(["10%", "50%"])}, {"share": "100%"}]
        new["pools"][1]["rollout"] = {"to": "c/other", "name": "try", "stages": stages}
    if draw.random() < 0.4:
        new["prices"].pop()
    new["budgets"] = budgets(draw)
    new["rate_limits"] = [{"name": "calls", "by": "caller", "calls": f"{draw.choice([20, 400])}/h"}]
    if draw.random() < 0.4:
        new["rate_limits"].append({"name": "at-once", "concurrency": draw.choice([1, 2, 5])})
    new["callers"][0], new["listen"] = {**TOLD, "team": "red", "tier": "premium"}, LISTEN
    return new


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1_000))
def test_whatever_budgets_there_are(seed: int) -> None:
    draw = random.Random(f"keeps {seed}")
    where, old, new, calls = world(seed)
    records = where.run(old, calls[:100], luck=1)
    for record in records:
        if record.caller == "anna":
            record.user = draw.choice(["", "u1", "u2", "u3"])
    new = widened(new, draw)
    stages = {"try": draw.choice(["1", "2", "off"])} if "rollout" in new["pools"][1] else {}
    kept, anew = (simulated(new, records, keeps=keeps, stages=stages) for keeps in (True, False))
    assert kept.outcomes == anew.outcomes
    assert kept.both.new.cost == anew.both.new.cost
    assert kept.result.tried.arms == anew.result.tried.arms
    told = [
        {name: (sums.results, sums.side.cost) for name, sums in one.result.tried.copies.items()}
        for one in (kept, anew)
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("keeps", [True, False])
def test_who_has_a_member_of_its_own_is_held_to_what_that_one_costs(keeps: bool) -> None:
    """A user's calls go to one member, and others' by weight: no rule tells them apart, but budgets do."""
    members = [{"provider": "a", "model": "ant"}, {"provider": "b", "model": "big"}]
    found = loaded(
        {
            "callers": [TOLD],
            "listen": LISTEN,
            "pools": [{"name": "p", "affinity": {"by": "user"}, "members": members}],
            "prices": [
                {"provider": "a", "model": "ant", "input": 1, "output": 1},
                {"provider": "b", "model": "big", "input": 1, "output": 90},
            ],
            "budgets": [{"name": "m", "amount": "$1", "per": "day", "at": [{"100%": "deny"}]}],
        }
    )
    book = found.prices
    more = {"estimates": Estimates(book), "ceilings": Ceilings(book), "plan": Plan(found.catalog.budgets)}
    replay = Replay(view_of(found.catalog, **more), spans, keeps=keeps)
    held = []
    for number, user in enumerate(["", *[f"u{n}" for n in range(20)], ""]):
        call = called(number, "a/ant", Usage(10, output=5), caller="anna", user=user, model="p")
        call.path, call.max_output_tokens = "/v1/chat/completions", 100
        replay.outcome(call, call.started_s)
        (stage,) = replay._accounts.held[call.request_id]
        held.append(stage.parts[0].taken)
    cheap, dear = 1_100_000, 10_000_000
    assert held[0] == held[-1] == dear  # the dearest that it may get to
    assert {*held} == {cheap, dear}
