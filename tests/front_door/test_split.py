"""Weights: who gets how many of the first attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Got, asks, make
from support.simulators import Simulators
from support.splits import assert_split

WEIGHTS = {"a": 70, "b": 25, "c": 5}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b", "c", "claude") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    chat = [{"provider": name, "model": "m", "weight": weight} for name, weight in WEIGHTS.items()]
    claude = {"provider": "claude", "model": "m", "weight": 100}
    later = [{**chat[0], "weight": 0}, *chat[1:], {**claude, "priority": 1}]
    config = {
        "providers": [
            *(provider(name, sims[name].port, "openai-chat", "/v1") for name in WEIGHTS),
            provider("claude", sims["claude"].port, "anthropic-messages"),
        ],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "three", "failover": "none", "members": chat},
            {"name": "mixed", "failover": "none", "members": [claude, *chat]},
            {"name": "one-out", "failover": "none", "members": later},
            {"name": "equal", "failover": "none", "members": [{**m, "weight": 1} for m in chat]},
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def by_provider(got: list[Got]) -> Counter[str]:
    assert [str(g) for g in got if not g.is_whole] == []
    return Counter(g.member.split("/")[0] for g in got)


def received(sims: Simulators) -> dict[str, int]:
    """Calls that each provider has, by its own journal."""
    return {sim.name: len(sim.settled_calls()) for sim in sims}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_thousand_calls_split_by_weight(broker: Broker, sims: Simulators, stream: bool) -> None:
    got = make(broker.url, asks(1000, "three", stream=stream))
    counts = by_provider(got)
    assert_split(1000, counts, WEIGHTS)
    assert received(sims) == {**counts, "claude": 0}
    assert {g.attempts for g in got} == {1}


def test_one_call_after_the_other_splits_the_same(broker: Broker, sims: Simulators) -> None:
    counts = by_provider(make(broker.url, asks(200, "three"), parallel=1))
    assert_split(200, counts, WEIGHTS)


def test_weights_hold_among_the_eligible_members(broker: Broker, sims: Simulators) -> None:
    """Half of the pool's weight lies with a member of another dialect."""
    counts = by_provider(make(broker.url, asks(1000, "mixed")))
    assert_split(1000, counts, {**WEIGHTS, "claude": 100})
    assert received(sims) == counts


def test_calls_of_each_dialect_are_split_the_same(broker: Broker, sims: Simulators) -> None:
    got = make(broker.url, [*asks(300, "mixed", "anthropic-messages"), *asks(300, "mixed")])
    for calls in (got[:300], got[300:]):
        assert_split(300, by_provider(calls), {**WEIGHTS, "claude": 100})


def test_weight_zero_gets_nothing(broker: Broker, sims: Simulators) -> None:
    counts = by_provider(make(broker.url, asks(300, "one-out")))
    assert_split(300, counts, {"b": 25, "c": 5})
    assert received(sims)["a"] == 0


def test_equal_weights(broker: Broker, sims: Simulators) -> None:
    counts = by_provider(make(broker.url, asks(300, "equal")))
    assert_split(300, counts, dict.fromkeys(WEIGHTS, 1))
