"""What pools and members did in the last minutes: how many attempts, how many in vain and why, how fast."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import ColumnElement, case, func, literal_column, or_, select

from ..core.trials import MADE, is_made
from .database import Ledger
from .questions import TRIED, Question
from .tables import ATTEMPTS, CALLS

_MINUTE_MS: ColumnElement[int] = literal_column("60000")
_MOST_TIMES = 20_000
# In PostgreSQL a parameter within GROUP BY would be another one each time.
_NONE: ColumnElement[str] = literal_column("''")
_PURPOSE: ColumnElement[str] = func.coalesce(CALLS.c.purpose, _NONE)


class Minute(NamedTuple):
    """`at_ms`: when it began, unix time; `failed`: attempts in vain. `purpose`: what calls were for, "" is
    clients' own; the others are told only of pools that the broker made for them."""

    pool: str
    member: str
    at_ms: int
    attempts: int
    failed: int
    purpose: str = ""


class Time(NamedTuple):
    """How long a member took to its first byte, in milliseconds. `purpose`: as of Minute."""

    pool: str
    member: str
    first_byte_ms: float
    purpose: str = ""


class Failures(NamedTuple):
    """`last_id`: the newest call that had one, at `last_ms` (unix time)."""

    member: str
    cause: str
    code: str
    status: int
    attempts: int
    last_ms: int
    last_id: str


def minutes(ledger: Ledger, since_ms: int, pool: str = "") -> list[Minute]:
    """The oldest first; of one pool where it is named."""
    at_ms = (ATTEMPTS.c.at_ms - ATTEMPTS.c.at_ms % _MINUTE_MS).label("minute_ms")
    failed = func.sum(case((ATTEMPTS.c.cause != _NONE, 1), else_=0))
    query = (
        select(CALLS.c.pool, ATTEMPTS.c.member, at_ms, func.count(), failed, _PURPOSE)
        .select_from(TRIED)
        .where(*_recent(since_ms, pool))
        .group_by(CALLS.c.pool, ATTEMPTS.c.member, at_ms, _PURPOSE)
        .order_by(at_ms)
    )
    with ledger.reading() as connection:
        return [
            Minute(row[0], row[1], int(row[2]), int(row[3]), int(row[4]), row[5])
            for row in connection.execute(query)
        ]


def times(ledger: Ledger, since_ms: int, pool: str = "") -> list[Time]:
    """Of the newest 20,000 attempts at most, for percentiles."""
    query = (
        select(CALLS.c.pool, ATTEMPTS.c.member, ATTEMPTS.c.first_byte_ms, _PURPOSE)
        .select_from(TRIED)
        .where(*_recent(since_ms, pool), ATTEMPTS.c.cause == "", ATTEMPTS.c.first_byte_ms.is_not(None))
        .order_by(ATTEMPTS.c.at_ms.desc())
        .limit(_MOST_TIMES)
    )
    with ledger.reading() as connection:
        return [Time(*row) for row in connection.execute(query)]


def failures(ledger: Ledger, since_ms: int, pool: str, most: int = 50) -> list[Failures]:
    """In a pool, the most frequent first."""
    group = (ATTEMPTS.c.member, ATTEMPTS.c.cause, ATTEMPTS.c.code, ATTEMPTS.c.status)
    count = func.count().label("attempts")
    query = (
        select(*group, count, func.max(ATTEMPTS.c.at_ms), func.max(ATTEMPTS.c.request_id))
        .select_from(TRIED)
        .where(*_recent(since_ms, pool), ATTEMPTS.c.cause != "")
        .group_by(*group)
        .order_by(count.desc(), *group)
        .limit(most)
    )
    with ledger.reading() as connection:
        return [Failures(*row) for row in connection.execute(query)]


def _recent(since_ms: int, pool: str) -> list[ColumnElement[bool]]:
    """Clients' attempts; at members for which the broker made a pool also those of copies."""
    where = {"pool": (pool,)} if pool else {}
    chosen = [*Question(since_ms=since_ms, where=where).of_tried(), ATTEMPTS.c.member != ""]
    return chosen if is_made(pool) else [*chosen, or_(_PURPOSE == "", *_made(pool))]


def _made(pool: str) -> list[ColumnElement[bool]]:
    """Where all pools are asked for: those that the broker made."""
    return [] if pool else [CALLS.c.pool.contains(MADE)]
