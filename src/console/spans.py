"""Spans of time that people choose, and how they are cut into columns. All UTC. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from .asked import Missing

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_HOURS_UP_TO_MS, _DAYS_UP_TO_MS = 3 * DAY_MS, 92 * DAY_MS
_FIRST = date(2000, 1, 1)  # no call is older
CHOICES = {
    "today": "Today",
    "7d": "7 days",
    "30d": "30 days",
    "month": "This month",
    "last-month": "Last month",
}
DEFAULT = "30d"
DAYS = "days"  # from one day to another
_SO_MANY = {"today": 1, "7d": 7, "30d": 30}


class Span(NamedTuple):
    """`since_ms` is in it, `until_ms` is not. `is_open`: it ends now, and its last day is not over. `first`
    and `last`: its days. `before`: the span that it is held against, as long as this one is so far."""

    name: str
    words: str
    since_ms: int
    until_ms: int
    is_open: bool
    first: date
    last: date
    before: tuple[int, int]

    @property
    def unit(self) -> str:
        """What its columns are."""
        end = start_ms(self.last + timedelta(days=1))
        if end - self.since_ms <= _HOURS_UP_TO_MS:
            return "hour"
        return "day" if end - self.since_ms <= _DAYS_UP_TO_MS else "month"


class Column(NamedTuple):
    """`key` as the ledger writes it, `label` for an axis, `words` for people; `is_part`: not all of that time
    is in the span."""

    key: str
    label: str
    words: str
    is_part: bool


def span_of(query: Mapping[str, str], now_s: float) -> Span:
    """As `span`, or `from` and `to`, say it. Missing: there is no such time."""
    now_ms = int(now_s * 1000) + 1
    today = datetime.fromtimestamp(now_s, UTC).date()
    if "from" in query or "to" in query:
        return _of_days(query.get("from", ""), query.get("to", ""), today, now_ms)
    name = query.get("span", DEFAULT)
    if name in _SO_MANY:
        days = _SO_MANY[name]
        words = "today so far" if days == 1 else f"the last {days} days, today so far included"
        return _made(name, words, today - timedelta(days=days - 1), today, now_ms, timedelta(days=days))
    if name == "month":
        first = today.replace(day=1)
        return _of_month(name, f"{_month(first)} so far", first, today, now_ms)
    if name == "last-month":
        last = today.replace(day=1) - timedelta(days=1)
        return _of_month(name, _month(last), last.replace(day=1), last, now_ms)
    raise Missing(f"There is no span {name[:50]}: there are {', '.join(CHOICES)}, and from=DAY&to=DAY.")


def columns_of(span: Span) -> list[Column]:
    """All of them, also those without a call."""
    found = []
    at = datetime.fromtimestamp(span.since_ms / 1000, UTC)
    if span.unit == "month":
        at = at.replace(day=1)
    while (begins_ms := int(at.timestamp() * 1000)) < span.until_ms:
        after = _after(at, span.unit)
        is_part = begins_ms < span.since_ms or int(after.timestamp() * 1000) > span.until_ms
        found.append(_column(at, span.unit, is_part))
        at = after
    return found


def start_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _after(at: datetime, unit: str) -> datetime:
    if unit == "month":
        return (at + timedelta(days=32)).replace(day=1)
    return at + timedelta(**{f"{unit}s": 1})


def _column(at: datetime, unit: str, is_part: bool) -> Column:
    day = f"{at.day} {at:%b}"
    if unit == "hour":
        label = day if at.hour == 0 else f"{at:%H}:00"
        key, words = f"{at:%Y-%m-%dT%H}:00Z", f"{day}, {at:%H}:00 to {(at.hour + 1):02d}:00"
    elif unit == "day":
        key, label, words = f"{at:%Y-%m-%d}", day, f"{at:%a} {day} {at.year}"
    else:
        key, label, words = f"{at:%Y-%m}", f"{at:%b %Y}", _month(at.date())
    return Column(key, label, words, is_part)


def _of_days(first: str, last: str, today: date, now_ms: int) -> Span:
    ends = min(_day(last), today) if last else today
    begins = max(_day(first), _FIRST) if first else ends - timedelta(days=29)
    if begins > ends:
        raise Missing(f"No day lies between {begins} and {ends}: `from` is behind `to`, or is yet to come.")
    words = f"{begins}" if begins == ends else f"{begins} to {ends}"
    so_far = ", today so far" if ends == today else ""
    return _made(DAYS, words + so_far, begins, ends, now_ms, ends - begins + timedelta(days=1))


def _made(name: str, words: str, first: date, last: date, now_ms: int, shift: timedelta) -> Span:
    """Held against as much time as long before as it has days."""
    since_ms, until_ms = start_ms(first), min(start_ms(last + timedelta(days=1)), now_ms)
    back_ms = shift.days * DAY_MS
    is_open = until_ms == now_ms
    return Span(
        name, words, since_ms, until_ms, is_open, first, last, (since_ms - back_ms, until_ms - back_ms)
    )


def _of_month(name: str, words: str, first: date, last: date, now_ms: int) -> Span:
    """Held against the month before: as much of it, where this one is not over."""
    made = _made(name, words, first, last, now_ms, timedelta())
    before_ms = start_ms((first - timedelta(days=1)).replace(day=1))
    ends_ms = min(before_ms + made.until_ms - made.since_ms, made.since_ms)
    return made._replace(before=(before_ms, ends_ms if made.is_open else made.since_ms))


def _month(day: date) -> str:
    return f"{day:%B %Y}"


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Missing(f"There is no day {text[:50]}: give e.g. 2026-11-30.") from None
