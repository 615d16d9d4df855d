"""What answers from the cache saved."""

from __future__ import annotations

from typing import Any

import pytest
from modelbroker.core.prices import Price, Rates, Scale, book_of
from modelbroker.core.record import HIT, JOINED, STORED, Attempt, Record, Saved
from modelbroker.core.usage import EXACT, NOTHING, UNKNOWN, Usage
from modelbroker.dialects import Used, used_text
from modelbroker.records.pricing import price
from modelbroker.records.savings import WAIT_S, Savings, paid_by, saved_in

USED = Usage(input=1_000, output=100)
PAID = used_text(Used(USED, "priority"))


def record(request_id: str, cache: str, **more: Any) -> Record:
    return Record(request_id, 0.0, 1.0, None, 200, "POST", "/", pool="p", member="a/m", cache=cache, **more)


def stored(request_id: str, usage: Usage | None = USED) -> Record:
    state = EXACT if usage is not None else UNKNOWN
    vain = Attempt("b/m", 500, 1.0, usage=None, usage_state=NOTHING)
    answer = Attempt("a/m", 200, 1.0, usage=usage, usage_state=state, service_tier="priority")
    return record(request_id, STORED, usage=usage, usage_state=state, attempts=(vain, answer))


def hit(request_id: str, of: str, cache: str = HIT, **facts: str) -> Record:
    return record(request_id, cache, cached_request_id=of, saved=saved_in(facts))


def test_a_hit_has_what_its_entry_told() -> None:
    told: list[Any] = []
    savings = Savings(lambda *each: told.append(each))
    known = hit("h", "f", paid=PAID)
    assert savings.take([known], 0.0) == [known]
    assert known.saved == Saved(USED, "priority")
    unknown = hit("h", "f", paid="")
    assert savings.take([unknown], 0.0) == [unknown]
    assert unknown.saved == Saved() and told == []


def test_a_hit_waits_for_the_record_of_the_call_that_filled() -> None:
    told: list[Any] = []
    savings = Savings(lambda *each: told.append(each))
    early = [hit("h1", "f"), hit("h2", "f", JOINED)]
    plain = record("x", "")
    assert savings.take([*early, plain], 0.0) == [plain]
    filler = stored("f")
    assert savings.take([filler], 1.0) == [filler, *early]
    assert told == [("f", PAID)]
    late = hit("h3", "f")
    assert savings.take([late], 2.0) == [late]
    assert [each.saved for each in (*early, late)] == [Saved(USED, "priority")] * 3
    early[0].saved.cost = None  # type: ignore[union-attr]
    assert early[0].saved is not early[1].saved  # each is priced by itself


def test_a_hit_waits_no_longer_than_a_while() -> None:
    savings = Savings(lambda *each: None)
    alone = hit("h", "never")
    assert savings.take([alone], 5.0) == [] == savings.due(5.0 + WAIT_S - 0.1)
    assert savings.due(5.0 + WAIT_S) == [alone]
    assert alone.saved == Saved() and savings.due(99.0) == []
    savings.take([stored("f")], 100.0)
    savings.due(100.0 + WAIT_S)  # forgotten by then
    assert savings.take([hit("h", "f")], 111.0) == []


@pytest.mark.parametrize("usage", [None, USED])
def test_what_is_known_of_the_call_that_filled(usage: Usage | None) -> None:
    assert paid_by(stored("f", usage)) == (PAID if usage else "")


def test_garbage_tells_nothing() -> None:
    assert saved_in({"paid": "{"}) == Saved()


def test_it_has_the_price_of_the_day_of_the_hit() -> None:
    day = [Scale(Rates(input=rate, output=rate)) for rate in (1_000_000_000, 2_000_000_000)]
    book = book_of({("a", "m"): (Price(day[0]), Price(day[1], from_s=50))})
    for started_s, total in ((0.0, 1_100_000), (60.0, 2_200_000)):
        one = hit("h", "f", paid=used_text(Used(USED)))
        one.started_s = started_s
        price(one, book)
        assert one.saved is not None and one.saved.cost is not None and one.cost is not None
        assert (one.saved.cost.total, one.cost.total) == (total, 0)
    unpriced = hit("h", "f", paid=PAID)
    price(unpriced, book)
    assert unpriced.saved is not None and unpriced.saved.cost is not None
    assert (unpriced.saved.cost.total, unpriced.saved.cost.unknown) == (None, ("service_tier",))
