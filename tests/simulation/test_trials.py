"""Rollouts and shadows, simulated: predicted is real, and the laws of arms and copies."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelbroker.core.record import Record
from modelbroker.core.usage import Usage
from modelbroker.exchange.trying import Standing
from modelbroker.simulation.learning import Learner
from modelbroker.simulation.policies import CACHE, MEMBER
from modelbroker.simulation.recorded import Recorded
from modelbroker.simulation.trial_figures import copies_interval
from modelbroker.simulation.trials import Together, chance_at
from modelbroker.simulation.tried import Lot
from support.worlds import Asked, World

from .test_predicted import NEEDED, Told, lines_of, predicted, routed, simulated, within, world
from .test_run import called

NAME = "try"
STAGES = ["1%", "10%", "50%", "100%"]
CAPPED, CAP = "premium>a/ant", "$0.05/"
WORLDS = int(os.environ.get("MODELBROKER_WORLDS", "24"))


class Case(NamedTuple):
    where: World
    old: dict[str, Any]
    new: dict[str, Any]
    calls: list[Asked]
    stage: int

    @property
    def at(self) -> dict[str, Standing]:
        return {NAME: Standing(str(self.new["pools"][0]["rollout"]["to"]), self.stage, True)}

    @property
    def stages(self) -> dict[str, str]:
        return {NAME: STAGES[self.stage]}


def case(seed: int, stage: int | None = None, calls: int = 300) -> Case:
    """The old policy with nothing tried, and the new one with a rollout of one pool and shadows of two."""
    where, old, _, traffic = world(seed)
    draw = random.Random(f"trials {seed}")
    old.pop("budgets", None)
    old["pools"][0].pop("routing", None)
    new = copy.deepcopy(old)
    home, other = new["pools"][0], new["pools"][1]
    to = draw.choice(["c/other", "r/resp", "long"])
    home["rollout"] = {"to": to, "name": NAME, "stages": [{"share": share} for share in STAGES]}
    home["shadow"] = [{"to": "b/small", "share": f"{draw.choice([5, 30])}%", "budget": "$100/day"}]
    cap = draw.choice([f"{CAP}day", "$50/day"])
    other["shadow"] = [{"to": "a/ant", "share": "50%", "budget": cap, "match": {"stream": False}}]
    if draw.random() < 0.5:
        home["affinity"] = {"by": "session", "header": "x-my-session"}
        old["pools"][0]["affinity"] = dict(home["affinity"])
        traffic = [_with_session(one, draw) for one in traffic]
    at = draw.randrange(len(STAGES)) if stage is None else stage
    return Case(where, old, new, traffic[:calls], at)


def _with_session(asked: Asked, draw: random.Random) -> Asked:
    session = ("x-my-session", f"session {draw.randrange(40)}")
    headers = (*asked.headers, session) if draw.random() < 0.7 else asked.headers
    return Asked(asked.number, asked.at_s, asked.caller, asked.dialect, asked.body, headers)


def clients(records: list[Record]) -> list[Record]:
    return [record for record in records if not record.purpose]


def copies(records: list[Record]) -> set[tuple[str, str]]:
    """(the call, the shadow) of copies that were let go."""
    return {(one.shadow_of, one.agent) for one in records if one.purpose and one.attempts}


def predicted_copies(told: Told, records: list[Record]) -> set[tuple[str, str]]:
    return {
        (record.request_id, one.shadow)
        for record in records
        for one in told.outcomes[record.started_s].copies
        if one.result == "sent"
    }


def test_predicted_is_real() -> None:
    """Where no session is told the lot is the very lot of the broker: routing and copies are equal call by
    call. Where one is, arms are chances."""
    held: dict[str, list[bool]] = {"cost": [], "whole": [], "copies": []}
    for seed in range(700, 700 + WORLDS):
        one = case(seed)
        told = simulated(one.new, one.where.run(one.old, one.calls, luck=1), stages=one.stages)
        same = one.where.run(one.new, one.calls, luck=1, standings=one.at)
        is_sure = True
        in_sessions = {call.at_s for call in one.calls if "x-my-session" in dict(call.headers)}
        for record in clients(same):
            outcome = told.outcomes[record.started_s]
            lot = outcome.lot
            assert (lot is not None) == bool(record.rollout), record
            if lot is None:
                assert predicted(outcome) == routed(record)
                continue
            assert (lot.rollout, lot.stage) == (record.rollout, record.stage)
            if record.started_s in in_sessions and 0 < lot.chance < 1:
                is_sure = False
                continue
            assert predicted(outcome)[:5] == routed(record)[:5]
            if outcome.kind != MEMBER:
                continue
            arm = lot.candidate if record.arm == "candidate" else lot.stable
            members = {member for member, _ in arm}
            assert record.member in members == {one.member for one in record.eligible if one.chance > 0}
        if is_sure:
            # What of a budget is left goes by what copies did cost, which is not known to the last cent.
            differ = predicted_copies(told, clients(same)) ^ copies(same)
            assert {name for _, name in differ} <= ({CAPPED} if CAP in str(one.new) else set())
        judge(one, told, held)
    for name, stated in held.items():
        assert len(stated) >= WORLDS * 0.3, name
        assert sum(stated) >= len(stated) * NEEDED, name


def judge(one: Case, told: Told, held: dict[str, list[bool]]) -> None:
    """Another time, with other lots."""
    again = one.where.run(one.new, one.calls, luck=2, standings=one.at)
    side = told.both.new
    cost = side.cost_interval(told.learned)
    if side.assumed(told.learned) < cost.value / 100:
        held["cost"].append(cost.contains(spent(clients(again))))
    answered = [record.duration_ms for record in clients(again) if record.attempts]
    whole = within(side.latency(side.whole), answered)
    if whole is not None:
        held["whole"].append(whole)
    for (_, name), sums in told.result.tried.copies.items():
        if name == CAPPED and CAP in str(one.new):
            assert sums.side.cost <= 50_000_000 and set(sums.results) <= {"sent", "over", "paused", "unfit"}
        found = copies_interval(sums, told.learned)
        if found is not None and sums.side.assumed(told.learned) < found.value / 100:
            real = [record for record in again if record.purpose and record.agent == name]
            held["copies"].append(found.contains(spent(real)))


def spent(records: list[Record]) -> int:
    return sum(record.cost.total or 0 for record in records if record.cost is not None)


@settings(max_examples=8, deadline=None)
@given(st.integers(800, 840))
def test_at_100_percent_all_that_it_can_take_is_the_candidates(seed: int) -> None:
    one = case(seed, stage=3, calls=120)
    before = one.where.run(one.old, one.calls, luck=1)
    told = simulated(one.new, before)  # where nothing is said, all of it is done
    assert told.outcomes == simulated(one.new, before, stages={NAME: "4"}).outcomes
    for record in clients(one.where.run(one.new, one.calls, luck=5, standings=one.at)):
        outcome = told.outcomes[record.started_s]
        assert predicted(outcome) == routed(record)
        assert (outcome.lot is not None) == (record.arm == "candidate")


@settings(max_examples=8, deadline=None)
@given(st.integers(800, 840))
def test_a_rollout_that_is_off_is_none(seed: int) -> None:
    one = case(seed, calls=120)
    before = one.where.run(one.old, one.calls, luck=1)
    without = copy.deepcopy(one.new)
    del without["pools"][0]["rollout"]
    off, none = simulated(one.new, before, stages={NAME: "off"}), simulated(without, before)
    assert off.outcomes == none.outcomes
    assert off.both.new.cost == none.both.new.cost


@settings(max_examples=6, deadline=None)
@given(st.integers(800, 840), st.integers(1, 2))
def test_what_was_recorded_in_a_rollout_is_what_it_was(seed: int, stage: int) -> None:
    one = case(seed, stage, calls=150)
    records = one.where.run(one.new, one.calls, luck=1, standings=one.at)
    told = simulated(one.new, records)
    both = told.both
    assert both.calls == len(clients(records))
    assert both.moved == 0 and not told.result.moves
    assert both.new_both == both.old_both
    assert both.new.members == both.old.members
    for record in clients(records):
        outcome = told.outcomes[record.started_s]
        assert predicted(outcome)[:3] == routed(record)[:3]
    parts = told.result.tried.arms
    arms = [record.arm for record in clients(records) if record.arm]
    for side in ("old", "new"):
        assert parts.get((side, NAME), [0, 0]) == [len(arms), arms.count("candidate")]
    # What copies did cost, and what they are reckoned to cost by the calls that they are of.
    for (side, name), sums in told.result.tried.copies.items():
        real = [record for record in records if record.purpose and record.agent == name]
        if side == "old":
            assert sums.side.cost == spent(real)
            assert sums.side.sent == sum(bool(record.attempts) for record in real)


@given(st.floats(0, 0.99), st.floats(0, 1))
def test_an_arm_follows_from_another_stages(before: float, share: float) -> None:
    """Over all sessions it is the share, and who was the candidate's at less still is."""
    was, was_not = chance_at(share, before, True) if before else 0.0, chance_at(share, before, False)
    assert 0 <= was <= 1 and 0 <= was_not <= 1
    assert before * was + (1 - before) * was_not == pytest.approx(share)
    assert before == 0 or share < before or was == 1
    assert share > before or was_not == 0


