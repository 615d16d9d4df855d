"""The first page's figures, and what is kept of what takes long."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.kept import Kept
from modelbroker.console.overview import (
    outcomes_chart,
    pulse_of,
    spent_of,
    teams_chart,
)
from modelbroker.ledger.calls import Lately
from modelbroker.ledger.questions import Question
from modelbroker.ledger.spend import Spend, Sums

NOW_MS = 1_795_985_600_000
HOURS = ["2026-11-29T19:00Z", "2026-11-29T20:00Z"]


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_quantile_is_one_of_them_and_no_smaller_one_would_do(times: list[float]) -> None:
    pulse = pulse_of([Lately(NOW_MS, "ok", one) for one in times], NOW_MS)
    for found, share in ((pulse.median_ms, 0.5), (pulse.p95_ms, 0.95)):
        assert found in times
        assert sum(one <= found for one in times) >= share * len(times) - 1e-6
        assert sum(one < found for one in times) < share * len(times)


def test_of_no_calls_nothing_is_known() -> None:
    pulse = pulse_of([], NOW_MS)
    assert (pulse.last_minute, pulse.calls, pulse.errors) == (0, 0, 0)
    assert pulse.median_ms is None and pulse.p95_ms is None
    assert pulse.minutes == (0,) * 15


def test_the_last_minutes() -> None:
    calls = [
        Lately(NOW_MS + 3, "ok", 100.0),  # clocks of brokers differ
        Lately(NOW_MS - 59_000, "error", 5.0),
        Lately(NOW_MS - 60_000, "ok", 300.0),
        Lately(NOW_MS - 61_000, "lost", None),
        Lately(NOW_MS - 899_000, "client_gone", None),
    ]
    pulse = pulse_of(calls, NOW_MS)
    assert pulse.last_minute == 2 and pulse.minutes == (1, *[0] * 12, 2, 2)
    assert (pulse.calls, pulse.errors) == (5, 2)
    assert (pulse.median_ms, pulse.p95_ms) == (100.0, 300.0)  # of those that went well


def test_what_is_spent_has_what_is_known_of_calls_of_unknown_cost_beside_their_number() -> None:
    days = Spend(Question(("day", "purpose")))
    for day, purpose, sums in (
        ("2026-11-01", "", Sums(calls=2, cost=7, unknown=1, at_least=2)),
        ("2026-11-01", "score", Sums(calls=1, cost=30)),
        ("2026-11-30", "", Sums(cost=5)),
        ("2026-11-30", "shadow", Sums(cost=200)),
    ):
        days.groups[day, purpose] = sums
        days.total.add(sums)
    spent = spent_of(days, "2026-11-30")
    assert (spent.today, spent.today_unknown, spent.month, spent.month_unknown) == (205, 0, 244, 1)
    assert (spent.today_trials, spent.month_trials) == (200, 230)
    assert spent_of(Spend(Question()), "2026-11-30") == (0, 0, 0, 0, 0, 0)


def test_outcomes_by_the_hour() -> None:
    found = Spend(Question(("hour", "outcome")))
    found.groups = {
        (HOURS[0], "ok"): Sums(calls=3),
        (HOURS[1], "ok"): Sums(calls=4),
        (HOURS[1], "error"): Sums(calls=1),
    }
    chart = outcomes_chart(found, HOURS)
    assert [(one.name, one.told) for one in chart.legend] == [("ok", "7"), ("error", "1")]
    assert "20:00: 5\nerror: 1\nok: 4" in chart.svg
    assert outcomes_chart(Spend(Question()), HOURS).legend == ()


def test_the_dearest_teams_have_colours_and_the_others_are_one() -> None:
    found = Spend(Question(("hour", "team", "purpose")))
    found.groups = {(HOURS[0], f"team-{number}", ""): Sums(cost=number * 10**9) for number in range(1, 12)}
    found.groups[HOURS[1], "", ""] = Sums(cost=10**12, unknown=2)
    found.groups[HOURS[1], "", "shadow"] = Sums(cost=10**10 + 1)
    found.groups[HOURS[1], "free", ""] = Sums(calls=9)
    found.groups[HOURS[1], "<b>", ""] = Sums(cost=10**11)
    chart = teams_chart(found, HOURS)
    names = [one.name for one in chart.legend]
    assert names[:3] == ["no team", "<b>", "team-11"] and names[-1] == "others" and len(names) == 8
    assert names[3] == "for shadow"  # not one of those that have no team
    assert chart.legend[0].told == "$1,000.00 + ?" and chart.legend[-1].told == "$28.00"
    assert "free" not in names and "<b>" not in chart.svg and "&lt;b&gt;" in chart.svg


def test_what_took_long_is_asked_for_less_often() -> None:
    now_s, took_s = [0.0], [0.0]
    asked: list[float] = []

    def make() -> int:
        asked.append(now_s[0])
        now_s[0] += took_s[0]
        return len(asked)

    kept = Kept(lambda: now_s[0])
    assert [kept.get("a", 30, make), kept.get("a", 30, make)] == [1, 1]
    now_s[0] = 29.0
    assert kept.get("a", 30, make) == 1
    now_s[0], took_s[0] = 31.0, 10.0
    assert kept.get("a", 30, make) == 2
    now_s[0] = 41.0 + 199.0
    assert kept.get("a", 30, make) == 2
    now_s[0] = 41.0 + 201.0
    assert kept.get("a", 30, make) == 3
    assert kept.get("b", 30, make) == 4


def test_what_failed_is_asked_for_again_and_many_wait_for_one() -> None:
    kept, begun, goes_on = Kept(), threading.Event(), threading.Event()
    made: list[int] = []

    def fail() -> int:
        raise OSError("away")

    def slow() -> int:
        begun.set()
        goes_on.wait(60)
        made.append(1)
        return 7

    with pytest.raises(OSError, match="away"):
        kept.get("a", 30, fail)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(kept.get("a", 30, slow))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    assert kept.get("b", 30, lambda: 8) == 8  # others do not wait
    goes_on.set()
    for thread in threads:
        thread.join(60)
    assert found == [7] * 4 and made == [1]
