"""How pages write numbers, money and times."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from modelbroker.console import charts, words


@pytest.mark.parametrize(
    ("nano", "unknown", "said"),
    [
        (0, 0, "$0.00"),
        (1_234_567_890_000, 0, "$1,234.57"),
        (12_340_000, 0, "$0.01"),
        (10_000_000, 0, "$0.01"),
        (9_876_543, 0, "$0.0099"),
        (9_960_000, 0, "$0.01"),
        (2_175_250, 0, "$0.0022"),
        (2_149_999, 0, "$0.0021"),
        (4_500, 0, "$0.0000045"),
        (7, 0, "$0.000000007"),
        (-2_500_000_000, 0, "−$2.50"),
        (None, 0, "unknown"),
        (0, 3, "unknown"),
        (5_000_000_000, 3, "$5.00 + ?"),
    ],
)
def test_money(nano: int | None, unknown: int, said: str) -> None:
    assert words.money(nano, unknown) == said


@given(st.integers(1, 10**18))
def test_money_is_near_what_it_says(nano: int) -> None:
    said = words.money(nano).removeprefix("$").replace(",", "")
    off = abs(Fraction(said) * 10**9 - nano)
    assert off <= 5_000_000 if nano >= 10_000_000 else off <= nano / 20  # to the cent, or to two digits
    assert Fraction(said) > 0


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "–"),
        (0, "0 %"),
        (0.0004, "< 0.1 %"),
        (0.004, "0.4 %"),
        (0.05, "5.0 %"),
        (0.123, "12 %"),
        (1, "100 %"),
    ],
)
def test_percent(share: float | None, said: str) -> None:
    assert words.percent(share) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (0.4, "0 ms"),
        (84.4, "84 ms"),
        (2_310, "2.31 s"),
        (31_000, "31.0 s"),
        (80_000, "1 min 20 s"),
    ],
)
def test_ms(value: float | None, said: str) -> None:
    assert words.ms(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(45, "45 s"), (180, "3 min"), (7800, "2 h 10 min"), (442_800, "5 d 3 h"), (86_400, "1 d"), (None, "–")],
)
def test_lasting(seconds: float | None, said: str) -> None:
    assert words.lasting(seconds) == said


def test_moments() -> None:
    assert words.moment(1_796_000_010.7) == "2026-11-30 00:53:30"
    assert words.clock(1_796_000_010.7) == "00:53:30"
    assert words.ago(100, 112) == "12 s ago" and words.ago(300, 112) == "in 3 min 8 s"
    assert words.moment(None) == words.ago(0, 5) == words.NOTHING


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (12_345, "12.3k"),
        (4_100_000, "4.1M"),
        (2_000_000_000, "2.0G"),
        (None, "–"),
    ],
)
def test_short(value: float | None, said: str) -> None:
    assert words.short(value) == said


def test_plural() -> None:
    assert words.plural(1, "call") == "1 call" and words.plural(12_000, "call") == "12,000 calls"
    assert words.plural(2, "reply", "replies") == "2 replies"


@given(st.floats(0, 1e15))
def test_an_axis_ends_at_a_round_number_not_far_above(most: float) -> None:
    top = charts.nice(most)
    assert top >= most * (1 - 1e-9) and (most < 1e-12 or top <= most * 2 * (1 + 1e-9))


@given(st.integers(0, 10**12))
def test_an_axis_of_calls_has_whole_numbers_at_all_its_lines(most: int) -> None:
    top = charts.whole(most)
    assert top >= most and top % 4 == 0 and top <= max(4, most * 2)


@pytest.mark.parametrize(
    ("nano", "said"),
    [
        (0, "$0.00"),
        (15_000_000, "$0.015"),
        (45_000_000, "$0.045"),
        (60_000_000, "$0.06"),
        (2_500_000, "$0.0025"),
    ],
)
def test_an_axis_of_money_says_all_its_digits(nano: float, said: str) -> None:
    assert words.tick(nano) == said


@given(st.lists(st.floats(0, 1e9), max_size=60), st.text(max_size=20))
def test_charts_hold_whatever_they_are_given(values: list[float], name: str) -> None:
    columns = [name] * len(values)
    series = [charts.Series(name, values, 0), charts.Series("other", values, 8)]
    for made in (
        charts.stacked(columns, series, str, name),
        charts.lines(columns, series, str, name),
        charts.spark(values, name),
        charts.meter(values[0] if values else None, "warn", name),
    ):
        assert isinstance(made, Markup)
        assert "nan" not in str(made).replace(name, "") or "nan" in name
