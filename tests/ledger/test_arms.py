"""Both arms of a rollout over time, and what became of copies."""

from __future__ import annotations

from typing import Any

from modelbroker.core.prices import Cost
from modelbroker.journal.reading import Position
from modelbroker.ledger.arms import Copies, Part, arms, copies
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.rows import rows_of
from support.ledgers import NOW_S, record, trees

SINCE_MS = int(NOW_S * 1000) // 60_000 * 60_000


def call(seed: int, arm: str, at_s: float = 0.0, cost: int | None = 100, **more: Any) -> Any:
    made = record(seed, SINCE_MS / 1000 + at_s, rollout="try", arm=arm, stage="10%", **more)
    made.cost = Cost(cost, {"input": cost or 0}, () if cost is not None else ("output",))
    made.duration_ms = 200.0
    return made


def filled(url: str, *records: Any) -> Ledger:
    ledger = Ledger(url)
    ledger.take(rows_of(trees(records), "s"), "s", "here", Position("f", 1), 0)
    return ledger


def test_what_counts_counts_as_gates_do(url: str) -> None:
    with filled(
        url,
        call(1, "stable", pool="chat", outcome="ok"),
        call(2, "stable", pool="chat", outcome="error"),
        call(3, "stable", pool="chat", outcome="refused"),
        call(4, "stable", pool="chat", outcome="ok", degraded_from="other"),
        call(5, "candidate", pool="chat~new/n", outcome="ok", cost=None),
        call(6, "candidate", pool="chat", outcome="ok"),  # others answered in its place
        call(7, "candidate", at_s=61, pool="chat~new/n", outcome="ok", purpose="shadow"),
        call(8, "candidate", at_s=3_601, pool="chat~new/n", outcome="ok"),
        record(9, SINCE_MS / 1000, outcome="ok"),
    ) as ledger:
        found = arms(ledger, "try", ("new/n", "chat~new/n"), SINCE_MS, SINCE_MS + 3_600_000, 60_000)
        assert found == [
            Part(SINCE_MS, "candidate", 2, 1, 1, 200.0, 100, 1),
            Part(SINCE_MS, "stable", 2, 1, 1, 200.0, 200, 0),
            Part(SINCE_MS + 60_000, "candidate", 1, 0, 1, 200.0, 100, 0),
        ]
        assert arms(ledger, "other", (), SINCE_MS, SINCE_MS + 3_600_000, 60_000) == []


def test_copies_by_shadow(url: str) -> None:
    with filled(
        url,
        call(1, "", agent="s", purpose="shadow", outcome="ok"),
        call(2, "", agent="s", purpose="shadow", outcome="error", cost=None),
        call(3, "", agent="s", outcome="ok"),
    ) as ledger:
        assert copies(ledger, SINCE_MS, SINCE_MS + 60_000) == [Copies("s", 2, 1, 1, 200.0, 100, 1)]
