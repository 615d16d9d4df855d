"""Calls that wait are bounded, and are let go one after the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from modelbroker.extproc.waiting import MOST_BYTES, MOST_CALLS, SPREAD_S, Waiting


@given(st.integers(1, MOST_CALLS))
def test_the_first_goes_at_once_and_the_others_are_spread_evenly(calls: int) -> None:
    waiting = Waiting()
    lags = sorted(waiting.enter(1) for _ in range(calls))
    assert lags[0] == 0 and lags[-1] < SPREAD_S
    gaps = [later - earlier for earlier, later in zip(lags, [*lags[1:], SPREAD_S], strict=True)]
    assert max(gaps) <= 2 * SPREAD_S / calls


def test_they_are_bounded_by_number_and_by_size() -> None:
    waiting = Waiting()
    assert waiting.has_room(MOST_BYTES) and not waiting.has_room(MOST_BYTES + 1)
    waiting.enter(MOST_BYTES)
    assert not waiting.has_room(1)
    waiting.leave(MOST_BYTES)
    for _ in range(MOST_CALLS):
        assert waiting.has_room(1)
        waiting.enter(1)
    assert not waiting.has_room(0)
    waiting.leave(1)
    assert waiting.has_room(1)


def test_few_look_as_often_as_they_want_and_many_keep_nobody_busy() -> None:
    waiting = Waiting()
    lags = [waiting.enter(0) for _ in range(8)]
    assert max(lag * waiting.share for lag in lags) < 0.01
    lags += [waiting.enter(0) for _ in range(MOST_CALLS - len(lags))]
    assert waiting.share == 1
    assert sum(1 / (0.05 + lag * waiting.share) for lag in lags) < 4_000  # looks a second
