"""Levels: the next one is asked when nothing of this one answers, and not before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, asks, make
from support.simulators import Simulators

FIRST = ("a", "b", "c")
EJECTIONS = {"kept": "off", "ejected": {"consecutive_errors": 3, "base": "2s", "max": "2s"}}
FAULTS: dict[str, dict[str, Any]] = {
    "status": {"status": 500},
    "limit": {"status": 429},
    "reset": {"reset": "before-headers"},
}


def member(name: str, priority: int = 0) -> dict[str, Any]:
    return {"provider": name, "model": f"{name}-model", "priority": priority}


def pools() -> Iterator[dict[str, Any]]:
    for size in (1, 2, 3):
        for ejection, configured in EJECTIONS.items():
            for fault in FAULTS:
                yield {
                    "name": f"{size}.{ejection}.{fault}",
                    "members": [*map(member, FIRST[:size]), member("next", 1)],
                    "ejection": configured,
                }
    # Gaps between priorities mean nothing; members that can't take a call are no level at all.
    yield {
        "name": "with-others",
        "members": [
            member("a", 0),
            {**member("claude", 2), "capabilities": {"images": False}},
            {**member("claude", 3), "model": "claude-second", "capabilities": {"images": False}},
            member("next", 7),
        ],
        "ejection": "off",
    }
    yield {
        "name": "claudes-first",
        "members": [member("claude"), {**member("claude", 1), "model": "claude-second"}, member("a", 2)],
        "ejection": "off",
    }
    yield {
        "name": "three-levels",
        "members": [member("a"), member("b", 1), member("next", 2)],
        "ejection": "off",
    }
    yield {
        "name": "one-more-try",
        "failover": 1,
        "members": [member("a"), member("next", 1)],
        "ejection": "off",
    }
    for failover in (1, 2):
        yield {
            "name": f"three-and-{failover}",
            "failover": failover,
            "members": [*map(member, FIRST), member("next", 1)],
            "ejection": "off",
        }
    yield {
        "name": "two-of-three-ejected",
        "members": [*map(member, FIRST), member("next", 1)],
        "ejection": EJECTIONS["ejected"],
    }
    for name in ("half-ejected", "half-ejected-again"):
        yield {
            "name": name,
            "failover": 1,
            "members": [member("a"), member("b"), member("next", 1)],
            "ejection": {"consecutive_errors": 3, "base": "60s", "max": "60s"},
        }


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*FIRST, "next", "claude") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    config = {
        "providers": [
            *(provider(name, sims[name].port, "openai-chat", "/v1") for name in (*FIRST, "next")),
            provider("claude", sims["claude"].port, "anthropic-messages"),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": list(pools()),
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def assert_answered(got: list[Got], *names: str) -> None:
    assert [str(g) for g in got if not g.is_whole] == []
    assert {g.member.partition("/")[0] for g in got} == set(names)


def wait_for_ejection(broker: Broker, pool: str) -> None:
    """Calls, answered all of them, until the members that fail are left alone."""
    deadline_s = time.monotonic() + 90
    while True:
        got = make(broker.url, asks(12, pool))
        assert [str(g) for g in got if not g.is_whole] == []
        if {g.attempts for g in got} == {1}:
            return
        assert time.monotonic() < deadline_s, "the failing members were not ejected"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ejection", EJECTIONS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_next_level_answers_when_all_of_the_first_fail(
    broker: Broker, sims: Simulators, size: int, ejection: str, fault: str
) -> None:
    for name in FIRST:
        sims[name].script(faults=[FAULTS[fault]])
    pool = f"{size}.{ejection}.{fault}"
    got = make(broker.url, [*asks(50, pool), *asks(50, pool, stream=True)])
    assert_answered(got, "next")
    assert max(g.attempts for g in got) <= 1 + size
    if ejection == "kept" and fault != "limit":  # who says itself for how long it is left alone
        # Who is known to fail is passed over, once there is somebody who is not: the rest of a level is not
        # gone through by every call.
        made = sum(len(sims[name].settled_calls()) for name in FIRST)
        assert made == sum(g.attempts - 1 for g in got) > 0


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_next_level_gets_nothing_while_the_first_is_well(
    broker: Broker, sims: Simulators, size: int
) -> None:
    got = make(broker.url, asks(300, f"{size}.kept.status"))
    assert_answered(got, *FIRST[:size])
    assert sims["next"].settled_calls() == []


def test_the_next_level_gets_nothing_while_one_of_the_first_lives(broker: Broker, sims: Simulators) -> None:
    """Two of three are ejected; the third carries the whole level."""
    for name in ("a", "b"):
        sims[name].script(faults=[FAULTS["status"]])
    pool = "two-of-three-ejected"
    wait_for_ejection(broker, pool)
    assert_answered(make(broker.url, asks(300, pool)), "c")
    assert sims["next"].settled_calls() == []


def test_members_in_between_that_cannot_take_the_call_are_passed_over(
    broker: Broker, sims: Simulators
) -> None:
    sims["a"].script(faults=[FAULTS["status"]])
    got = make(broker.url, [Ask("with-others", image=True) for _ in range(100)])
    assert_answered(got, "next")
    assert {g.attempts for g in got} == {2}
    assert sims["claude"].settled_calls() == []


@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic-messages"])
def test_levels_hold_whatever_dialect_their_members_speak(
    broker: Broker, sims: Simulators, dialect: str
) -> None:
    def members() -> set[str]:
        got = make(
            broker.url, [*asks(25, "claudes-first", dialect), *asks(25, "claudes-first", dialect, True)]
        )
        assert [str(g) for g in got if not g.is_whole] == []
        return {g.member for g in got}

    assert members() == {"claude/claude-model"}
    sims["claude"].script(faults=[{"status": 529, "match": {"model": "claude-model"}}])
    assert members() == {"claude/claude-second"}
    sims["claude"].script(faults=[{"status": 529}])
    assert members() == {"a/a-model"}


def test_level_after_level(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[FAULTS["status"]])
    assert_answered(make(broker.url, asks(100, "three-levels")), "b")
    sims["b"].script(faults=[FAULTS["reset"]])
    got = make(broker.url, asks(100, "three-levels"))
    assert_answered(got, "next")
    assert max(g.attempts for g in got) <= 3


def test_one_further_attempt_reaches_the_next_level(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[FAULTS["status"]])
    assert_answered(make(broker.url, asks(100, "one-more-try")), "next")


@pytest.mark.parametrize("failover", [1, 2])
def test_the_last_attempt_is_not_spent_on_the_first_level(
    broker: Broker, sims: Simulators, failover: int
) -> None:
    """All three of the first level fail, and there are fewer attempts than members."""
    for name in FIRST:
        sims[name].script(faults=[FAULTS["status"]])
    got = make(broker.url, asks(100, f"three-and-{failover}"))
    assert_answered(got, "next")
    assert 1 < max(g.attempts for g in got) <= 1 + failover


@pytest.mark.parametrize("parallel", [1, 50])
def test_one_further_attempt_is_not_spent_on_an_ejected_member(
    broker: Broker, sims: Simulators, parallel: int
) -> None:
    """Of two on the first level one is ejected already when the other begins to fail."""
    pool = "half-ejected" if parallel == 1 else "half-ejected-again"
    sims["a"].script(faults=[FAULTS["status"]])
    wait_for_ejection(broker, pool)
    sims["a"].forget()
    sims["b"].script(faults=[FAULTS["status"]])
    got = make(broker.url, asks(100, pool), parallel)
    assert_answered(got, "next")
    assert sims["a"].settled_calls() == []
