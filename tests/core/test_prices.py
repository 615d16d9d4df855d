"""Rates and dates: exact, and the right one."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.prices import (
    BUCKETS,
    MILLION,
    NO_PRICES,
    Price,
    Rates,
    Scale,
    book_of,
    dollars,
    percent,
)

HOUR = 3600
DAY = 24 * HOUR


def price(
    number: int, from_s: int = 0, until_s: int | None = None, daily: tuple[int, int] | None = None
) -> Price:
    return Price(Scale(Rates(input=number)), from_s=from_s, until_s=until_s, daily=daily)


def input_at(at_s: int, *prices: Price) -> int | None:
    found = book_of({("p", "m"): prices}).find("p", "m", at_s)
    return found and found.scale.rates.input


def test_the_last_price_that_holds_wins() -> None:
    prices = (price(1), price(2, 100), price(3, 200, 300), price(4, 400))
    assert [input_at(at, *prices) for at in (0, 99, 100, 199, 200, 299, 300, 399, 400)] == [
        *(1, 1, 2, 2, 3, 3, 2, 2, 4),
    ]


def test_nothing_is_known_where_no_price_holds() -> None:
    assert input_at(99, price(1, 100)) is None
    assert input_at(100, price(1, 0, 100)) is None
    assert NO_PRICES.find("p", "m", 0) is None


def test_hours_of_the_day() -> None:
    by_day = (price(1), price(2, 0, None, (HOUR, 4 * HOUR)))
    assert [input_at(7 * DAY + h * HOUR, *by_day) for h in (0, 1, 3, 4)] == [1, 2, 2, 1]
    over_midnight = (price(1), price(2, 0, None, (22 * HOUR, 2 * HOUR)))
    assert [input_at(7 * DAY + h * HOUR, *over_midnight) for h in (1, 2, 21, 22)] == [2, 1, 1, 2]
    never = (price(1), price(2, 0, None, (HOUR, HOUR)))
    assert [input_at(7 * DAY + h * HOUR, *never) for h in (0, 1, 2)] == [1, 1, 1]


SPANS = st.lists(
    st.builds(
        price,
        st.integers(1, 1000),
        st.integers(0, 10).map(lambda day: day * DAY),
        st.none() | st.integers(0, 10).map(lambda day: day * DAY),
        st.none() | st.tuples(st.integers(0, DAY), st.integers(0, DAY)),
    ),
    max_size=6,
)


@given(SPANS, st.integers(0, 11 * DAY))
def test_what_is_found_holds_and_nothing_behind_it_does(prices: list[Price], at_s: int) -> None:
    found = book_of({("p", "m"): tuple(prices)}).find("p", "m", at_s)
    assert found == next((each for each in reversed(prices) if each.holds(at_s)), None)
    if found is not None:
        assert found.from_s <= at_s and (found.until_s is None or at_s < found.until_s)


def test_a_book_is_named_by_what_it_says() -> None:
    one = book_of({("p", "m"): (price(1),), ("p", "n"): (price(2),), ("p", "none"): ()})
    same = book_of({("p", "n"): (price(2),), ("p", "m"): (Price(Scale(Rates(1)), source="elsewhere"),)})
    assert one == same and len(one.revision) == 12
    assert one.revision != book_of({("p", "m"): (price(1),), ("p", "n"): (price(3),)}).revision
    assert one.revision != book_of({("p", "m"): (price(1),), ("p", "n"): (price(2, 1),)}).revision


@pytest.mark.parametrize(("prompt", "rate"), [(0, 1), (200, 1), (201, 2), (1000, 2), (1001, 3)])
def test_a_threshold_is_not_above_itself(prompt: int, rate: int) -> None:
    scale = Scale(Rates(input=1), ((200, Rates(input=2)), (1000, Rates(input=3))))
    assert scale.at(prompt).input == rate


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0"), (5_000_000_000, "5"), (37_500_000, "0.0375"), (1, "0.000000001"), (10**13, "10000")],
)
def test_dollars_as_people_write_them(nano: int, text: str) -> None:
    assert dollars(nano) == text


def test_percent_as_people_write_it() -> None:
    assert [percent(ppm) for ppm in (120_000, 125_000, 1_000_000, 10)] == ["12%", "12.5%", "100%", "0.001%"]


RATES = st.builds(Rates, **dict.fromkeys(BUCKETS, st.none() | st.integers(0, 10**13)))


@given(RATES, st.integers(0, MILLION))
def test_a_discount_is_right_to_half_a_nano_dollar_a_million(rates: Rates, ppm: int) -> None:
    less = dict(rates.less(ppm).items())
    assert less.keys() == dict(rates.items()).keys()
    for name, rate in rates.items():
        assert abs(less[name] - Fraction(rate * (MILLION - ppm), MILLION)) <= Fraction(1, 2)
        assert less[name] <= rate


@given(st.integers(0, 10**8), st.integers(0, 100_000))
def test_a_discount_on_a_price_of_four_decimals_is_exact(price: int, percent_thousandths: int) -> None:
    """$0.0001 are 100,000 nano-dollars; 0.001 % are 10 parts of a million."""
    rate, ppm = price * 100_000, percent_thousandths * 10
    assert Rates(input=rate).less(ppm).input == Fraction(rate * (MILLION - ppm), MILLION)


def test_a_discount_reaches_every_rate() -> None:
    tiers = (("flex", Scale(Rates(input=100, output=50), ((9, Rates(input=200)),))),)
    whole = Price(Scale(Rates(input=1000, request=10), ((5, Rates(input=2000)),)), tiers, source="list")
    less = whole.less(100_000, "mine.yaml:3")
    assert less == Price(
        Scale(Rates(input=900, request=9), ((5, Rates(input=1800)),)),
        (("flex", Scale(Rates(input=90, output=45), ((9, Rates(input=180)),))),),
        discount_ppm=100_000,
    )
    assert less.source == "list, less 10% (mine.yaml:3)"
