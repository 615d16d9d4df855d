"""The laws of budgets: what is let go fits, what is settled adds up, and windows roll on exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.budgets import STEPS, Budget, Span, Window
from modelbroker.core.call import Caller
from modelbroker.policy.budgets import (
    DEGRADED,
    DENIED,
    GRANTED,
    Accounts,
    Ask,
    Claim,
    Part,
    Seat,
    Stage,
    Used,
    Verdict,
    charged,
    most_of,
    rolling_span,
    seat_of,
    window_named,
)
from modelbroker.policy.seats import Plan

DAY = Window(length_ms=86_400_000)


def spans(window: Window, now_s: float) -> Span:
    return rolling_span(window, now_s) if window.length_ms else Span(0, 0, math.inf)


def budget(name: str = "b", limit: int = 100, unit: str = "nano_dollars", **more: Any) -> Budget:
    return Budget(name, limit, unit, more.pop("window", DAY), **more)


def seat(one: Budget, lender: int = -1, is_own: bool = True, scope: str = "") -> Seat:
    return seat_of(one, scope, lender, is_own)


def claim(one: Seat, amount: int, degrade: int | None = None) -> Claim:
    return Claim(one, amount, most_of(one.budget), degrade)


def ask(request_id: str, *claims: Claim, now_s: float = 1_000_000.0, **more: Any) -> Ask:
    return Ask(request_id, claims, now_s, **more)


def used(money: int = 0, tokens: int = 0, is_whole: bool = True) -> Any:
    return lambda since, until: Used(money, tokens, is_whole, is_whole)


def standing(accounts: Accounts) -> dict[str, tuple[int, int]]:
    return {name.split("|")[0]: (one.spent, one.reserved) for name, one in accounts.accounts.items()}


CALLS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 90), st.booleans()), max_size=60)


@given(CALLS, st.permutations(range(60)))
def test_never_more_than_the_limit_and_one_bound(
    calls: Sequence[tuple[int, int, bool]], order: Sequence[int]
) -> None:
    """The bound: what the calls that were under way when the last one was let go cost beyond what was
    reserved for them. Calls are (reserved, cost, is it settled at once); those that are not are settled in
    any order at the end."""
    accounts, one = Accounts(spans), budget()
    under_way: set[int] = set()
    bound = spent = 0
    for number, (amount, cost, at_once) in enumerate(calls):
        verdict = accounts.reserve(ask(f"{number}", claim(seat(one), amount)))
        if verdict.outcome != GRANTED:
            assert verdict.used[0] + amount > 100  # nobody is refused without a reason
            continue
        assert verdict.used[0] + amount <= 100
        under_way.add(number)
        bound = sum(max(0, calls[each][1] - calls[each][0]) for each in under_way)
        spent += cost
        if at_once:
            accounts.settle(f"{number}", used(cost))
            under_way.discard(number)
        assert sum(standing(accounts)["b"]) <= 100 + bound
    for number in sorted(under_way, key=lambda number: order[number]):
        accounts.settle(f"{number}", used(calls[number][1]))
    assert standing(accounts).get("b", (0, 0)) == (spent, 0)
    assert spent <= 100 + bound
    assert not accounts.held


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 40), st.integers(0, 60), st.booleans()), max_size=40
    ),
    st.booleans(),
)
def test_who_borrows_takes_what_is_unspent_and_no_more(
    calls: Sequence[tuple[int, int, int, bool]], is_nested: bool
) -> None:
    """Two teams and the pool that they borrow from, of which each call is a part (nested) or not. Whatever is
    reserved, the pool holds no more than its limit; and no nano-dollar is lost or counted twice."""
    accounts = Accounts(spans)
    pool = budget("pool", 60)
    teams = [budget(f"team{number}", 50, lender="pool") for number in range(2)]
    spent, let_go = 0, []
    for number, (team, amount, cost, at_once) in enumerate(calls):
        own = amount if is_nested else 0
        claims = (
            claim(seat(teams[team], lender=1), amount),
            Claim(seat(pool, is_own=is_nested), own, 60),
        )
        verdict = accounts.reserve(ask(f"{number}", *claims))
        now = standing(accounts)
        if verdict.outcome == DENIED:
            assert verdict.row == 1  # who has a lender is not denied by its own limit
            continue
        assert now.get("pool", (0, 0))[1] <= 60
        cost = min(cost, amount)
        spent += cost
        if at_once:
            charges = accounts.settle(f"{number}", used(cost))
            if not is_nested:
                assert sum(one.charged for one in charges) == cost
        else:
            let_go.append((f"{number}", cost))
        assert sum(standing(accounts).get("pool", (0, 0))) <= 60
    for request_id, cost in let_go:
        accounts.settle(request_id, used(cost))
    now = standing(accounts)
    assert all(reserved == 0 for _, reserved in now.values())
    assert now.get("pool", (0, 0))[0] <= 60
    if is_nested:
        assert now.get("pool", (0, 0))[0] == spent
    else:
        assert sum(money for money, _ in now.values()) == spent
        assert all(money <= 50 for name, (money, _) in now.items() if name != "pool")


def test_a_chain_of_lenders_is_borrowed_from_in_turn() -> None:
    accounts = Accounts(spans)
    child, middle, top = budget("c", 10, lender="m"), budget("m", 10, lender="t"), budget("t", 10)
    seats = (seat(child, 1), seat(middle, 2, is_own=False), seat(top, is_own=False))

    def taking(request_id: str, amount: int) -> str:
        claims = (claim(seats[0], amount), claim(seats[1], 0), claim(seats[2], 0))
        return accounts.reserve(ask(request_id, *claims)).outcome

    assert taking("1", 25) == GRANTED
    assert standing(accounts) == {"c": (0, 10), "m": (0, 10), "t": (0, 5)}
    assert taking("2", 6) == DENIED
    charges = accounts.settle("1", used(22))
    assert [(one.budget, one.charged) for one in charges] == [("c", 10), ("m", 10), ("t", 2)]
    assert taking("2", 8) == GRANTED
    assert taking("3", 1) == DENIED


@given(
    st.integers(60, 400_000),
    st.lists(st.tuples(st.integers(0, 500_000), st.integers(1, 50)), min_size=1, max_size=40),
)
def test_a_window_that_rolls_on_holds_for_every_span_of_its_length(
    length_s: int, calls: Sequence[tuple[int, int]]
) -> None:
    """Wherever one looks, no more than the limit was charged within the length; and what is older than the
    length and one step is free again."""
    window = Window(length_ms=length_s * 1000)
    accounts, one = Accounts(spans), budget(window=window)
    granted: list[tuple[float, int]] = []
    for number, (at_ms, amount) in enumerate(sorted(calls)):
        now_s = 1_000_000 + at_ms / 1000
        verdict = accounts.reserve(ask(f"{number}", claim(seat(one), amount), now_s=now_s))
        within = sum(taken for then_s, taken in granted if now_s - then_s < length_s)
        held = sum(taken for then_s, taken in granted if now_s - then_s < length_s * (1 + 1 / STEPS) + 0.01)
        if verdict.outcome == GRANTED:
            accounts.settle(f"{number}", used(amount))
            granted.append((now_s, amount))
            assert within + amount <= 100
        else:
            assert held + amount > 100
            assert verdict.ready_s is not None and now_s < verdict.ready_s <= now_s + length_s * 1.021 + 0.01
            again = accounts.reserve(ask("again", claim(seat(one), amount), now_s=verdict.ready_s + 0.001))
            assert again.outcome == GRANTED
            accounts.settle("again", used(0))
            return  # time has gone on


@pytest.mark.parametrize("unit", ["nano_dollars", "tokens"])
def test_what_calls_under_way_hold_may_fit_soon(unit: str) -> None:
    """They reserve what they may use at most, and give back most of it: nobody is sent away for a day."""
    day, now_s = Window(length_ms=86_400_000), 1_000_000.0
    accounts, one = Accounts(spans), seat(budget(unit=unit, window=day))

    def asked(name: str, amount: int) -> Verdict:
        return accounts.reserve(ask(name, claim(one, amount), now_s=now_s))

    assert asked("spent", 30).outcome == asked("held", 60).outcome == GRANTED
    accounts.settle("spent", used(30, 30))
    soon, later, never = asked("x", 70), asked("x", 71), asked("x", 101)
    assert {verdict.outcome for verdict in (soon, later, never)} == {DENIED}
    assert soon.is_held and soon.ready_s == now_s + 1
    assert not later.is_held and later.ready_s is not None and later.ready_s > now_s + 80_000
    assert not never.is_held and never.ready_s is None
    accounts.settle("held", used(0, 0))
    assert asked("x", 70).outcome == GRANTED


def test_a_call_under_way_stays_one_call() -> None:
    accounts, now_s = Accounts(spans), 1_000_000.0
    one = seat(budget(limit=1, unit="calls", window=Window(length_ms=60_000)))
    assert accounts.reserve(ask("1", claim(one, 1), now_s=now_s)).outcome == GRANTED
    verdict = accounts.reserve(ask("2", claim(one, 1), now_s=now_s))
    assert not verdict.is_held and verdict.ready_s is not None and verdict.ready_s > now_s + 50


def test_what_ends_behind_its_window_counts_in_the_window_of_its_beginning() -> None:
    window = Window(length_ms=60_000)
    accounts, one = Accounts(spans), budget(window=window)
    assert accounts.reserve(ask("old", claim(seat(one), 90), now_s=1_000)).outcome == GRANTED
    assert accounts.reserve(ask("new", claim(seat(one), 80), now_s=1_100)).outcome == GRANTED
    accounts.settle("old", used(90))
    assert standing(accounts) == {"b": (0, 80)}
    accounts.settle("new", used(70))
    assert standing(accounts) == {"b": (70, 0)}
    accounts.sweep(2_000)
    assert not accounts.accounts


def test_a_clock_that_is_set_back_lifts_no_limit() -> None:
    accounts, one = Accounts(spans), budget(window=Window(length_ms=60_000))
    assert accounts.reserve(ask("a", claim(seat(one), 60), now_s=100_000)).outcome == GRANTED
    assert accounts.reserve(ask("b", claim(seat(one), 50), now_s=1_000)).outcome == DENIED
    assert accounts.reserve(ask("b", claim(seat(one), 40), now_s=1_000)).outcome == GRANTED
    accounts.settle("a", used(50))
    assert accounts.reserve(ask("c", claim(seat(one), 11), now_s=1_001)).outcome == DENIED
    assert accounts.reserve(ask("c", claim(seat(one), 10), now_s=1_001)).outcome == GRANTED
    assert accounts.reserve(ask("d", claim(seat(one), 100), now_s=200_000)).outcome == GRANTED


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 40)), max_size=12), st.randoms())
def test_the_order_of_settling_means_nothing(calls: Sequence[tuple[str, int]], random: Any) -> None:
    ends = []
    for shuffled in (False, True):
        accounts = Accounts(spans)
        one, other = budget("one", 1_000), budget("other", 1_000, "tokens")
        for number, (_, amount) in enumerate(calls):
            accounts.reserve(ask(f"{number}", claim(seat(one), amount), claim(seat(other), amount)))
        numbers = list(range(len(calls)))
        if shuffled:
            random.shuffle(numbers)
        for number in numbers:
            accounts.settle(f"{number}", used(calls[number][1] // 2, calls[number][1]))
        ends.append(standing(accounts))
    assert ends[0] == ends[1]


def test_all_fit_or_nothing_is_reserved() -> None:
    accounts = Accounts(spans)
    wide, narrow = seat(budget("wide", 100)), seat(budget("narrow", 10))
    verdict = accounts.reserve(ask("1", claim(wide, 20), claim(narrow, 20)))
    assert (verdict.outcome, verdict.row, verdict.ready_s) == (DENIED, 1, None)
    assert set(standing(accounts).values()) <= {(0, 0)}


def test_what_cant_be_told_counts_as_what_was_reserved_or_more() -> None:
    one = seat(budget("money", 100)), seat(budget("tokens", 100, "tokens"))
    for known, whole, money, tokens in (
        ((5, 7), False, 30, 20),
        ((50, 70), False, 50, 70),
        ((5, 7), True, 5, 7),
    ):
        accounts = Accounts(spans)
        accounts.reserve(ask("1", claim(one[0], 30), claim(one[1], 20)))
        accounts.settle("1", used(*known, is_whole=whole))
        assert standing(accounts) == {"money": (money, 0), "tokens": (tokens, 0)}
    accounts = Accounts(spans)
    accounts.reserve(ask("1", claim(one[0], 30), claim(one[1], 20)))
    accounts.settle("1")  # lost
    assert standing(accounts) == {"money": (30, 0), "tokens": (20, 0)}


def test_calls_and_places_are_counted_by_the_call() -> None:
    rate = seat(Budget("rate", 2, "calls", DAY))
    places = seat(Budget("places", 2, "concurrency", Window()))
    accounts = Accounts(spans)
    for number in range(2):
        verdict = accounts.reserve(ask(f"{number}", claim(rate, 1), claim(places, 1)))
        assert verdict.outcome == GRANTED
    assert accounts.reserve(ask("2", claim(places, 1))).outcome == DENIED
    charges = accounts.settle("0", used())
    assert [(one.budget, one.charged) for one in charges] == [("rate", 1)]
    assert accounts.reserve(ask("2", claim(places, 1))).outcome == GRANTED
    assert accounts.reserve(ask("3", claim(rate, 1))).outcome == DENIED
    accounts.settle("1", lambda since, until: Used(0, 0, True, True, is_made=False))  # it was never made
    assert accounts.reserve(ask("3", claim(rate, 1))).outcome == GRANTED


def test_a_further_attempt_uses_again_what_the_last_one_left() -> None:
    one = seat(budget())
    accounts = Accounts(spans)
    accounts.reserve(ask("1", claim(one, 60)))
    assert accounts.reserve(ask("1", claim(one, 70), since=1, reuses=True)).outcome == GRANTED
    assert standing(accounts) == {"b": (0, 70)}
    # The second may have cost something, and the third does not fit beside it.
    assert accounts.reserve(ask("1", claim(one, 40), since=2)).outcome == DENIED
    assert accounts.reserve(ask("1", claim(one, 30), since=2)).outcome == GRANTED
    spent = {(1, 2): 50, (2, None): 20}
    charges = accounts.settle("1", lambda since, until: Used(spent[since, until], 0, True, True))
    assert [one.charged for one in charges] == [50, 20]
    assert standing(accounts) == {"b": (70, 0)}


def test_degrading_is_asked_before_denying() -> None:
    accounts, one = Accounts(spans), seat(budget())
    accounts.reserve(ask("1", claim(one, 85)))
    assert accounts.reserve(ask("2", claim(one, 10, degrade=90))).outcome == DEGRADED
    assert accounts.reserve(ask("2", claim(one, 5, degrade=90))).outcome == GRANTED
    assert accounts.reserve(ask("3", claim(one, 20, degrade=90))).outcome == DEGRADED
    assert accounts.reserve(ask("3", claim(one, 20))).outcome == DENIED


def test_a_process_that_begins_while_a_call_is_under_way_learns_of_it() -> None:
    before, after = Accounts(spans), Accounts(spans)
    held = before.reserve(ask("1", claim(seat(budget()), 60))).held
    after.adopt("1", held)
    assert standing(after) == standing(before) == {"b": (0, 60)}
    (charge,) = after.settle("1", used(42))
    assert (charge.charged, charge.reserved) == (42, 60)
    other = Accounts(spans)
    other.replay(charge)
    assert standing(other) == standing(after) == {"b": (42, 0)}
    after.adopt("2", "[1")  # of another version
    assert standing(after) == {"b": (42, 0)}


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 1)), min_size=1, max_size=4),
    st.integers(0, 300),
    st.booleans(),
)
def test_what_is_charged_is_what_was_used(
    rows: Sequence[tuple[int, int, int]], cost: int, is_whole: bool
) -> None:
    """Along a chain of lenders, nothing is lost; nobody lends more than was taken from him."""
    last = len(rows) - 1
    parts = [
        Part(
            f"b{row}|nano_dollars|now|",
            0,
            taken,
            passed if row < last else 0,
            row + 1 if row < last else -1,
            row == 0,
        )
        for row, (taken, passed, _) in enumerate(rows)
    ]
    amounts = charged(Stage(0, 0.0, parts), Used(cost, 0, is_whole, is_whole))
    whole = parts[0].taken + parts[0].passed
    assert sum(amounts) == (cost if is_whole else max(cost, whole))
    assert all(amount >= 0 for amount in amounts)


@pytest.mark.parametrize("window", [Window("day", "Europe/Berlin"), DAY, Window()])
def test_an_account_names_its_window(window: Window) -> None:
    assert window_named(str(window)) == window


def test_what_is_no_clients_call_is_in_budgets_of_its_own_purpose_alone() -> None:
    plan = Plan([budget("all"), budget("eval:cap")])

    def names(caller: Caller) -> list[str]:
        return [seat.budget.name for seat in plan.seats(caller, "pool", "")]

    assert names(Caller("app")) == ["all"]
    assert names(Caller("eval-new", purpose="eval")) == ["eval:cap"]