def test_times_of_a_whole_rollout_are_learned_from_a_small_arm() -> None:
    """Candidate's calls at 10% stand for all of them, beside calls that have nothing to do with it."""
    one = case(7, stage=1)
    draw = random.Random(1)
    calls = [
        Asked(number, call.at_s, call.caller, call.dialect, {**call.body, "model": "everyday"}, call.headers)
        if draw.random() < 0.7
        else Asked(number, call.at_s, call.caller, call.dialect, call.body, call.headers)
        for number, call in enumerate(_longer(one, 8))
    ]
    records = one.where.run(one.new, calls, luck=1, standings=one.at)
    told = simulated(one.new, records, stages={NAME: "100%"})
    real = one.where.run(one.new, calls, luck=2, standings=one._replace(stage=3).at)
    side = told.both.new
    found = side.latency(side.whole)
    assert found is not None
    answered = [record.duration_ms for record in clients(real) if record.attempts]
    mean = sum(answered) / len(answered)
    assert found.interval.contains(mean)
    assert found.interval.high - found.interval.low < 0.5 * mean
    assert side.assumed(told.learned) == 0  # arms tell how many tokens the candidate takes
    assert side.cost_interval(told.learned).contains(spent(clients(real)))


def _longer(one: Case, times: int) -> list[Asked]:
    span_s = one.calls[-1].at_s - one.calls[0].at_s + 60
    return [
        Asked(call.number, call.at_s + turn * span_s, call.caller, call.dialect, call.body, call.headers)
        for turn in range(times)
        for call in one.calls
    ]


