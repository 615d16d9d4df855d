"""Where every member has said that it takes no calls now: calls wait, and are served by who is ready first,
or are told when that will be. And caps on calls under way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, asks, call, client, make
from support.records import lines_of
from support.simulators import SimulatorHandle, Simulators
from support.waiting import wait_until

DIALECTS = ("openai-chat", "anthropic-messages", "openai-responses")
NAMES = ("a", "b", "capped", "roomy")


def member(name: str, **more: Any) -> dict[str, Any]:
    return {"provider": name, "model": "m", **more}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*NAMES) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    providers = [provider(name, sims[name].port, "openai-chat", "/v1") for name in NAMES]
    providers.append(
        {**provider("capped-account", sims["capped"].port, "openai-chat", "/v1"), "concurrency": 2}
    )
    two = [member("a"), member("b")]
    capped = {"provider": "capped", "model": "capped-model", "weight": 1000, "concurrency": 2}
    config = {
        "providers": providers,
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "short", "timeouts": {"wait": "1s"}, "members": two},
            {"name": "long", "timeouts": {"wait": "20s"}, "members": two},
            {"name": "capped", "failover": "none", "members": [capped, member("roomy")]},
            {
                "name": "account",
                "failover": 1,
                "members": [
                    {"provider": "capped-account", "model": "one", "weight": 1000},
                    {"provider": "capped-account", "model": "two", "weight": 1000},
                    member("roomy"),
                ],
            },
            {"name": "alone", "members": [{**capped, "model": "alone-model"}]},
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def all_say_no(broker: Broker, sims: Simulators, pool: str, **wait_s: int) -> None:
    """Each member has said for how long it takes no calls, and the broker has heard it."""
    for name, seconds in wait_s.items():
        sims[name].script(faults=[{"status": 429, "retry_after_s": seconds}])
    make(broker.url, asks(1, pool))

    def is_out() -> bool:
        members = broker.status()["members"]
        return all(members.get(f"{name}/m", {}).get("state") == "out" for name in wait_s)

    def heard() -> bool:
        if not is_out():
            make(broker.url, asks(1, pool))
        return is_out()

    wait_until(heard)
    sims.reset()


def records(broker: Broker, since_s: float) -> list[dict[str, Any]]:
    return [line for line in lines_of(broker) if line["started_s"] >= since_s]


def waiting(broker: Broker) -> int:
    return int(sum(broker.metrics("modelbroker_calls_waiting", labels=False).values()))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_call_waits_for_who_is_ready_first(broker: Broker, sims: Simulators, stream: bool) -> None:
    all_say_no(broker, sims, "long", a=3, b=60)
    got = make(broker.url, [Ask("long", dialect, stream) for dialect in DIALECTS])
    for g in got:
        assert g.is_whole and g.attempts == 1, str(g)
        assert g.member == "a/m"
    assert sims["b"].calls() == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_can_not_wait_is_told_when_to_come_again(broker: Broker, sims: Simulators, dialect: str) -> None:
    all_say_no(broker, sims, "short", a=40, b=60)
    hurried = Ask("long", dialect, headers={"x-stainless-timeout": "2"})
    for g in make(broker.url, [Ask("short", dialect), hurried]):
        assert g.status == 429 and g.headers["x-broker-attempts"] == "0", str(g)
        assert json.loads(g.body)["error"]["code"] == "pool_rate_limited"
        assert 30 <= int(g.headers["retry-after"]) <= 40
    assert sims["a"].calls() == sims["b"].calls() == []


def test_many_that_wait_are_all_served_and_do_not_flood(broker: Broker, sims: Simulators) -> None:
    all_say_no(broker, sims, "long", a=3, b=3)
    got = make(broker.url, asks(200, "long"), parallel=200)
    assert [str(g) for g in got if not g.is_whole] == []
    times = sorted(entry["time"] for name in ("a", "b") for entry in sims[name].settled_calls())
    assert len(times) == 200
    spread_s = times[-1] - times[0]
    most = max(sum(t <= other < t + 0.1 for other in times) for t in times)
    print(f"200 calls that waited reached the providers over {spread_s:.2f} s, at most {most} in 0.1 s")


def test_who_leaves_while_it_waits_is_gone(broker: Broker, sims: Simulators) -> None:
    all_say_no(broker, sims, "long", a=4, b=4)
    since_s = time.time()

    async def leave() -> None:
        async with client(broker.url) as http:
            tasks = [asyncio.create_task(call(http, Ask("long"))) for _ in range(20)]
            await asyncio.to_thread(wait_until, lambda: waiting(broker) == 20)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(leave())
    wait_until(lambda: waiting(broker) == 0)
    (served,) = make(broker.url, asks(1, "long"))
    assert served.is_whole
    told = wait_until(lambda: found if len(found := records(broker, since_s)) >= 21 else None)
    assert told is not None
    assert len(told) == len({record["request_id"] for record in told}) == 21
    gone = [record for record in told if record["code"] == "client_gone"]
    assert len(gone) == 20 and all(record["attempts"] == [] for record in gone)
    assert len(sims["a"].settled_calls()) + len(sims["b"].settled_calls()) == 1


# -- caps


def under_way(sim: SimulatorHandle) -> int:
    """The most calls that were at this provider at the same moment, by its journal."""
    spans = [(entry["time"], entry["time"] + 1.0) for entry in sim.settled_calls()]
    return max((sum(a <= b0 < b for a, b in spans) for b0, _ in spans), default=0)


def test_more_than_a_members_cap_goes_to_others_at_once(broker: Broker, sims: Simulators) -> None:
    sims["capped"].script(faults=[{"delay_headers_ms": 1500}])
    got = make(broker.url, asks(10, "capped"))
    assert [str(g) for g in got if not g.is_whole] == []
    assert under_way(sims["capped"]) == len(sims["capped"].calls()) == 2
    assert len(sims["roomy"].settled_calls()) == 8
    assert all(member["state"] == "well" for member in broker.status()["members"].values())
    # Nothing was sent, so the pool's `failover: none` is kept: the capped one cost nothing.
    assert {g.attempts for g in got} <= {1, 2}


def test_more_than_an_accounts_cap_goes_to_others_at_once(broker: Broker, sims: Simulators) -> None:
    sims["capped"].script(faults=[{"delay_headers_ms": 1500}])
    got = make(broker.url, asks(10, "account"))
    assert [str(g) for g in got if not g.is_whole] == []
    assert under_way(sims["capped"]) == 2
    assert len(sims["roomy"].settled_calls()) == 8


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_cap_without_others(broker: Broker, sims: Simulators, dialect: str) -> None:
    sims["capped"].script(faults=[{"delay_headers_ms": 1500}])
    got: list[Got] = make(broker.url, asks(5, "alone", dialect))
    full = [g for g in got if g.status != 200]
    assert len(full) == 3
    for g in full:
        assert g.status == 503 and json.loads(g.body)["error"]["code"] == "upstream_at_capacity", str(g)
    assert all(member["state"] == "well" for member in broker.status()["members"].values())
