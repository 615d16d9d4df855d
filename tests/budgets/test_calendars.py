"""Windows of the calendar, where clocks are put forward and back, too."""

from __future__ import annotations

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.budgets.calendars import spans
from modelbroker.core.budgets import Window

ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia", "Africa/Cairo")


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("unit", "now", "begins", "ends"),
    [
        ("day", "2026-11-29T15:00", "2026-11-29T00:00", "2026-11-30T00:00"),
        ("day", "2026-03-29T12:00", "2026-03-29T00:00", "2026-03-30T00:00"),  # 23 hours
        ("day", "2026-10-25T23:59", "2026-10-25T00:00", "2026-10-26T00:00"),  # 25
        ("month", "2026-12-31T23:59:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", "2028-02-29T10:00", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("hour", "2026-11-29T15:59", "2026-11-29T15:00", "2026-11-29T16:00"),
        ("minute", "2026-11-29T15:59:59", "2026-11-29T15:59", "2026-11-29T16:00"),
    ],
)
def test_in_berlin(unit: str, now: str, begins: str, ends: str) -> None:
    span = spans(Window(unit, "Europe/Berlin"), at(now))
    assert (span.slot, span.first, span.until_s) == (at(begins), at(begins), at(ends))


def test_an_hour_that_comes_twice_is_two() -> None:
    hour = Window("hour", "Europe/Berlin")
    first = spans(hour, at("2026-10-25T02:30"))
    second = spans(hour, at("2026-10-25T02:30") + 3600)
    assert second.slot == first.slot + 3600 == first.until_s


def test_hours_of_zones_that_are_off_by_less() -> None:
    span = spans(Window("hour", "Asia/Kathmandu"), at("2026-11-29T15:10", "Asia/Kathmandu"))
    assert span.slot == at("2026-11-29T15:00", "Asia/Kathmandu")


@given(
    st.sampled_from(["minute", "hour", "day", "month"]),
    st.sampled_from(ZONES),
    st.integers(1_200_000_000, 2_500_000_000),
)
def test_windows_follow_one_another_without_a_gap(unit: str, zone: str, now_s: int) -> None:
    """Every moment is in the window that it names, and the next one begins where this one ends."""
    window = Window(unit, zone)
    span = spans(window, now_s)
    assert span.slot <= now_s < span.until_s
    assert spans(window, span.slot) == span
    assert spans(window, math.nextafter(span.until_s, 0)) == span
    assert spans(window, span.until_s).slot == span.until_s
