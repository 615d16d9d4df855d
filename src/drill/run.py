"""`modelbroker drill`: the broker is started, members fail by turns under a steady load, all is judged."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..core.catalog import Catalog
from ..core.causes import Cause
from ..core.errors import Misconfigured
from ..dialects import BUILT, DEVIATIONS, KNOWN
from ..policy.health import PROBE_FIRST_S, PROBE_MOST_S
from ..settings import compile_texts, read_files
from . import judge, report
from .calls import Call
from .faults import FAULTS, NAMED, RETRY_AFTER_S, Fault
from .load import Load
from .overlay import overlay
from .rehearsal import Rehearsal, run_to_end, running, to_its_end_or_interruption
from .scenarios import PoolPlan, Scenario, in_turn, plan_pools, scenarios

log = logging.getLogger("modelbroker.drill")

SCOPES = ("one", "provider", "pair", "all")
_WARM_UP_S = 2.0
_BASELINE_S = 4.0
_LOOK_S = 0.02
_RECORDS_S = 20.0  # a record that misses an attempt's entry comes after 5 s
_SETTLE_S = 5.0
_SLACK_S = 3.0
_CALLS_TO_MEET = 10  # on average, until the member with the smallest weight has had its first


@dataclass(frozen=True, slots=True)
class DrillOptions:
    """`seconds`: of each fault. `turns`: `all` scenarios, `scopes` (of each fault one of every scope) or
    `faults` (one of each fault).
    `recovers`: wait after each fault until all members have traffic again. `at_least_s`: begin anew with
    the scenarios until so much time has passed. `largest_pool`: the pool with the most members alone."""

    config: Path
    folder: Path
    calls_per_second: float = 100.0
    seconds: float = 2.0
    pools: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    scopes: tuple[str, ...] = SCOPES
    turns: str = "scopes"
    recovers: bool = True
    at_least_s: float = 0.0
    largest_pool: bool = False
    time_lapse: bool = True
    format: str = "table"


@dataclass(slots=True)
class Heard:
    """The load's calls as they end, by phase."""

    calls: dict[str, list[Call]] = field(default_factory=dict)

    def note(self, call: Call) -> None:
        self.calls.setdefault(call.phase, []).append(call)

    def of(self, phase: str) -> Sequence[Call]:
        return self.calls.get(phase, ())

    def forget(self, *phases: str) -> None:
        for phase in phases:
            self.calls.pop(phase, None)

    @property
    def count(self) -> int:
        return sum(map(len, self.calls.values()))


@dataclass(frozen=True, slots=True)
class Prepared:
    """The configuration under drill: its files, compiled, with what is drilled and what is not."""

    files: Mapping[str, str]
    catalog: Catalog
    plans: tuple[PoolPlan, ...]
    notes: tuple[str, ...]
    key: str


def prepare(config: Path, pools: Collection[str], time_lapse: bool) -> Prepared:
    """SettingsError where the configuration is broken, Misconfigured where there is nothing to drill."""
    texts = read_files(config)
    catalog = _compiled(texts)
    unknown = sorted(set(pools) - set(catalog.pools))
    if unknown:
        raise Misconfigured(
            500,
            "no_such_pool",
            f"there is no pool {', '.join(unknown)}; the pools are {', '.join(catalog.pools)}",
        )
    key = f"mb-drill-{secrets.token_hex(16)}"
    made = overlay(texts, catalog, key, time_lapse)
    catalog = _compiled(made.files)
    plans, left_out = plan_pools(catalog, pools)
    if not plans:
        raise Misconfigured(500, "nothing_to_drill", "nothing to drill: " + "; ".join(left_out))
    return Prepared(made.files, catalog, plans, (*made.notes, *left_out), key)