def kinds(told: Told) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for outcome in told.outcomes.values():
        found[outcome.kind] = found.get(outcome.kind, 0) + 1
    return found


def test_copies_are_of_calls_that_members_have() -> None:
    """Not of those that the cache answers, or that are refused."""
    one = case(3)
    new = copy.deepcopy(one.new)
    new["pools"][3]["shadow"] = [{"to": "a/ant", "share": "100%", "budget": "$100/day"}]
    told = simulated(new, one.where.run(one.old, one.calls, luck=1))
    assert kinds(told).get(CACHE, 0) > 5
    for outcome in told.outcomes.values():
        assert outcome.kind == MEMBER or not outcome.copies
        assert outcome.pool != "kept" or outcome.kind != MEMBER or outcome.copies


def test_times_of_members_that_only_had_copies() -> None:
    """A shadow tells what a member takes that no call went to: whole worlds, with other lots."""
    held: list[bool] = []
    for seed in range(900, 920):
        one = case(seed, stage=0)
        old, new = copy.deepcopy(one.new), copy.deepcopy(one.old)
        for config in (old, new):
            del config["rate_limits"]
            config["rules"] = []
        del old["pools"][0]["rollout"]
        old["pools"][0]["members"] = [{"provider": "a", "model": "ant"}]
        new["pools"][0]["members"] = [{"provider": "b", "model": "small"}]
        old["pools"][0]["shadow"][0]["share"] = "50%"
        calls = [
            Asked(call.number, call.at_s, call.caller, call.dialect, {**call.body, "model": "everyday"})
            for call in one.calls
        ]
        records = one.where.run(old, calls, luck=1)
        told = simulated(new, records)
        found = told.both.new.latency(told.both.new.whole)
        assert found is not None and told.both.new.whole.foretold_share == 1.0
        real = [record.duration_ms for record in one.where.run(new, calls, luck=2)]
        held.append(found.interval.contains(sum(real) / len(real)))
        assert found.interval.high - found.interval.low < 0.6 * found.interval.value
        without = [record for record in records if not record.purpose]
        untold = simulated(new, without)
        assert untold.both.new.latency(untold.both.new.whole) is None
    assert sum(held) >= 18


