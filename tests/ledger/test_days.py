"""Sums of days that are kept are those that there are, whatever is written, repriced or deleted meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from modelbroker.core.prices import Price, Rates, Scale, book_of
from modelbroker.core.record import Record
from modelbroker.journal.reading import Position
from modelbroker.ledger.course import course
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.days import Days
from modelbroker.ledger.questions import Question
from modelbroker.ledger.reprice import reprice
from modelbroker.ledger.rows import rows_of
from sqlalchemy import event
from support.ledgers import DAY_S, NOW_S, lost, record, trees
from support.spent import of_all_kinds

TODAY_MS = int(NOW_S // DAY_S * DAY_S) * 1000
SINCE_MS = TODAY_MS - 6 * DAY_S * 1000
QUESTIONS = [
    Question(("team",), SINCE_MS, int(NOW_S * 1000) + 1),
    Question(("model", "team"), SINCE_MS, int(NOW_S * 1000) + 1),
    Question(("customer",), 0, 1 << 62, {"member": ("openai/mini",)}),
    Question(("team",), SINCE_MS + 5_000, TODAY_MS - 3_600_000, {"purpose": ("shadow",)}),
    Question((), SINCE_MS, TODAY_MS),
]


def take(ledger: Ledger, *records: Record, source: str = "s") -> None:
    ledger.take(rows_of(trees(records), source), source, "here", Position("f", 1), 0)


@contextmanager
def counted(ledger: Ledger) -> Iterator[list[str]]:
    """The sums that are asked of the database meanwhile."""
    found: list[str] = []

    def said(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "GROUP BY" in statement and "touched" not in statement:
            found.append(statement)

    event.listen(ledger.engine, "before_cursor_execute", said)
    try:
        yield found
    finally:
        event.remove(ledger.engine, "before_cursor_execute", said)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger(url) as opened:
        take(opened, *of_all_kinds(200))
        yield opened


def agree(ledger: Ledger, days: Days) -> None:
    for question in QUESTIONS:
        assert course(ledger, question, "day", days=days) == course(ledger, question, "day"), question


def test_they_are_what_there_is_whatever_happens(ledger: Ledger) -> None:
    days, late_s = Days(), NOW_S - 3 * DAY_S
    agree(ledger, days)
    agree(ledger, days)
    take(ledger, record(900, late_s, team="late"), source="another")  # of a broker that was away
    agree(ledger, days)
    gone = record(901, late_s, team="lost")
    take(ledger, lost(gone))
    agree(ledger, days)
    take(ledger, gone)  # it has an end now
    agree(ledger, days)
    rates = Rates(input=10**9, output=10**9, cache_read=0)
    book = book_of({("anthropic", "opus"): (Price(Scale(rates), ()),)})
    assert reprice(ledger, QUESTIONS[0], book, writes=True).calls
    agree(ledger, days)
    assert ledger.expire(int((NOW_S - 4.5 * DAY_S) * 1000))  # in the middle of a day
    agree(ledger, days)


def test_a_day_that_is_over_is_asked_for_once(ledger: Ledger) -> None:
    days = Days()
    question = QUESTIONS[0]
    with counted(ledger) as first:
        course(ledger, question, "day", days=days)
    with counted(ledger) as second:
        course(ledger, question, "day", days=days)
    assert len(first) > 2 and len(second) == 2  # today, and what was in vain today
    take(ledger, record(900, NOW_S - 2 * DAY_S))
    with counted(ledger) as third:
        course(ledger, question, "day", days=days)
    assert len(third) == 4  # and the day that was touched
    with counted(ledger) as other:
        course(ledger, Question(("pool",), question.since_ms, question.until_ms), "day", days=days)
    assert len(other) == len(first)


def test_it_goes_on_where_it_was_given_up(ledger: Ledger) -> None:
    days = Days()

    def give_up(done: int, of: int) -> None:
        if done == of - 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        course(ledger, QUESTIONS[0], "day", heard=give_up, days=days)
    with counted(ledger) as asked:
        found = course(ledger, QUESTIONS[0], "day", days=days)
    with counted(ledger) as all_of_it:
        assert found == course(ledger, QUESTIONS[0], "day", days=Days())
    assert len(asked) < len(all_of_it)


def test_only_so_much_is_kept_and_not_for_ever(ledger: Ledger) -> None:
    now_s = [0.0]
    question = QUESTIONS[0]
    for days in (Days(most=3), Days(clock=lambda: now_s[0])):
        with counted(ledger) as first:
            course(ledger, question, "day", days=days)
        now_s[0] += 601.0
        with counted(ledger) as second:
            course(ledger, question, "day", days=days)
        assert len(second) >= len(first) - 1
