"""Old calls get the prices that are known today, exactly, and nothing that was known is lost by it."""

from __future__ import annotations

import json

import pytest
from modelbroker.core.prices import Cost, Price, PriceBook, Rates, Scale, book_of
from modelbroker.core.record import Record, Saved
from modelbroker.core.usage import PARTIAL, UNKNOWN, Usage
from modelbroker.journal.reading import Position
from modelbroker.ledger import reprice as module
from modelbroker.ledger.database import Ledger
from modelbroker.ledger.questions import Question
from modelbroker.ledger.reprice import Change, models_in, reprice
from modelbroker.ledger.rows import rows_of
from sqlalchemy import text
from support.ledgers import DAY_S, NOW_S, attempt, contents, lost, record, trees

MILLION = 1_000_000
OLD, NEW = 3_000, 2_000  # nano-dollars a token


def book(rate: int = NEW, from_s: int = 0, tiers: tuple[tuple[str, Scale], ...] = ()) -> PriceBook:
    """All of `anthropic/claude` at one rate."""
    rates = Rates(input=rate * MILLION, output=rate * MILLION, cache_read=0)
    return book_of({("anthropic", "claude"): (Price(Scale(rates), tiers, from_s=from_s),)})


def call(seed: int, tokens: int = 100, days: int = 0, **fields: object) -> Record:
    at_s = NOW_S - days * DAY_S
    cost = Cost(tokens * OLD, {"input": tokens * OLD})
    one = attempt(at_s=at_s, usage=Usage(tokens), cost=cost)
    for name, value in fields.items():
        setattr(one, name, value)
    return record(seed, at_s, [one], cost=one.cost, price_revision="old")


CALLS = [
    call(1),
    call(2, 50, days=10),
    call(3, usage=None, usage_state=UNKNOWN, cost=Cost(None, {}, ("usage",))),
    call(4, usage_state=PARTIAL, cost=Cost(None, {"input": 5}, ("rest",))),
    call(5, member="gone/model"),
    call(6, cost=Cost(None, {}, ("price",))),
    lost(record(7)),
    call(8, service_tier="batch"),
]


@pytest.fixture
def filled(url: str) -> str:
    with Ledger(url) as ledger:
        ledger.take(rows_of(trees(CALLS), "s"), "s", "here", Position("f", 1), 0)
    return url


def costs(url: str) -> dict[str, tuple[int | None, str, str]]:
    """Id → cost, why it is unknown, and the book."""
    with Ledger(url) as ledger, ledger.reading() as connection:
        query = text("SELECT request_id, cost_total, cost_unknown, price_revision FROM calls")
        return {row[0]: (row[1], row[2], row[3]) for row in connection.execute(query)}


def test_calls_cost_what_the_book_says_now(filled: str) -> None:
    new = book(tiers=(("batch", Scale(Rates(input=NEW * MILLION // 2))),))
    with Ledger(filled) as ledger:
        assert models_in(ledger, Question()) == [("anthropic", "claude"), ("gone", "model")]
        result = reprice(ledger, Question(), new, writes=True)
    found = costs(filled)
    by_seed = [found[one.request_id] for one in CALLS]
    assert [cost for cost, _, _ in by_seed] == [200_000, 100_000, None, None, 300_000, 200_000, None, 100_000]
    assert json.loads(by_seed[2][1]) == ["usage"] and json.loads(by_seed[3][1]) == ["rest"]
    assert {revision for _, _, revision in by_seed} == {new.revision, ""}
    assert result.calls == 7
    # Before: 300,000 twice, 150,000; after: 200,000 twice, 100,000 twice.
    # Known before and after: 300,000 → 200,000, 150,000 → 100,000, 300,000 → 100,000.
    claude = Change(6, 4, 750_000, 600_000, now_known=1, unknown=3, both=3, difference=-350_000)
    assert result.members["anthropic/claude"] == claude and claude.still_unknown == 2
    assert result.members["gone/model"] == Change(1, 0, 300_000, 300_000, kept=1, both=1)


def test_a_rehearsal_says_the_same_and_changes_nothing(filled: str) -> None:
    before = contents(filled)
    with Ledger(filled) as ledger:
        rehearsed = reprice(ledger, Question(), book(), writes=False)
        assert contents(filled) == before
        assert reprice(ledger, Question(), book(), writes=True) == rehearsed
    assert contents(filled) != before


def test_it_goes_on_where_it_was_broken_off(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    steps = 0

    def power_fails(done: int, of: int) -> None:
        nonlocal steps
        steps += 1
        assert of == 7
        if steps == 2:
            raise KeyboardInterrupt

    with Ledger(filled) as ledger:
        with pytest.raises(KeyboardInterrupt):
            reprice(ledger, Question(), book(), writes=True, heard=power_fails)
        assert reprice(ledger, Question(), book(), writes=True).calls == 3
        assert reprice(ledger, Question(), book(), writes=True).calls == 0
    assert {cost for cost, _, _ in costs(filled).values()} == {200_000, 100_000, 300_000, None}


def test_only_some(filled: str) -> None:
    with Ledger(filled) as ledger:
        since_ms = int((NOW_S - DAY_S) * 1000)
        assert reprice(ledger, Question(since_ms=since_ms), book(), writes=True).calls == 6
        question = Question(where={"model": ("claude",)})
        assert reprice(ledger, question, book(1), writes=True).calls == 6
    assert costs(filled)[CALLS[4].request_id][0] == 300_000


def test_prices_of_their_own_time(filled: str) -> None:
    """A price that holds since yesterday is none of what was before: that keeps its cost."""
    with Ledger(filled) as ledger:
        reprice(ledger, Question(), book(from_s=int(NOW_S - DAY_S)), writes=True)
    found = costs(filled)
    assert [found[one.request_id][0] for one in CALLS[:2]] == [200_000, 150_000]


def test_what_is_written_again_keeps_the_new_price(filled: str) -> None:
    with Ledger(filled) as ledger:
        reprice(ledger, Question(), book(), writes=True)
        before = contents(filled)
        ledger.take(rows_of(trees(CALLS), "s"), "s", "here", Position("f", 1), 0)
    assert contents(filled) == before


def test_what_nobody_told_stays_unknown_and_savings_follow_the_price(url: str) -> None:
    untold = call(1)
    untold.attempts_made, untold.cost = 2, Cost(None, {"input": 300_000}, ("usage",))
    hit = record(2, NOW_S, [], cost=Cost(0), price_revision="old", cache="hit", member="anthropic/claude")
    hit.saved = Saved(Usage(100), "", Cost(300_000, {"input": 300_000}))
    gone = record(3, NOW_S, [], cost=Cost(0), price_revision="old", cache="hit", member="gone/model")
    gone.saved = Saved(Usage(100), "", Cost(300_000, {"input": 300_000}))
    with Ledger(url) as ledger:
        ledger.take(rows_of(trees([untold, hit, gone]), "s"), "s", "here", Position("f", 1), 0)
        assert models_in(ledger, Question()) == [("anthropic", "claude"), ("gone", "model")]
        assert reprice(ledger, Question(), book(), writes=True).calls == 3
        with ledger.reading() as connection:
            query = text("SELECT request_id, cost_total, cost_known, saved_nano FROM calls")
            found = {row[0]: tuple(row[1:]) for row in connection.execute(query)}
    assert found[untold.request_id] == (None, 200_000, None)
    assert found[hit.request_id] == (0, 0, 200_000) and found[gone.request_id] == (0, 0, 300_000)