def _compiled(texts: Mapping[str, str]) -> Catalog:
    return compile_texts(texts, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog


def chosen_faults(names: Collection[str]) -> list[Fault]:
    """Misconfigured for a name that there is not."""
    unknown = sorted(set(names) - set(NAMED))
    if unknown:
        message = f"there is no fault {', '.join(unknown)}; the faults are {', '.join(NAMED)}"
        raise Misconfigured(500, "no_such_fault", message)
    return [fault for fault in FAULTS if not names or fault.name in names]


def run_drill(options: DrillOptions) -> int:
    """Prints the result; 1 where a promise was broken."""
    prepared = prepare(options.config, options.pools, options.time_lapse)
    plans = prepared.plans
    if options.largest_pool:
        plans = (max(plans, key=lambda plan: len(plan.pool.members)),)
    chosen = list(scenarios(plans, prepared.catalog, chosen_faults(options.faults), options.scopes))
    if options.turns != "all":
        chosen = list(in_turn(chosen, each_scope=options.turns == "scopes"))
    if not chosen:
        raise Misconfigured(500, "nothing_to_drill", "nothing to drill: no such fault can strike these pools")
    result = run_to_end(_Drill(options, prepared, chosen).run())
    shown = {"json": report.as_json, "markdown": report.as_markdown, "table": report.as_table}
    print(shown[options.format](result), flush=True)
    return 0 if result.passed else 1


class _Drill:
    def __init__(self, options: DrillOptions, prepared: Prepared, chosen: Sequence[Scenario]) -> None:
        self._options, self._prepared, self._chosen = options, prepared, chosen
        self._heard = Heard()
        self._load = Load("", 0, prepared.key, options.calls_per_second, self._heard.note)
        self._outcomes: list[judge.Outcome] = []

    async def run(self) -> report.Result:
        expected = sum(self._lasts_s(scenario) + self._options.recovers * 1.5 for scenario in self._chosen)
        log.info("%d scenarios, about %.0f minutes", len(self._chosen), max(1, expected / 60))
        began = time.monotonic()
        async with running(self._prepared.files, self._options.folder) as rehearsal:
            await rehearsal.find_simulators(self._prepared.catalog)
            self._load.host, self._load.port = rehearsal.host, rehearsal.port
            is_complete = await to_its_end_or_interruption(self._pools(rehearsal))
            if not is_complete:  # of the scenario that was cut nothing can be said
                self._heard.forget(f"{len(self._outcomes)} during", f"{len(self._outcomes)} after")
            self._load.close()
            await rehearsal.read_journals()
            await wait_for_records(rehearsal, self._heard.count)
            return self._judged(rehearsal, time.monotonic() - began, is_complete)

    async def _pools(self, rehearsal: Rehearsal) -> None:
        for plan in self._prepared.plans:
            await self._pool(rehearsal, plan)

    async def _pool(self, rehearsal: Rehearsal, plan: PoolPlan) -> None:
        mine = [scenario for scenario in self._chosen if scenario.plan is plan]
        if not mine:
            return
        self._load.patience_s = patience_s(plan)
        async with going_on(self._load, plan, f"{plan.name} warm-up"):
            await asyncio.sleep(_WARM_UP_S)
            self._load.phase = f"{plan.name} calm"
            began = time.monotonic()
            await asyncio.sleep(max(_BASELINE_S, self._options.seconds))
            while True:
                for scenario in mine:
                    self._outcomes.append(await self._strike(rehearsal, scenario))
                    self._say(len(self._outcomes), self._outcomes[-1])
                if time.monotonic() - began >= self._options.at_least_s:
                    break
            self._load.phase = f"{plan.name} end"

    async def _strike(self, rehearsal: Rehearsal, scenario: Scenario) -> judge.Outcome:
        number = len(self._outcomes)
        before, during, after = self._load.phase, f"{number} during", f"{number} after"
        self._load.phase = during
        await self._ended(before)  # what was asked before is no part of this
        told = await strike(rehearsal, scenario, self._prepared.catalog)
        await asyncio.sleep(self._lasts_s(scenario))
        await rehearsal.heal(told)
        self._load.phase = after
        recovered: dict[str, float | None] = {}
        bound_s = self._recovery_bound_s(scenario)
        if self._options.recovers:
            recovered = await self._recovered(scenario.plan, after, bound_s)
        await self._ended(during)
        self._load.phase = f"{number} settled"
        await self._ended(after)
        await rehearsal.read_journals()
        if self._options.recovers and scenario.target.scope == "all":
            # All of them may be out, and serve all the same: the next fault is to meet a pool that is well.
            await asyncio.sleep(_out_s(scenario.plan))
        elif not self._options.recovers and Cause.RATE_LIMIT in scenario.fault.causes:
            # By its own word a member takes no calls yet: until then it is not well.
            await asyncio.sleep(RETRY_AFTER_S)
        return judge.Outcome(scenario, self._heard.of(during), self._heard.of(after), recovered, bound_s)

    def _lasts_s(self, scenario: Scenario) -> float:
        """Without pauses the average of attempts is that of the whole run: no fault has to last for it."""
        seconds = self._options.seconds
        return scenario.seconds(seconds) if self._options.recovers else seconds

    async def _ended(self, phase: str) -> None:
        await self._load.ended(phase, self._load.patience_s + _SETTLE_S)

    async def _recovered(self, plan: PoolPlan, phase: str, bound_s: float) -> dict[str, float | None]:
        began = time.perf_counter()
        back: dict[str, float | None] = dict.fromkeys(plan.served_first)
        looked = 0
        while None in back.values() and time.perf_counter() - began < bound_s:
            await asyncio.sleep(_LOOK_S)
            calls = self._heard.of(phase)
            for call in calls[looked:]:
                if call.seen.end == "good" and back.get(call.member, 0.0) is None:
                    back[call.member] = call.ended_s - began
            looked = len(calls)
        return back

    def _recovery_bound_s(self, scenario: Scenario) -> float:
        plan = scenario.plan
        rarest = min(plan.weights.values(), default=1.0)
        meeting_s = _CALLS_TO_MEET / (self._options.calls_per_second * max(rarest, 0.001))
        out_s = max(_out_s(plan), _probed_s(self._lasts_s(scenario)))
        return out_s + RETRY_AFTER_S + _SLACK_S + meeting_s

    def _say(self, done: int, outcome: judge.Outcome) -> None:
        errors = sum(call.seen.end != "good" for call in outcome.calls)
        log.info("%d: %s: %d calls, %d errors", done, outcome.scenario, len(outcome.calls), errors)

    def _calm(self, evidence: judge.Evidence) -> list[judge.Broken]:
        """Before, between and behind the faults: there is no excuse for anything."""
        judged = {call.number for outcome in self._outcomes for call in (*outcome.calls, *outcome.after)}
        calm: dict[str, list[Call]] = {}
        for calls in self._heard.calls.values():
            for call in calls:
                if call.number not in judged:
                    calm.setdefault(call.pool, []).append(call)
        return [broken for pool, calls in calm.items() for broken in judge.judge_calm(pool, calls, evidence)]

    def _judged(self, rehearsal: Rehearsal, seconds: float, is_complete: bool) -> report.Result:
        evidence = judge.Evidence(rehearsal.records.kept, rehearsal.arrivals)
        calm = {
            plan.name: [call.ms for call in self._heard.of(f"{plan.name} calm")]
            for plan in self._prepared.plans
        }
        verdicts = [
            judge.judge(outcome, calm[outcome.scenario.plan.name], evidence, average=self._options.recovers)
            for outcome in self._outcomes
        ]
        average, over = judge.average_of(self._outcomes, evidence)
        broken = self._calm(evidence) + [each for verdict in verdicts for each in verdict.broken]
        broken += [] if self._options.recovers else over
        findings = dict.fromkeys(finding for verdict in verdicts for finding in verdict.findings)
        notes = list(self._prepared.notes)
        if not is_complete:
            done = f"{len(self._outcomes)} of {len(self._chosen)} scenarios were done"
            notes.append(f"the drill was ended before it was through: {done}")
        if self._load.late:
            notes.append(
                f"{self._load.late} calls started 100 ms or more after their time: this machine is too busy "
                "for the times to mean much"
            )
        together = [ms for times in calm.values() for ms in times]
        return report.Result(
            [verdict.row for verdict in verdicts],
            broken,
            list(findings),
            notes,
            self._heard.count,
            seconds,
            self._options.calls_per_second,
            judge.percentile(together, 50),
            judge.percentile(together, 99),
            average,
            is_complete,
        )


def _probed_s(lasts_s: float) -> float:
    """How long a member is left out at last that was tried again and again, each time in vain, while a fault
    lasted: by the broker's guess, which no configuration shortens."""
    wait_s = PROBE_FIRST_S
    while wait_s < PROBE_MOST_S and lasts_s > wait_s:
        lasts_s -= wait_s
        wait_s *= 2
    return min(wait_s, PROBE_MOST_S)


def _out_s(plan: PoolPlan) -> float:
    """How long a member of the pool can be out, or have less than its share, at most."""
    ejection = plan.pool.ejection
    return (ejection.max_ms + ejection.ramp_ms) / 1000 if ejection.enabled else 0.0


@asynccontextmanager
async def going_on(load: Load, plan: PoolPlan, phase: str) -> AsyncIterator[None]:
    """The load runs meanwhile; at the end all of its calls are awaited."""
    load.phase = phase
    task = asyncio.create_task(load.run(plan))
    try:
        yield
    finally:
        load.stop()
        await task


async def strike(rehearsal: Rehearsal, scenario: Scenario, catalog: Catalog) -> list[str]:
    """Tell the simulators of the scenario's target to fail; their names."""
    told = [name for name in scenario.target.providers if rehearsal.has_simulator(name)]
    await asyncio.gather(*(_fail(rehearsal, scenario, name, catalog) for name in told))
    return told


async def _fail(rehearsal: Rehearsal, scenario: Scenario, name: str, catalog: Catalog) -> None:
    provider = catalog.providers[name]
    models = tuple(
        provider.own_model(member.model)
        for member in scenario.plan.pool.members
        if member.id in scenario.target.members and member.provider == name
    )
    simulated = rehearsal.simulated(name)
    if scenario.fault.whole_provider and "refuse" not in scenario.fault.script:
        # It strikes connections as they are made: those there are go first.
        await rehearsal.tell(name, {**simulated.healthy(), "refuse": True})
    await rehearsal.tell(name, simulated.failing(scenario.fault, models, scenario.plan.shortest_ms))


def patience_s(plan: PoolPlan) -> float:
    """How long a client of the drill's waits: longer than the broker may take by its own timeouts."""
    waits = plan.pool.timeouts
    attempts_ms = (1 + plan.pool.failover) * plan.longest_ms
    return _SETTLE_S + (attempts_ms + waits.wait_ms + waits.between_events_ms) / 1000


async def wait_for_records(rehearsal: Rehearsal, calls: int) -> None:
    """Until that many are there, or will not come."""
    deadline = time.monotonic() + _RECORDS_S
    while True:
        await asyncio.to_thread(rehearsal.records.read)
        if rehearsal.records.lines >= calls or time.monotonic() > deadline:
            return
        await asyncio.sleep(0.1)
