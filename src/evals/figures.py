"""The figures of a run, per candidate and per slice, each with what it is worth. Pure.

A call that failed has the quality 0: a client got nothing. One that the run's own budget stopped was not
evaluated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..settings.scorers import name_of
from ..stats import Interval, holm, mean_interval, paired_bootstrap, quantile_interval, score_interval, wilson
from .cases import Case
from .outcomes import OUT_OF_MONEY, Billed, Outcome, Scored
from .suite import Suite
from .verdicts import Contest, Verdict, quality_of, verdicts

ALL = ""


@dataclass(frozen=True, slots=True)
class Run:
    """All that is known of a run. `ended`: why it ended: `through`, `decided`, `money`, `interrupted`."""

    suite: Suite
    cases: Mapping[str, Case]
    outcomes: Mapping[tuple[str, str], Outcome] = field(default_factory=dict)
    """(case, candidate) → what came of it."""
    scores: Mapping[tuple[str, str], Sequence[Scored]] = field(default_factory=dict)
    billed: Mapping[str, Billed] = field(default_factory=dict)
    ended: str = ""

    def quality(self, case: str, candidate: str) -> float | None:
        """0 to 1; None where it was not evaluated, or nothing was scored."""
        outcome = self.outcomes.get((case, candidate))
        if outcome is None or outcome.code in OUT_OF_MONEY:
            return None
        if outcome.failed:
            return 0.0
        weights = {name_of(scorer): scorer.weight for scorer in self.suite.scorers}
        scored = self.scores.get((case, candidate), ())
        return quality_of(
            (weights.get(one.scorer, 0.0), one.value) for one in scored if one.value is not None
        )

    def cost(self, outcome: Outcome) -> int | None:
        """Nano-dollars of all its tries; None where one of them is not known."""
        found = [self.billed.get(name) for name in outcome.request_ids]
        costs = [one.cost for one in found if one is not None and one.cost is not None]
        return sum(costs) if found and len(costs) == len(found) else None


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one candidate in one slice (`slice` and `value` are "" for all). Shares are 0 to 1, times
    milliseconds, costs dollars a call. None: not known. `unknown_costs`: calls whose cost nobody knows, in
    none of the figures of cost. `difference` to the baseline; `p_value` by Holm over all slices and
    candidates of the report."""

    candidate: str
    slice: str
    value: str
    n: int
    quality: Interval | None
    difference: Interval | None = None
    p_value: float | None = None
    refusals: Interval | None = None
    errors: Interval | None = None
    first_event_ms: Interval | None = None
    latency_p50_ms: Interval | None = None
    latency_p95_ms: Interval | None = None
    cost: Interval | None = None
    unknown_costs: int = 0
    input_tokens: float | None = None
    output_tokens: float | None = None
    scorers: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Results:
    run: Run
    verdicts: Mapping[str, Verdict]
    overall: tuple[Figures, ...]
    slices: tuple[Figures, ...]
    cost: int
    """Nano-dollars that are known, of all calls, judges' included."""
    unknown_costs: int

    def of(self, candidate: str) -> Figures:
        return next(one for one in self.overall if one.candidate == candidate)


def results_of(run: Run, seed: int = 0, resamples: int = 4_000) -> Results:
    """Everything that a report says. The same run and seed give the same figures."""
    suite = run.suite
    contest, pairs = contest_of(run)
    is_whole = run.ended == "through"
    found = verdicts(contest, pairs, is_whole, seed, resamples)
    names = [one.name for one in suite.candidates]
    overall = tuple(_figures(run, name, ALL, ALL, run.cases) for name in names)
    overall = tuple(
        _with(one, found[one.candidate].difference, found[one.candidate].p_value)
        if one.candidate in found
        else one
        for one in overall
    )
    costs = [one.cost for one in run.billed.values()]
    return Results(
        run,
        found,
        overall,
        _slices(run, names, seed, resamples),
        sum(one.cost if one.cost is not None else one.known for one in run.billed.values()),
        sum(cost is None for cost in costs),
    )


def contest_of(run: Run) -> tuple[Contest, dict[str, list[tuple[float, float]]]]:
    """The contest as it stands, case by case in the order of the sample; and the pairs of qualities."""
    suite = run.suite
    rivals = tuple(one.name for one in suite.rivals)
    contest = Contest(rivals, suite.margin, suite.alpha, suite.said.stop.at_least)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
    for case in run.cases:
        add_case(run, contest, case)
        baseline = run.quality(case, suite.baseline)
        for name in rivals:
            quality = run.quality(case, name)
            if baseline is not None and quality is not None:
                pairs[name].append((quality, baseline))
    return contest, pairs


def add_case(run: Run, contest: Contest, case: str) -> None:
    baseline = run.quality(case, run.suite.baseline)
    if baseline is None:
        return
    qualities = {name: run.quality(case, name) for name in contest.rivals}
    contest.add(baseline, {name: q for name, q in qualities.items() if q is not None})


