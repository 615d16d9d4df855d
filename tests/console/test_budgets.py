"""The page of budgets, out of what `/budgets` says."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.budgets.keeper import shown_row
from modelbroker.console.asked import Asked
from modelbroker.console.budgets import AT_A_TIME, account_of, forecast, scope_of, spend_url, told
from modelbroker.console.lending import lender_of
from modelbroker.console.pages import environment
from modelbroker.core.budgets import CALLS, CONCURRENCY, NANO_DOLLARS, Budget, Span, Step, Window
from modelbroker.core.catalog import Condition, Op
from modelbroker.policy.seats import quote

DAY_S = 86_400
BEGAN_S = 1_795_910_400  # 2026-11-29
NOON_S = BEGAN_S + DAY_S / 2
DAY = Span(BEGAN_S, BEGAN_S, BEGAN_S + DAY_S)
DOLLAR = 10**9
STEPS = (Step(500_000, "warn"), Step(900_000, "degrade", "cheap"), Step(1_000_000, "deny"))


def budget(**more: Any) -> Budget:
    fields = {"name": "daily", "limit": 10 * DOLLAR, "unit": NANO_DOLLARS, "window": Window("day")}
    return Budget(**{**fields, "steps": STEPS, **more})


def row(spent: int, reserved: int = 0, scope: str | None = "", **more: Any) -> dict[str, Any]:
    one = budget(**more)
    made = shown_row(one, scope, spent, reserved, DAY)
    return {**made, "match": [{**match, "values": list(match["values"])} for match in made["match"]]}


def answer(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    names = {one["budget"] for one in rows}
    none = dict.fromkeys(names, 0)
    happened = {"denied": none, "degraded": none, "warned": {name: {} for name in names}}
    return {"kept": "here", "budgets": list(rows), "since_s": float(BEGAN_S), **happened, **more}


def page(told_of: dict[str, Any], query: dict[str, str] | None = None) -> str:
    shown = {"title": "Budgets", **told(told_of, query or {}, NOON_S)}
    asked = Asked("/budgets", {}, "anna", NOON_S)
    return environment().get_template("budgets.html").render(navigation=(), asked=asked, every_s=5, **shown)


@pytest.mark.parametrize(
    ("spent", "reserved", "state", "said", "reached"),
    [
        (0, 0, "", "unused", 0),
        (49, 0, "good", "has room", 0),
        (40, 10, "warn", "warned at 50 %", 1),
        (90, 0, "warn", "calls go to cheap", 2),
        (99, 1, "bad", "used up: calls are denied", 3),
        (130, 0, "bad", "used up: calls are denied", 3),
    ],
)
def test_states(spent: int, reserved: int, state: str, said: str, reached: int) -> None:
    account = account_of(row(spent * DOLLAR // 10, reserved * DOLLAR // 10), NOON_S)
    assert (account.state, account.said) == (state, said)
    assert [step.is_reached for step in account.steps] == [True] * reached + [False] * (3 - reached)
    assert [step.words for step in account.steps] == [
        "warn at 50 %",
        "degrade to cheap at 90 %",
        "deny at 100 %",
    ]


def test_a_budget_that_denies_from_nothing_on_is_used_up_before_any_call() -> None:
    account = account_of(row(0, steps=(Step(0, "deny"),)), NOON_S)
    assert (account.state, account.said) == ("bad", "used up: calls are denied")


def test_what_is_used_up_denies_nothing_while_its_lender_has_room() -> None:
    company = {"name": "company", "limit": 100 * DOLLAR, "steps": STEPS[2:]}
    team = {"lender": "company", "scope": "team=a"}

    def said(spent: int, lent: int) -> tuple[str, str, str]:
        shown = told(answer(row(spent * DOLLAR, **team), row(lent * DOLLAR, **company)), {}, NOON_S)
        one = next(one for one in shown["accounts"] if one.budget == "daily")
        return one.state, one.said, one.borrows

    assert said(13, 99) == ("warn", "used up: company lends", "company")
    assert said(13, 100) == ("bad", "used up: calls are denied", "company")
    assert said(9, 100) == ("warn", "calls go to cheap", "company")
    # Lenders may borrow themselves, and a circle is nobody's rest.
    rows = [row(13 * DOLLAR, **team), row(100 * DOLLAR, lender="bank", **company), row(0, name="bank")]
    assert lender_of(rows[0], rows) == "bank" and lender_of(rows[2], rows) == ""
    rows[2] = row(10 * DOLLAR, name="bank", lender="company")
    assert lender_of(rows[0], rows) == ""


def test_without_deny_it_denies_nothing() -> None:
    account = account_of(row(11 * DOLLAR, steps=(Step(500_000, "warn"),)), NOON_S)
    assert (account.state, account.said) == ("warn", "over its limit, which denies nothing")
    account = account_of(row(11 * DOLLAR, steps=(Step(1_200_000, "deny"),)), NOON_S)
    assert account.state == "warn"  # 20 % more are let through
    assert account_of(row(12 * DOLLAR, steps=(Step(1_200_000, "deny"),)), NOON_S).state == "bad"


@pytest.mark.parametrize(
    ("spent", "at_s", "said"),
    [
        (5, NOON_S, "at this pace 100 % at its end"),
        (2, NOON_S, "at this pace 40 % at its end"),
        (8, NOON_S, "at this pace used up by 2026-11-29 15:00, in 3 h"),
        (8, BEGAN_S + 3_600, ""),  # too early to tell
        (0, NOON_S, ""),
        (10, NOON_S, ""),  # it is used up
        (5, BEGAN_S + DAY_S + 1, ""),  # of yesterday
    ],
)
def test_forecasts(spent: int, at_s: float, said: str) -> None:
    assert forecast(row(spent * DOLLAR), at_s) == said


def test_no_forecast_where_it_rolls_on() -> None:
    assert forecast(row(5 * DOLLAR, window=Window(length_ms=DAY_S * 1000)), NOON_S) == ""
    minute = row(5, unit=CALLS, window=Window("minute")) | {"begins_s": NOON_S - 50, "resets_s": NOON_S + 10}
    assert forecast(minute, NOON_S) == ""


def test_units_and_windows() -> None:
    places = account_of(row(0, 3, unit=CONCURRENCY, limit=50, window=Window(), kind="rate_limit"), NOON_S)
    assert (places.kind, places.spent, places.reserved, places.limit) == (
        "rate limit",
        "",
        "3 calls",
        "50 calls",
    )
    assert (places.window, places.resets) == ("at a time", "")
    money = account_of(row(1_234_567_890, 1), NOON_S)
    assert (money.spent, money.exactly) == ("$1.23", "$1.23456789 spent, $0.000000001 reserved")
    assert (money.window, money.resets) == ("day, UTC", "resets in 12 h, 2026-11-30 00:00:00 UTC")
    rolls = account_of(row(1, unit=CALLS, window=Window(length_ms=DAY_S * 1000)), NOON_S)
    assert (rolls.window, rolls.resets) == ("rolling 24h", "")


@given(st.dictionaries(st.sampled_from(["team", "customer", "user"]), st.text(min_size=1), min_size=1))
def test_scopes_are_read_as_they_were_written(facts: dict[str, str]) -> None:
    scope = ",".join(f"{fact}={quote(value, safe=' @:/+')}" for fact, value in facts.items())
    assert dict(scope_of(scope)) == facts


def test_an_account_leads_to_what_it_spent() -> None:
    conditions = (
        Condition("tier", Op.IN, ("free",)),
        Condition("pool", Op.GLOB, ("a*",)),
        Condition("agent", Op.IN, ("x", "y")),
        Condition("user", Op.IN, ("root",), negated=True),
    )
    url = spend_url(row(1, scope="team=a%2Cb,customer=c", by=("team", "customer"), conditions=conditions))
    assert dict(parse_qsl(urlsplit(url).query)) == {
        "span": "today",
        "team": "a,b",
        "customer": "c",
        "tier": "free",
    }
    assert account_of(row(1, conditions=conditions), NOON_S).whose == (
        "tier is free, pool is a*, agent is x or y, user is not root"
    )
    assert "purpose=shadow" in spend_url(row(1, name="shadow:of-chat"))


def test_the_fullest_first_some_at_a_time_and_only_some() -> None:
    rows = [row(n, scope=f"customer=c-{n}", by=("customer",), limit=2_000, unit=CALLS) for n in range(1_000)]
    first = told(answer(*rows, row(DOLLAR * 10, name="all")), {}, NOON_S)
    assert first["accounts"][0].budget == "all" and first["accounts"][1].scope == "customer c-999"
    assert (len(first["accounts"]), first["found"], first["previous"]) == (AT_A_TIME, 1_001, "")
    query = dict(parse_qsl(urlsplit(first["next"]).query))
    second = told(answer(*rows), query, NOON_S)
    assert (second["first"], second["accounts"][0].scope) == (AT_A_TIME + 1, f"customer c-{999 - AT_A_TIME}")
    last = told(answer(*rows), {"page": "99999"}, NOON_S)
    assert (last["accounts"][-1].scope, last["next"]) == ("customer c-0", "")
    some = told(answer(*rows), {"q": "C-77", "budget": "daily"}, NOON_S)
    assert [one.scope for one in some["accounts"]] == [f"customer c-{n}" for n in (*range(779, 769, -1), 77)]
    full = told(answer(*rows, row(DOLLAR * 10, name="all")), {"state": "denying"}, NOON_S)
    assert [one.budget for one in full["accounts"]] == ["all"]


def test_what_happened_and_whose_figures_they_are() -> None:
    happened = {"denied": {"daily": 6}, "degraded": {"daily": 2}, "warned": {"daily": {"50%": 1}}}
    text = page(answer(row(DOLLAR), kept="away", **happened))
    assert "Redis is away" in text and "others of the fleet aside" in text
    assert "50% reached 1 time" in text and "2026-11-29 00:00:00 UTC, when it began" in text
    assert "Nothing was denied" in page(answer(row(DOLLAR)))
    assert "Figures of the whole fleet" in page(answer(row(DOLLAR), kept="redis"))


def test_nothing_is_configured_and_names_are_only_names() -> None:
    assert "budgets: [{name: team-daily" in page(answer())
    text = page(answer(row(1, scope="user=%3Cscript%3E", by=("user",))), {"q": "<i>"})
    assert "None of 1 account is like that." in text and "<i>" not in text
    assert "user &lt;script&gt;" in page(answer(row(1, scope="user=%3Cscript%3E", by=("user",))))
    assert "no account used yet" in page(answer(row(0, scope=None, by=("user",))))
