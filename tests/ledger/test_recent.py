"""What pools and members did in the last minutes, out of the ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from modelbroker.journal.reading import Position
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.recent import Failures, Minute, Time, failures, minutes, times
from modelbroker.ledger.rows import rows_of
from support.ledgers import NOW_S, attempt, record, trees

MINUTE_MS = int(NOW_S // 60) * 60_000
A, B = "anthropic/a", "openai/b"


def failed(member: str, at_s: float, cause: str = "overloaded") -> object:
    return attempt(member, at_s, cause=cause, code=f"member_{cause}", status=529)


RECORDS = [
    record(1, NOW_S - 3600, pool="p"),  # too old
    record(2, NOW_S - 61, [attempt(A, NOW_S - 61, first_byte_ms=7.0)], pool="p"),
    record(3, NOW_S, [failed(A, NOW_S), attempt(B, NOW_S, first_byte_ms=9.0)], pool="p"),
    record(4, NOW_S, [failed(A, NOW_S), failed(B, NOW_S, "reset")], pool="p"),
    record(5, NOW_S, [attempt(A, NOW_S)], pool="q"),
    record(6, NOW_S, [attempt(A, NOW_S, first_byte_ms=11.0)], pool="p~candidate/m"),
    record(7, NOW_S, [attempt(A, NOW_S)], pool="p", purpose="shadow"),
    record(8, NOW_S, [], pool="p", status=429),
    record(9, NOW_S, [attempt(A, NOW_S, first_byte_ms=13.0)], pool="p~candidate/m", purpose="shadow"),
]


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger(url) as opened:
        opened.take(rows_of(trees(RECORDS), "s"), "s", "s", Position(), 0)
        yield opened


def test_minutes(ledger: Ledger) -> None:
    since_ms = int(NOW_S - 600) * 1000
    found = sorted(minutes(ledger, since_ms, "p"))
    assert found == sorted(
        [
            Minute("p", A, MINUTE_MS - 60_000, 1, 0),
            Minute("p", A, MINUTE_MS, 2, 2),
            Minute("p", B, MINUTE_MS, 2, 1),
            Minute("p~candidate/m", A, MINUTE_MS, 1, 0),
        ]
    )
    copies = Minute("p~candidate/m", A, MINUTE_MS, 1, 0, "shadow")  # told where they are all that there is
    assert sorted(minutes(ledger, since_ms)) == sorted([*found, Minute("q", A, MINUTE_MS, 1, 0), copies])
    made = minutes(ledger, since_ms, "p~candidate/m")
    assert sorted(made) == [Minute("p~candidate/m", A, MINUTE_MS, 1, 0), copies]


def test_times(ledger: Ledger) -> None:
    found = times(ledger, int(NOW_S - 600) * 1000, "p")
    assert sorted(found) == [Time("p", A, 7.0), Time("p", B, 9.0), Time("p~candidate/m", A, 11.0)]
    copies = Time("p~candidate/m", A, 13.0, "shadow")
    assert copies in times(ledger, 0) and copies in times(ledger, 0, "p~candidate/m")


def test_failures(ledger: Ledger) -> None:
    first, second = failures(ledger, int(NOW_S - 600) * 1000, "p")
    newest = max(RECORDS[2].request_id, RECORDS[3].request_id)
    assert first == Failures(A, "overloaded", "member_overloaded", 529, 2, int(NOW_S * 1000), newest)
    assert (second.member, second.cause, second.attempts) == (B, "reset", 1)
    assert failures(ledger, int(NOW_S - 600) * 1000, "q") == []
