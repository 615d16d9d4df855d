"""`hedge`: a second member beside a slow first one. The first answer wins, the other call is cancelled."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, asks, call, client, make
from support.records import lines_of, record_of
from support.simulators import Simulators
from support.waiting import wait_until

DIALECTS = ("openai-chat", "anthropic-messages", "openai-responses")
NAMES = ("a", "b", "c")
FOR_EVER = "30s"


def member(name: str, **more: Any) -> dict[str, Any]:
    return {"provider": name, "model": "m", **more}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*NAMES) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    # `a` is first; `b` speaks another dialect.
    providers = [
        provider("a", sims["a"].port, ["openai-chat", "openai-responses"], "/v1"),
        provider("b", sims["b"].port, "anthropic-messages"),
        provider("c", sims["c"].port, "openai-chat", "/v1"),
    ]
    patient = {"timeouts": {"first_event": FOR_EVER, "reply": FOR_EVER}, "ejection": "off"}
    quick = {"after": "100ms", "reply_after": "100ms", "share": "100%"}
    # Where nobody is too slow, on a busy machine either.
    late = {"after": "20s", "reply_after": "20s", "share": "100%"}
    ejecting = {"ejection": {"consecutive_errors": 2, "base": "60s"}}
    two = [member("a"), member("b", priority=1)]
    # Of a hundred turns and one `b` has one: so most calls begin at `a`.
    leaning = [member("a", weight=100), member("b")]
    config = {
        "providers": providers,
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "pair", "members": two, "hedge": quick, **patient},
            {"name": "three", "members": [*two, member("c", priority=2)], "hedge": quick, **patient},
            {"name": "leaning", "members": leaning, "hedge": quick, **patient},
            {"name": "once", "failover": 1, "members": two, "hedge": quick, **patient},
            {"name": "late", "failover": 1, "members": two, "hedge": late, **patient},
            {
                "name": "streams",
                "members": two,
                "hedge": {"after": "100ms", "share": "100%"},
                **patient,
            },
            {"name": "rare", "members": two, "hedge": {"after": "1s", "share": "0.1%"}, **patient},
            {
                "name": "seldom",
                "members": two,
                "hedge": {"after": "300ms", "share": "10%"},
                **patient,
            },
            {
                "name": "sends-on",
                "members": [member("a"), member("b")],
                "hedge": late,
                "on": {"context-overflow": "never-a", "overloaded": "never-a"},
                **patient,
            },
            {"name": "never-a", "members": [member("c")]},
            {"name": "never", "members": two, **patient},
            *(
                {"name": name, "members": [member("a"), member("b")], "hedge": quick, **patient, **ejecting}
                for name in ("all-slow", "one-fails")
            ),
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def slow(sims: Simulators, name: str, wait_s: int = 20) -> None:
    sims[name].script(faults=[{"delay_headers_ms": wait_s * 1000}])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_quick_one_wins_and_the_slow_one_is_cancelled(
    broker: Broker, sims: Simulators, dialect: str, stream: bool
) -> None:
    slow(sims, "a")
    (got,) = make(broker.url, [Ask("pair", dialect, stream)])
    assert got.is_whole and (got.member, got.attempts) == ("b/m", 2), str(got)
    told = record_of(broker, got)
    assert (told["attempts_made"], told["hedged"], told["member"], told["status"]) == (2, True, "b/m", 200)
    assert [(one["member"], one["hedge"]) for one in told["attempts"]] == [("a/m", False), ("b/m", True)]
    attempts = {one["member"]: one for one in told["attempts"]}
    assert attempts["a/m"]["code"] == "cancelled" and attempts["b/m"]["status"] == 200
    assert attempts["a/m"]["started_s"] < attempts["b/m"]["started_s"]
    assert [entry["outcome"] for entry in sims["a"].settled_calls()] == ["client-gone"]
    # Who was too slow for one call is not one that failed.
    assert "a/m" not in broker.status()["members"]


def test_of_one_level_the_other_one_is_second(broker: Broker, sims: Simulators) -> None:
    slow(sims, "a")
    got = make(broker.url, asks(10, "leaning", stream=True))
    told = [[(one["member"], one["hedge"]) for one in record_of(broker, each)["attempts"]] for each in got]
    # Where a call begins is Envoy's to draw, and a busy machine makes `b` slow, too; all else is not.
    at_a, at_b = [("a/m", False), ("b/m", True)], [("b/m", False), ("a/m", True)]
    assert {g.member for g in got} == {"b/m"}
    assert [g.attempts for g in got] == [len(attempts) for attempts in told]
    assert at_a in told and all(attempts in (at_a, at_b, at_b[:1]) for attempts in told)
    tried = [sum(name == f"{sim}/m" for attempts in told for name, _ in attempts) for sim in "ab"]
    assert [len(sims[name].settled_calls()) for name in "ab"] == tried


def test_who_answers_in_time_is_alone(broker: Broker, sims: Simulators) -> None:
    got = make(broker.url, [Ask("late", dialect, stream) for dialect in DIALECTS for stream in (False, True)])
    assert {(g.status, g.attempts, g.member) for g in got} == {(200, 1, "a/m")}
    assert sims["b"].calls() == []
    assert not any(record_of(broker, g)["hedged"] for g in got)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_first_may_win_yet(broker: Broker, sims: Simulators, stream: bool) -> None:
    sims["a"].script(faults=[{"delay_headers_ms": 1500}])
    slow(sims, "b")
    (got,) = make(broker.url, [Ask("pair", "openai-chat", stream)])
    assert got.is_whole and (got.member, got.attempts) == ("a/m", 2), str(got)
    assert record_of(broker, got)["hedged"] is True


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("failing", ["a", "b"])
def test_where_one_of_the_two_fails_the_other_is_waited_for(
    broker: Broker, sims: Simulators, failing: str, stream: bool
) -> None:
    """Both are under way by then: what fails is not handed back, for that would end the other."""
    good = "b" if failing == "a" else "a"
    sims[failing].script(faults=[{"delay_headers_ms": 800, "status": 500}])
    sims[good].script(faults=[{"delay_headers_ms": 1600}])
    (got,) = make(broker.url, [Ask("once", "openai-chat", stream)])
    assert got.is_whole and (got.member, got.attempts) == (f"{good}/m", 2), str(got)
    assert record_of(broker, got)["hedged"] is True


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_where_both_fail_a_third_is_found_within_the_budget(
    broker: Broker, sims: Simulators, stream: bool
) -> None:
    for name in ("a", "b"):
        sims[name].script(faults=[{"delay_headers_ms": 800, "status": 500}])
    (got,) = make(broker.url, [Ask("three", "openai-chat", stream)])
    assert got.is_whole and (got.member, got.attempts) == ("c/m", 3), str(got)
    told = record_of(broker, got)
    assert (told["attempts_made"], len(told["attempts"]), told["hedged"]) == (3, 3, True)


def test_where_both_fail_and_nobody_is_left_the_client_is_told(broker: Broker, sims: Simulators) -> None:
    for name in ("a", "b"):
        sims[name].script(faults=[{"delay_headers_ms": 400, "status": 429}])
    (got,) = make(broker.url, [Ask("once")])
    assert got.status == 429 and got.attempts == 2, str(got)
    assert sum(len(sims[name].settled_calls()) for name in NAMES) == 2


def test_who_fails_at_once_is_followed_by_the_other(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"status": 500}])
    (got,) = make(broker.url, [Ask("late", stream=True)])
    assert got.is_whole and (got.member, got.attempts) == ("b/m", 2)
    assert record_of(broker, got)["hedged"] is False


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_a_pool_says_of_a_cause_is_done_at_once(broker: Broker, sims: Simulators, stream: bool) -> None:
    for name in ("a", "b"):
        sims[name].script(faults=[{"status": 529}])
    got = make(broker.url, asks(4, "sends-on", stream=stream), parallel=1)
    assert {(g.member, g.attempts, g.is_whole) for g in got} == {("c/m", 2, True)}, [str(g) for g in got]


def test_a_failover_costs_nothing_of_the_share(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"status": 500}])
    failed = make(broker.url, asks(8, "rare", stream=True), parallel=1)
    assert {(g.member, g.attempts) for g in failed} == {("b/m", 2)}
    assert not any(record_of(broker, g)["hedged"] for g in failed)
    slow(sims, "a")
    got = make(broker.url, asks(3, "rare", stream=True), parallel=1)
    assert [g.attempts for g in got] == [2, 2, 2]


def test_what_is_wrong_with_the_request_is_the_clients_at_once(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"status": 400}])
    (got,) = make(broker.url, [Ask("late")])
    assert (got.status, got.attempts) == (400, 1)
    assert sims["b"].calls() == []


def test_whole_replies_are_hedged_only_where_the_pool_says_when(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"delay_headers_ms": 1500}])
    whole, stream = make(broker.url, [Ask("streams"), Ask("streams", stream=True)], parallel=1)
    assert (whole.member, whole.attempts) == ("a/m", 1)
    assert (stream.member, stream.attempts) == ("b/m", 2)


def test_no_more_than_the_share_is_hedged(broker: Broker, sims: Simulators) -> None:
    make(broker.url, asks(100, "seldom", stream=True), parallel=10)
    sims.reset()
    sims["a"].script(faults=[{"delay_headers_ms": 1500}])
    got = make(broker.url, asks(100, "seldom", stream=True), parallel=100)
    assert {g.status for g in got} == {200}
    second = sum(g.member == "b/m" for g in got)
    assert 10 <= second <= 3 + 200 * 0.10
    assert len(sims["b"].settled_calls()) == second
    metric = broker.metrics("modelbroker_hedged_calls_total")
    assert any("seldom" in labels and "second" in labels for labels in metric), metric


def ejected(broker: Broker, pool: str) -> set[str]:
    """Members that Envoy has taken out of the pool, by its own word."""
    with urllib.request.urlopen(f"{broker.admin_url}/status?envoy", timeout=15) as reply:
        pools = json.load(reply)["pools"]
    members = next(one for one in pools if one["name"] == pool)["members"]
    assert all(one["envoy"] is not None for one in members)
    return {one["id"] for one in members if one["envoy"]["ejected"]}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_who_is_slow_is_not_ejected(broker: Broker, sims: Simulators, stream: bool) -> None:
    """Neither who answers late nor who was cancelled, however often: Envoy calls both a timeout."""
    for turn in range(2):
        slow(sims, "ab"[turn])
        sims["ba"[turn]].script(faults=[{"delay_headers_ms": 300}])
        got = make(broker.url, asks(6, "all-slow", stream=stream), parallel=2)
        assert {(g.is_whole, g.member) for g in got} == {(True, f"{'ba'[turn]}/m")}
        assert any(g.attempts == 2 for g in got)
    assert ejected(broker, "all-slow") == set()


def test_who_fails_beside_another_is_ejected(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"delay_headers_ms": 400, "status": 500}])
    sims["b"].script(faults=[{"delay_headers_ms": 900}])

    def call_and_look() -> set[str]:
        got = make(broker.url, asks(2, "one-fails", stream=True), parallel=1)
        assert {(g.is_whole, g.member) for g in got} == {(True, "b/m")}
        return ejected(broker, "one-fails")

    assert wait_until(call_and_look) == {"a/m"}


def test_a_client_that_leaves_takes_both_with_it(broker: Broker, sims: Simulators) -> None:
    for name in ("a", "b"):
        slow(sims, name)

    async def leave() -> None:
        async with client(broker.url) as http:
            asked = asyncio.ensure_future(call(http, Ask("pair", stream=True)))
            while not sims["b"].calls():  # noqa: ASYNC110 - another thread's doing
                await asyncio.sleep(0.01)
            asked.cancel()

    asyncio.run(leave())

    def left() -> list[dict[str, Any]]:
        return [line for line in lines_of(broker) if line["code"] == "client_gone"]

    (told,) = wait_until(left)
    assert (told["attempts_made"], len(told["attempts"]), told["hedged"]) == (2, 2, True)


def test_a_large_body_reaches_both(broker: Broker, sims: Simulators) -> None:
    slow(sims, "a")
    (got,) = make(broker.url, [Ask("pair", more={"user": "x" * 20_000_000})])
    assert (got.status, got.member) == (200, "b/m"), str(got)[:500]


def test_a_client_can_not_ask_for_it(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"delay_headers_ms": 700}])
    headers = {"x-broker-hedge": "2", "x-broker-class": "any", "broker-attempts": "30"}
    (got,) = make(broker.url, [Ask("never", stream=True, headers=headers)])
    assert (got.member, got.attempts) == ("a/m", 1)
