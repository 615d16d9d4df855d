"""Copies that wait to be sent: a bounded queue, from which nobody's call ever waits.

What does not fit is dropped and counted. A shadow that answers slowly, or not at all, keeps its own places
and no other's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import Counter, Gauge

from ..core.trials import Shadow
from .frames import Head, Report

# Of each shadow, and of all together, what waits or is under way: more of it is dropped.
MOST_WAITING = 200
MOST_BYTES = 64 << 20
LATE_S = 15.0  # a copy that has waited so long says nothing of a call of now
_MOST_PAUSE_S = 60.0
_RESULTS = Counter(
    "modelbroker_shadow_copies", "Copies of calls by what became of them", ["shadow", "result"]
)
_WAITING = Gauge("modelbroker_shadow_waiting", "Copies of calls that wait to be sent", ["shadow"])
_UNDER_WAY = Gauge("modelbroker_shadow_under_way", "Copies of calls that are under way", ["shadow"])


class Address(NamedTuple):
    """Where the outer listener is for this broker itself."""

    host: str
    port: int
    tls: bool


class Waiting(NamedTuple):
    """A copy: `since_s` is of a clock that does not go back."""

    since_s: float
    shadow: Shadow
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class _Line:
    """One shadow's."""

    waiting: deque[Waiting] = field(default_factory=deque)
    under_way: int = 0
    paused_until_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)


class Copies:
    """`offer` takes one or drops it, `due` gives what may be sent now, `over` is told what became of one. No
    clock, no I/O: `now_s` is of a clock that does not go back."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._under_way: dict[int, Waiting] = {}
        self._bytes = 0  # of all that waits or is under way
        self._number = 0

    def offer(self, copy: Waiting) -> bool:
        line = self._line(copy.shadow)
        if copy.since_s < line.paused_until_s:
            return self._count(copy.shadow, "paused")
        size = len(copy.body)
        if len(line.waiting) >= MOST_WAITING or self._bytes + size > MOST_BYTES:
            return self._count(copy.shadow, "dropped")
        self._bytes += size
        line.waiting.append(copy)
        _WAITING.labels(copy.shadow.name).set(len(line.waiting))
        return True

    def unfit(self, shadow: Shadow) -> None:
        """A call that its target can't take."""
        self._count(shadow, "unfit")

    def due(self, now_s: float, at: Address) -> list[tuple[Head, bytes]]:
        """In the order in which they came, and as many of each shadow as it may have under way."""
        found = []
        for line in self._lines.values():
            while line.waiting and line.under_way < line.waiting[0].shadow.concurrency:
                copy = line.waiting.popleft()
                name = copy.shadow.name
                _WAITING.labels(name).set(len(line.waiting))
                if now_s - copy.since_s > LATE_S:
                    self._bytes -= len(copy.body)
                    self._count(copy.shadow, "late")
                    continue
                self._number += 1
                line.under_way += 1
                _UNDER_WAY.labels(name).set(line.under_way)
                self._under_way[self._number] = copy
                timeout_s = copy.shadow.timeout_ms / 1000
                head = Head(self._number, *at, copy.path, list(copy.headers), timeout_s)
                found.append((head, copy.body))
        return found

    def over(self, report: Report, now_s: float) -> None:
        copy = self._end(report.number)
        if copy is None:
            return
        if report.by_broker and report.status == 429:
            # Its budget is used up: asking again and again would fill the records with refusals.
            pause_s = min(report.retry_after_s or 1.0, _MOST_PAUSE_S)
            self._line(copy.shadow).paused_until_s = now_s + pause_s
        if report.by_broker:
            self._count(copy.shadow, "refused")
        elif report.status:
            self._count(copy.shadow, "answered" if report.status < 400 else "failed")
        else:
            self._count(copy.shadow, "timeout" if report.why == "timeout" else "broken")

    def lost(self) -> None:
        """Who sends them is gone, with all that was under way."""
        for number in list(self._under_way):
            if (copy := self._end(number)) is not None:
                self._count(copy.shadow, "lost")

    def shown(self) -> dict[str, dict[str, int]]:
        """By shadow: what became of copies, and how many there are now."""
        return {
            name: {**line.counts, "waiting": len(line.waiting), "under_way": line.under_way}
            for name, line in sorted(self._lines.items())
        }

    def forget(self, is_known: Callable[[str], bool]) -> None:
        """Of shadows that are no more."""
        for name in [name for name in self._lines if not is_known(name)]:
            line = self._lines[name]
            for copy in line.waiting:
                self._bytes -= len(copy.body)
                self._count(copy.shadow, "dropped")
            line.waiting.clear()
            if not line.under_way:
                del self._lines[name]

    def _end(self, number: int) -> Waiting | None:
        copy = self._under_way.pop(number, None)
        if copy is None:
            return None
        self._bytes -= len(copy.body)
        line = self._line(copy.shadow)
        line.under_way -= 1
        _UNDER_WAY.labels(copy.shadow.name).set(line.under_way)
        return copy

    def _line(self, shadow: Shadow) -> _Line:
        if (line := self._lines.get(shadow.name)) is None:
            line = self._lines[shadow.name] = _Line()
        return line

    def _count(self, shadow: Shadow, result: str) -> bool:
        counts = self._line(shadow).counts
        counts[result] = counts.get(result, 0) + 1
        _RESULTS.labels(shadow.name, result).inc()
        return False
