"""Calls that share nothing are replayed apart, and it comes to the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.catalog import Hedge
from modelbroker.core.record import Record
from modelbroker.simulation.buckets import BUCKETS, buckets_of
from support.worlds import loaded

from .test_predicted import lines_of, simulated, world


def apart(config: dict[str, Any]) -> bool:
    """Nothing that couples all calls: replies for all, a budget of all."""
    config["pools"][3]["cache"]["scope"] = "team"
    config["rate_limits"][0]["by"] = "caller"
    for budget in config.get("budgets", ()):
        budget["by"] = "team"
    return True


@settings(max_examples=10, deadline=None)
@given(st.integers(400, 460))
def test_buckets_are_apart(seed: int) -> None:
    where, old, new, calls = world(seed)
    assert apart(old) and apart(new)
    records = where.run(old, calls[:150], luck=1)
    buckets = buckets_of([loaded(config).catalog for config in (new, old)])
    assert buckets is not None and set(buckets.values()) == {0, 1}  # two teams of two
    whole = simulated(new, records)
    found = {}
    by_time = {record.started_s: record for record in records}
    ordered = [by_time[call.started_s] for call in lines_of(records)]
    for number in set(buckets.values()):
        mine: list[Record] = [record for record in ordered if buckets[record.caller] == number]
        # Members are learned from all calls; here outcomes alone are compared.
        found.update(simulated(new, mine).outcomes)
    assert found == whole.outcomes


def catalog(**more: Any) -> Any:
    _, old, _, _ = world(1)
    apart(old)
    old["pools"][3]["cache"] = more.get("cache", {"scope": "caller"})
    old["budgets"] = more.get("budgets", [])
    return loaded(old).catalog


BUDGET = {"name": "b", "amount": "$5", "per": "day"}


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ({}, 4),
        ({"cache": {"scope": "team"}}, 2),
        ({"cache": {"scope": "all"}}, 1),
        ({"cache": {"scope": "customer"}}, 1),
        ({"budgets": [{**BUDGET, "by": "team"}]}, 2),
        ({"budgets": [{**BUDGET, "by": ["team", "caller"]}]}, 4),
        ({"budgets": [{**BUDGET, "by": "customer"}]}, 1),
        ({"budgets": [BUDGET]}, 1),
    ],
)
def test_what_couples_callers(more: dict[str, Any], count: int) -> None:
    found = buckets_of([catalog(), catalog(**more)])
    assert (1 if found is None else len(set(found.values()))) == count
    assert found is None or max(found.values()) < BUCKETS


def test_hedges_and_tokens_couple_all() -> None:
    plain = catalog()
    pools = {name: replace(pool, hedge=Hedge(1_000)) for name, pool in plain.pools.items()}
    callers = (replace(plain.callers[0], spiffe=("spiffe://x/*",)), *plain.callers[1:])
    assert buckets_of([plain]) is not None
    assert buckets_of([replace(plain, pools=pools)]) is None
    assert buckets_of([plain, replace(plain, callers=callers)]) is None


def test_a_budget_that_lends_couples_as_itself() -> None:
    lends = [{**BUDGET, "name": "all"}, {**BUDGET, "by": "caller", "borrows_from": "all"}]
    assert buckets_of([catalog(budgets=lends)]) is None
