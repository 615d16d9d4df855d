"""The cap on hedges, against a plain list of all calls."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.catalog import Hedge
from modelbroker.policy.hedging import BURST, PIECE_S, WINDOW_S, HedgeTally

ALL = Hedge(after_ms=1_000, share_percent=100.0)


@dataclass
class Call:
    """`hedged` None: not over yet."""

    at_s: float
    pool: str
    granted: bool
    hedged: bool | None = None

    @property
    def counts(self) -> bool:
        return self.granted and self.hedged is not False


# (seconds since the one before, pool, or which of the open calls ends, and how)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.floats(0, 90), st.sampled_from("ab")),
        st.tuples(st.just("end"), st.integers(0, 50), st.booleans()),
    ),
    max_size=150,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([0.0, 1.0, 5.0, 20.0, 60.0, 100.0]))
def test_no_more_than_the_share_and_a_few(steps: list[tuple[str, float, object]], share: float) -> None:
    """Of the calls of any window that ends with a hedge, no more were or may still be hedged than the share
    and the burst; and none is refused while there are fewer."""
    tally, hedge = HedgeTally(), Hedge(1_000, share)
    calls: list[Call] = []
    now_s = 0.0
    for kind, number, what in steps:
        if kind == "end":
            waiting = [i for i, call in enumerate(calls) if call.granted and call.hedged is None]
            if waiting:
                index = waiting[int(number) % len(waiting)]
                calls[index].hedged = bool(what)
                tally.ended(str(index), bool(what))
            continue
        now_s += number
        granted = tally.may(str(what), hedge, str(len(calls)), now_s)
        calls.append(Call(now_s, str(what), granted))
        mine = [call for call in calls if call.pool == what]
        # The tally forgets by pieces: what is surely in its window, and what may be.
        sure = [call for call in mine if call.at_s > now_s - WINDOW_S]
        perhaps = [call for call in mine if call.at_s > now_s - WINDOW_S - PIECE_S]
        if granted:
            assert sum(call.counts for call in sure) <= BURST + len(perhaps) * share / 100
        else:
            assert sum(call.counts for call in perhaps) + 1 > BURST + len(sure) * share / 100


@given(st.integers(0, 200), st.floats(0, 100))
def test_of_all_calls_no_more_than_the_share(calls: int, share: float) -> None:
    """Every call is hedged that may be."""
    tally, hedge = HedgeTally(), Hedge(1_000, share)
    made = 0
    for number in range(calls):
        if tally.may("a", hedge, str(number), number * 0.1):
            made += 1
            tally.ended(str(number), True)
    assert made <= BURST + calls * share / 100
    assert made >= min(calls, int(calls * share / 100))


@given(st.integers(0, 100), st.booleans())
def test_it_recovers(calls: int, told: bool) -> None:
    """When a window has gone by nothing of it counts, also where the ends of calls were never told."""
    tally, hedge = HedgeTally(), Hedge(1_000, 1.0)
    for number in range(calls):
        if tally.may("a", hedge, str(number), 0.0) and told:
            tally.ended(str(number), True)
    later_s = WINDOW_S + PIECE_S
    assert [tally.may("a", hedge, f"later {n}", later_s) for n in range(BURST)] == [True] * BURST
    assert not tally._open.keys() & {str(number) for number in range(calls)}


def test_calls_that_end_without_a_second_member_cost_nothing() -> None:
    tally = HedgeTally()
    for number in range(1_000):
        assert tally.may("a", Hedge(1_000, 0.1), str(number), 0.0)
        tally.ended(str(number), False)


def test_each_pool_has_its_own_share() -> None:
    tally, hedge = HedgeTally(), Hedge(1_000, 0.0)
    assert [tally.may("a", hedge, f"a{n}", 0.0) for n in range(BURST + 1)] == [True] * BURST + [False]
    assert tally.may("b", hedge, "b", 0.0)


def test_ends_that_are_told_twice_or_too_late_change_nothing() -> None:
    tally, hedge = HedgeTally(), Hedge(1_000, 0.0)
    assert tally.may("a", hedge, "early", 0.0)
    for number in range(BURST - 1):
        assert tally.may("a", hedge, str(number), WINDOW_S - PIECE_S)
    assert tally.may("a", hedge, "late", WINDOW_S + PIECE_S)
    tally.ended("early", False)
    tally.ended("early", False)
    tally.ended("unknown", False)
    assert not tally.may("a", hedge, "one more", WINDOW_S + PIECE_S)
