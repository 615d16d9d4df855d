"""Answers that wait to be scored: bounded, every one of them accounted for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.traffic import Sample
from modelbroker.core.trials import CANDIDATE, STABLE, Scorer, Scores, ToScore
from modelbroker.trials import scoring
from modelbroker.trials.frames import Graded
from modelbroker.trials.scoring import CONCURRENCY, LATE_S, MOST_WAITING, Jobs
from prometheus_client import REGISTRY

JUDGED = Scores("r", "chat", (Scorer("judge", "judge", "judges", "{}"),), 1_000_000)
RULED = Scores("r", "chat", (Scorer("regex", "regex", "", "{}"),), 1_000_000)


def answer(request_id: str = "a", **more: object) -> Sample:
    return replace(Sample(request_id, 1.0, status=200, request=b"ask", reply=b"said"), **more)  # type: ignore[arg-type]


def alone(request_id: str = "a", scores: Scores = JUDGED) -> ToScore:
    return ToScore(scores, "r", STABLE, request_id, False)


def half(arm: str, first: str = "a") -> ToScore:
    return ToScore(JUDGED, "r", arm, first, True)


def counts(jobs: Jobs) -> dict[str, object]:
    return {name: count for name, count in jobs.shown("r").items() if count and name != "unscored"}


def test_one_answer_gives_one_score_of_its_own_arm() -> None:
    jobs = Jobs()
    assert jobs.offer(alone(), answer(), 0.0)
    ((number, job),) = jobs.due(1.0)
    assert job.samples == (answer(),)
    assert jobs.over(Graded(number, (0.7,)), 2.0) == [("a", 0.7, "")]
    assert jobs.over(Graded(number, (0.7,)), 2.0) == []  # told twice
    assert counts(jobs) == {"scored": 1}


@pytest.mark.parametrize("copy_first", [True, False])
def test_a_pair_is_scored_once_both_are_there(copy_first: bool) -> None:
    jobs = Jobs()
    both = [(half(STABLE), answer()), (half(CANDIDATE), answer("copy", shadow_of="a"))]
    first, second = reversed(both) if copy_first else both
    assert not jobs.offer(*first, 0.0) and not jobs.due(0.0)
    assert jobs.offer(*second, 1.0)
    ((number, job),) = jobs.due(1.0)
    assert [sample.request_id for sample in job.samples] == ["a", "copy"]
    assert jobs.over(Graded(number, (0.5, 0.0)), 2.0) == [("a", 0.5, STABLE), ("copy", 0.0, CANDIDATE)]


@pytest.mark.parametrize(
    "more",
    [{"status": 500}, {"status": 0}, {"reply": None}, {"request": None}, {"cut": "ended"}, {"reply": b""}],
)
def test_what_is_no_whole_answer_has_no_score(more: dict[str, object]) -> None:
    """How often it fails is for the gate `errors`."""
    jobs = Jobs()
    assert not jobs.offer(alone(), answer(**more), 0.0)
    # The other half of a pair does not wait for it.
    assert not jobs.offer(half(STABLE), answer(**more), 0.0)
    assert not jobs.offer(half(CANDIDATE), answer("copy"), 0.0)
    assert not jobs.due(0.0) and counts(jobs) == {"unfit": 2}
    assert jobs.shown("r")["unscored"] == {STABLE: 2, CANDIDATE: 0}


def test_halves_do_not_wait_for_ever() -> None:
    jobs = Jobs()
    jobs.offer(half(STABLE, "old"), answer("old"), 0.0)
    jobs.offer(half(STABLE, "new"), answer("new"), 1_000.0)
    assert counts(jobs) == {"unpaired": 1}
    assert not jobs.offer(half(CANDIDATE, "old"), answer("copy"), 1_000.0)


def test_halves_whose_other_never_comes_hold_up_no_other_answer() -> None:
    """At the next stage nobody is copied any more: what waits from the last one is let go all the same."""
    jobs = Jobs()
    large = b"x" * (scoring.MOST_BYTES // 4 - 100)
    for name in "abcd":
        jobs.offer(half(STABLE, name), answer(name, reply=large), 0.0)
    assert jobs.offer(alone("new"), answer("new", reply=large), 1_000.0)
    assert counts(jobs) == {"unpaired": 4, "waiting": 1}


def test_single_answers_go_before_halves() -> None:
    """These may never be scored."""
    jobs = Jobs()
    large = b"x" * (scoring.MOST_BYTES // 4 - 100)
    for name in "abcd":
        jobs.offer(half(STABLE, name), answer(name, reply=large), 0.0)
    assert jobs.offer(alone("new"), answer("new", reply=large), 1.0)
    assert counts(jobs) == {"unpaired": 1, "waiting": 1}


def test_texts_of_a_rollout_that_is_no_more_are_not_held() -> None:
    jobs = Jobs()
    jobs.offer(half(STABLE), answer(), 0.0)
    jobs.offer(alone("b"), answer("b"), 0.0)
    jobs.forget(lambda name: False)
    assert (jobs._bytes, len(jobs._halves)) == (0, 0)
    assert REGISTRY.get_sample_value("modelbroker_rollout_scoring_waiting", {"rollout": "r"}) == 0


def test_what_does_not_fit_is_dropped() -> None:
    jobs = Jobs()
    taken = [jobs.offer(alone(str(n)), answer(str(n)), 0.0) for n in range(MOST_WAITING + 5)]
    assert taken.count(False) == 5
    jobs.offer(alone("gone"), None, 0.0)
    assert counts(jobs) == {"dropped": 6, "waiting": MOST_WAITING}
    assert len(jobs.due(0.0)) == CONCURRENCY and not jobs.due(0.0)
    large = answer("large", reply=b"x" * scoring.MOST_BYTES)
    fresh = Jobs()
    assert not fresh.offer(alone("large"), large, 0.0)


def test_what_is_late_says_nothing_of_now() -> None:
    jobs = Jobs()
    jobs.offer(alone(), answer(), 0.0)
    assert not jobs.due(LATE_S + 1) and counts(jobs) == {"late": 1}


def test_a_budget_that_is_used_up_is_not_asked_again_and_again() -> None:
    jobs = Jobs()
    jobs.offer(alone(), answer(), 0.0)
    ((number, _),) = jobs.due(0.0)
    assert jobs.over(Graded(number, (), "budget", 30.0), 1.0) == []
    assert not jobs.offer(alone("b"), answer("b"), 10.0)
    assert jobs.offer(alone("c", RULED), answer("c"), 10.0)  # who asks nobody goes on
    assert jobs.offer(alone("d"), answer("d"), 32.0)
    assert counts(jobs) == {"failed": 1, "paused": 1, "waiting": 2, "last_failure": "budget"}


@pytest.mark.parametrize("values", [(), (1.5,), (-0.1,), (float("nan"),), (0.5, 0.5)])
def test_what_is_no_score_is_none(values: tuple[float, ...]) -> None:
    jobs = Jobs()
    jobs.offer(alone(), answer(), 0.0)
    ((number, _),) = jobs.due(0.0)
    assert jobs.over(Graded(number, values, "judge"), 0.0) == []
    assert counts(jobs) == {"failed": 1, "last_failure": "judge"}


def test_who_is_no_more_is_forgotten() -> None:
    jobs = Jobs()
    jobs.offer(alone(), answer(), 0.0)
    jobs.offer(alone("b"), answer("b"), 0.0)
    jobs.due(0.0)
    jobs.offer(alone("c"), answer("c"), 0.0)
    assert jobs.oldest_s() == 0.0
    jobs.lost()
    assert jobs.oldest_s() is None and counts(jobs) == {"lost": 2, "waiting": 1}
    jobs.forget(lambda name: False)
    assert counts(jobs) == {}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("alone"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("stable"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("copy"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("due"), st.integers(0, 100), st.booleans()),
        st.tuples(st.just("over"), st.integers(0, 20), st.booleans()),
        st.tuples(st.just("lost"), st.just(0), st.booleans()),
    ),
    max_size=60,
)


@given(steps)
def test_nothing_is_held_that_nobody_waits_for(said: list[tuple[str, int, bool]]) -> None:
    """Whatever happens: the bytes are those of what is held, each score is of an answer that was offered, and
    no more are under way than may be."""
    jobs, now_s, offered, scored = Jobs(), 0.0, set(), []
    for word, number, good in said:
        now_s += 1.0
        sample = answer(f"{word}{number}", status=200 if good else 500)
        if word == "alone":
            jobs.offer(alone(sample.request_id), sample, now_s)
        elif word in ("stable", "copy"):
            jobs.offer(half(STABLE if word == "stable" else CANDIDATE, str(number)), sample, now_s)
        elif word == "due":
            now_s += number
            jobs.due(now_s)
        elif word == "over":
            scored += jobs.over(Graded(number, (0.5, 0.5) if good else (0.5,)), now_s)
        else:
            jobs.lost()
        offered.add(sample.request_id)
        held = [half.sample for half in jobs._halves.values() if half.sample is not None]
        held += [one for line in jobs._lines.values() for job in line.waiting for one in job.samples]
        held += [one for _, job in jobs._under_way.values() for one in job.samples]
        assert jobs._bytes == sum(len(one.request or b"") + len(one.reply or b"") for one in held)
        assert all(line.under_way <= CONCURRENCY for line in jobs._lines.values())
    assert {one.request_id for one in scored} <= offered
