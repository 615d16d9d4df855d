"""Both arms of a rollout over time, and copies of shadows: how many, how good, how fast and how dear."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, literal_column, or_, select

from ..core.outcomes import ERROR, OK
from ..core.trials import CANDIDATE, SHADOW
from .database import Ledger
from .tables import CALLS


class Part(NamedTuple):
    """Of one arm from `at_ms` on. `calls` are those that say something of their arm (as gates count them);
    `latency_ms`: the sum of those that went well, `good` of them. Nano-dollars; `unknown` calls' cost is not
    in `cost`."""

    at_ms: int
    arm: str
    calls: int
    failed: int
    good: int
    latency_ms: float
    cost: int
    unknown: int


class Copies(NamedTuple):
    """What became of one shadow's copies: as in Part."""

    shadow: str
    calls: int
    failed: int
    good: int
    latency_ms: float
    cost: int
    unknown: int


def arms(
    ledger: Ledger, rollout: str, targets: Collection[str], since_ms: int, until_ms: int, width_ms: int
) -> list[Part]:
    """In spans of `width_ms`. `targets`: the pools in which the candidate answers; its calls that another one
    answered are its failures."""
    c = CALLS.c
    width: ColumnElement[Any] = literal_column(str(int(width_ms)))
    at: ColumnElement[Any] = (c.at_ms - c.at_ms % width).label("at")
    elsewhere = and_(c.arm == CANDIDATE, func.coalesce(c.purpose, "") == "", c.pool.not_in(targets))
    query = (
        select(at, c.arm, *_figures(or_(c.outcome == ERROR, elsewhere)))
        .where(c.at_ms >= since_ms, c.at_ms < until_ms, c.rollout == rollout, c.arm != "", *_counted())
        .group_by(at, c.arm)
        .order_by(at, c.arm)
    )
    with ledger.reading() as connection:
        return [Part(int(row[0]), row[1], *_read(row[2:])) for row in connection.execute(query)]


def copies(ledger: Ledger, since_ms: int, until_ms: int) -> list[Copies]:
    """By shadow."""
    c = CALLS.c
    query = (
        select(c.agent, *_figures(c.outcome != OK))
        .where(c.at_ms >= since_ms, c.at_ms < until_ms, c.purpose == SHADOW)
        .group_by(c.agent)
        .order_by(c.agent)
    )
    with ledger.reading() as connection:
        return [Copies(row[0], *_read(row[1:])) for row in connection.execute(query)]


def _counted() -> list[ColumnElement[bool]]:
    """Which calls say something: not those that nobody was asked for, or that a budget sent elsewhere."""
    c = CALLS.c
    from_cache = and_(func.coalesce(c.cache, "") != "", c.attempts_made == 0)
    return [c.outcome.in_((OK, ERROR)), func.coalesce(c.degraded_from, "") == "", ~from_cache]


def _figures(failed: ColumnElement[bool]) -> list[ColumnElement[Any]]:
    c = CALLS.c
    return [
        func.count(),
        func.sum(case((failed, 1), else_=0)),
        func.sum(case((failed, 0), else_=1)),
        func.sum(case((failed, 0.0), else_=c.duration_ms)),
        func.sum(func.coalesce(c.cost_total, 0)),
        func.sum(case((c.cost_total.is_(None), 1), else_=0)),
    ]


def _read(row: Any) -> tuple[int, int, int, float, int, int]:
    calls, failed, good, latency, cost, unknown = row
    return int(calls), int(failed), int(good), float(latency or 0.0), int(cost or 0), int(unknown)
