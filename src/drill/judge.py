"""What clients saw, held against what is promised. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..core.causes import Action
from .calls import Call, Kept
from .scenarios import Scenario

PROMISES: Mapping[int, str] = {
    1: "no error reaches a client while a healthy member that can serve the call is left",
    2: "at most 1 + failover attempts a call, and at most 1.2 on average while a healthy member is left",
    3: "every error has its dialect's shape and a stable code, and what broke never looks complete",
    4: "every call leaves exactly one record, with its true number of attempts",
    5: "members that are well again get traffic again within the ejection's time",
}
MOST_ATTEMPTS_ON_AVERAGE = 1.2
# The attempts that find a fault out are the same few however long it lasts: of fewer calls the average says
# nothing.
_CALLS_FOR_AN_AVERAGE = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened in one scenario. `calls` were due while the fault struck, `after` behind its end.
    `recovered_s`: member that gets traffic when all is well → seconds until it did again; None: not within
    `recovery_bound_s`. Empty where that was not waited for."""

    scenario: Scenario
    calls: Sequence[Call]
    after: Sequence[Call] = ()
    recovered_s: Mapping[str, float | None] = field(default_factory=dict)
    recovery_bound_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that was broken in a scenario: so many times, and one example."""

    promise: int
    where: str
    times: int
    example: str

    def __str__(self) -> str:
        times = f" ({self.times} times)" if self.times > 1 else ""
        return f"promise {self.promise} is broken{times}: {self.where}: {self.example}"


@dataclass(frozen=True, slots=True)
class Row:
    """What clients saw in one scenario. Milliseconds are beyond the baseline of the same run."""

    pool: str
    fault: str
    scope: str
    struck: tuple[str, ...]
    calls: int
    errors: int
    unforeseen: int
    added_p50_ms: float
    added_p99_ms: float
    attempts_average: float
    attempts_most: int
    recovered_s: float | None
    broken: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    row: Row
    broken: tuple[Broken, ...]
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Number of a call → its records; → how many requests of it providers got."""

    kept: Mapping[int, Sequence[Kept]]
    arrivals: Mapping[int, int]

    def attempts(self, call: Call) -> int:
        """By the record, else by the reply's header."""
        records = self.kept.get(call.number, ())
        return max((kept.attempts_made for kept in records), default=call.attempts)

    def tries(self, call: Call) -> int:
        """By whoever counts most of them, the providers too."""
        return max(self.attempts(call), call.attempts, self.arrivals.get(call.number, 0))


def judge(
    outcome: Outcome, baseline_ms: Sequence[float], evidence: Evidence, *, average: bool = True
) -> Verdict:
    """`baseline_ms`: how long calls took when all was well. `average`: whether this scenario has to keep the
    average of attempts by itself."""
    scenario = outcome.scenario
    unforeseen = [call for call in outcome.calls if _failed(call) and not scenario.excuse(call.ask)]
    late_errors = [call for call in outcome.after if _failed(call)]
    every = [*outcome.calls, *outcome.after]
    broken = [
        *_tell(1, scenario, [(call, call.story()) for call in [*unforeseen, *late_errors]]),
        *_attempts(outcome, evidence, average),
        *_tell(3, scenario, _flaws(every, evidence)),
        *_tell(4, scenario, _records(every, evidence, all_arrive=scenario.fault.arrives)),
        *_recovery(outcome),
    ]
    tried = [evidence.attempts(call) for call in outcome.calls]
    took = [call.ms for call in outcome.calls]
    back = list(outcome.recovered_s.values())
    row = Row(
        scenario.plan.name,
        scenario.fault.name,
        scenario.target.scope,
        tuple(sorted(scenario.target.members)),
        len(outcome.calls),
        sum(map(_failed, outcome.calls)) + len(late_errors),
        len(unforeseen) + len(late_errors),
        percentile(took, 50) - percentile(baseline_ms, 50),
        percentile(took, 99) - percentile(baseline_ms, 99),
        mean_of(tried),
        max(tried, default=0),
        None if not back or None in back else max(second for second in back if second is not None),
        tuple(sorted({each.promise for each in broken})),
    )
    return Verdict(row, tuple(broken), tuple(_findings(outcome, tried)))


def average_of(outcomes: Sequence[Outcome], evidence: Evidence) -> tuple[float, list[Broken]]:
    """Attempts a call over all scenarios in which a healthy member was left, held against the promise."""
    kept = [outcome for outcome in outcomes if _promises_few(outcome.scenario)]
    tried = [evidence.attempts(call) for outcome in kept for call in outcome.calls]
    average = mean_of(tried)
    if not _is_over(tried, max(map(_hedged_percent, kept), default=0.0)):
        return average, []
    return average, [Broken(2, "over the whole run", 1, f"{average:.2f} attempts a call on average")]


def judge_calm(pool: str, calls: Sequence[Call], evidence: Evidence) -> list[Broken]:
    """Calls that were due while nothing was wrong with any member."""
    where = f"{pool}: without a fault"
    return [
        *_tell(1, where, [(call, call.story()) for call in calls if _failed(call)]),
        *_tell(3, where, _flaws(calls, evidence)),
        *_tell(4, where, _records(calls, evidence, all_arrive=False)),
    ]


