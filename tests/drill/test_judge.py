"""Outcomes held against the promises: each of them is broken by one thing, and kept without it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.catalog import Catalog
from modelbroker.drill.calls import Call, Kept
from modelbroker.drill.faults import NAMED
from modelbroker.drill.judge import Evidence, Outcome, average_of, judge, judge_calm, percentile
from modelbroker.drill.report import Result, as_json, as_markdown, as_table, together
from modelbroker.drill.scenarios import Scenario, Target, plan_pools
from modelbroker.drill.wire import Seen
from support.catalogs import catalog


def config(**fields: Any) -> Catalog:
    members = [{"provider": name, "model": "x"} for name in "abc"]
    return catalog(pools=[{"name": "tier", "members": members, **fields}])


def scenario(fault: str = "status-500", members: str = "a", **fields: Any) -> Scenario:
    plans, _ = plan_pools(config(**fields))
    ids = frozenset(f"{name}/x" for name in members)
    return Scenario(plans[0], NAMED[fault], Target("one", ids, frozenset(members)))


def call(case: Scenario, number: int = 1, stream: bool = False, **fields: Any) -> Call:
    ask = next(ask for ask in case.plan.asks if ask.stream is stream)
    good = Call(number, "tier", ask, "during", 10.0, 10.02, Seen("good"), 200, "b/x", 1, f"id-{number}")
    return replace(good, **fields)


def failed(case: Scenario, number: int = 1, stream: bool = False, **seen: Any) -> Call:
    return call(case, number, stream, status=503, seen=Seen("error", "upstream_reset", **seen), shown="{}")


def evidence(*calls: Call, arrived: dict[int, int] | None = None, **kept: Any) -> Evidence:
    """True to the calls, but for what is given."""
    records = {
        one.number: [
            replace(Kept(one.request_id, one.status, one.attempts, one.attempts, one.member, ""), **kept)
        ]
        for one in calls
    }
    return Evidence(records, {one.number: one.attempts for one in calls} | (arrived or {}))


def broken(outcome: Outcome, proof: Evidence) -> set[int]:
    verdict = judge(outcome, [10.0], proof)
    assert verdict.row.broken == tuple(sorted({each.promise for each in verdict.broken}))
    return set(verdict.row.broken)


def test_a_good_call_keeps_every_promise() -> None:
    case = scenario()
    good = call(case)
    verdict = judge(Outcome(case, [good], [], {"a/x": 1.0, "b/x": 0.5}, 5.0), [10.0], evidence(good))
    assert verdict.broken == ()
    row = verdict.row
    assert (row.calls, row.errors, row.unforeseen, row.attempts_most, row.recovered_s) == (1, 0, 0, 1, 1.0)
    assert row.added_p50_ms == pytest.approx(10)


def test_1_an_error_with_a_healthy_member_left() -> None:
    case = scenario()
    bad = failed(case)
    assert broken(Outcome(case, [bad]), evidence(bad)) == {1}
    verdict = judge(Outcome(case, [bad]), [10.0], evidence(bad))
    assert "request id-1" in verdict.broken[0].example
    assert "status-500 at a/x" in str(verdict.broken[0])


def test_1_an_error_behind_the_end_of_a_fault_has_no_excuse() -> None:
    case = scenario(members="abc")
    bad = failed(case)
    assert broken(Outcome(case, [bad]), evidence(bad)) == set()
    assert broken(Outcome(case, [], [bad]), evidence(bad)) == {1}


def test_1_and_without_any_fault_neither() -> None:
    bad = failed(scenario())
    assert [one.promise for one in judge_calm("tier", [bad], evidence(bad))] == [1]
    good = call(scenario())
    assert judge_calm("tier", [good], evidence(good)) == []


def test_1_does_not_hold_where_the_configuration_gives_it_away_and_that_is_said() -> None:
    case = scenario(members="ab", failover=1)
    bad = failed(case)
    verdict = judge(Outcome(case, [bad]), [10.0], evidence(bad))
    assert verdict.broken == ()
    assert "`failover: up to 1`, and 2 members failed together" in verdict.findings[0]
    case = scenario("status-429", **{"on": {"rate-limit": "client"}})
    bad = failed(case)
    verdict = judge(Outcome(case, [bad]), [10.0], evidence(bad))
    assert verdict.broken == ()
    assert "gives rate-limit to the client" in verdict.findings[0]


def test_2_one_attempt_too_many() -> None:
    case = scenario(failover=1)
    tried = call(case, attempts=3)
    assert broken(Outcome(case, [tried]), evidence(tried)) == {2}
    assert broken(Outcome(case, [call(case, attempts=2)]), evidence(call(case, attempts=2))) == set()


def test_2_one_that_only_the_provider_has_seen() -> None:
    case = scenario(failover=1)
    tried = call(case, attempts=2)
    assert broken(Outcome(case, [tried]), evidence(tried, arrived={1: 3})) == {2, 4}


def calls_with(case: Scenario, twice: int, of: int) -> list[Call]:
    return [call(case, number, attempts=2 if number < twice else 1) for number in range(of)]


def test_2_too_many_on_average_where_a_healthy_member_is_left() -> None:
    case, gone = scenario(), scenario(members="abc")
    over, under = calls_with(case, 21, 100), calls_with(case, 20, 100)
    assert broken(Outcome(case, over), evidence(*over)) == {2}
    assert broken(Outcome(case, under), evidence(*under)) == set()
    assert broken(Outcome(gone, over), evidence(*over)) == set()
    assert average_of([Outcome(case, over)], evidence(*over))[1][0].promise == 2
    assert average_of([Outcome(case, under)], evidence(*under)) == (1.2, [])


def test_2_the_average_of_a_pool_that_ejects_nobody_is_a_finding() -> None:
    case = scenario(ejection="off")
    over = calls_with(case, 50, 100)
    verdict = judge(Outcome(case, over), [10.0], evidence(*over))
    assert verdict.broken == ()
    assert "`ejection: off`" in verdict.findings[0]


def test_3_an_error_without_its_shape_or_any_code() -> None:
    case = scenario(members="abc")
    bad = failed(case, flaw="the error has no `message`")
    assert broken(Outcome(case, [bad]), evidence(bad)) == {3}
    bare = replace(failed(case), seen=Seen("error", lacks_code=True))
    assert broken(Outcome(case, [bare]), evidence(bare)) == {3}
    assert broken(Outcome(case, [bare]), evidence(bare, code="upstream_error")) == set()


def test_3_a_broken_stream_that_looks_complete() -> None:
    case = scenario("mid-stream-end")
    cut = call(case, stream=True, seen=Seen("truncated"))
    lie = call(case, stream=True, seen=Seen("truncated", flaw="it looks complete"))
    assert broken(Outcome(case, [cut]), evidence(cut)) == set()
    assert broken(Outcome(case, [lie]), evidence(lie)) == {3}


@pytest.mark.parametrize(
    "kept",
    [
        {"request_id": "another"},
        {"status": 503},
        {"attempts_made": 2, "attempts_listed": 2},
        {"attempts_listed": 0},
    ],
)
def test_4_a_record_that_is_not_true(kept: dict[str, Any]) -> None:
    case = scenario()
    good = call(case)
    assert broken(Outcome(case, [good]), evidence(good, **kept)) == {4}


def test_4_no_record_two_records_and_attempts_that_nobody_got() -> None:
    case = scenario()
    good = call(case)
    proof = evidence(good)
    assert broken(Outcome(case, [good]), Evidence({}, proof.arrivals)) == {4}
    assert broken(Outcome(case, [good]), Evidence({1: [*proof.kept[1]] * 2}, proof.arrivals)) == {4}
    assert broken(Outcome(case, [good]), Evidence(proof.kept, {})) == {4}
    refused = scenario("refused")
    assert broken(Outcome(refused, [good]), Evidence(proof.kept, {})) == set()


def test_5_a_member_that_does_not_come_back() -> None:
    case = scenario()
    verdict = judge(Outcome(case, [], [], {"a/x": None, "b/x": 0.1}, 5.0), [10.0], Evidence({}, {}))
    assert verdict.row.broken == (5,)
    assert verdict.row.recovered_s is None
    assert "a/x: no traffic in 5.0 s" in verdict.broken[0].example


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(1, 100))
def test_a_percentile_is_one_of_the_values_and_they_do_not_fall(values: list[float], percent: float) -> None:
    assert percentile(values, percent) in values
    assert percentile(values, 1) <= percentile(values, percent) <= percentile(values, 100) == max(values)


def test_the_report_says_what_was_broken_and_its_table_adds_up() -> None:
    case = scenario()
    bad, good = failed(case), call(case, 2)
    one = judge(Outcome(case, [bad, good]), [10.0], evidence(bad, good))
    other = judge(
        Outcome(replace(case, target=Target("one", frozenset({"b/x"}), frozenset("b"))), [good]),
        [10.0],
        evidence(good),
    )
    rows = [one.row, other.row]
    (row,) = together(rows)
    assert (row.calls, row.errors, row.unforeseen, row.struck) == (3, 1, 1, ("a/x", "b/x"))
    result = Result(rows, one.broken, ["a finding"], ["a note"], 3, 1.0, 100.0, 10.0, 10.0, 1.0)
    for text in (as_table(result), as_markdown(result)):
        assert "one of a/x, b/x" in text
        assert "BROKEN 1" in text
        assert "promise 1 is broken" in text
        assert "finding: a finding" in text
    assert '"passed": false' in as_json(result)
    assert "All promises were kept" in as_table(replace(result, broken=[]))
