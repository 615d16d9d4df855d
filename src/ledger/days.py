"""Sums of whole days that somebody asked for, kept for whoever asks next: a day that is over is summed up
once, until a call of it is written, repriced or deleted.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from .questions import Question, ends_of
from .rows import DAY_MS, day_of
from .tables import TOUCHED

Span = tuple[int, int]
Groups = Mapping[tuple[str, ...], list[int]]
_MOST_GROUPS = 200_000  # some 60 MB
_KEPT_S = 600.0  # a broker of an older version, which shares the ledger, touches no day


class _Kept(NamedTuple):
    touched: int
    until_s: float
    groups: Groups


class Days:
    """Of one ledger; from any thread. `clock`: seconds."""

    def __init__(self, most: int = _MOST_GROUPS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._groups = 0
        self._lock = Lock()

    def known(self, connection: Connection, question: Question, names: tuple[str, ...]) -> Known:
        """In the transaction that will ask for the others: both are of one state of the ledger. `names`: of
        the numbers that are asked for."""
        touched = select(TOUCHED.c.day, func.sum(TOUCHED.c.times)).group_by(TOUCHED.c.day)
        if question.since_ms > 0:  # the first days that there are may be older than any year that is written
            touched = touched.where(TOUCHED.c.day >= day_of(question.since_ms))
        times = {str(day): int(times) for day, times in connection.execute(touched)}
        where = tuple(sorted((name, tuple(values)) for name, values in question.where.items()))
        return Known(self, (question.by, where, names), times)

    def get(self, key: Hashable, touched: int) -> Groups | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None or found.touched != touched or found.until_s < self._clock():
                return None
            self._kept.move_to_end(key)
            return found.groups

    def keep(self, key: Hashable, touched: int, groups: Groups) -> None:
        with self._lock:
            self._forget(key)
            self._kept[key] = _Kept(touched, self._clock() + _KEPT_S, groups)
            self._groups += len(groups) + 1
            while self._groups > self._most:
                self._forget(next(iter(self._kept)))

    def _forget(self, key: Hashable) -> None:
        if (gone := self._kept.pop(key, None)) is not None:
            self._groups -= len(gone.groups) + 1


class Known:
    """Of one question. `touched`: day → how often it was touched."""

    def __init__(self, days: Days, question: Hashable, touched: Mapping[str, int]) -> None:
        self._days, self._question, self._touched = days, question, touched

    def get(self, span: Span) -> Groups | None:
        return self._days.get((self._question, span), self._times(span)) if _is_whole(span) else None

    def keep(self, span: Span, groups: Groups) -> None:
        if _is_whole(span):
            self._days.keep((self._question, span), self._times(span), groups)

    def _times(self, span: Span) -> int:
        return self._touched.get(day_of(span[0]), 0)


def _is_whole(span: Span) -> bool:
    return span[0] % DAY_MS == 0 and span[1] - span[0] == DAY_MS


def days_of(connection: Connection, question: Question) -> list[Span]:
    """The question's time day by day, as far as there are calls; what it has of the first and of the last one
    may be a part."""
    if (ends := ends_of(connection, question)) is None:
        return []
    begins, last = ends[0] // DAY_MS * DAY_MS, ends[1]
    return [
        (max(at, question.since_ms), min(at + DAY_MS, question.until_ms))
        for at in range(begins, last + 1, DAY_MS)
    ]
