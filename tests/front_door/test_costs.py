"""What a call cost is in its record, to the nano-dollar, or what of it is not known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, Got, make
from support.records import record_of
from support.simulators import Simulators
from support.waiting import wait_until

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages")
USED = {"input": 1_000, "cache_read": 200, "cache_write": 50, "output": 100}
REPLY = {"text": "one two three four five six", "chunks": 6, "tokens": USED}
# $3, $0.30, $3.75 and $15 a million: 1,000 + 200 + 50 + 100 tokens.
COST = {"input": 3_000_000, "cache_read": 60_000, "cache_write_5m": 187_500, "output": 1_500_000}
TOTAL = 4_747_500
RATES = {"input": 3, "cache_read": 0.3, "cache_write_5m": 3.75, "output": 15}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        yield simulators


def config(sims: Simulators, discount: str = "50%") -> dict[str, Any]:
    providers = [
        provider(f"{name}-{dialect}", sims[name].port, dialect, BASES[dialect])
        for name in ("a", "b")
        for dialect in DIALECTS
    ]
    pools = [
        {
            "name": f"{pool}.{dialect}",
            "ejection": "off",
            "members": [
                {"provider": f"{name}-{dialect}", "model": model, "priority": number}
                for number, (name, model) in enumerate(members)
            ],
        }
        for dialect in DIALECTS
        for pool, members in {
            "one": [("a", "m")],
            "two": [("a", "m"), ("b", "m")],
            "without": [("a", "nobody-knows-it")],
            "half": [("a", "input-alone")],
        }.items()
    ]
    prices = [
        *({"provider": f"a-{dialect}", "model": "m", **RATES} for dialect in DIALECTS),
        *({"provider": f"a-{dialect}", "model": "input-alone", "input": 3} for dialect in DIALECTS),
        *({"provider": f"b-{dialect}", "model": "*", **RATES} for dialect in DIALECTS),
        *({"provider": f"b-{dialect}", "model": "m", "discount": discount} for dialect in DIALECTS),
    ]
    return {
        "providers": providers,
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": pools,
        "prices": prices,
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims)) as running:
        yield running


@pytest.fixture(autouse=True)
def _well_behaved(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    for sim in sims:
        sim.script(replies=[REPLY])
    broker.forget()


def costs(broker: Broker, got: Got) -> tuple[Any, list[Any]]:
    record = record_of(broker, got)
    assert len(record["price_revision"]) == 12
    return record["cost"], [attempt["cost"] for attempt in record["attempts"]]


def known(total: int, buckets: dict[str, int]) -> dict[str, Any]:
    return {"total": total, "buckets": buckets, "unknown": []}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("member", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
def test_to_the_nano_dollar(broker: Broker, client: str, member: str, stream: bool) -> None:
    """The same whoever asks, whether it passes or is translated."""
    (got,) = make(broker.url, [Ask(f"one.{member}", client, stream)])
    cost, (attempt,) = costs(broker, got)
    assert cost == attempt
    used = record_of(broker, got)["usage"]
    buckets = {
        name: used[name] * int(RATES[name] * 1000)
        for name in ("input", "cache_read", "cache_write_5m", "output")
        if used[name]
    }
    assert cost == known(sum(buckets.values()), buckets)
    if member == "anthropic-messages":
        assert cost == known(TOTAL, COST)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_failover_costs_what_both_cost(broker: Broker, sims: Simulators, stream: bool) -> None:
    """An error costs nothing; b has half the price of a."""
    sims["a"].script(faults=[{"status": 529}])
    (got,) = make(broker.url, [Ask("two.anthropic-messages", "anthropic-messages", stream)])
    cost, (failed, good) = costs(broker, got)
    half = {name: nano // 2 for name, nano in COST.items()}
    assert failed == known(0, {})
    assert good == cost == known(TOTAL // 2, half)


def test_what_broke_off_is_not_known(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(replies=[REPLY], faults=[{"cut": "end", "after_events": 5}])
    (got,) = make(broker.url, [Ask("one.anthropic-messages", "anthropic-messages", stream=True)])
    cost, _ = costs(broker, got)
    assert cost["total"] is None and "rest" in cost["unknown"]
    assert cost["buckets"]["input"] == COST["input"]  # its first event has told that


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_price_is_not_zero(broker: Broker, dialect: str) -> None:
    before = sum(broker.metrics("modelbroker_cost_unknown_attempts_total").values())
    (got,) = make(broker.url, [Ask(f"without.{dialect}", dialect)])
    assert costs(broker, got)[0] == {"total": None, "buckets": {}, "unknown": ["price"]}
    assert sum(broker.metrics("modelbroker_cost_unknown_attempts_total").values()) == before + 1
    (got,) = make(broker.url, [Ask(f"half.{dialect}", dialect)])
    cost, _ = costs(broker, got)
    assert cost["total"] is None and "output" in cost["unknown"] and cost["buckets"]["input"]


def test_an_edit_of_the_prices_is_in_effect_at_once(broker: Broker, sims: Simulators) -> None:
    ask = Ask("two.anthropic-messages", "anthropic-messages")
    sims["a"].script(faults=[{"status": 529}])
    (before,) = make(broker.url, [ask])
    assert costs(broker, before)[0]["total"] == TOTAL // 2
    broker.write(config(sims, discount="100%"))

    def cost_now() -> Any:
        (got,) = make(broker.url, [ask])
        return costs(broker, got)[0]

    assert wait_until(lambda: cost_now()["total"] == 0)
    assert costs(broker, before)[0]["total"] == TOTAL // 2  # what is written stays
    broker.write(config(sims))
    assert wait_until(lambda: cost_now()["total"] == TOTAL // 2)


def test_list_prices_come_with_the_broker(tmp_path: Path) -> None:
    """claude-sonnet-4-6: $3 and $15 a million."""
    pools = [{"name": "listed", "members": [{"provider": "anthropic", "model": "claude-sonnet-4-6"}]}]
    callers = [{"name": "tester", "key": {"sha256": KEY_SHA256}}]
    with Broker(tmp_path, {"pools": pools, "callers": callers}, arguments=("--mock-providers",)) as running:
        for got in make(running.url, [Ask("listed", stream=stream) for stream in (False, True)]):
            cost, used = costs(running, got)[0], record_of(running, got)["usage"]
            buckets = {"input": used["input"] * 3_000, "output": used["output"] * 15_000}
            assert cost == known(sum(buckets.values()), buckets) and cost["total"]
