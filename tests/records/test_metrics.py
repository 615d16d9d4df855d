"""Records are counted by what they are, and whatever clients say makes no more series than there may be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.labels import CALLER_LABELS
from modelbroker.core.prices import Cost
from modelbroker.core.record import Attempt, Record
from modelbroker.core.usage import Usage
from modelbroker.metrics import GONE_S, OTHER
from modelbroker.metrics import series as module
from modelbroker.records import metrics
from modelbroker.records.metrics import CallCounts
from support.catalogs import catalog

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    """Metrics are the process's: whatever a test counts must not fill them up for the next."""
    yield
    for family in module._FAMILIES.values():
        family.clear()


def fresh() -> str:
    """A pool that no other test has counted in."""
    return f"pool-{next(_numbers)}"


def counts(pool: str, **sections: Any) -> CallCounts:
    made = CallCounts()
    members = [{"provider": "b", "model": "m"}, {"provider": "a", "model": "n"}]
    made.configured(catalog(pools=[{"name": pool, "aliases": ["alias"], "members": members}], **sections))
    return made


def test_who_counts_without_a_configuration_has_no_labels_of_one_before() -> None:
    counts(pool := fresh(), metrics={"labels": ["team"]}).count(record(pool))
    CallCounts().count(record(fresh()))


def record(pool: str, **fields: Any) -> Record:
    said = {
        "request_id": "x",
        "started_s": 0.0,
        "duration_ms": 3_000.0,
        "first_byte_ms": 1_000.0,
        "status": 200,
        "method": "POST",
        "path": "/v1/chat/completions",
        "dialect": "openai-chat",
        "model": pool,
        "pool": pool,
        "member": "b/m",
        "outcome": "ok",
        "added_ms": 2.0,
    }
    return Record(**(said | fields))


def attempt(member: str = "b/m", **fields: Any) -> Attempt:
    usage = Usage(input=100, cache_read=50, output=21)
    return Attempt(**({"member": member, "status": 200, "duration_ms": 900.0, "usage": usage} | fields))


def lines(family: Any, pool: str) -> list[str]:
    text = family.text().splitlines()
    return [line for line in text if f'pool="{pool}"' in line and "_bucket" not in line]


def test_a_stream_that_went_well() -> None:
    pool = fresh()
    answer = attempt(first_event_ms=500.0, cost=Cost(70, {"input": 30, "output": 40}))
    counts(pool).count(record(pool, stream=True, usage=answer.usage, attempts=(answer,)))
    named = f'gen_ai_operation_name="chat",gen_ai_provider_name="b",gen_ai_request_model="{pool}"'
    of_call = f'{{{named},gen_ai_response_model="m",pool="{pool}"}}'
    assert lines(metrics.SERVER_SECONDS, pool) == [
        f"gen_ai_server_request_duration_seconds_count{of_call} 1",
        f"gen_ai_server_request_duration_seconds_sum{of_call} 3.0",
    ]
    assert lines(metrics.SERVER_FIRST_SECONDS, pool)[1].endswith(" 1.0")
    assert lines(metrics.SERVER_TOKEN_SECONDS, pool)[1].endswith(" 0.1")  # 2 s for the 20 behind the first
    of_try = named.replace(f'"{pool}"', '"m"') + f',member="b/m",pool="{pool}"'
    assert lines(metrics.CLIENT_SECONDS, pool)[1] == (
        f"gen_ai_client_operation_duration_seconds_sum{{{of_try}}} 0.9"
    )
    assert lines(metrics.CLIENT_FIRST_SECONDS, pool)[1].endswith(" 0.5")
    assert [line.rpartition(" ")[2] for line in lines(metrics.CLIENT_TOKENS, pool)] == [
        *("1", "150.0"),  # all that it read
        *("1", "21.0"),
    ]
    assert [line.rpartition(" ")[2] for line in lines(metrics.TOKENS, pool)] == [
        *("100", "50", "0", "0", "21"),
    ]
    assert lines(metrics.COST, pool) == [
        f'modelbroker_cost_nano_dollars_total{{member="b/m",pool="{pool}"}} 70'
    ]
    assert lines(metrics.ADDED_SECONDS, pool)[1].endswith(" 0.002")
    assert lines(metrics.ERRORS, pool) == lines(metrics.QUEUE_SECONDS, pool) == []


