"""Of what happens to many calls, the first in a window: that is worth a line in the log, and the rest is
counted."""

from __future__ import annotations

from collections.abc import Callable

from ..core.budgets import Span, Window

# Customers may be many: so many lines a minute, and so many accounts that are remembered.
MOST_LINES = 60
MOST_KEPT = 10_000
# Of what has no window, or a short one.
_AT_LEAST_S = 60.0


class Firsts:
    """By account and by what happens to a call."""

    def __init__(self, spans: Callable[[Window, float], Span]) -> None:
        self._spans = spans
        self._quiet_until_s: dict[tuple[str, str], float] = {}
        self._minute = 0
        self._lines = 0

    def is_first(self, account: str, what: str, window: Window, now_s: float) -> bool:
        """In its window, and there is room for a line."""
        key = (account, what)
        if now_s < self._quiet_until_s.get(key, 0.0):
            return False
        if (minute := int(now_s // 60)) != self._minute:
            self._minute, self._lines = minute, 0
        if self._lines >= MOST_LINES:
            return False
        self._lines += 1
        if len(self._quiet_until_s) >= MOST_KEPT:
            self._quiet_until_s = {one: at for one, at in self._quiet_until_s.items() if at > now_s}
        if len(self._quiet_until_s) >= MOST_KEPT:
            del self._quiet_until_s[next(iter(self._quiet_until_s))]
        ends_s = self._spans(window, now_s).until_s if window.unit else now_s + window.length_ms / 1000
        self._quiet_until_s[key] = max(ends_s, now_s + _AT_LEAST_S)
        return True
