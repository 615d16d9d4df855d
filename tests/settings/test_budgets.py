"""What `budgets`, `rate_limits` and `redis` say → what the Catalog holds."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from modelbroker.core.budgets import Budget, Fleet, Step, Window
from modelbroker.core.catalog import Condition, Op, SecretRef
from modelbroker.dialects import BUILT, KNOWN
from modelbroker.settings import amounts, compile_texts
from support.catalogs import catalog

POOLS = [{"name": name, "members": [{"provider": "a", "model": "m"}]} for name in ("p", "q")]


def budgets(**sections: Any) -> tuple[Budget, ...]:
    return catalog(pools=POOLS, **sections).budgets


def budget(**fields: Any) -> Budget:
    (one,) = budgets(budgets=[{"name": "b", "amount": "$1", "per": "day", **fields}])
    return one


@pytest.mark.parametrize(
    ("written", "limit", "unit"),
    [
        ("$50", 50_000_000_000, "nano_dollars"),
        ("$0.000000001", 1, "nano_dollars"),
        ("$ 12.5", 12_500_000_000, "nano_dollars"),
        ("2M tokens", 2_000_000, "tokens"),
        ("1.5k tokens", 1_500, "tokens"),
        ("1000 calls", 1_000, "calls"),
    ],
)
def test_amounts(written: str, limit: int, unit: str) -> None:
    one = budget(amount=written)
    assert (one.limit, one.unit) == (limit, unit)


@pytest.mark.parametrize(
    ("written", "window"),
    [
        ({"per": "day"}, Window("day")),
        ({"per": "month", "time_zone": "Europe/Berlin"}, Window("month", "Europe/Berlin")),
        ({"per": "rolling 24h"}, Window(length_ms=86_400_000)),
        ({"per": "rolling 30d"}, Window(length_ms=30 * 86_400_000)),
    ],
)
def test_windows(written: dict[str, Any], window: Window) -> None:
    assert budget(**written).window == window


def test_steps_in_rising_order() -> None:
    assert budget().steps == (Step(1_000_000, "deny"),)
    steps = [{"120%": "deny"}, {"90%": {"degrade": "q"}}, {"12.5%": "warn"}, {"90%": "warn"}]
    assert budget(at=steps).steps == (
        Step(125_000, "warn"),
        Step(900_000, "warn"),
        Step(900_000, "degrade", "q"),
        Step(1_200_000, "deny"),
    )


@pytest.mark.parametrize(
    ("said", "warned"),
    [
        (
            {"at": [{"100%": "deny"}, {"120%": "warn"}]},
            "budgets[0].at[1]: calls are denied from 100% on, so that it hardly ever comes to this warning; "
            "let deny come behind warn",
        ),
        (
            {"match": {"pool": "q"}, "at": [{"90%": {"degrade": "q"}}, {"100%": "deny"}]},
            "budgets[0].at[0]: the budget is of calls that are in q already, so none goes there; "
            "name another pool, or leave it out",
        ),
        ({"match": {"pool": ["p", "q"]}, "at": [{"90%": {"degrade": "q"}}]}, ""),
        ({"match": {"pool": "!p"}, "at": [{"90%": {"degrade": "q"}}]}, ""),
        ({"at": [{"90%": "warn"}, {"90%": {"degrade": "q"}}, {"100%": "deny"}]}, ""),
    ],
)
def test_what_hardly_ever_acts_is_warned_of(said: dict[str, Any], warned: str) -> None:
    text = yaml.safe_dump({"pools": POOLS, "budgets": [{"name": "b", "amount": "$1", "per": "day", **said}]})
    text += "providers: [{name: a, dialect: openai-chat, base_url: http://127.0.0.1:1, auth: none}]\n"
    found = compile_texts({"a.yaml": text}, dialects=KNOWN, built=BUILT).warnings
    assert [f"{one.field}: {one.wrong}; {one.right}" for one in found] == ([warned] if warned else [])


def test_whose_they_are() -> None:
    one = budget(by=["provider", "team"], match={"team": "r*", "pool": ["p", "q"]})
    assert one.by == ("team", "provider")
    assert one.conditions == (
        Condition("pool", Op.IN, ("p", "q")),
        Condition("team", Op.GLOB, ("r*",)),
    )
    assert budget(by="team").by == ("team",)


def test_a_rate_limit_is_a_budget_for_each_thing_that_it_limits() -> None:
    limit = {"name": "r", "by": "caller", "calls": "60/m", "tokens": "1.5M/24h", "concurrency": 5}
    found = {one.unit: (one.limit, one.window, one.by, one.kind) for one in budgets(rate_limits=[limit])}
    assert found == {
        "calls": (60, Window(length_ms=60_000), ("caller",), "rate_limit"),
        "tokens": (1_500_000, Window(length_ms=86_400_000), ("caller",), "rate_limit"),
        "concurrency": (5, Window(), ("caller",), "rate_limit"),
    }


def test_who_borrows_stands_before_its_lender() -> None:
    chain = [
        {"name": name, "amount": "$1", "per": "day", **({"borrows_from": lender} if lender else {})}
        for name, lender in (("a", ""), ("b", "a"), ("c", "b"), ("z", "a"))
    ]
    assert [one.name for one in budgets(budgets=chain)] == ["c", "b", "z", "a"]


def test_a_fleet() -> None:
    limits = [{"name": "r", "calls": "1/s"}]
    url = "rediss://redis.internal:6380/1"
    redis = {
        "url": url,
        "credential": {"env": "PASSWORD"},
        "timeout": "50ms",
        "share": "25%",
        "beyond": "allow",
    }
    got = catalog(pools=POOLS, rate_limits=limits, redis=redis)
    assert got.fleet == Fleet(url, SecretRef("env", "PASSWORD"), "modelbroker", 50, 250_000, True)
    assert catalog(pools=POOLS, rate_limits=limits).revision != got.revision


def test_without_budgets_the_revision_is_what_it_was() -> None:
    assert catalog(pools=POOLS).revision == catalog(pools=POOLS, budgets=[]).revision


@pytest.mark.parametrize(
    ("window", "written", "rate"),
    [
        (Window(length_ms=60_000), "rolling 1m", "/m"),
        (Window(length_ms=86_400_000), "rolling 24h", "/d"),
        (Window(length_ms=90_000), "rolling 90s", "/90s"),
        (Window(length_ms=7_200_000), "rolling 2h", "/2h"),
        (Window(length_ms=30 * 86_400_000), "rolling 30d", "/30d"),
    ],
)
def test_a_window_is_written_as_in_yaml(window: Window, written: str, rate: str) -> None:
    assert (window.written, window.written_rate) == (written, rate)
    assert amounts.window(written) == window
    assert amounts.rate(f"5{rate}") == (5, window)


def test_a_window_of_the_calendar_is_written_as_in_yaml() -> None:
    assert Window("day", "Europe/Berlin").written == "day"
