"""Where windows begin and end: those of the calendar in their time zones."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from ..core.budgets import Span, Window
from ..policy.budgets import NOW, rolling_span

_SECONDS = {"minute": 60, "hour": 3_600}
_zone = functools.lru_cache(maxsize=1024)(ZoneInfo)
_known: dict[Window, Span] = {}  # the last one of each


def spans(window: Window, now_s: float) -> Span:
    """Of `window` at `now_s` (unix time). A window of the calendar is one slot, named by its first second."""
    if not window.unit:
        return rolling_span(window, now_s) if window.length_ms else NOW
    known = _known.get(window)
    if known is None or not known.slot <= now_s < known.until_s:
        known = _known[window] = _calendar(window, now_s)
    return known


def _calendar(window: Window, now_s: float) -> Span:
    zone = _zone(window.time_zone)
    now = datetime.fromtimestamp(now_s, zone)
    if window.unit in _SECONDS:
        # By the clock on the wall, but an hour that comes twice is two.
        length_s = _SECONDS[window.unit]
        offset = now.utcoffset() or timedelta()
        begun_s = int(now_s) - (int(now_s) + int(offset.total_seconds())) % length_s
        return Span(begun_s, begun_s, begun_s + length_s)
    first = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if window.unit == "month":
        first = first.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    else:
        after = first + timedelta(days=1)  # of the calendar: 23, 24 or 25 hours
    begun_s = int(first.timestamp())
    return Span(begun_s, begun_s, after.timestamp())
