"""What calls cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.prices import Cost, Price, PriceBook, Rates, Scale, book_of
from modelbroker.core.record import Attempt, Record
from modelbroker.core.usage import EXACT, NOTHING, PARTIAL, UNKNOWN, Beside, Usage
from modelbroker.records.pricing import price, total_of

SCALE = Scale(Rates(input=3_000_000_000, output=15_000_000_000))
DEAR = Scale(Rates(input=6_000_000_000, output=30_000_000_000))
BOOK = book_of(
    {
        ("a", "org/m"): (Price(SCALE), Price(DEAR, from_s=1_000)),
        ("a", "advisor"): (Price(DEAR),),
        ("paid", "m"): (Price(Scale(Rates()), commitment=True),),
    }
)


def attempt(
    member: str = "a/org/m", usage: Usage | None = None, state: str = EXACT, at_s: float = 0.0, tier: str = ""
) -> Attempt:
    return Attempt(member, 200, 1.0, usage=usage, usage_state=state, started_s=at_s, service_tier=tier)


def cost(*attempts: Attempt, book: PriceBook = BOOK) -> Cost:
    record = Record("r", 0.0, 1.0, None, 200, "POST", "/", attempts=attempts, attempts_made=len(attempts))
    price(record, book)
    assert record.price_revision == book.revision and record.cost is not None
    return record.cost


USED = Usage(input=1_000, output=100)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([], Cost(0)),
        ([attempt(usage=USED)], Cost(4_500_000, {"input": 3_000_000, "output": 1_500_000})),
        # By the price of its day.
        ([attempt(usage=USED, at_s=1_000.5)], Cost(9_000_000, {"input": 6_000_000, "output": 3_000_000})),
        # In vain, for nothing and for money.
        ([attempt(state=NOTHING), attempt(usage=Usage(input=1))], Cost(3_000, {"input": 3_000})),
        ([attempt(usage=Usage(input=1)), attempt(usage=Usage(input=2))], Cost(9_000, {"input": 9_000})),
        # Known to be paid otherwise, whatever it used; and not known.
        ([attempt("paid/m", state=UNKNOWN)], Cost(0)),
        ([attempt("paid/m", Usage(1), PARTIAL)], Cost(0)),
        ([attempt(state=UNKNOWN)], Cost(None, {}, ("usage",))),
        ([attempt("a/other", USED)], Cost(None, {}, ("price",))),
        ([attempt(usage=USED, tier="flex")], Cost(None, {}, ("service_tier",))),
        ([attempt(usage=Usage(input=1, cache_read=1))], Cost(None, {"input": 3_000}, ("cache_read",))),
        ([attempt(usage=Usage(input=1, web_searches=1))], Cost(None, {"input": 3_000}, ("web_searches",))),
        ([attempt(usage=Usage(input=1), state=PARTIAL)], Cost(None, {"input": 3_000}, ("rest",))),
        # What another model used on the way, by its own price; unknown where that is.
        (
            [
                attempt(
                    usage=Usage(
                        input=1, beside=(Beside("advisor", Usage(output=2)), Beside("advisor", Usage()))
                    )
                )
            ],
            Cost(63_000, {"input": 3_000, "beside": 60_000}),
        ),
        (
            [attempt(usage=Usage(input=1, beside=(Beside("advisor", Usage(1)), Beside("other", Usage(1)))))],
            Cost(None, {"input": 3_000}, ("beside",)),
        ),
        (
            [attempt(usage=Usage(input=1, cache_read=1, beside=(Beside("advisor", Usage(1)),)))],
            Cost(None, {"input": 3_000, "beside": 6_000}, ("cache_read",)),
        ),
        (
            [attempt(usage=Usage(input=1)), attempt("a/other", USED)],
            Cost(None, {"input": 3_000}, ("price",)),
        ),
    ],
)
def test_what_a_call_cost(attempts: list[Attempt], expected: Cost) -> None:
    assert cost(*attempts) == expected


KNOWN = st.builds(Cost, st.just(0), st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)))


@given(st.lists(st.builds(lambda c: Cost(sum(c.buckets.values()), c.buckets), KNOWN), max_size=4))
def test_the_whole_is_the_sum_of_its_parts(costs: list[Cost]) -> None:
    whole = total_of(costs)
    assert whole.total == sum(cost.total or 0 for cost in costs) == sum(whole.buckets.values())


@given(st.lists(KNOWN, max_size=3), st.sampled_from(["price", "usage", "output"]))
def test_one_part_that_is_not_known_makes_the_whole_unknown(costs: list[Cost], why: str) -> None:
    assert total_of([*costs, Cost(None, {}, (why,))]).total is None
