"""Pools and members, as the console shows them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.overview import pulse_of
from modelbroker.console.pools import Measured, chart_of, is_like, paces_of, pools_of
from modelbroker.ledger.calls import Lately
from modelbroker.ledger.recent import Minute, Time
from modelbroker.stats import quantile

NOW_S = 1_796_000_010.0
MINUTE_MS = int(NOW_S // 60) * 60_000


def member(name: str, weight: float = 1, level: int = 0, **more: Any) -> dict[str, Any]:
    well = {"id": name, "weight": weight, "priority": level, "out": None, "weight_in_effect": weight}
    return {**well, "state": "well", **more}


def out(name: str, weight: float = 1, level: int = 0, state: str = "out") -> dict[str, Any]:
    why = {"until_s": NOW_S + 30, "cause": "rate-limit", "share": 0.0, "asked_for_longer": False}
    return member(name, weight, level, state=state, weight_in_effect=0, **why)


def status(*members: dict[str, Any], name: str = "p", **known: Any) -> dict[str, Any]:
    return {"pools": [{"name": name, "members": list(members)}], "members": known}


def shown(*members: dict[str, Any]) -> Any:
    (pool,) = pools_of(status(*members), Measured(), NOW_S)
    return pool


@pytest.mark.parametrize(
    ("members", "kind", "words"),
    [
        ([member("a"), member("b")], "good", "well"),
        ([out("a"), member("b")], "warn", "1 of 2 members out"),
        ([out("a"), out("b", state="ejected")], "bad", "nobody left"),
        (
            [member("a", state="not-set-up", out="no key", weight_in_effect=0)],
            "bad",
            "nobody left",
        ),
    ],
)
def test_how_a_pool_is(members: list[dict[str, Any]], kind: str, words: str) -> None:
    pool = shown(*members)
    assert (pool.kind, pool.words) == (kind, words)


def test_shares_are_of_the_level_that_serves() -> None:
    pool = shown(member("a", 70), member("b", 30), member("c", 5, 1))
    assert [one.share for one in pool.members] == [0.7, 0.3, None]
    pool = shown(out("a", 70), out("b", 30), member("c", 5, 1), member("d", 15, 1), member("e", 1, 2))
    assert [one.share for one in pool.members] == [0.0, 0.0, 0.25, 0.75, None]
    assert pool.members[0].words == "out for 30 s more (by its own word)" and pool.members[0].is_lowered


def test_who_is_not_well_comes_first() -> None:
    told = {
        "pools": [
            {"name": "a", "members": [member("m")]},
            {"name": "b", "members": [out("m"), member("n")]},
            {"name": "c", "members": [out("m")]},
        ],
        "members": {},
    }
    assert [pool.name for pool in pools_of(told, Measured(), NOW_S)] == ["c", "b", "a"]


def test_now_is_the_last_whole_minute() -> None:
    known = [
        Minute("p", "a", MINUTE_MS - 31 * 60_000, 9, 9),
        Minute("p", "a", MINUTE_MS - 60_000, 5, 2),
        Minute("p", "b", MINUTE_MS - 60_000, 1, 0),
        Minute("p", "a", MINUTE_MS, 7, 0),
    ]
    paces = paces_of(known, [Time("p", "a", 10.0), Time("p", "a", 30.0)], NOW_S)
    pace = paces["p", "a"]
    assert (pace.attempts, pace.failed, pace.failing, pace.minutes[-2:]) == (5, 2, 0.4, (5, 7))
    assert (pace.p50_ms, pace.p95_ms) == (10.0, 30.0)
    assert (paces["p", ""].attempts, paces["p", ""].failed) == (6, 2)


def test_a_candidates_pool_counts_in_its_own_and_in_the_one_beside_which_it_is() -> None:
    paces = paces_of([Minute("p~x/m", "x/m", MINUTE_MS - 60_000, 3, 0)], [], NOW_S)
    assert paces["p~x/m", "x/m"].attempts == paces["p", "x/m"].attempts == paces["p", ""].attempts == 3


def test_a_shadows_copies_count_in_its_own_alone() -> None:
    paces = paces_of([Minute("p~x/m", "x/m", MINUTE_MS - 60_000, 3, 1, "shadow")], [], NOW_S)
    assert (paces["p~x/m", "x/m"].attempts, paces["p~x/m", ""].failed) == (3, 1)
    assert ("p", "") not in paces and ("p", "x/m") not in paces


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_member_is_as_fast_here_as_on_the_first_page(times: list[float]) -> None:
    paces = paces_of([], [Time("p", "a", one) for one in times], NOW_S)
    now_ms = int(NOW_S * 1000)
    pulse = pulse_of([Lately(now_ms, "ok", one) for one in times], now_ms)
    assert (paces["p", "a"].p50_ms, paces["p", "a"].p95_ms) == (pulse.median_ms, pulse.p95_ms)
    assert pulse.median_ms == quantile(sorted(times), 0.5)


def test_the_chart_has_all_attempts() -> None:
    known = [
        Minute("p", name, MINUTE_MS - back * 60_000, 2, 0)
        for back in range(0, 170, 10)
        for name in (f"m{number}" for number in range(12))
    ]
    chart = chart_of(known, NOW_S)
    assert sum(total for _, _, total in chart.legend) == 2 * len(known)
    assert chart.legend[-1][0] == "all others" and len(chart.legend) == 9


def test_names_are_text() -> None:
    name = "<script>alert(1)</script>"
    chart = chart_of([Minute("p", name, MINUTE_MS, 1, 0)], NOW_S)
    assert "<script>" not in str(chart.chart) and "&lt;script&gt;" in str(chart.chart)


def test_what_is_found() -> None:
    pool = shown(member("openai/gpt-5"))
    assert is_like(pool, "P") and is_like(pool, "GPT") and is_like(pool, "") and not is_like(pool, "claude")
