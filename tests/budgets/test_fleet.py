"""What brokers share in a real Redis: the same law as in one process, and nothing is lost when Redis is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.budgets.calendars import spans
from modelbroker.budgets.fleet import Away, Shared
from modelbroker.core.budgets import Budget, Fleet, Window
from modelbroker.policy.budgets import (
    DENIED,
    GRANTED,
    Accounts,
    Ask,
    Claim,
    Seat,
    Used,
    account_id,
    most_of,
)
from prometheus_client import REGISTRY
from support.servers import Redis

FAILURES = "modelbroker_budget_redis_failures_total"
NOW_S = 4_000_000_000.0  # Redis must not think that it is over
_prefixes = itertools.count(1)


@asynccontextmanager
async def broker(fleet: Fleet, name: str, accounts: Accounts | None = None) -> AsyncIterator[Shared]:
    shared = Shared(fleet, accounts or Accounts(spans), name, None)
    running = asyncio.create_task(shared.run())
    await came_in(shared)
    try:
        yield shared
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def came_in(shared: Shared) -> None:
    await until(lambda: not shared.is_away)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def fleet_of(redis: Redis, **more: Any) -> Fleet:
    return Fleet(redis.url, prefix=f"test-{next(_prefixes)}", timeout_ms=5_000, **more)


BUDGETS = (
    Budget("child", 50, "nano_dollars", Window("day", "Europe/Berlin"), lender="middle"),
    Budget("middle", 30, "nano_dollars", Window(length_ms=60_000), lender="top"),
    Budget("other", 80, "nano_dollars", Window("hour")),
    Budget("places", 3, "concurrency", Window()),
    Budget("top", 20, "nano_dollars", Window("month")),
)


def claims_for(amount: int, is_nested: bool, degrades: bool) -> tuple[Claim, ...]:
    lenders = {"child": 1, "middle": 4}
    claims = []
    for budget in BUDGETS:
        is_own = budget.name in ("child", "other", "places") or (is_nested and budget.name == "top")
        seat = Seat(budget, account_id(budget, "team=a b"), "team=a b", lenders.get(budget.name, -1), is_own)
        wanted = 1 if budget.unit == "concurrency" else amount if is_own else 0
        claims.append(
            Claim(seat, wanted, most_of(budget), 60 if degrades and budget.name == "other" else None)
        )
    return tuple(claims)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "reserve", "settle", "settle", "again"]),
        st.integers(0, 40),  # amount, or cost
        st.integers(0, 30),  # seconds later
        st.booleans(),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_the_script_says_what_the_law_says(
    redis: Redis, steps: Sequence[tuple[str, int, int, bool, bool]]
) -> None:
    """Two brokers take turns; one process that is asked the same answers the same."""

    async def run() -> None:
        fleet = fleet_of(redis)
        alone = Accounts(spans)
        now_s, open_calls = NOW_S, []
        async with broker(fleet, "one") as one, broker(fleet, "two") as two:
            for number, (what, amount, later, nested, degrades) in enumerate(steps):
                now_s += later
                shared = (one, two)[number % 2]
                if what == "reserve":
                    ask = Ask(f"{number}", claims_for(amount, nested, degrades), now_s)
                    told, law = await shared.reserve(ask), alone.reserve(ask)
                    assert told == law
                    if law.outcome == GRANTED:
                        open_calls.append((f"{number}", shared))
                elif open_calls:
                    request_id, whose = open_calls.pop(amount % len(open_calls))
                    if what == "settle":
                        used = Used(amount, amount, nested, nested)
                        told_charges = whose._accounts.settle(
                            request_id, lambda since, until, used=used: used
                        )
                        assert told_charges == alone.settle(request_id, lambda since, until, used=used: used)
                    else:
                        whose._accounts.give_back(request_id)
                        alone.give_back(request_id)
                    await whose._tell()
            figures = await one.figures()
        held = {
            name: {slot: tuple(held) for slot, held in account.slots.items() if any(held)}
            for name, account in alone.accounts.items()
        }
        for name, slots in held.items():
            counted = {slot: both for slot, both in figures.get(name, {}).items() if slot in slots}
            assert counted == slots

    asyncio.run(run())


SEAT = Seat(BUDGETS[2], account_id(BUDGETS[2], ""), "")


def ask(request_id: str, amount: int) -> Ask:
    return Ask(request_id, (Claim(SEAT, amount, 80),), NOW_S)


async def total(shared: Shared) -> tuple[int, int]:
    slots = (await shared.figures()).get(SEAT.account, {})
    return sum(one[0] for one in slots.values()), sum(one[1] for one in slots.values())


async def settled(shared: Shared, wanted: tuple[int, int]) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                if await total(shared) == wanted:
                    return
            except Away:
                pass
            await asyncio.sleep(0.01)


def spend(shared: Shared, request_id: str, cost: int) -> None:
    shared._accounts.settle(request_id, lambda since, until: Used(cost, 0, True, True))
    shared.wake()


def test_redis_loses_everything_and_brokers_say_it_anew(redis: Redis) -> None:
    async def run() -> None:
        fleet = fleet_of(redis, share_ppm=250_000)
        async with broker(fleet, "one") as one, broker(fleet, "two") as two:
            for number, shared in enumerate((one, two, one)):
                assert (await shared.reserve(ask(f"{number}", 10))).outcome == GRANTED
            spend(one, "0", 7)
            await settled(one, (7, 20))
            redis.kill()
            with pytest.raises(Away):
                await one.reserve(ask("a", 1))
            with pytest.raises(Away):
                await two.reserve(ask("b", 1))
            # A quarter of 80 is 20. One has spent 7 and holds 10, two holds 10.
            assert one.alone(ask("c", 4)).outcome == DENIED
            assert one.alone(ask("c", 3)).outcome == GRANTED
            assert two.alone(ask("d", 10)).outcome == GRANTED
            spend(two, "1", 9)  # while it is away
            redis.start()
            await came_in(one)
            await came_in(two)
            await settled(one, (7 + 9, 10 + 3 + 10))
            assert (await one.reserve(ask("e", 80 - 39 + 1))).outcome == DENIED
            assert (await one.reserve(ask("e", 80 - 39))).outcome == GRANTED
            for shared, request_id in ((one, "2"), (one, "c"), (two, "d"), (one, "e")):
                spend(shared, request_id, 1)
            await settled(two, (20, 0))

    asyncio.run(run())


@pytest.mark.parametrize("evicts", ["one account", "who is there"])
def test_redis_evicts_a_key_and_nothing_that_was_spent_is_lost(redis: Redis, evicts: str) -> None:
    """As one does that has a maxmemory. The broker that misses its own has all say theirs anew, also those
    that have nothing to say of that account."""

    async def run() -> None:
        fleet = fleet_of(redis)
        accounts = {name: Accounts(spans) for name in ("one", "two")}
        slot = spans(BUDGETS[2].window, NOW_S).slot
        for name, spent in (("one", 30), ("two", 45)):
            accounts[name].restore(SEAT.account, slot, spent)
        async with (
            broker(fleet, "one", accounts["one"]) as one,
            broker(fleet, "two", accounts["two"]) as two,
        ):
            await settled(one, (75, 0))
            key = one._key("brokers") if evicts == "who is there" else one._account_key(SEAT.account)
            assert await one._redis.delete(key) == 1
            with pytest.raises(Away):
                await one.reserve(ask("a", 6))
            two.wake()
            for shared in (one, two):
                await came_in(shared)
            await settled(two, (75, 0))
            assert (await one.reserve(ask("a", 6))).outcome == DENIED
            assert (await one.reserve(ask("b", 5))).outcome == GRANTED

    asyncio.run(run())


def test_two_brokers_of_one_name_both_count(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """Who copies a state folder copies the broker's name: each took the other's part for its own."""

    async def run() -> None:
        fleet = fleet_of(redis)
        async with broker(fleet, "same") as one, broker(fleet, "same") as two:
            for number in range(8):
                shared = (one, two)[number % 2]
                async with asyncio.timeout(20):
                    while True:
                        with contextlib.suppress(Away):
                            assert (await shared.reserve(ask(f"{number}", 10))).outcome == GRANTED
                            break
                        await came_in(shared)
                spend(shared, f"{number}", 10)
            await settled(one, (80, 0))
            assert (await one.reserve(ask("x", 1))).outcome == DENIED
        assert [record.message for record in caplog.records if "state folder" in record.message] == [
            "another broker has this one's name, same, for its state folder is a copy: give each its own. "
            f"Budgets count this one as {one._broker}"
        ]

    asyncio.run(run())


def test_what_is_held_is_never_less_than_nothing(redis: Redis) -> None:
    async def run() -> None:
        async with broker(fleet_of(redis), "one") as one:
            assert (await one.reserve(ask("a", 50))).outcome == GRANTED
            assert await one._redis.delete(one._account_key(SEAT.account)) == 1
            spend(one, "a", 10)
            await settled(one, (10, 0))

    asyncio.run(run())


@asynccontextmanager
async def far_away(port: int, delay_s: float) -> AsyncIterator[int]:
    """A port behind which another one is, from which each answer takes so long."""
    tasks: set[asyncio.Task[None]] = set()

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, waits_s: float) -> None:
        while data := await reader.read(65_536):
            await asyncio.sleep(waits_s)
            writer.write(data)
        writer.close()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        tasks.add(asyncio.create_task(one_way(reader, back, 0.0)))
        tasks.add(asyncio.create_task(one_way(there, writer, delay_s)))

    server = await asyncio.start_server(joined, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_redis_that_is_too_slow_for_calls_stays_away(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """It came back each second, since it answered at all, and each time calls waited for it in vain."""

    async def run() -> None:
        async with far_away(redis.port, 0.16) as port:
            fleet = replace(fleet_of(redis), url=f"redis://127.0.0.1:{port}/0", timeout_ms=300)
            shared = Shared(fleet, Accounts(spans), "one", None)
            running = asyncio.create_task(shared.run())
            await until(lambda: (REGISTRY.get_sample_value(FAILURES) or 0) > before + 2)
            assert shared.is_away
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert "it takes " in caplog.text and "is back" not in caplog.text

    before = REGISTRY.get_sample_value(FAILURES) or 0
    asyncio.run(run())


def test_beyond_its_share_a_broker_may_go_on_where_that_is_its_policy(redis: Redis) -> None:
    async def run() -> None:
        fleet = fleet_of(redis, share_ppm=0, allows_beyond=True)
        async with broker(fleet, "one") as one:
            verdict = one.alone(ask("a", 1_000))
            assert verdict.outcome == GRANTED
            spend(one, "a", 1_000)
            await settled(one, (1_000, 0))

    asyncio.run(run())


def test_a_broker_that_begins_again_holds_nothing_of_its_last_life(redis: Redis) -> None:
    async def run() -> None:
        fleet = fleet_of(redis)
        first, second = Accounts(spans), Accounts(spans)
        async with broker(fleet, "other") as other:
            async with broker(fleet, "one", first) as one:
                assert (await one.reserve(ask("a", 30))).outcome == GRANTED
                assert (await one.reserve(ask("b", 30))).outcome == GRANTED
                spend(one, "a", 25)
                await settled(one, (25, 30))
            second.restore(SEAT.account, spans(BUDGETS[2].window, NOW_S).slot, 25)
            async with broker(fleet, "one", second) as one:
                await settled(other, (25, 0))
                # The record of the call that outlived it says what was reserved.
                slot = spans(BUDGETS[2].window, NOW_S).slot
                second.adopt("b", f'[[0,{NOW_S},[["{SEAT.account}",{slot},30,0,-1,true]]]]')
                spend(one, "b", 28)
                await settled(other, (53, 0))

    asyncio.run(run())


def test_what_redis_does_late_counts_nowhere(redis: Redis) -> None:
    """Redis stands still with a question on its way, which it takes up when it goes on: nobody waits for that
    any more, and what it reserved holds nobody up."""

    async def run() -> None:
        fleet = replace(fleet_of(redis), timeout_ms=200)
        async with broker(fleet, "one") as one:
            assert (await one.reserve(ask("a", 10))).outcome == GRANTED
            assert redis._process is not None
            redis._process.send_signal(signal.SIGSTOP)
            try:
                with pytest.raises(Away):
                    await one.reserve(ask("b", 70))
                spend(one, "a", 4)
            finally:
                redis._process.send_signal(signal.SIGCONT)
            await came_in(one)
            await settled(one, (4, 0))
            assert (await one.reserve(ask("c", 76))).outcome == GRANTED
            spend(one, "c", 76)
            await settled(one, (80, 0))

    asyncio.run(run())
