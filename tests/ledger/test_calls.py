"""Calls as people look at them: pages of them, one with all that is known, and those of the last minutes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.budgets import Charge
from modelbroker.core.record import Eligible, Record
from modelbroker.journal.reading import Position
from modelbroker.ledger.calls import Cursor, call_of, failures, lately, oldest_ms, page_of
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.questions import Question
from modelbroker.ledger.rows import rows_of
from support.ledgers import NOW_S, attempt, lost, record, trees

NewLedger = Callable[[], str]
ALL = Question()


def take(ledger: Ledger, records: list[Record]) -> None:
    ledger.take(rows_of(trees(records), "here"), "here", "here", Position(), 0)


def ids(calls: list[Any]) -> list[str]:
    return [call.fields["request_id"] for call in calls]


def turned(
    ledger: Ledger, question: Question, most: int, between: Callable[[], None] = lambda: None
) -> list[str]:
    """All pages, one behind the other; `between` is done before each turn."""
    found: list[str] = []
    before: Cursor | None = None
    while page := page_of(ledger, question, before, most):
        found += ids(page)
        before = page[-1].cursor
        between()
    return found


def test_pages_have_each_call_once_the_newest_first_while_new_ones_come(url: str) -> None:
    draw = random.Random(5)
    # Several in the same millisecond, so that a page may end among them.
    old = [record(number, NOW_S - draw.randrange(4)) for number in range(40)]
    newer = iter([record(1_000 + number, NOW_S + 1 + number) for number in range(100)])
    with Ledger(url) as ledger:
        take(ledger, old)
        found = turned(ledger, ALL, 7, lambda: take(ledger, [next(newer)]))
    assert sorted(found) == sorted(one.request_id for one in old)
    times = {one.request_id: one.started_s for one in old}
    assert [times[one] for one in found] == sorted(times.values(), reverse=True)


@settings(max_examples=30)
@given(
    times=st.lists(st.integers(0, 5), max_size=25),
    pools=st.data(),
    most=st.integers(1, 9),
)
def test_however_they_are_cut_pages_are_the_same_calls(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], pools: st.DataObject, most: int
) -> None:
    records = [
        record(number, NOW_S - at_s, pool=pools.draw(st.sampled_from(("a", "b"))))
        for number, at_s in enumerate(times)
    ]
    with Ledger(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db") as ledger:
        take(ledger, records)
        question = Question(where={"pool": ("a",)}, since_ms=int((NOW_S - 4) * 1000))
        whole = ids(page_of(ledger, question, None, 1_000))
        assert turned(ledger, question, most) == whole
    wanted = {one.request_id for one in records if one.pool == "a" and one.started_s >= NOW_S - 4}
    assert set(whole) == wanted and len(whole) == len(wanted)


def test_a_page_has_the_attempts_of_its_calls_and_a_member_s_calls_are_those_that_tried_it(url: str) -> None:
    failed = attempt("a/opus", status=529, code="upstream_overloaded", cause="overloaded")
    with Ledger(url) as ledger:
        take(
            ledger,
            [
                record(1, NOW_S, [failed, attempt("b/mini")], pool="tier"),
                record(2, NOW_S - 1, [attempt("b/mini")], pool="tier"),
                record(3, NOW_S - 2, [], outcome="refused", code="model_not_found", status=404),
            ],
        )
        first, second, third = page_of(ledger, ALL, None, 10)
        assert [(one["number"], one["member"], one["cause"]) for one in first.attempts] == [
            (1, "a/opus", "overloaded"),
            (2, "b/mini", ""),
        ]
        assert len(second.attempts) == 1 and third.attempts == ()
        tried = page_of(ledger, Question(where={"member": ("a/opus",)}), None, 10)
        assert ids(tried) == [first.fields["request_id"]]
        refused = page_of(ledger, Question(where={"code": ("model_not_found",)}), None, 10)
        assert ids(refused) == [third.fields["request_id"]]


def test_one_call_is_all_that_its_record_says(url: str) -> None:
    made = record(
        1,
        NOW_S,
        [attempt("a/opus", dropped=("top_k",)), attempt("b/mini", hedge=True)],
        pool="tier",
        rule="first",
        eligible=(Eligible("a/opus", 0.75), Eligible("b/mini", 0.25)),
        holds=("tools",),
        budgets=(Charge("month", "team=search", "nano_dollars", "month@UTC", 9, 5, NOW_S),),
        headers={"plan": "gold"},
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id="b7ad6b7169203331",
    )
    with Ledger(url) as ledger:
        take(ledger, [made])
        found = call_of(ledger, made.request_id)
        assert call_of(ledger, "no-such-call") is None
    assert found is not None
    (tree,) = trees([made])
    told = {name: value for name, value in tree.items() if name in found.fields and name != "usage"}
    for name in ("eligible", "holds", "budgets", "headers", "trace_id", "rule", "pool", "caller"):
        assert found.fields[name] == told[name], name
    assert found.fields["cost_total"] == made.cost.total if made.cost else False
    assert [one["dropped"] for one in found.attempts] == [["top_k"], []]
    assert [one["hedge"] for one in found.attempts] == [False, True]


def test_what_older_rows_have_in_more_is_told_as_what_it_is(tmp_path: Path) -> None:
    """A ledger of an older schema keeps what it has no column for."""
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        rows = rows_of(trees([record(1)]), "here")
        rows.calls[0]["more"] = msgspec.json.encode({"purpose": "eval", "trace_id": "ab"}).decode()
        ledger.take(rows, "here", "here", Position(), 0)
        found = call_of(ledger, rows.calls[0]["request_id"])
    assert found is not None
    assert (found.fields["purpose"], found.fields["trace_id"]) == ("eval", "ab")


def test_failures_are_those_that_failed_and_those_of_which_nobody_told_the_end(url: str) -> None:
    with Ledger(url) as ledger:
        take(
            ledger,
            [
                record(1, NOW_S),
                record(2, NOW_S - 1, outcome="error", code="no_member_left", status=503),
                record(3, NOW_S - 2, outcome="refused", code="invalid_api_key", status=401),
                lost(record(4, NOW_S - 3)),
                record(5, NOW_S - 4, outcome="client_gone", code="client_gone"),
            ],
        )
        found = failures(ledger, ALL, 10)
        assert [call.fields["outcome"] for call in found] == ["error", "lost"]
        assert len(failures(ledger, ALL, 1)) == 1
        assert [one.outcome for one in lately(ledger, ALL, 3)] == ["ok", "error", "refused"]
        assert oldest_ms(ledger) == int((NOW_S - 4) * 1000)


def test_an_empty_ledger_has_nothing(url: str) -> None:
    with Ledger(url) as ledger:
        assert page_of(ledger, ALL, None, 10) == []
        assert lately(ledger, ALL, 10) == [] and failures(ledger, ALL, 10) == []
        assert oldest_ms(ledger) is None
