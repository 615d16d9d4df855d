"""What becomes of calls' ends: records of every kind, and none at all."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from modelbroker.budgets import Keeper
from modelbroker.budgets.keeper import LOST_AFTER_S
from modelbroker.core.budgets import Budget, Step, Window
from modelbroker.core.catalog import Condition, Op
from modelbroker.core.opened import Opened
from modelbroker.core.prices import Cost
from modelbroker.core.record import Attempt, Record
from modelbroker.core.usage import EXACT, NOTHING, PARTIAL, UNKNOWN, Usage
from modelbroker.extproc.asking import ask_for
from modelbroker.policy.budgets import DEGRADED, GRANTED, Ask, Claim, Verdict, seat_of
from modelbroker.records.lost import lost_record
from prometheus_client import REGISTRY

DAY = Window("day")
BUDGETS = (
    Budget("money", 1_000, "nano_dollars", DAY, steps=(Step(500_000, "warn"), Step(1_000_000, "deny"))),
    Budget("tokens", 1_000, "tokens", DAY),
    Budget("calls", 1_000, "calls", DAY),
    Budget("places", 1_000, "concurrency", Window()),
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def keeper_of(clock: Clock | None = None) -> Keeper:
    keeper = Keeper(now_s=clock or Clock())
    keeper.configured(BUDGETS)
    return keeper


def ask(request_id: str = "1", money: int = 100, tokens: int = 50, now_s: float = 1_800_000_000.0) -> Ask:
    amounts = {"nano_dollars": money, "tokens": tokens}
    claims = tuple(Claim(seat_of(one), amounts.get(one.unit, 1), one.limit) for one in BUDGETS)
    return Ask(request_id, claims, now_s)


def attempt(nano: int | None, state: str = EXACT, tokens: int = 10, **buckets: int) -> Attempt:
    cost = Cost(nano, buckets or ({"output": nano} if nano else {}), () if nano is not None else ("usage",))
    usage = Usage(input=tokens) if state in (EXACT, PARTIAL) else None
    return Attempt("a/m", 200, 1.0, usage=usage, usage_state=state, cost=cost)


def record(*attempts: Attempt, made: int | None = None) -> Record:
    count = len(attempts) if made is None else made
    return Record("1", 0.0, 1.0, None, 200, "POST", "/", attempts=attempts, attempts_made=count)


def charged(one: Record) -> dict[str, int]:
    return {each.budget: each.charged for each in one.budgets}


@pytest.mark.parametrize(
    ("ended", "charges"),
    [
        (record(attempt(30)), (30, 10, 1)),
        (record(attempt(130)), (130, 10, 1)),
        (record(attempt(0, NOTHING), attempt(30)), (30, 10, 1)),
        # The provider may have worked, and did not say how much.
        (record(attempt(None, UNKNOWN)), (100, 50, 1)),
        (record(attempt(None, PARTIAL, output=20)), (100, 50, 1)),
        (record(attempt(None, PARTIAL, tokens=70, output=120)), (120, 70, 1)),
        (record(attempt(None, UNKNOWN), attempt(30)), (100, 50, 1)),
        # An attempt's entry never came.
        (record(attempt(30), made=2), (100, 50, 1)),
        (record(made=1), (100, 50, 1)),
        # Nobody was asked.
        (record(), (0, 0, 0)),
    ],
)
def test_what_a_record_is_charged(ended: Record, charges: tuple[int, ...]) -> None:
    keeper = keeper_of()
    verdict = keeper.reserve(ask())
    assert verdict is not None
    assert verdict.outcome == GRANTED
    keeper.settle(ended)
    assert charged(ended) == dict(zip(("money", "tokens", "calls"), charges, strict=True))
    assert all(row["reserved"] == 0 for row in keeper.here())


def test_a_call_that_is_lost_costs_what_it_reserved() -> None:
    keeper = keeper_of()
    verdict = keeper.reserve(ask())
    assert verdict is not None
    # Another process finds what it left.
    later = keeper_of()
    later.adopt("1", verdict.held)
    assert {row["budget"]: row["reserved"] for row in later.here()} == {
        "money": 100,
        "tokens": 50,
        "calls": 1,
        "places": 1,
    }
    lost = lost_record(Opened("1", (), (("reserved", verdict.held),)), [])
    later.settle(lost)
    assert charged(lost) == {"money": 100, "tokens": 50, "calls": 1}
    assert all(row["reserved"] == 0 for row in later.here())


def test_a_call_that_nobody_tells_of_ends_some_day() -> None:
    clock = Clock()
    keeper = keeper_of(clock)
    keeper.reserve(ask())
    keeper.sweep()
    assert "1" in keeper.accounts.held
    clock.now_s += LOST_AFTER_S + 1
    keeper.sweep()
    assert not keeper.accounts.held
    rows = {row["budget"]: (row["spent"], row["reserved"]) for row in keeper.here()}
    assert rows == {"money": (100, 0), "tokens": (50, 0), "calls": (1, 0)}
    clock.now_s += 86_400
    keeper.sweep()
    assert not keeper.accounts.accounts


def test_a_warning_is_said_once_each_time(caplog: pytest.LogCaptureFixture) -> None:
    keeper = keeper_of()
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            keeper.reserve(ask(f"{number}", money=240))
        assert [one.message for one in caplog.records] == [
            "budget money (all): 50% of it are used or reserved"
        ]
        for number in range(4):
            ended = record(attempt(1))
            ended.request_id = f"{number}"
            keeper.settle(ended)
        keeper.reserve(ask("5", money=10))  # it is below again
        keeper.reserve(ask("6", money=900))
        assert len(caplog.records) == 2


def test_the_first_that_is_denied_in_a_window_is_told_and_all_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    keeper = keeper_of(clock)
    with caplog.at_level(logging.WARNING):
        for number in range(6):
            keeper.reserve(ask(f"{number}", money=2_000, now_s=clock.now_s))
        clock.now_s += 86_400
        keeper.reserve(ask("6", money=2_000, now_s=clock.now_s))
    said = "a call is denied, the first in this window; further ones are counted, and not told here"
    assert [one.message for one in caplog.records] == [f"budget money (all): {said}"] * 2
    assert asyncio.run(keeper.shown())["denied"] == {"calls": 0, "money": 7, "places": 0, "tokens": 0}


def degraded() -> int:
    return int(REGISTRY.get_sample_value("modelbroker_budget_degraded_total", {"budget": "far"}) or 0)


def test_degraded_are_those_that_were_sent_on(caplog: pytest.LogCaptureFixture) -> None:
    """Not those that another budget then denied."""
    budget = Budget("far", 1_000, "calls", DAY, steps=(Step(0, "degrade", "q"),))
    keeper = keeper_of()
    keeper.configured([budget])
    before = degraded()
    with caplog.at_level(logging.WARNING):
        for name in "ab":
            verdict = keeper.reserve(Ask(name, (Claim(seat_of(budget), 1, None, 0),), 1_800_000_000.0))
            assert verdict is not None and verdict.outcome == DEGRADED
    (line,) = caplog.records
    assert line.message.startswith("budget far (all): a call is sent to another pool, the first")
    for made in (1, 0):
        ended = record(made=made)
        ended.degraded_from, ended.budget = "p", "far"
        keeper.settle(ended)
    assert degraded() == before + 1
    assert asyncio.run(keeper.shown())["degraded"] == {"far": 1}


def test_what_is_done_at_which_part_and_how_often_it_was_is_shown() -> None:
    steps = (Step(500_000, "warn"), Step(900_000, "degrade", "q"), Step(1_000_000, "deny"))
    condition = Condition("team", Op.IN, ("a", "b"))
    budget = Budget("b", 10, "calls", DAY, ("user",), (condition,), steps=steps, lender="c")
    keeper = keeper_of(Clock())
    keeper.configured([budget])
    for name in range(6):
        keeper.reserve(Ask(f"{name}", (Claim(seat_of(budget, "user=x"), 1, None),), 1_800_000_000.0))
    shown = json.loads(json.dumps(asyncio.run(keeper.shown())))
    assert (shown["warned"], shown["degraded"], shown["denied"]) == ({"b": {"50%": 1}}, {"b": 0}, {"b": 0})
    assert shown["since_s"] == 1_800_000_000.0
    (row,) = shown["budgets"]
    assert row["at"] == [
        {"percent": 50, "do": "warn", "pool": ""},
        {"percent": 90, "do": "degrade", "pool": "q"},
        {"percent": 100, "do": "deny", "pool": ""},
    ]
    assert row["match"] == [{"fact": "team", "op": "in", "values": ["a", "b"], "negated": False}]
    assert (row["by"], row["borrows_from"]) == (["user"], "c")
    assert row["begins_s"] == row["resets_s"] - 86_400 <= 1_800_000_000


def test_budgets_without_an_account_are_shown_too() -> None:
    keeper = keeper_of()
    keeper.configured([*BUDGETS[:1], Budget("teams", 9, "calls", DAY, by=("team",))])
    rows = asyncio.run(keeper.shown())["budgets"]
    assert [(row["budget"], row["scope"], row["spent"], row["limit"]) for row in rows] == [
        ("money", "", 0, 1_000),
        ("teams", None, 0, 9),
    ]
    assert all(row["resets_s"] > 1_800_000_000 for row in rows)
    assert keeper.here() == []  # metrics have no account that nobody has


@dataclass
class Desk:
    """Funds that answer when they are told to."""

    answer: asyncio.Event = field(default_factory=asyncio.Event)
    released: list[str] = field(default_factory=list)

    async def decide(self, ask: Ask) -> Verdict:
        await self.answer.wait()
        return Verdict(GRANTED)

    def release(self, request_id: str) -> None:
        self.released.append(request_id)

    def reserve(self, ask: Ask) -> Verdict | None:
        return None

    def holds(self, request_id: str, account: str) -> bool:
        return False


class Asker:
    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def on_verdict(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)


@pytest.mark.parametrize("leaves", [False, True])
def test_who_left_while_budgets_were_asked_holds_nothing(leaves: bool) -> None:
    async def run() -> None:
        desk = Desk()
        asker: Any = Asker()
        ask_for(desk, ask("1"), asker)
        await asyncio.sleep(0)
        told = asker.verdicts
        if leaves:
            del asker
            gc.collect()
        desk.answer.set()
        for _ in range(3):
            await asyncio.sleep(0)
        assert desk.released == (["1"] if leaves else [])
        assert len(told) == (0 if leaves else 1)

    asyncio.run(run())
