"""What a change must not do: conditions as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from modelbroker.simulation.gates import gate_of

TOTAL: dict[str, Any] = {
    "calls": 1_000,
    "cost": {"old": 10**9, "new": 1_060_000_000, "change": 60_000_000, "change_ppm": 60_000},
    "latency": {"old": 900.0, "new": 1_100.0, "change": 200.0, "change_ppm": 222_222},
    "first_event": {
        "old": 90.0,
        "new": None,
        "change": None,
        "change_ppm": None,
        "why": "not enough overlap",
    },
    "refusals": {"old": 0, "new": 20, "change": 20, "change_ppm": None},
    "degradations": {"old": 4, "new": 2, "change": -2, "change_ppm": -500_000},
    "cache_hits": {"old": 0, "new": 0, "change": 0, "change_ppm": 0},
    "moved": {"old": 0, "new": 300, "change": 300, "change_ppm": None},
}


@pytest.mark.parametrize(
    ("text", "fails", "found"),
    [
        ("cost > +5%", True, "+6.00%"),
        ("cost>+6%", False, "+6.00%"),
        ("cost >= +6%", True, "+6.00%"),
        ("cost > +$0.05", True, "+$0.06"),
        ("cost > $2", False, "$1.06"),
        ("cost < -1%", False, "+6.00%"),
        ("latency > +199ms", True, "+200.0ms"),
        ("latency > 1.2s", False, "1100.0ms"),
        ("latency > +25%", False, "+22.22%"),
        ("first_event > +900s", True, "not known: not enough overlap"),
        ("refusals > 1%", True, "2.00%"),
        ("refusals > 20", False, "20"),
        ("refusals > +19", True, "+20"),
        ("refusals > +5%", True, "not known: there was none before"),
        ("degradations > +0", False, "-2"),
        ("cache_hits < 1", True, "0"),
        ("moved > 25%", True, "30.00%"),
    ],
)
def test_a_condition(text: str, fails: bool, found: str) -> None:
    assert gate_of(text).judge(TOTAL) == (fails, found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cost",
        "cost > 5%",
        "cost > 5",
        "cost > +5ms",
        "latency > +5",
        "latency > $5",
        "price > +5%",
        "cost > +$5%",
        "refusals > 5s",
        "cost = +5%",
    ],
)
def test_what_is_none_says_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"e\.g\.|metrics are|written with its sign|calls, or %"):
        gate_of(text)
