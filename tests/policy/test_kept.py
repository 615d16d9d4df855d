"""Replies in memory, and calls that wait for one: laws."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from modelbroker.policy.caching import CacheKey, Tenant, cache_key
from modelbroker.policy.kept import (
    BARREN_S,
    ENTRY_BYTES,
    MOST_BARREN,
    MOST_FOLLOWERS,
    Entry,
    Flights,
    Memory,
    ReplyCache,
)


def key(number: int) -> CacheKey:
    return cache_key(Tenant("team", ("red",)), content=bytes([number]))


def entry(size: int, filled_by: str = "id", until_s: float = 100.0) -> Entry:
    return Entry("openai-chat", "whole", True, "", b"x" * size, "a/m", filled_by, 0.0, until_s)


NUMBERS = st.integers(0, 4)


class Remembering(RuleBasedStateMachine):
    """Against a list, the last used at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory(3 * ENTRY_BYTES + 2_000)
        self.most = 3 * ENTRY_BYTES + 2_000
        self.model: list[tuple[int, Entry]] = []
        self.now_s = 0.0
        self.serial = 0
        self.evicted = 0

    @rule(number=NUMBERS, size=st.integers(0, 3_000), lives_s=st.integers(1, 20))
    def put(self, number: int, size: int, lives_s: int) -> None:
        self.serial += 1
        new = entry(size, f"id-{self.serial}", self.now_s + lives_s)
        assert self.memory.put(key(number), new) == (new.size <= self.most)
        self.model = [(n, e) for n, e in self.model if n != number]
        if new.size <= self.most:
            self.model.append((number, new))
            self._shrink()

    def _shrink(self) -> None:
        while sum(e.size for _, e in self.model) > self.most:
            del self.model[0]
            self.evicted += 1

    @rule(number=NUMBERS)
    def get(self, number: int) -> None:
        found = self.memory.get(key(number), self.now_s)
        expected = next((e for n, e in self.model if n == number), None)
        self.model = [(n, e) for n, e in self.model if n != number]
        if expected is not None and expected.until_s > self.now_s:
            self.model.append((number, expected))
        else:
            expected = None
        assert found is expected

    @rule(seconds=st.integers(0, 10))
    def wait(self, seconds: int) -> None:
        self.now_s += seconds

    @rule()
    def expire(self) -> None:
        self.memory.expire(self.now_s)
        self.model = [(n, e) for n, e in self.model if e.until_s > self.now_s]

    @rule(more=st.integers(0, 3))
    def resize(self, more: int) -> None:
        self.most = (2 + more) * ENTRY_BYTES
        self.memory.shrink(self.most)
        self._shrink()

    @invariant()
    def is_bounded_and_counted(self) -> None:
        assert self.memory.bytes == sum(e.size for _, e in self.model) <= self.most
        assert len(self.memory) == len(self.model)
        assert self.memory.evicted == self.evicted

    @invariant()
    def entries_are_found_by_who_filled_them(self) -> None:
        here = {e.filled_by: (key(n), e) for n, e in self.model}
        for serial in range(1, self.serial + 1):
            assert self.memory.filled(f"id-{serial}") == here.get(f"id-{serial}")