CALL = st.tuples(st.integers(0, 3), st.floats(0, 1e6), st.floats(0, 1e6))


@given(st.floats(0.01, 0.99), st.lists(CALL, min_size=1, max_size=30))
def test_calls_of_one_session_have_one_lot(chance: float, calls: list[tuple[int, float, float]]) -> None:
    """Each call's own variance and what it adds: that of whole sessions."""
    together, total = Together(), 0.0
    whole: dict[int, float] = {}
    for session, there, here in calls:
        lot = Lot(NAME, "10%", chance, chance, (("c/x", 1.0),), (("o/x", 1.0),), is_mixed=True)
        call = Recorded("0" * 32, 0.0, conversation=f"{session}")
        own = chance * (1 - chance) * (there - here) ** 2
        total += own + together.beyond(call, lot, {"c/x": there, "o/x": here})
        whole[session] = whole.get(session, 0.0) + there - here
    expected = sum(chance * (1 - chance) * more**2 for more in whole.values())
    assert total == pytest.approx(expected, rel=1e-6, abs=1.0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=20, max_size=40))
def test_a_copy_is_a_pair_whichever_ends_first(order: list[tuple[bool, bool]]) -> None:
    """Of one call there may be several; journals have calls in the order of their ends."""
    learner = Learner()
    for number, early in enumerate(order):
        call = called(number, "a/x", Usage(100 + number, output=50))
        copies = [
            called(1_000 * place + number, member, Usage(place * (100 + number), output=25))
            for place, member in ((2, "b/y"), (3, "c/z"))
        ]
        for one in copies:
            one.purpose, one.shadow_of, one.duration_ms = "shadow", call.request_id, 300.0
        for one in [c for c, is_early in zip(copies, early, strict=True) if is_early]:
            learner.take(one)
        learner.take(call)
        for one in [c for c, is_early in zip(copies, early, strict=True) if not is_early]:
            learner.take(one)
    learned = learner.learned()
    for place, member in ((2, "b/y"), (3, "c/z")):
        prompts, answers = learned.ratios("a/x", member)
        assert (prompts.how, prompts.calls, answers.value) == ("pairs", len(order), pytest.approx(0.5))
        assert prompts.value == pytest.approx(place)
        whole, first = learned.paces["a/x", member]
        assert whole is not None and first is None and whole.value == pytest.approx(3.0)
        assert whole.error == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=8, deadline=None)
