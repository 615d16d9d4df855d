"""What calls cost, by any of their dimensions: exact sums of nano-dollars, and how many are unknown."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, case, func, select

from .database import Ledger
from .days import Days, days_of
from .questions import IS_HIT, TRIED, WITH_ATTEMPTS, Question, spans_of
from .tables import ATTEMPTS, CALLS

Heard = Callable[[int, int], None]  # of how many steps so many are done


@dataclass(slots=True)
class Sums:
    """Of a group. `cost` is that of the calls whose cost is known; `unknown` counts the others, whose known
    parts are `at_least`. Where groups are made by member, model or provider, each attempt is in the group of
    its own member, `calls` are those that were answered there, and `unknown` counts attempts.

    `cache_hits` were answered by the broker's cache, which `saved` so much; of `saved_unknown` of them
    nobody knows what they would have cost. `vain…`: attempts that gave no answer, hedges aside; `hedge…`:
    hedges that gave none. Of these, `…_unknown` are of unknown cost."""

    calls: int = 0
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    cost: int = 0
    unknown: int = 0
    at_least: int = 0
    cache_hits: int = 0
    saved: int = 0
    saved_unknown: int = 0
    vain: int = 0
    vain_cost: int = 0
    vain_unknown: int = 0
    hedges: int = 0
    hedge_cost: int = 0
    hedge_unknown: int = 0

    def add(self, other: Sums) -> None:
        for name in _NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def known(self) -> int:
        """What is known of the cost of all."""
        return self.cost + self.at_least

    @property
    def tokens(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.output


_NAMES = tuple(one.name for one in fields(Sums))


@dataclass(slots=True)
class Spend:
    """Group → its sums, and those of all together."""

    question: Question
    groups: dict[tuple[str, ...], Sums] = field(default_factory=dict)
    total: Sums = field(default_factory=Sums)


@dataclass(slots=True)
class Figures:
    """The same as bare numbers, which are added up faster: of each group one for each of `names`."""

    names: tuple[str, ...]
    groups: dict[tuple[str, ...], list[int]] = field(default_factory=dict)

    def add(self, key: tuple[str, ...], numbers: list[int]) -> None:
        known = self.groups.get(key)
        self.groups[key] = numbers if known is None else list(map(operator.add, known, numbers))

    def sums(self, numbers: Iterable[int]) -> Sums:
        return Sums(**dict(zip(self.names, numbers, strict=True)))

    def spend(self, question: Question) -> Spend:
        groups = {key: self.sums(numbers) for key, numbers in self.groups.items()}
        total = map(sum, zip(*self.groups.values(), strict=True)) if groups else [0] * len(self.names)
        return Spend(question, groups, self.sums(total))


def spend(
    ledger: Ledger, question: Question, *, failovers: bool = False, heard: Heard | None = None
) -> Spend:
    """`failovers`: also what attempts in vain and hedges cost."""
    return figures(ledger, question, failovers=failovers, heard=heard).spend(question)


def figures(
    ledger: Ledger,
    question: Question,
    *,
    failovers: bool = False,
    heard: Heard | None = None,
    days: Days | None = None,
) -> Figures:
    """`days`: what is known of whole days from before, and is kept for the next time."""
    each = failovers or question.needs_attempts
    columns = _each_attempt(failovers) if each else _each_call()
    return _gathered(ledger, question, columns, WITH_ATTEMPTS if each else CALLS, heard, days)


def in_vain(
    ledger: Ledger, question: Question, *, heard: Heard | None = None, days: Days | None = None
) -> Spend:
    """What attempts in vain and hedges cost, and nothing else: as `spend` has it with `failovers`, but for
    less work, since they are few."""
    return _gathered(ledger, question, _failovers(), TRIED, heard, days).spend(question)


def _gathered(
    ledger: Ledger,
    question: Question,
    columns: Mapping[str, ColumnElement[Any]],
    source: FromClause,
    heard: Heard | None,
    days: Days | None,
) -> Figures:
    result = Figures(tuple(columns))
    with ledger.reading() as connection:
        spans = spans_of(connection, question) if days is None else days_of(connection, question)
        known = days.known(connection, question, result.names) if days is not None else None
        for number, span in enumerate(spans):
            found = known.get(span) if known is not None else None
            is_new = found is None
            if found is None:
                found = _of_span(connection, question, columns, source, span)
                if known is not None:
                    known.keep(span, found)
            for key, numbers in found.items():
                result.add(key, numbers)
            if heard is not None and is_new:  # whoever loses patience has got on by then
                heard(number + 1, len(spans))
    return result


def _of_span(
    connection: Connection,
    question: Question,
    columns: Mapping[str, ColumnElement[Any]],
    source: FromClause,
    span: tuple[int, int],
) -> dict[tuple[str, ...], list[int]]:
    groups = question.groups()
    query = select(*groups, *columns.values()).select_from(source)
    query = query.where(*question.conditions(span)).group_by(*groups)
    if source is TRIED:
        query = query.where(*_vain_of(span))
    found = {}
    for row in connection.execute(query):
        told = [int(value or 0) for value in row[len(groups) :]]
        if groups or any(told):  # also attempts in vain of calls that others answered
            found[question.key(row)] = told
    return found


def _vain_of(span: tuple[int, int]) -> list[ColumnElement[bool]]:
    a = ATTEMPTS.c
    return [a.at_ms >= span[0], a.at_ms < span[1], ~a.answered, a.member != ""]


def _count(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(case((condition, 1), else_=0))


def _sum_where(condition: ColumnElement[bool], value: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.sum(case((condition, value), else_=0))


def _each_call() -> dict[str, ColumnElement[Any]]:
    c = CALLS.c
    is_unknown = c.cost_total.is_(None)
    return {
        "calls": func.count(),
        "input": func.sum(c.input),
        "cache_read": func.sum(c.cache_read),
        "cache_write": func.sum(c.cache_write_5m + c.cache_write_1h),
        "output": func.sum(c.output),
        "cost": func.sum(c.cost_total),
        "unknown": _count(is_unknown),
        "at_least": _sum_where(is_unknown, c.cost_known),
        "cache_hits": _count(IS_HIT),
        "saved": func.sum(c.saved_nano),
        "saved_unknown": _count(IS_HIT & c.saved_nano.is_(None)),
    }


def _each_attempt(failovers: bool) -> dict[str, ColumnElement[Any]]:
    """A call without an attempt (it was refused, came from the cache, or is lost) counts by itself."""
    c, a = CALLS.c, ATTEMPTS.c
    is_none = a.number.is_(None)
    ends = is_none | a.answered
    cost = case((is_none, c.cost_total), else_=a.cost_total)
    known = case((is_none, c.cost_known), else_=a.cost_known)
    found = {
        "calls": _count(ends),
        "input": func.sum(a.input),
        "cache_read": func.sum(a.cache_read),
        "cache_write": func.sum(a.cache_write_5m + a.cache_write_1h),
        "output": func.sum(a.output),
        "cost": func.sum(cost),
        "unknown": _count(cost.is_(None)),
        "at_least": _sum_where(cost.is_(None), known),
        "cache_hits": _count(ends & IS_HIT),
        "saved": _sum_where(ends, c.saved_nano),
        "saved_unknown": _count(ends & IS_HIT & c.saved_nano.is_(None)),
    }
    return found | _failovers() if failovers else found


def _failovers() -> dict[str, ColumnElement[Any]]:
    a = ATTEMPTS.c
    found: dict[str, ColumnElement[Any]] = {}
    told = ~a.answered & (a.member != "")
    for name, which in (("vain", told & ~a.hedge), ("hedge", told & a.hedge)):
        found |= {
            "hedges" if name == "hedge" else name: _count(which),
            f"{name}_cost": _sum_where(which, a.cost_total),
            f"{name}_unknown": _count(which & a.cost_total.is_(None)),
        }
    return found
