"""Calls of all kinds: unknown costs, attempts in vain, hedges, copies, hostile names."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from modelbroker.core.prices import Cost
from modelbroker.core.record import Record
from modelbroker.core.usage import Usage
from modelbroker.journal.reading import Position
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.rows import rows_of

from .ledgers import DAY_S, NOW_S, attempt, record, trees

TEAMS = ("search", "ads", "", "=HYPERLINK(1)", "<script>alert('x')</script>", "a,b&c=d", "ünï · cödé")
FEATURES = ("chat", "-x", "")
MEMBERS = ("anthropic/opus", "openai/mini", "meta/llama/4")
PURPOSES = ("", "", "", "shadow", "score")


def of_all_kinds(count: int, days: float = 5, seed: int = 7) -> list[Record]:
    """Spread over so many days up to `NOW_S`."""
    draw = random.Random(seed)
    return [_call(draw, number, NOW_S - draw.random() * days * DAY_S) for number in range(count)]


def _call(draw: random.Random, number: int, at_s: float) -> Record:
    tried = [_attempt(draw, at_s, is_last) for is_last in [False] * draw.choice([0, 0, 1, 2]) + [True]]
    costs = [one.cost for one in tried]
    total = None if any(c.total is None for c in costs) else sum(c.total for c in costs)
    known = {"input": sum(sum(c.buckets.values()) for c in costs)}
    names = {
        "team": draw.choice(TEAMS),
        "feature": draw.choice(FEATURES),
        "customer": f"customer-{draw.randrange(12)}",
        "purpose": draw.choice(PURPOSES),
        "pool": draw.choice(["dear", "cheap"]),
    }
    return record(number, at_s, tried, cost=Cost(total, known), hedged=False, **names)


def _attempt(draw: random.Random, at_s: float, is_last: bool) -> Any:
    nano = draw.randrange(10**9) if draw.random() < 0.8 else None
    cost = Cost(nano, {"input": nano}) if nano is not None else Cost(None, {"input": 5}, ("output",))
    usage = Usage(draw.randrange(5_000), cache_read=draw.randrange(9), output=draw.randrange(500))
    how = {} if is_last else {"status": 503, "code": "upstream_error", "hedge": draw.random() < 0.5}
    return attempt(draw.choice(MEMBERS), at_s, usage=usage, cost=cost, **how)


def taken(url: str, records: Sequence[Record]) -> None:
    """Into the ledger."""
    with Ledger(url) as ledger:
        ledger.take(rows_of(trees(records), "s"), "s", "here", Position("f", 1), 0)
