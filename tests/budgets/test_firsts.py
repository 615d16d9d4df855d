"""Which of what happens to many calls is worth a line in the log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.budgets.calendars import spans
from modelbroker.budgets.firsts import MOST_LINES, Firsts
from modelbroker.core.budgets import Window

NOON = 1_800_014_400.0  # 2027-01-15T12:00:00Z


@pytest.mark.parametrize(
    ("window", "again_s"),
    [
        (Window("day"), 43_200),
        (Window("day", "Europe/Berlin"), 39_600),
        (Window(length_ms=86_400_000), 86_400),
        (Window(length_ms=1_000), 60),
        (Window(), 60),
    ],
    ids=str,
)
def test_the_first_in_a_window(window: Window, again_s: float) -> None:
    firsts = Firsts(spans)
    told = [firsts.is_first("a", "deny", window, NOON + after) for after in (0, 1, again_s - 1, again_s)]
    assert told == [True, False, False, True]
    assert firsts.is_first("b", "deny", window, NOON)
    assert firsts.is_first("a", "degrade", window, NOON)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 300)), max_size=400))
def test_no_more_than_so_many_lines_a_minute(calls: list[tuple[int, int]]) -> None:
    firsts = Firsts(spans)
    lines: dict[int, int] = {}
    for account, after_s in sorted(calls, key=lambda call: call[1]):
        if firsts.is_first(f"{account}", "deny", Window("day"), NOON + after_s):
            lines[after_s // 60] = lines.get(after_s // 60, 0) + 1
    assert all(count <= MOST_LINES for count in lines.values())
    assert len(calls) == 0 or sum(lines.values()) > 0
