"""Records for the ledger, its databases, and what is in them."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from modelbroker.core.ids import RANDOM_BYTES, request_id_of
from modelbroker.core.prices import Cost
from modelbroker.core.record import Attempt, Record
from modelbroker.core.usage import EXACT, Usage
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.follow import Follower
from modelbroker.ledger.reports import Settings
from sqlalchemy import text

DAY_S = 86_400
NOW_S = 1_795_985_600.0  # 2026-11-29T20:53:20Z
_encoder = msgspec.json.Encoder()


def id_at(at_s: float, seed: int) -> str:
    return request_id_of(int(at_s * 1000), random.Random(seed).randbytes(RANDOM_BYTES))


def attempt(member: str = "anthropic/claude", at_s: float = NOW_S, **fields: Any) -> Attempt:
    made = Attempt(member, 200, 10.0, 5.0, started_s=at_s, usage=Usage(1000, output=100), usage_state=EXACT)
    made.cost = Cost(4_500_000, {"input": 3_000_000, "output": 1_500_000})
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def record(
    seed: int, at_s: float = NOW_S, attempts: Sequence[Attempt] | None = None, **fields: Any
) -> Record:
    """A call that went well at the last of `attempts`."""
    tried = list(attempts) if attempts is not None else [attempt(at_s=at_s)]
    made = Record(id_at(at_s, seed), at_s, 12.0, 6.0, 200, "POST", "/v1/messages", outcome="ok")
    made.attempts, made.attempts_made = tuple(tried), len(tried)
    if tried:
        made.member, made.usage, made.usage_state = tried[-1].member, tried[-1].usage, tried[-1].usage_state
        totals = [one.cost.total if one.cost else None for one in tried]
        known = [total for total in totals if total is not None]
        buckets = {"input": sum(known)}
        made.cost = Cost(sum(known) if len(known) == len(tried) else None, buckets)
        made.price_revision = "book-1"
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def lost(of: Record) -> Record:
    """What is said of the same call where nobody tells its end."""
    return Record(of.request_id, of.started_s, 0.0, None, 0, of.method, of.path, outcome="lost")


def lines(records: Iterable[Record]) -> bytes:
    return bytes(_encoder.encode_lines(list(records)))


def trees(records: Iterable[Record]) -> list[dict[str, Any]]:
    """As they are read from the journal."""
    return [msgspec.json.decode(_encoder.encode(one)) for one in records]


def follow_to_the_end(folder: Path, url: str, retention_s: int = 0) -> Follower:
    follower = Follower(Settings(str(folder), url, retention_s), clock=lambda: NOW_S)
    while follower.step():
        pass
    follower.close()
    return follower


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All calls and attempts, by id."""
    with Ledger(url) as ledger, ledger.reading() as connection:
        return {
            table: [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY {key}"))]
            for table, key in (("calls", "request_id"), ("attempts", "request_id, number"))
        }


def ids_in(url: str) -> list[str]:
    """Of its calls, also while others write."""
    query = "SELECT request_id FROM calls ORDER BY request_id"
    if url.startswith("sqlite:///"):
        place = f"file:{url.removeprefix('sqlite:///')}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(place, timeout=30, uri=True)) as connection:
                return [row[0] for row in connection.execute(query)]
        except sqlite3.OperationalError:  # there is none yet
            return []
    with Ledger(url) as ledger, ledger.reading() as connection:
        return list(connection.execute(text(query)).scalars())
