"""Calls one by one, the newest first, as people look at them: a page of them, one with all that is known, and
what is counted of the last minutes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Column, Connection, func, select, tuple_

from ..core.outcomes import ERROR, LOST
from .database import Ledger
from .questions import Question
from .tables import ATTEMPTS, CALLS

Tree = Mapping[str, Any]
# Columns that are JSON, as the record has them.
_JSON = frozenset(
    (
        *("flags", "cost_buckets", "cost_unknown", "eligible", "holds", "more", "budgets", "saved"),
        *("owners", "headers", "dropped", "usage"),
    )
)
_IN_SHORT = (
    *("request_id", "at_ms", "started_s", "duration_ms", "first_byte_ms", "status", "stream", "path"),
    *("caller", "agent", "user", "team", "customer", "feature", "model", "rule", "pool", "member", "dialect"),
    *("revision", "outcome", "error_source", "code", "attempts_made", "hedged", "usage_state"),
    *("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "cost_total", "cost_known"),
    *("cache", "cache_reason", "degraded_from", "budget", "purpose", "rollout", "arm", "stage", "shadow_of"),
)
_ATTEMPT_IN_SHORT = (
    *("request_id", "at_ms", "number", "member", "answered", "status", "cause", "code", "hedge"),
)


class Cursor(NamedTuple):
    """Where a page ended: the calls behind it are older."""

    at_ms: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Call:
    """`fields`: the columns of `calls` that were asked for, JSON read; `attempts` likewise, in the order in
    which they began."""

    fields: Tree
    attempts: tuple[Tree, ...] = ()

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.fields["at_ms"], self.fields["request_id"])


class Lately(NamedTuple):
    """What a call of the last minutes came to. Times in ms."""

    at_ms: int
    outcome: str
    first_byte_ms: float | None


def page_of(ledger: Ledger, question: Question, before: Cursor | None, most: int) -> list[Call]:
    """The newest calls, those behind `before` where there is one; at most so many. The question's time bounds
    how many rows are looked at where few have what it asks for."""
    c = CALLS.c
    query = select(*_columns(CALLS.c, _IN_SHORT)).where(*question.of_calls())
    if before is not None:
        # The first condition says no more than the second, and lets an index find the place.
        query = query.where(c.at_ms <= before.at_ms, tuple_(c.at_ms, c.request_id) < tuple(before))
    query = query.order_by(c.at_ms.desc(), c.request_id.desc()).limit(most)
    with ledger.reading() as connection:
        found = [read_row(row._mapping) for row in connection.execute(query)]
        attempts = _attempts(connection, found, _ATTEMPT_IN_SHORT)
    return [Call(fields, attempts.get(_key(fields), ())) for fields in found]


def call_of(ledger: Ledger, request_id: str) -> Call | None:
    """All that is known of it; None: it is not there."""
    query = select(CALLS).where(CALLS.c.request_id == request_id).order_by(CALLS.c.at_ms.desc()).limit(1)
    with ledger.reading() as connection:
        row = connection.execute(query).first()
        if row is None:
            return None
        fields = read_row(row._mapping)
        attempts = _attempts(connection, [fields], tuple(column.name for column in ATTEMPTS.c))
    return Call(fields, attempts.get(_key(fields), ()))


def lately(ledger: Ledger, question: Question, most: int) -> list[Lately]:
    """The newest calls of its time, at most so many."""
    c = CALLS.c
    query = select(c.at_ms, c.outcome, c.first_byte_ms).where(*question.of_calls())
    with ledger.reading() as connection:
        rows = connection.execute(query.order_by(c.at_ms.desc()).limit(most)).all()
    return [Lately(*row) for row in rows]


def failures(ledger: Ledger, question: Question, most: int) -> list[Call]:
    """The newest calls that failed, or whose end nobody told; at most so many."""
    c = CALLS.c
    query = select(*_columns(c, _IN_SHORT)).where(*question.of_calls(), c.outcome.in_((ERROR, LOST)))
    query = query.order_by(c.at_ms.desc(), c.request_id.desc()).limit(most)
    with ledger.reading() as connection:
        return [Call(read_row(row._mapping)) for row in connection.execute(query)]


def oldest_ms(ledger: Ledger) -> int | None:
    """When the oldest call was that it has; None: it has none."""
    with ledger.reading() as connection:
        found: int | None = connection.execute(select(func.min(CALLS.c.at_ms))).scalar()
    return found


def _attempts(
    connection: Connection, calls: Sequence[Tree], names: Iterable[str]
) -> dict[tuple[int, str], tuple[Tree, ...]]:
    if not calls:
        return {}
    a = ATTEMPTS.c
    times = [call["at_ms"] for call in calls]
    query = (
        select(*_columns(a, names))
        .where(a.request_id.in_([call["request_id"] for call in calls]))
        .where(a.at_ms >= min(times), a.at_ms <= max(times))  # tells the partitions
        .order_by(a.request_id, a.at_ms, a.number)
    )
    found: dict[tuple[int, str], tuple[Tree, ...]] = {}
    for row in connection.execute(query):
        read = read_row(row._mapping)
        found[_key(read)] = (*found.get(_key(read), ()), read)
    return found


def _columns(columns: Any, names: Iterable[str]) -> list[Column[Any]]:
    return [columns[name] for name in names]


def _key(fields: Tree) -> tuple[int, str]:
    return fields["at_ms"], fields["request_id"]


def read_row(row: Mapping[Any, Any]) -> Tree:
    """With what is JSON as what it says, and what stands in `more` beside it: there older rows have what has
    a column by now."""
    read = {
        str(name): msgspec.json.decode(value) if name in _JSON and value else value
        for name, value in row.items()
    }
    for name, value in (read.get("more") or {}).items():
        if read.get(name) is None:
            read[name] = value
    return read
