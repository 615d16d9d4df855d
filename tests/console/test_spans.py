"""Spans of time and their columns, by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.asked import Missing
from modelbroker.console.spans import CHOICES, HOUR_MS, columns_of, span_of
from support.ledgers import NOW_S


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW_MS = int(NOW_S * 1000) + 1  # 2026-11-29T20:53:20Z
SHIFT = 24 * HOUR_MS


@pytest.mark.parametrize(
    ("query", "since", "until", "before", "unit"),
    [
        ({"span": "today"}, ms("2026-11-29"), NOW_MS, (ms("2026-11-28"), NOW_MS - SHIFT), "hour"),
        ({"span": "7d"}, ms("2026-11-23"), NOW_MS, (ms("2026-11-16"), NOW_MS - 7 * SHIFT), "day"),
        ({}, ms("2026-10-31"), NOW_MS, (ms("2026-10-01"), NOW_MS - 30 * SHIFT), "day"),
        (
            {"span": "month"},
            ms("2026-11-01"),
            NOW_MS,
            (ms("2026-10-01"), ms("2026-10-01") + NOW_MS - ms("2026-11-01")),
            "day",
        ),
        (
            {"span": "last-month"},
            ms("2026-10-01"),
            ms("2026-11-01"),
            (ms("2026-09-01"), ms("2026-10-01")),
            "day",
        ),
        (
            {"from": "2026-11-26", "to": "2026-11-28"},
            ms("2026-11-26"),
            ms("2026-11-29"),
            (ms("2026-11-23"), ms("2026-11-26")),
            "hour",
        ),
        ({"from": "2026-11-26"}, ms("2026-11-26"), NOW_MS, (ms("2026-11-22"), NOW_MS - 4 * SHIFT), "day"),
        (
            {"from": "2026-01-15", "to": "2027-03-01"},  # what is yet to come is cut off
            ms("2026-01-15"),
            NOW_MS,
            (ms("2026-01-15") - 319 * SHIFT, NOW_MS - 319 * SHIFT),
            "month",
        ),
    ],
)
def test_spans(query: dict[str, str], since: int, until: int, before: tuple[int, int], unit: str) -> None:
    span = span_of(query, NOW_S)
    assert (span.since_ms, span.until_ms, span.before, span.unit) == (since, until, before, unit)
    assert span.is_open == (until == NOW_MS)


def test_a_month_that_is_longer_than_the_one_before() -> None:
    """On March 31st: all of February, and no day of March beside."""
    span = span_of({"span": "month"}, ms("2026-03-31T12:00:00") / 1000)
    assert span.before == (ms("2026-02-01"), ms("2026-03-01"))


@pytest.mark.parametrize(
    "query",
    [
        {"span": "fortnight"},
        {"from": "2026-13-45"},
        {"to": "<b>"},
        {"from": "2026-11-02", "to": "2026-11-01"},
        {"from": "2027-01-01"},
    ],
)
def test_what_is_no_span_is_said(query: dict[str, str]) -> None:
    with pytest.raises(Missing):
        span_of(query, NOW_S)


def test_columns_and_which_are_parts() -> None:
    today = columns_of(span_of({"span": "today"}, NOW_S))
    assert (len(today), today[0].key, today[-1].key) == (21, "2026-11-29T00:00Z", "2026-11-29T20:00Z")
    assert [column.is_part for column in today] == [False] * 20 + [True]
    days = columns_of(span_of({"span": "last-month"}, NOW_S))
    assert len(days) == 31 and not any(column.is_part for column in days)
    months = columns_of(span_of({"from": "2026-01-15"}, NOW_S))
    assert [column.key for column in months] == [f"2026-{number:02d}" for number in range(1, 12)]
    assert [column.is_part for column in months] == [True, *[False] * 9, True]


@given(st.sampled_from(list(CHOICES)), st.integers(ms("2020-01-01"), ms("2035-01-01")))
def test_columns_cover_the_span_and_no_more(name: str, now_ms: int) -> None:
    span = span_of({"span": name}, now_ms / 1000)
    columns = columns_of(span)
    keys = [column.key for column in columns]
    assert keys == sorted(set(keys)) and span.since_ms < span.until_ms
    assert span.before[0] < span.before[1] <= span.since_ms
    assert sum(column.is_part for column in columns) <= 1