def mean_of(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _hedged_percent(outcome: Outcome) -> float:
    hedge = outcome.scenario.plan.pool.hedge
    return hedge.share_percent if hedge is not None else 0.0


def _is_over(tried: Sequence[int], hedged_percent: float = 0.0) -> bool:
    """`hedged_percent`: of the pool's calls so many may have a second attempt for its `hedge`."""
    most = MOST_ATTEMPTS_ON_AVERAGE + hedged_percent / 100
    return len(tried) >= _CALLS_FOR_AN_AVERAGE and mean_of(tried) > most


def _promises_few(scenario: Scenario) -> bool:
    """Who ejects nobody sends every member its share of calls, failing or not."""
    return scenario.keeps_one and scenario.plan.pool.ejection.enabled


def percentile(values: Sequence[float], percent: float) -> float:
    """By nearest rank; 0 of nothing."""
    if not values:
        return 0.0
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def _failed(call: Call) -> bool:
    return call.seen.end != "good"


def _tell(promise: int, where: object, cases: Sequence[tuple[Call, str]]) -> Iterator[Broken]:
    if cases:
        yield Broken(promise, str(where), len(cases), cases[0][1])


def _attempts(outcome: Outcome, evidence: Evidence, average: bool) -> Iterator[Broken]:
    scenario = outcome.scenario
    most = 1 + scenario.plan.pool.failover
    calls = [*outcome.calls, *outcome.after]
    over = [
        (call, f"{tried} attempts where {most} are allowed; {call.story()}")
        for call, tried in zip(calls, map(evidence.tries, calls), strict=True)
        if tried > most
    ]
    yield from _tell(2, scenario, over)
    tried = [evidence.attempts(call) for call in outcome.calls]
    mean = mean_of(tried)
    if average and _promises_few(scenario) and _is_over(tried, _hedged_percent(outcome)):
        yield Broken(2, str(scenario), 1, f"{mean:.2f} attempts a call on average, of {len(tried)} calls")


def _flaws(calls: Sequence[Call], evidence: Evidence) -> list[tuple[Call, str]]:
    flaws = []
    for call in calls:
        if call.seen.flaw:
            flaws.append((call, f"{call.seen.flaw}; {call.story()}"))
        elif call.seen.lacks_code and not any(kept.code for kept in evidence.kept.get(call.number, ())):
            flaws.append((call, f"neither the error nor the record has a code; {call.story()}"))
    return flaws


def _records(calls: Sequence[Call], evidence: Evidence, *, all_arrive: bool) -> list[tuple[Call, str]]:
    """What is wrong with the records of these calls. `all_arrive`: every attempt reaches its provider."""
    wrong = []
    for call in calls:
        records = evidence.kept.get(call.number, ())
        if len(records) != 1:
            wrong.append((call, f"{len(records)} records of one call; {call.story()}"))
            continue
        why = _untrue(call, records[0], evidence.arrivals.get(call.number, 0), all_arrive)
        if why:
            wrong.append((call, f"{why}; {call.story()}"))
    return wrong


def _untrue(call: Call, kept: Kept, arrived: int, all_arrive: bool) -> str:
    made = kept.attempts_made
    if call.request_id and kept.request_id != call.request_id:
        return f"the record has the id {kept.request_id}"
    if call.seen.end in ("good", "error") and kept.status != call.status:
        return f"the record has the status {kept.status}"
    if call.attempts and made != call.attempts:
        return f"the record has {made} attempts, the reply {call.attempts}"
    if kept.attempts_listed != made:
        return f"the record counts {made} attempts and lists {kept.attempts_listed}"
    if arrived > made or (all_arrive and arrived < made):
        return f"the record has {made} attempts, and providers got {arrived}"
    return ""


def _recovery(outcome: Outcome) -> Iterator[Broken]:
    missing = sorted(member for member, seconds in outcome.recovered_s.items() if seconds is None)
    if missing:
        example = f"{', '.join(missing)}: no traffic in {outcome.recovery_bound_s:.1f} s behind the fault"
        yield Broken(5, str(outcome.scenario), len(missing), example)


def _findings(outcome: Outcome, tried: Sequence[int]) -> Iterator[str]:
    """What the configuration itself gives away."""
    scenario = outcome.scenario
    pool, fault = scenario.plan.pool, scenario.fault
    excused: dict[str, int] = {}
    for call in outcome.calls:
        if _failed(call):
            why = scenario.excuse(call.ask)
            excused[why] = excused.get(why, 0) + 1
    if times := excused.get("failover"):
        most = max(len(scenario.struck(ask)) for ask in scenario.plan.asks)
        allowed = f"up to {pool.failover}" if pool.failover else "none"
        yield (
            f"pool {pool.name} has `failover: {allowed}`, and {most} members failed together "
            f"({fault.name}): {times} of {len(outcome.calls)} calls failed; `up to {most}` would have let "
            "them reach a healthy one"
        )
    if times := excused.get("on-client"):
        causes = [cause.value for cause in fault.causes if pool.action(cause) is Action.CLIENT]
        yield (
            f"pool {pool.name} gives {', '.join(causes)} to the client (`on`): {times} of "
            f"{len(outcome.calls)} calls failed under {fault.name} with a healthy member left"
        )
    if scenario.keeps_one and not pool.ejection.enabled and _is_over(tried, _hedged_percent(outcome)):
        yield (
            f"pool {pool.name} has `ejection: off`: under {fault.name} its calls made {mean_of(tried):.2f} "
            "attempts on average, since a member that fails keeps its share"
        )