@given(st.integers(800, 840), st.sampled_from([0, 1]), st.integers(2, 9))
def test_what_others_learned_apart_is_what_one_learned(seed: int, stage: int, parts: int) -> None:
    """Arms, in parts of the records: sums and shares come to the same."""
    one = case(seed, stage, calls=120)
    calls = lines_of(one.where.run(one.new, one.calls, luck=1, standings=one.at))
    whole, merged = Learner(), Learner()
    for part in range(parts):
        learner = Learner()
        for call in calls[part::parts]:
            learner.take(call)
        merged.merge(learner)
    for call in calls:
        whole.take(call)
    one_arms, other = whole.learned().arms, merged.learned().arms
    assert one_arms.stretches == other.stretches
    for call in calls:
        if call.rollout:
            assert one_arms.chances_of(call) == pytest.approx(other.chances_of(call))
            assert one_arms.stage_at(NAME, call.at_ms) == call.stage


def test_a_candidate_that_was_out_is_taken_for_that() -> None:
    """The pool's own members had its calls: they are its all the same, and stay where they were."""
    one = case(810, stage=1, calls=150)
    records = one.where.run(one.new, one.calls, luck=1, standings=one.at)
    (first, *_) = [record for record in clients(records) if record.arm == "stable" and record.attempts]
    first.arm = "candidate"
    told = simulated(one.new, records)
    assert predicted(told.outcomes[first.started_s]) == routed(first)
    assert told.both.moved == 0
    arms = told.result.tried.arms
    assert arms["old", NAME] == arms["new", NAME]


def test_a_session_stands_in_the_record_where_a_rollout_is() -> None:
    """Though the pool wants no affinity: without it nobody could say which calls have one lot."""
    one = case(7, stage=1)
    new = copy.deepcopy(one.new)
    new["pools"][0].pop("affinity", None)
    new["rules"] = []
    calls = [
        Asked(call.number, call.at_s, "anna", call.dialect, {**call.body, "model": "everyday"}, headers)
        for call in one.calls[:40]
        for headers in [(("x-session-id", f"s{call.number % 2}"),) if call.number % 4 else ()]
    ]
    records = clients(one.where.run(new, calls, luck=1, standings=one.at))
    in_sessions = {call.at_s for call in calls if call.headers}
    told = [record for record in records if record.attempts]
    assert {bool(record.conversation) for record in told} == {True, False}
    assert all(bool(record.conversation) == (record.started_s in in_sessions) for record in told)
    arms = {record.conversation: record.arm for record in told if record.conversation}
    assert len(arms) == 2
    assert all(arms[record.conversation] == record.arm for record in told if record.conversation)
    without = clients(one.where.run(one.old, calls, luck=1))
    assert not any(record.conversation for record in without if "affinity" not in one.old["pools"][0])


def test_a_rollout_that_began_on_the_way() -> None:
    """Beside a shadow at the candidate itself."""
    one = case(7, stage=1)
    new = copy.deepcopy(one.new)
    del new["rate_limits"], new["pools"][3]["cache"]  # a second broker would begin with empty ones
    new["pools"][0]["rollout"]["to"] = "c/other"
    new["pools"][0]["shadow"] = [{"to": "c/other", "share": "50%"}]
    new["rules"] = [{"name": "red", "match": {"team": "red"}, "pool": "everyday"}]
    half = len(one.calls) // 2
    before = one.where.run(new, one.calls[:half], luck=1)
    after = one.where.run(new, one.calls[half:], luck=1, standings=one._replace(new=new).at)
    told = simulated(new, [*before, *after])
    assert any(record.arm == "candidate" and record.rule == "red" for record in after)
    assert told.both.moved == 0 and not told.result.moves
    for record in clients([*before, *after]):
        assert told.outcomes[record.started_s].rule == record.rule
