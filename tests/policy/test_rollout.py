"""The rollout's machine: what it may never do, whatever it sees."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.trials import ALL_PPM, CANDIDATE, Gates, Rollout, Stage
from modelbroker.policy.lots import is_drawn
from modelbroker.policy.rollout import (
    COMMANDS,
    DONE,
    FAILED,
    PASSED,
    PAUSED,
    ROLLED_BACK,
    RUNNING,
    Figures,
    State,
    begun,
    command,
    judge,
    stage_of,
    step,
)
from modelbroker.policy.tallies import Tally

HOLD_S, LIMIT_S = 60, 2_000
GATES = Gates(errors_ppm=20_000, quality_ppm=100_000, latency_ppm=250_000, cost_ppm=250_000)


def rollout_of(*shares: int, gates: Gates = GATES, min_calls: int = 50) -> Rollout:
    stages = [
        Stage(f"{share / 10_000:g}%", share, HOLD_S * 1000, min_calls, LIMIT_S * 1000, gates)
        for share in shares
    ]
    return Rollout("r", "chat", "chat~a/m", "a/m", tuple(stages))


ROLLOUT = rollout_of(10_000, 100_000, 500_000, ALL_PPM)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    """Calls of any quality."""
    chance = random.Random(draw(st.integers(0, 10**6)))
    tally = Tally()
    failing, slow, dear, good = draw(st.tuples(*[st.floats(0, 1)] * 4))
    for _ in range(draw(st.sampled_from([0, 1, 20, 300]))):
        tally.add(
            failed=chance.random() < failing**3,
            latency_ms=1000 * (0.5 + slow) * chance.uniform(0.8, 1.2),
            first_event_ms=None,
            cost_nano=int(1e6 * (0.5 + dear) * chance.uniform(0.8, 1.2)),
        )
        tally.score(good * chance.random() ** 0.1)
    return tally


figures = st.builds(Figures, tallies(), tallies())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(figures, st.floats(0, 3_000)), min_size=1, max_size=8))
def test_it_is_promoted_only_where_each_gate_is_passed_and_rolled_back_where_one_failed(
    seen: list[tuple[Figures, float]],
) -> None:
    state, now_s = begun(ROLLOUT, 0.0).state, 0.0
    for what, later_s in seen:
        now_s += later_s
        stage = stage_of(ROLLOUT, state)
        said = step(ROLLOUT, state, what, now_s)
        verdicts = {one.verdict for one in judge(stage.gates, what, len(ROLLOUT.stages))}
        if said is None:
            assert FAILED not in verdicts or state.phase in (DONE, ROLLED_BACK)
            continue
        if said.event in ("promoted", "done"):
            assert verdicts == {PASSED}
            assert what.candidate.calls >= stage.min_calls
            assert (now_s - state.since_s) * 1000 >= stage.hold_ms
            assert said.state.stage == state.stage + (said.event == "promoted")
        else:
            assert said.event == "rolled-back"
            assert FAILED in verdicts or (now_s - state.since_s) * 1000 >= stage.limit_ms
        # Replicas that see the same say the same.
        assert step(ROLLOUT, state, what, now_s) == said
        state = said.state


@settings(deadline=None, max_examples=15)
@given(st.lists(figures, min_size=1, max_size=4))
def test_it_ends_whatever_it_sees(seen: list[Figures]) -> None:
    """Without commands: within the limits of all its stages."""
    state, now_s, turn = begun(ROLLOUT, 0.0).state, 0.0, 0
    while state.phase == RUNNING:
        now_s += LIMIT_S / 4
        said = step(ROLLOUT, state, seen[turn % len(seen)], now_s)
        state, turn = (said.state if said else state), turn + 1
        assert now_s <= LIMIT_S * (len(ROLLOUT.stages) + 1)
    assert state.phase in (DONE, ROLLED_BACK)


@given(st.lists(st.sampled_from(COMMANDS), max_size=12))
def test_commands(words: list[str]) -> None:
    """Each either leads to a state that it says, or is refused; turns never go back."""
    state, now_s = begun(ROLLOUT, 0.0).state, 0.0
    for word in words:
        now_s += 10
        try:
            said = command(ROLLOUT, state, word, now_s)
        except ValueError as error:
            assert word in str(error)
            continue
        assert said.state.turn >= state.turn
        expected = {"pause": {PAUSED}, "resume": {RUNNING}, "rollback": {ROLLED_BACK}}
        assert said.state.phase in expected.get(word, {RUNNING, DONE})
        state = said.state


def test_what_it_was_paused_does_not_count() -> None:
    state = command(ROLLOUT, begun(ROLLOUT, 0.0).state, "pause", 10.0).state
    nothing = Figures(Tally(), Tally())
    assert step(ROLLOUT, state, nothing, 10 * LIMIT_S) is None
    resumed = command(ROLLOUT, state, "resume", 10.0 + 5 * LIMIT_S).state
    assert resumed.since_s == 5 * LIMIT_S
    assert step(ROLLOUT, resumed, nothing, 5 * LIMIT_S + LIMIT_S - 1) is None
    late = step(ROLLOUT, resumed, nothing, 5 * LIMIT_S + LIMIT_S)
    assert late is not None and late.event == "rolled-back" and "not decided in time" in late.state.reason


def test_a_paused_one_is_rolled_back_all_the_same() -> None:
    state = command(ROLLOUT, begun(ROLLOUT, 0.0).state, "pause", 1.0).state
    stable, bad = Tally(), Tally()
    for _ in range(200):
        add(stable)
        add(bad, failed=True)
    said = step(ROLLOUT, state, Figures(stable, bad), 2.0)
    assert said is not None and said.state.phase == ROLLED_BACK


def add(tally: Tally, *, failed: bool = False, ms: float = 500.0, dollars: float = 0.01) -> None:
    tally.add(failed=failed, latency_ms=ms, first_event_ms=None, cost_nano=round(dollars * 1e9))


class World:
    """Seeded calls, 50 a second, with a candidate that is so much worse."""

    def __init__(self, seed: int, *, errors: float = 0.0, slower: float = 1.0, dearer: float = 1.0) -> None:
        self.chance = random.Random(seed)
        self.errors, self.slower, self.dearer = errors, slower, dearer
        self.calls = self.met = 0

    def call(self, is_candidates: bool, into: Tally) -> None:
        self.calls += 1
        self.met += is_candidates
        factor = (self.slower, self.dearer) if is_candidates else (1.0, 1.0)
        add(
            into,
            failed=self.chance.random() < 0.005 + (self.errors if is_candidates else 0.0),
            ms=self.chance.lognormvariate(6, 0.4) * factor[0],
            dollars=0.01 * self.chance.lognormvariate(0, 0.4) * factor[1],
        )

    def until_it_ends(self, rollout: Rollout) -> State:
        state, now_s = begun(rollout, 0.0).state, 0.0
        before, stable, candidate = Tally(), Tally(), Tally()
        while state.phase == RUNNING:
            for _ in range(500):
                share = stage_of(rollout, state).share_ppm
                is_candidates = self.chance.random() * ALL_PPM < share
                self.call(is_candidates, candidate if is_candidates else stable)
            now_s += 10.0
            is_whole = stage_of(rollout, state).share_ppm == ALL_PPM
            said = step(rollout, state, Figures(before if is_whole else stable, candidate), now_s)
            if said is not None:
                state, before, stable, candidate = said.state, stable, Tally(), Tally()
        return state


LOOSE = Gates(errors_ppm=30_000, latency_ppm=400_000, cost_ppm=400_000)


@pytest.mark.parametrize(
    "worse", [{"errors": 1.0}, {"errors": 0.15}, {"slower": 2.5}, {"dearer": 2.5}], ids=str
)
def test_a_degraded_candidate_is_rolled_back_before_two_in_a_hundred_calls_met_it(
    worse: dict[str, float],
) -> None:
    world = World(7, **worse)
    state = world.until_it_ends(rollout_of(10_000, 100_000, ALL_PPM, gates=LOOSE))
    assert (state.phase, state.stage) == (ROLLED_BACK, 0)
    assert world.met < 0.02 * world.calls


def test_a_good_one_gets_there() -> None:
    state = World(7).until_it_ends(rollout_of(10_000, 100_000, ALL_PPM, gates=LOOSE))
    assert (state.phase, state.stage) == (DONE, 2)


def outcomes(worlds: int, **worse: float) -> Iterator[str]:
    rollout = rollout_of(200_000, ALL_PPM, gates=Gates(errors_ppm=30_000), min_calls=20)
    for seed in range(worlds):
        yield World(seed, **worse).until_it_ends(rollout).phase


def test_a_candidate_that_is_worse_by_just_more_than_the_margin_seldom_passes() -> None:
    """At 95 %; it looks each ten seconds, and that does no harm."""
    assert sum(phase == DONE for phase in outcomes(10, errors=0.031)) <= 2


def test_a_good_candidate_is_seldom_rolled_back() -> None:
    assert sum(phase != DONE for phase in outcomes(30)) <= 3


def test_sessions_stay_where_they_are_while_the_share_grows() -> None:
    sessions = [f"session {number}" for number in range(5_000)]
    before: set[str] = set()
    for share in (10_000, 100_000, 500_000, ALL_PPM):
        now = {one for one in sessions if is_drawn("r", one, share)}
        assert before <= now
        assert abs(len(now) / len(sessions) - share / ALL_PPM) < 0.02
        before = now
    assert is_drawn("r", "x", 0) is False


@given(st.lists(tallies(), min_size=2, max_size=3))
@settings(deadline=None, max_examples=20)
def test_sums_of_replicas_merge_in_any_order(parts: list[Tally]) -> None:
    forwards, backwards = parts[0], parts[-1]
    for one in parts[1:]:
        forwards = forwards.merged(one)
    for one in reversed(parts[:-1]):
        backwards = backwards.merged(one)
    assert (forwards.calls, forwards.latency, forwards.cost) == (
        backwards.calls,
        backwards.latency,
        backwards.cost,
    )
    assert forwards.score_total == pytest.approx(backwards.score_total)
    assert CANDIDATE == "candidate"