def _with(one: Figures, difference: Interval | None, p_value: float | None) -> Figures:
    return replace(one, difference=difference, p_value=p_value)


def _figures(run: Run, candidate: str, slice_name: str, value: str, cases: Collection[str]) -> Figures:
    outcomes = [
        outcome
        for case in cases
        if (outcome := run.outcomes.get((case, candidate))) is not None and outcome.code not in OUT_OF_MONEY
    ]
    good = [outcome for outcome in outcomes if outcome.answer is not None]
    qualities = [q for one in outcomes if (q := run.quality(one.case, candidate)) is not None]
    costs = [run.cost(one) for one in outcomes]
    known = [cost / 1e9 for cost in costs if cost is not None]
    firsts = [one.first_event_ms for one in good if one.first_event_ms is not None]
    refused = sum(one.answer is not None and one.answer.refused for one in good)
    billed = [run.billed.get(one.request_ids[-1]) for one in good if one.request_ids]
    return Figures(
        candidate,
        slice_name,
        value,
        len(outcomes),
        score_interval(qualities),
        refusals=wilson(refused, len(outcomes)),
        errors=wilson(len(outcomes) - len(good), len(outcomes)),
        first_event_ms=quantile_interval(firsts, 0.5),
        latency_p50_ms=quantile_interval([one.latency_ms for one in good], 0.5),
        latency_p95_ms=quantile_interval([one.latency_ms for one in good], 0.95),
        cost=mean_interval(known),
        unknown_costs=len(costs) - len(known),
        input_tokens=_mean(one.input_tokens for one in billed if one is not None),
        output_tokens=_mean(one.output_tokens for one in billed if one is not None),
        scorers=_by_scorer(run, candidate, [one.case for one in outcomes]),
    )


def _by_scorer(run: Run, candidate: str, cases: Sequence[str]) -> dict[str, Interval]:
    found = {}
    for scorer in run.suite.scorers:
        name = name_of(scorer)
        values = [
            one.value
            for case in cases
            for one in run.scores.get((case, candidate), ())
            if one.scorer == name and one.value is not None
        ]
        if (interval := score_interval(values)) is not None:
            found[name] = interval
    return found


def _mean(values: Iterable[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _slices(run: Run, names: Sequence[str], seed: int, resamples: int) -> tuple[Figures, ...]:
    """By each of the suite's slices; one with a single value tells nothing new, and is left out."""
    found: list[Figures] = []
    for name in run.suite.slices:
        values = sorted({case.slices.get(name, "") for case in run.cases.values()})
        for value in values if len(values) > 1 else ():
            cases = [case.id for case in run.cases.values() if case.slices.get(name, "") == value]
            for candidate in names:
                one = _figures(run, candidate, name, value, cases)
                pairs = [
                    (a, b)
                    for case in cases
                    if (a := run.quality(case, candidate)) is not None
                    and (b := run.quality(case, run.suite.baseline)) is not None
                ]
                gap = None
                if candidate != run.suite.baseline:
                    left, right = [a for a, _ in pairs], [b for _, b in pairs]
                    gap = paired_bootstrap(left, right, 1.0 - run.suite.alpha, seed, resamples)
                found.append(_with(one, gap.interval if gap else None, gap.p_value if gap else None))
    raw = [one.p_value for one in found if one.p_value is not None]
    adjusted = iter(holm(raw))
    return tuple(
        _with(one, one.difference, next(adjusted)) if one.p_value is not None else one for one in found
    )


def pareto(results: Results) -> tuple[str, ...]:
    """Candidates than which no other is both better and cheaper; those without both figures are left out."""
    points = [
        (one.candidate, one.quality.value, one.cost.value)
        for one in results.overall
        if one.quality is not None and one.cost is not None and not one.unknown_costs
    ]
    return tuple(
        name
        for name, quality, cost in points
        if not any(q >= quality and c <= cost and (q > quality or c < cost) for _, q, c in points)
    )


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A case at which a rival and the baseline were found to differ; `gap`: the rival's quality less the
    baseline's."""

    case: Case
    rival: str
    gap: float


def disagreements(run: Run, most: int = 12) -> tuple[Disagreement, ...]:
    """The most telling ones: the greatest gaps first, of each rival and both ways by turns."""
    lanes: list[list[Disagreement]] = []
    for rival in run.suite.rivals:
        found = []
        for case in run.cases.values():
            a, b = run.quality(case.id, rival.name), run.quality(case.id, run.suite.baseline)
            if a is not None and b is not None and a != b:
                found.append(Disagreement(case, rival.name, a - b))
        lanes.append(sorted((one for one in found if one.gap < 0), key=lambda one: one.gap))
        lanes.append(sorted((one for one in found if one.gap > 0), key=lambda one: -one.gap))
    told: list[Disagreement] = []
    while len(told) < most and any(lanes):
        for lane in lanes:
            if lane and len(told) < most:
                told.append(lane.pop(0))
    return tuple(told)