def test_what_went_wrong_is_told_by_whose_doing_it_was() -> None:
    pool = fresh()
    made = counts(pool)
    failed = attempt(status=503, cause="overloaded", code="upstream_overloaded", usage=None)
    made.count(
        record(
            pool,
            status=503,
            outcome="error",
            error_source="provider",
            code="upstream_overloaded",
            queue_ms=40.0,
            attempts=(failed, attempt("a/n", code="cancelled", usage=None)),
        )
    )
    denied = {"outcome": "refused", "error_source": "policy", "status": 429, "member": ""}
    made.count(record(pool, **denied, code="budget_exceeded", budget=f"b-{pool}"))
    made.count(record(pool, **denied, code="denied_by_rule", rule=f"r-{pool}"))
    assert [line.partition("{")[2] for line in lines(metrics.ERRORS, pool)] == [
        f'code="upstream_overloaded",error_source="provider",pool="{pool}"}} 1',
        f'code="budget_exceeded",error_source="policy",pool="{pool}"}} 1',
        f'code="denied_by_rule",error_source="policy",pool="{pool}"}} 1',
    ]
    text = metrics.DENIALS.text()
    assert f'{{reason="budget_exceeded",scope="b-{pool}"}} 1' in text
    assert f'{{reason="denied_by_rule",scope="r-{pool}"}} 1' in text
    assert lines(metrics.QUEUE_SECONDS, pool)[1].endswith(" 0.04")
    errors = [line for line in lines(metrics.CLIENT_SECONDS, pool) if "_count" in line]
    assert ['error_type="overloaded"' in errors[0], 'error_type="cancelled"' in errors[1]] == [True, True]
    nobody = [line for line in lines(metrics.SERVER_SECONDS, pool) if "denied_by_rule" in line]
    assert 'gen_ai_provider_name="modelbroker"' in nobody[0]


def test_calls_of_the_brokers_own_are_no_clients() -> None:
    pool = fresh()
    counts(pool).count(record(pool, purpose="shadow", stream=True, attempts=(attempt(),)))
    assert lines(metrics.SERVER_SECONDS, pool) == lines(metrics.SERVER_FIRST_SECONDS, pool) == []
    assert 'purpose="shadow"' in lines(metrics.CALLS, pool)[0]
    assert all('purpose="shadow"' in line for line in lines(metrics.TOKENS, pool))


@given(asked=st.lists(st.text(max_size=300)))
def test_what_clients_ask_for_makes_no_series(asked: list[str]) -> None:
    pool = fresh()
    made = counts(pool)
    for model in (*asked, "m", "alias", pool):
        made.count(record("", model=model, status=404, outcome="refused", code="model_not_found"))
        made.count(record(pool, model=model))
    seen = {values[2] for values in metrics.SERVER_SECONDS.series() if pool in values}
    assert seen <= {"", "m", "n", "alias", pool, OTHER}


@given(
    said=st.lists(st.tuples(st.text(max_size=200), st.text(max_size=200)), max_size=30),
    most=st.integers(1, 4),
)
def test_labels_of_callers_are_bounded(said: list[tuple[str, str]], most: int) -> None:
    pool = fresh()
    made = counts(pool, metrics={"labels": ["feature", "team"], "most_values": most})
    for team, feature in said:
        made.count(record(pool, team=team, feature=feature, attempts=(attempt(cost=Cost(1, {"input": 1})),)))
    for family in (metrics.CALLS, metrics.COST):
        assert family.labels[-2:] == ("team", "feature")  # in one order, however they are written
        found = [values for values in family.series() if pool in values]
        assert len(found) <= (most + 2) ** 2
        assert sum(family.of(*values).value for values in found) == len(said)
    assert len([values for values in metrics.TOKENS.series() if pool in values]) <= 5 * (most + 2) ** 2


def test_by_default_there_are_none() -> None:
    pool = fresh()
    counts(pool, metrics={"labels": ["user"]}).count(record(pool, user="eve"))
    assert 'user="eve"' in lines(metrics.CALLS, pool)[0]
    made = counts(pool, metrics={"labels": ["user"]})
    made.configured(catalog(pools=[{"name": pool, "members": [{"provider": "b", "model": "m"}]}]))
    made.count(record(pool, user="eve", team="red"))
    assert lines(metrics.CALLS, pool) == [
        f'modelbroker_calls_total{{outcome="ok",pool="{pool}",status="200"}} 1'
    ]
    assert not set(metrics.CALLS.labels) & set(CALLER_LABELS)


def test_a_pool_that_is_gone_is_counted_on_until_it_is_forgotten() -> None:
    pool, other = fresh(), fresh()
    made = counts(pool)
    made.count(record(pool, attempts=(attempt(),)))
    made.configured(catalog(pools=[{"name": other, "members": [{"provider": "b", "model": "m"}]}]))
    made.sweep(1_000.0)
    made.count(record(pool))  # it was under way
    assert lines(metrics.CALLS, pool)[0].endswith(" 2")
    made.sweep(1_000.0 + GONE_S)
    assert lines(metrics.CALLS, pool) == lines(metrics.CLIENT_SECONDS, pool) == []
    made.count(record(pool))  # and once more: it is a series like any new one
    assert lines(metrics.CALLS, pool)[0].endswith(" 1")


@pytest.mark.parametrize("count", [1, 3])
def test_attempts_are_counted_as_they_end(count: int) -> None:
    member = f"b/{fresh()}"
    made = CallCounts()
    for _ in range(count):
        made.ended(attempt(member, usage_state="exact"))
    text = metrics.ATTEMPTS.text()
    assert f'modelbroker_attempts_total{{member="{member}",status="200"}} {count}' in text
