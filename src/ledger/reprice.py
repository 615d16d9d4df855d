"""What old calls cost by the prices that are known today.

In batches, each a transaction: a run that is broken off goes on where it was, for a call says by which book
its cost was reckoned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, bindparam, func, or_, select, update

from ..core.outcomes import LOST
from ..core.prices import Cost, PriceBook
from ..core.record import Attempt, Saved
from ..core.usage import Usage
from ..policy.prices import cost_of
from ..records.pricing import cost_of_attempt, total_of
from .database import REPRICE, Ledger
from .questions import Question, behind
from .rows import cost_columns, day_of
from .spend import Heard
from .tables import ATTEMPTS, CALLS

_AT_ONCE = 500
_COST = ("cost_total", "cost_known", "cost_buckets", "cost_unknown")
_usage = msgspec.json.Decoder(Usage)


@dataclass(slots=True)
class Change:
    """Of a member's attempts: how many cost otherwise now, what those that are known cost before and after,
    how many became known or unknown, and how many keep their cost, for the book has no price of theirs.
    `difference` is over the `both` whose cost is known before and after."""

    attempts: int = 0
    changed: int = 0
    before: int = 0
    after: int = 0
    now_known: int = 0
    now_unknown: int = 0
    kept: int = 0
    unknown: int = 0  # before
    both: int = 0
    difference: int = 0

    @property
    def still_unknown(self) -> int:
        """Of how many the cost is unknown afterwards."""
        return self.unknown - self.now_known + self.now_unknown

    def add(self, other: Change) -> None:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def take(self, old: int | None, new: int | None) -> None:
        self.before += old or 0
        self.after += new or 0
        self.changed += old != new
        self.now_known += old is None and new is not None
        self.now_unknown += old is not None and new is None
        self.unknown += old is None
        if old is not None and new is not None:
            self.both += 1
            self.difference += new - old


@dataclass(slots=True)
class Repriced:
    revision: str
    calls: int = 0
    members: dict[str, Change] = field(default_factory=dict)


def models_in(ledger: Ledger, question: Question) -> list[tuple[str, str]]:
    """(provider, model as members name it) of all attempts, and of answers from the cache."""
    tried = select(ATTEMPTS.c.member).distinct().where(*question.of_attempts())
    cached = select(CALLS.c.member).distinct().where(*question.of_calls(), CALLS.c.saved.is_not(None))
    with ledger.reading() as connection:
        members = {row[0] for query in (tried, cached) for row in connection.execute(query)} - {""}
    return sorted((provider, model) for provider, _, model in (one.partition("/") for one in members))


def reprice(
    ledger: Ledger, question: Question, book: PriceBook, *, writes: bool, heard: Heard | None = None
) -> Repriced:
    """Of the calls with an attempt, or from the cache, that the question is about. What is `lost` stays
    unknown."""
    result = Repriced(book.revision)
    with ledger.reading() as connection:
        query = select(func.count()).select_from(CALLS).where(*_due(question, book))
        of = connection.execute(query).scalar() or 0
    after = (question.since_ms, "")
    while True:
        scope = ledger.writing() if writes else ledger.reading()
        with scope as connection:
            calls = _next_calls(connection, question, book, after)
            if not calls:
                return result
            _reprice(connection, calls, book, result, writes=writes)
            if writes:
                ledger.touch(connection, {day_of(call.at_ms) for call in calls}, REPRICE)
        after = (calls[-1].at_ms, calls[-1].request_id)
        result.calls += len(calls)
        if heard is not None:
            heard(result.calls, of)


def _due(question: Question, book: PriceBook) -> list[ColumnElement[bool]]:
    something = or_(CALLS.c.attempts_made > 0, CALLS.c.saved.is_not(None))
    return [*question.of_calls(), CALLS.c.price_revision != book.revision, CALLS.c.outcome != LOST, something]


def _next_calls(
    connection: Connection, question: Question, book: PriceBook, after: tuple[int, str]
) -> list[Any]:
    key = (CALLS.c.at_ms, CALLS.c.request_id)
    of_saving = (CALLS.c.saved, CALLS.c.member, CALLS.c.started_s)
    query = select(*key, *of_saving).where(*_due(question, book), *behind(key, after))
    return list(connection.execute(query.order_by(*key).limit(_AT_ONCE)).all())


def _reprice(
    connection: Connection,
    calls: list[Any],
    book: PriceBook,
    result: Repriced,
    *,
    writes: bool,
) -> None:
    ids = [call.request_id for call in calls]
    query = select(ATTEMPTS).where(
        ATTEMPTS.c.request_id.in_(ids), ATTEMPTS.c.at_ms.between(calls[0].at_ms, calls[-1].at_ms)
    )
    if writes:
        query = query.with_for_update()
    found: dict[str, list[RowMapping]] = {}
    for row in connection.execute(query.order_by(ATTEMPTS.c.number)).mappings():
        found.setdefault(row["request_id"], []).append(row)
    new_calls: list[dict[str, Any]] = []
    new_attempts: list[dict[str, Any]] = []
    for call in calls:
        key = {"b_request_id": call.request_id, "b_at_ms": call.at_ms}
        costs = []
        for row in found.get(call.request_id, ()):
            change = result.members.setdefault(row["member"], Change()) if row["member"] else Change()
            cost = _cost_now(row, book, change)
            costs.append(cost)
            new_attempts.append({**key, "b_number": row["number"], **_columns(cost)})
        new = {"price_revision": book.revision, **_columns(total_of(costs))}
        new_calls.append({**key, **new, **_saving(call, book)})
    if writes:
        _update(connection, CALLS, new_calls)
        _update(connection, ATTEMPTS, new_attempts)


def _saving(call: Any, book: PriceBook) -> dict[str, Any]:
    """What an answer from the cache saved, as `records.pricing` reckons it."""
    if call.saved is None:
        return {"saved": None, "saved_nano": None}
    saved = msgspec.json.decode(call.saved, type=Saved)
    provider, _, model = call.member.partition("/")
    found = book.find(provider, model, int(call.started_s))
    if found is not None or saved.cost is None or saved.cost.total is None:
        saved.cost = cost_of(saved.usage, found, saved.service_tier)
    return {"saved": msgspec.json.encode(saved).decode(), "saved_nano": saved.cost.total}


def _cost_now(row: RowMapping, book: PriceBook, change: Change) -> Cost:
    """By the book; where that has no price of the model, a cost that was known stays."""
    if not row["member"]:  # nobody told of it
        return Cost(None, {}, ("usage",))
    change.attempts += 1
    at_s = int(row["started_s"])
    old: int | None = row["cost_total"]
    if old is not None and book.find(row["provider"], row["member_model"], at_s) is None:
        change.kept += row["usage_state"] != "none"
        change.take(old, old)
        return Cost(old, msgspec.json.decode(row["cost_buckets"], type=dict[str, int]))
    usage = _usage.decode(row["usage"]) if row["usage"] else None
    attempt = Attempt(
        row["member"],
        row["status"],
        0.0,
        started_s=row["started_s"],
        usage=usage,
        usage_state=row["usage_state"],
        service_tier=row["service_tier"],
    )
    cost = cost_of_attempt(attempt, book)
    change.take(old, cost.total)
    return cost


def _columns(cost: Cost) -> dict[str, Any]:
    return cost_columns({"total": cost.total, "buckets": cost.buckets, "unknown": cost.unknown})


def _update(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    keys = [name for name in rows[0] if name.startswith("b_")]
    query = update(table).where(*(table.c[name.removeprefix("b_")] == bindparam(name) for name in keys))
    values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name not in keys}
    connection.execute(query.values(values), rows)
