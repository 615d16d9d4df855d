"""How many tokens can be tried, and how many failures are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.attempts import MOST, MOST_OF_ALL, Attempts, Sparing

NOW_S = 1_796_000_000.0
LAST = "; of more within a minute nothing is told"


def test_who_tries_often_takes_turns() -> None:
    attempts = Attempts()
    assert [attempts.wait_s("10.0.0.1", NOW_S) for _ in range(MOST)] == [0] * MOST
    waits = [attempts.wait_s("10.0.0.1", NOW_S) for _ in range(100)]
    assert waits[:3] == pytest.approx([0.1, 0.2, 0.3]) and waits[-1] is None
    assert attempts.wait_s("10.0.0.2", NOW_S) == 0
    assert attempts.wait_s("10.0.0.1", NOW_S + 61) == 0


_peers = st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2", "127.0.0.1", "127.9.9.9", "::1"])


def whose(peer: str) -> str:
    """Whom a try of this address is counted for."""
    return "here" if peer in ("::1", "127.0.0.1", "127.9.9.9") else "fd00" if peer[:2] == "fd" else peer


@given(st.lists(st.tuples(_peers, st.floats(0, 2)), max_size=400))
def test_how_many_can_be_tried_is_bounded(tries: list[tuple[str, float]]) -> None:
    attempts, now_s = Attempts(), NOW_S
    checked: dict[str, list[float]] = {}
    for peer, later_s in tries:
        now_s += later_s
        if (wait_s := attempts.wait_s(peer, now_s)) is not None:
            assert wait_s <= Attempts.LONGEST_S
            checked.setdefault(whose(peer), []).append(now_s + wait_s)
    for times in checked.values():
        for at_s in times:
            most = MOST + 1 / Attempts.EVERY_S * 10
            assert sum(at_s <= one < at_s + 10 for one in times) <= most + 1


def test_a_flood_from_everywhere_is_slow_too() -> None:
    attempts = Attempts()
    waits = [attempts.wait_s(f"10.0.{number >> 8}.{number & 255}", NOW_S) for number in range(5_000)]
    checked = [wait_s for wait_s in waits if wait_s is not None]
    assert len(checked) <= MOST_OF_ALL + Attempts.LONGEST_S / Attempts.EVERY_OF_ALL_S + 1


def test_one_address_does_not_keep_the_others_waiting() -> None:
    attempts = Attempts()
    for number in range(500):
        attempts.wait_s("10.0.0.1", NOW_S + number / 10)
    assert attempts.wait_s("10.0.0.2", NOW_S + 50) == pytest.approx(0, abs=0.02)


def test_of_many_failures_so_many_are_told_and_of_the_last_that_it_is_the_last() -> None:
    sparing = Sparing()
    told = [sparing.told("10.0.0.1", NOW_S) for _ in range(MOST + 5)]
    assert told == [*[""] * (MOST - 1), LAST, *[None] * 5]
    assert sparing.told("10.0.0.2", NOW_S) == ""  # nobody is silenced by another
    assert sparing.told("10.0.0.1", NOW_S + 60) == ""


@given(st.lists(st.tuples(_peers, st.floats(0, 10)), max_size=400))
def test_no_failure_goes_untold_without_a_word(failures: list[tuple[str, float]]) -> None:
    """Of one address: where one is not told, it was said within the minute before that this would be so."""
    sparing, now_s = Sparing(), NOW_S
    said: dict[str, list[tuple[float, str]]] = {}
    for peer, later_s in failures:
        now_s += later_s
        before = said.setdefault(whose(peer), [])
        told = sparing.told(peer, now_s)
        if told is None:
            at_s, word = before[-1]
            assert word == LAST and now_s - at_s < 60
        else:
            before.append((now_s, told))
            assert sum(now_s - at_s < 60 for at_s, _ in before) <= MOST


def test_a_flood_of_failures_from_everywhere_is_told_in_short_and_kept_in_short() -> None:
    sparing = Sparing()
    for minute in range(20):
        peers = [f"10.{minute}.{number >> 8}.{number & 255}" for number in range(2_000)]
        told = [one for peer in peers if (one := sparing.told(peer, NOW_S + minute * 60)) is not None]
        assert told == [*[""] * (MOST_OF_ALL - 1), LAST]
    assert len(sparing._windows._known) <= 1_000
