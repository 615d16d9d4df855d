"""Mock members of known quality, 200 seeded evaluations each: who is promoted falsely, and what is found.

The core alone: the very `Contest` and `verdicts` that a run uses. Answers of candidate and baseline are drawn
independently of each other, which is the hardest case: real ones are mostly right and wrong together.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import pytest
from modelbroker.evals.verdicts import BETTER, NOT_WORSE, OPEN, WORSE, Contest, Verdict, quality_of, verdicts

WORLDS = 200
BASELINE = 0.8


def evaluated(
    seed: int, qualities: Mapping[str, float], cases: int, margin: float, stops: bool = True
) -> dict[str, Verdict]:
    """As a run goes: case by case, until every candidate is decided."""
    lots = random.Random(seed)
    contest = Contest(tuple(qualities), margin, 0.05, at_least=30)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in qualities}
    done = 0
    while done < cases and (contest.open or not stops):
        done += 1
        baseline = float(lots.random() < BASELINE)
        drawn = {name: float(lots.random() < quality) for name, quality in qualities.items()}
        asked = {name: value for name, value in drawn.items() if name in contest.open or not stops}
        contest.add(baseline, asked)
        for name, value in asked.items():
            pairs[name].append((value, baseline))
    return verdicts(contest, pairs, done == cases, seed, resamples=300)


def words(qualities: Mapping[str, float], cases: int, margin: float = 0.02) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {name: Counter() for name in qualities}
    for seed in range(WORLDS):
        for name, verdict in evaluated(seed, qualities, cases, margin).items():
            found[name][verdict.word] += 1
    return found


def test_false_promotions_are_rare_and_ten_points_are_found() -> None:
    """Two candidates at once, with 500 cases: one is worse by just more than the margin, one by ten
    points."""
    found = words({"a little worse": BASELINE - 0.021, "much worse": BASELINE - 0.1}, 500)
    promoted = sum(count[word] for count in found.values() for word in (BETTER, NOT_WORSE))
    assert promoted / WORLDS <= 0.05
    assert found["much worse"][WORSE] / WORLDS >= 0.8


def test_ten_points_more_are_found_with_400_cases() -> None:
    found = words({"better": BASELINE + 0.1}, 400)["better"]
    assert (found[BETTER] + found[NOT_WORSE]) / WORLDS >= 0.8
    assert found[WORSE] == 0


def test_what_is_the_same_is_called_neither_better_nor_worse() -> None:
    found = words({"same": BASELINE}, 300)["same"]
    assert (found[BETTER] + found[WORSE]) / WORLDS <= 0.05


@pytest.mark.parametrize(("gap", "word"), [(0.0, NOT_WORSE), (0.5, BETTER), (-0.5, WORSE)])
def test_whose_answers_always_differ_by_as_much_is_decided(gap: float, word: str) -> None:
    """Nothing is left to chance there, which leaves nothing to draw from."""
    contest = Contest(("one",), 0.1, 0.05, at_least=1_000)
    assert verdicts(contest, {"one": [(0.5 + gap, 0.5)] * 60}, is_whole=True)["one"].word == word


def test_many_candidates_raise_no_more_false_alarms() -> None:
    """Of eight that are all the same, even one is called better or worse in at most 5 % of the
    evaluations."""
    false = 0
    for seed in range(100):
        found = evaluated(seed, {f"c{n}": BASELINE for n in range(8)}, 100, 0.02, stops=False)
        false += any(one.word in (BETTER, WORSE) for one in found.values())
    assert false / 100 <= 0.05


def test_the_end_of_the_money_has_no_look_of_its_own() -> None:
    """What the whole sample would have decided stays open where the run ended before it."""
    contest = Contest(("new",), 0.0, 0.05)
    pairs = [(1.0, 0.0)] * 9 + [(1.0, 1.0)] * 31
    for quality, baseline in pairs:
        contest.add(baseline, {"new": quality})
    whole = verdicts(contest, {"new": pairs}, True)["new"]
    cut = verdicts(contest, {"new": pairs}, False)["new"]
    assert (whole.word, whole.by) == (BETTER, "sample")
    assert (cut.word, cut.by) == (OPEN, "")
    assert cut.always.contains(0.0)


def test_who_is_decided_stays_decided() -> None:
    contest = Contest(("new",), 0.02, 0.05, at_least=10)
    for _ in range(40):
        contest.add(0.0, {"new": 1.0})
    assert contest.decided == {"new": NOT_WORSE} or contest.decided == {"new": BETTER}
    decided = dict(contest.decided)
    for _ in range(400):
        contest.add(1.0, {"new": 0.0})
    assert contest.decided == decided
    assert contest.open == ()


def test_a_rival_without_a_case_is_open() -> None:
    found = verdicts(Contest(("new",), 0.02, 0.05), {}, True)["new"]
    assert (found.word, found.difference, found.p_value) == (OPEN, None, None)


@pytest.mark.parametrize(
    ("scores", "quality"),
    [([], None), ([(0.0, 1.0)], None), ([(2.0, 1.0), (1.0, 0.4)], 0.8), ([(1.0, 0.5), (0.0, 0.0)], 0.5)],
)
def test_quality_is_the_weighted_mean(scores: list[tuple[float, float]], quality: float | None) -> None:
    assert quality_of(scores) == pytest.approx(quality)