class Waiting(RuleBasedStateMachine):
    """Every call that waits has a leader that lives; whoever is told to go on is told once."""

    def __init__(self) -> None:
        super().__init__()
        self.woken: list[str] = []
        self.cache = ReplyCache(Memory(0), wake=self.woken.extend)
        self.flights = self.cache.flights
        self.leads: dict[int, str] = {}
        self.waits: dict[int, list[str]] = {}
        self.unpaid: dict[int, list[str]] = {}
        self.serial = 0

    @rule(number=NUMBERS)
    def enter(self, number: int) -> None:
        self.serial += 1
        call = f"call-{self.serial}"
        flight = self.flights.enter(key(number), call)
        assert flight is not None
        if number in self.leads:
            self.waits[number].append(call)
        else:
            self.leads[number], self.waits[number] = call, []
        assert (flight.leader, list(flight.followers)) == (self.leads[number], self.waits[number])

    @rule(number=NUMBERS)
    def land(self, number: int) -> None:
        self.woken.clear()
        self.cache.land(self.leads.pop(number, "nobody"))
        assert self.woken == self.waits.pop(number, [])

    @rule(number=NUMBERS)
    def the_leader_leaves(self, number: int) -> None:
        self.woken.clear()
        self.cache.leave(self.leads.get(number, "nobody"))
        if self.waits.get(number):
            self.leads[number] = self.waits[number].pop(0)
            assert self.woken == [self.leads[number]]
        else:
            assert self.woken == []
            self.leads.pop(number, None)
            self.waits.pop(number, None)

    @rule(number=NUMBERS, data=st.data())
    def a_follower_leaves(self, number: int, data: Any) -> None:
        if self.waits.get(number):
            call = data.draw(st.sampled_from(self.waits[number]))
            self.waits[number].remove(call)
            self.woken.clear()
            self.cache.leave(call)
            assert self.woken == []

    @rule(number=NUMBERS)
    def who_does_not_lead_lands_nothing(self, number: int) -> None:
        self.woken.clear()
        for call in self.waits.get(number, ()):
            self.cache.land(call)
        assert self.woken == []

    @rule(number=NUMBERS, came=st.booleans(), data=st.data())
    def await_what_was_paid(self, number: int, came: bool, data: Any) -> None:
        """A new call does, or one that waits for another reply."""
        self.serial += 1
        call = f"call-{self.serial}"
        if came and (waits := [*self.waits.get(number, ()), *self.unpaid.get(number, ())]):
            call = data.draw(st.sampled_from(waits))
        for waiting in (*self.waits.values(), *self.unpaid.values()):
            if call in waiting:
                waiting.remove(call)
        self.unpaid.setdefault(number, []).append(call)
        assert self.cache.await_paid(call, f"filled-{number}")

    @rule(number=NUMBERS)
    def it_is_known_what_was_paid(self, number: int) -> None:
        self.woken.clear()
        assert self.cache.settle(f"filled-{number}", "") is None
        assert self.woken == self.unpaid.pop(number, [])

    @rule(number=NUMBERS, data=st.data())
    def one_of_those_leaves(self, number: int, data: Any) -> None:
        if self.unpaid.get(number):
            call = data.draw(st.sampled_from(self.unpaid[number]))
            self.unpaid[number].remove(call)
            self.woken.clear()
            self.cache.leave(call)
            assert self.woken == []

    @invariant()
    def all_are_known(self) -> None:
        assert self.flights.followers == sum(map(len, self.waits.values()))
        assert self.cache.waiting == self.flights.followers + sum(map(len, self.unpaid.values()))
        for number, leader in self.leads.items():
            assert self.flights.leads(leader)
            for call in self.waits[number]:
                flight = self.flights.flight_of(call)
                assert flight is not None and flight.leader == leader and not self.flights.leads(call)
        known = {*self.leads.values(), *(call for calls in self.waits.values() for call in calls)}
        calls = [f"call-{number}" for number in range(1, self.serial + 1)]
        assert {call for call in calls if self.flights.flight_of(call) is not None} == known


TestRemembering = Remembering.TestCase
TestWaiting = Waiting.TestCase
TestRemembering.settings = TestWaiting.settings = settings(max_examples=60, stateful_step_count=40)


def test_the_number_of_those_who_wait_is_bounded() -> None:
    flights = Flights()
    for number in range(MOST_FOLLOWERS + 1):
        assert flights.enter(key(0), f"call-{number}") is not None
    assert flights.enter(key(0), "one more") is None
    assert flights.enter(key(1), "another") is not None  # that leads, and waits for nobody
    flights.leave("call-7")
    assert flights.enter(key(0), "one more") is not None
    cache = ReplyCache(Memory(0))
    for number in range(MOST_FOLLOWERS):
        assert cache.await_paid(f"call-{number}", "id")
    assert not cache.await_paid("one more", "id")
    cache.leave("call-7")
    assert cache.await_paid("one more", "id")


@given(st.floats(0, 1e9), st.floats(0, 200))
def test_a_barren_key_is_so_for_a_while(now_s: float, later_s: float) -> None:
    flights = Flights()
    flights.note_barren(key(0), now_s)
    assert flights.is_barren(key(0), now_s + later_s) == (now_s + later_s < now_s + BARREN_S)
    assert not flights.is_barren(key(1), now_s)


def test_barren_keys_are_bounded() -> None:
    flights = Flights()
    keys = [cache_key(Tenant("all", ()), content=str(n).encode()) for n in range(MOST_BARREN + 1)]
    for each in keys:
        flights.note_barren(each, 0.0)
    assert [flights.is_barren(each, 1.0) for each in (keys[0], keys[1], keys[-1])] == [False, True, True]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 600)), max_size=20))
def test_replies_that_come_take_no_more_room_than_those_that_are_kept(pieces: list[tuple[str, int]]) -> None:
    cache = ReplyCache(Memory(1_000))
    taken: dict[str, int] = {}
    for call, size in pieces:
        fits = sum(taken.values()) + size <= 1_000
        assert cache.takes(call, size) == fits
        if fits:
            taken[call] = taken.get(call, 0) + size
        elif call in taken:
            cache.leave(call)
            del taken[call]
    for call in "abc":
        cache.release(call)
    assert cache.takes("d", 1_000) and not cache.takes("d", 1)
