"""`routing: cheapest` and rules by cost, with the real Envoy: who is asked, for which call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, make
from support.records import record_of
from support.simulators import Simulators
from support.splits import assert_split

NAMES = ("long", "short", "near", "unpriced")
# Dollars a million tokens: `long` is for long prompts, `short` and `near` for long answers.
PRICES = {"long": (1, 40), "short": (3, 10), "near": (3, 11)}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*NAMES) as simulators:
        yield simulators


def config(sims: Simulators, prices: dict[str, tuple[float, float]] = PRICES) -> dict[str, Any]:
    members = [
        {"provider": name, "model": "m", "weight": weight}
        for name, weight in zip(NAMES, (10, 70, 20, 900), strict=True)
    ]
    cheapest = {"members": members, "failover": "up to 3", "ejection": "off"}
    return {
        "providers": [provider(name, sims[name].port, "openai-chat", "/v1") for name in NAMES],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {"name": "cheapest", "routing": "cheapest", **cheapest},
            {"name": "tolerant", "routing": {"by": "cheapest", "tolerance": "15%"}, **cheapest},
            {"name": "ejecting", "routing": "cheapest", **cheapest, "ejection": {"base": "60s"}},
            {"name": "dear", "members": [{"provider": "short", "model": "m"}]},
        ],
        "rules": [
            {"name": "too-dear", "match": {"model": "dear", "cost.estimate": "> $0.5"}, "deny": "too dear"},
            {
                "name": "dear-enough",
                "match": {"model": "dear", "cost.estimate": "> $0.01"},
                "pool": "cheapest",
            },
        ],
        "prices": [
            {"provider": name, "model": "m", "input": way_in, "output": way_out}
            for name, (way_in, way_out) in prices.items()
        ],
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims)) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def by_provider(got: list[Got]) -> Counter[str]:
    assert [str(one) for one in got if not one.is_whole] == []
    return Counter(one.member.split("/")[0] for one in got)


def several(count: int, pool: str) -> list[Ask]:
    """With short prompts, and long answers."""
    return [Ask(pool, max_tokens=1_000) for _ in range(count)]


LONG_PROMPT = "word " * 5_000


def test_each_call_is_for_the_one_that_is_cheapest_for_it(broker: Broker, sims: Simulators) -> None:
    """Not one goes to the member with nine tenths of the weight, whose price nobody knows."""
    short = several(100, "cheapest")
    long = [Ask("cheapest", question=f"{n} {LONG_PROMPT}", max_tokens=10) for n in range(50)]
    assert by_provider(make(broker.url, short)) == {"short": 100}
    assert by_provider(make(broker.url, long)) == {"long": 50}
    assert {sim.name: len(sim.settled_calls()) for sim in sims} == {
        "long": 50,
        "short": 100,
        "near": 0,
        "unpriced": 0,
    }


def test_within_the_tolerance_weights_decide(broker: Broker) -> None:
    got = make(broker.url, several(600, "tolerant"))
    assert_split(600, by_provider(got), {"short": 70, "near": 20})
    assert {one.attempts for one in got} == {1}


def test_the_next_cheapest_is_next(broker: Broker, sims: Simulators) -> None:
    broken = {"faults": [{"status": 500}]}
    sims["short"].script(**broken)
    (got,) = make(broker.url, [Ask("cheapest", max_tokens=1_000)])
    assert (by_provider([got]), got.attempts) == ({"near": 1}, 2)
    sims["near"].script(**broken)
    sims["long"].script(**broken)
    (got,) = make(broker.url, [Ask("cheapest", max_tokens=1_000)])
    tried = [attempt["member"] for attempt in record_of(broker, got)["attempts"]]
    assert tried[-1] == "unpriced/m", "who has no price is last"
    assert set(tried[:-1]) == {"short/m", "near/m", "long/m"}


def test_who_is_out_is_not_asked(broker: Broker, sims: Simulators) -> None:
    sims["short"].script(faults=[{"status": 429, "retry_after_s": 60}])
    make(broker.url, [Ask("cheapest", max_tokens=1_000)])
    broker.wait_for(lambda status: "short/m" in str(status["members"]))
    sims["short"].script()
    got = make(broker.url, several(40, "cheapest"))
    assert by_provider(got) == {"near": 40}
    assert {one.attempts for one in got} == {1}


def test_who_fails_and_fails_is_left_out(broker: Broker, sims: Simulators) -> None:
    sims["short"].script(faults=[{"status": 500}])
    got = make(broker.url, several(60, "ejecting"), parallel=1)
    assert by_provider(got) == {"near": 60}
    assert len(sims["short"].settled_calls()) < 15, "it is known to fail"
    assert {one.attempts for one in got[-10:]} == {1}


def test_a_rule_by_cost(broker: Broker) -> None:
    """What would cost more than a cent goes to another pool, more than half a dollar nowhere."""
    asked = [Ask("dear", max_tokens=tokens) for tokens in (500, 2_000, 100_000)]
    few, more, most = make(broker.url, asked)
    assert record_of(broker, few)["rule"] == ""
    assert record_of(broker, more)["rule"] == "dear-enough"
    assert record_of(broker, more)["pool"] == "cheapest"
    assert (most.status, b"too dear" in most.body) == (403, True)


def test_an_edit_of_prices_takes_effect(broker: Broker, sims: Simulators) -> None:
    broker.edit(config(sims, {**PRICES, "near": (0.5, 1)}))
    assert by_provider(make(broker.url, several(20, "cheapest"))) == {"near": 20}
    broker.edit(config(sims))
    assert by_provider(make(broker.url, several(20, "cheapest"))) == {"short": 20}
