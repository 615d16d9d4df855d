"""The measuring itself: short slices, target after target, round after round.

The machines that this runs on are noisy. What disturbs one slice disturbs its neighbours of the same
round too, so targets are compared within a round, and the median of the rounds is what is reported.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import processes
from processes import Child, Failed
from targets import KEY, Target

_GRACE_S = 60
# The `round` of slices in which caches fill and connections are made; only their errors count.
WARM_UP = -1


@dataclass(frozen=True, slots=True)
class Scenario:
    """`rate` 0: as many calls as go through; else so many a second, for their latency."""

    name: str
    what: str
    size: int = 1024
    stream: bool = False
    spaced: bool = False
    rate: float = 0.0

    @property
    def is_saturation(self) -> bool:
        return self.rate == 0


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("whole-1k", "1 KB request, 1 KB whole reply"),
        Scenario("whole-100k", "100 KB request, 1 KB whole reply", size=100 * 1024),
        Scenario("stream", "1 KB request, stream of 50 events in a burst", stream=True),
        Scenario("latency", "1 KB whole calls at a low fixed rate", rate=50),
        Scenario(
            "first-event",
            "streams of 50 events, 2 ms apart, at a low fixed rate",
            stream=True,
            spaced=True,
            rate=20,
        ),
    )
}


@dataclass(slots=True)
class Slice:
    """One target in one scenario for a moment. CPU in seconds; `share`: of the wall clock, so 1 is a core."""

    scenario: str
    target: str
    round: int
    rate: float  # of the plan; 0: saturation
    calls: int
    errors: int
    per_second: float
    cpu_envoy_s: float
    cpu_python_s: float
    client_share: float
    upstream_share: float
    examples: list[str] = field(default_factory=list)
    latencies_us: list[int] = field(default_factory=list)
    first_word_us: list[int] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """As JSON: quantiles in place of every latency."""
        value = asdict(self)
        for name in ("latencies_us", "first_word_us"):
            samples = value.pop(name)
            if samples:
                value[name] = {"p50": quantile(samples, 0.5), "p99": quantile(samples, 0.99)}
        return value

    @property
    def us_envoy(self) -> float:
        return self.cpu_envoy_s * 1e6 / max(1, self.calls)

    @property
    def us_python(self) -> float:
        return self.cpu_python_s * 1e6 / max(1, self.calls)

    @property
    def us_total(self) -> float:
        return self.us_envoy + self.us_python


def quantile(samples: Sequence[int], part: float) -> float:
    """Nearest rank; 0 where there is nothing."""
    ordered = sorted(samples)
    return float(ordered[min(len(ordered) - 1, int(part * len(ordered)))]) if ordered else 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    scenarios: Sequence[Scenario]
    rounds: int
    seconds: float  # of a slice at saturation; those at a low rate take twice that
    connections: int

    def slice_seconds(self, scenario: Scenario) -> float:
        return self.seconds if scenario.is_saturation else 2 * self.seconds

    def estimate_s(self, targets: int) -> float:
        # Warming up is a fifth of a round, opening and draining about 0.2 s a slice.
        slices = sum(self.slice_seconds(s) + 0.2 for s in self.scenarios)
        return slices * targets * (self.rounds + 0.2) + 4


class Bench:
    """Runs the plan's slices. `say` gets lines on how it goes."""

    def __init__(
        self, plan: Plan, targets: Sequence[Target], load: Child, upstream: Child, say: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._targets = targets
        self._load = load
        self._upstream = upstream
        self._say = say

    def run(self) -> list[Slice]:
        """Every slice in order, those that only warm up too: their errors are errors all the same."""
        slices: list[Slice] = []
        for scenario in self._plan.scenarios:
            seconds = self._plan.slice_seconds(scenario)
            self._say(f"{scenario.name}: {scenario.what}")
            slices += [self._slice(scenario, target, WARM_UP, seconds / 5) for target in self._targets]
            for number in range(self._plan.rounds):
                # The order turns with the rounds, so that nobody is always first behind a heavy neighbour.
                at = number % len(self._targets)
                turned = (*self._targets[at:], *self._targets[:at])
                slices += [self._slice(scenario, target, number, seconds) for target in turned]
                self._say(f"  round {number + 1} of {self._plan.rounds}: {self._told(slices)}")
        return slices

    def _told(self, slices: Sequence[Slice]) -> str:
        latest = slices[-len(self._targets) :]
        return ", ".join(
            f"{one.target} {one.per_second:,.0f}/s" + (f" {one.errors} ERRORS" if one.errors else "")
            for one in latest
        )

    def _slice(self, scenario: Scenario, target: Target, number: int, seconds: float) -> Slice:
        opened = self._ask(
            target,
            do="open",
            port=target.port,
            connections=self._plan.connections,
            size=scenario.size,
            stream=scenario.stream,
            spaced=scenario.spaced,
            key=KEY,
            fresh=target.fresh,
        )
        roles = {pid: processes.role(pid) for pid in target.pids()}
        upstream_s = processes.cpu_seconds(self._upstream.pid)
        before = {pid: processes.cpu_seconds(pid) for pid in roles}
        result = self._ask(target, do="run", seconds=seconds, rate=scenario.rate)
        spent = {pid: processes.cpu_seconds(pid) - before[pid] for pid in roles}
        upstream_s = processes.cpu_seconds(self._upstream.pid) - upstream_s
        self._ask(target, do="close")
        return Slice(
            scenario=scenario.name,
            target=target.name,
            round=number,
            rate=scenario.rate,
            calls=result["calls"],
            errors=result["errors"] + opened["errors"],
            # At saturation the last answers come after the slice's end: the time is as long as they took.
            per_second=result["calls"] / (seconds if scenario.rate else result["wall_s"]),
            cpu_envoy_s=sum(cpu for pid, cpu in spent.items() if roles[pid] == "envoy"),
            cpu_python_s=sum(cpu for pid, cpu in spent.items() if roles[pid] == "python"),
            client_share=result["client_cpu_s"] / result["wall_s"],
            upstream_share=upstream_s / result["wall_s"],
            examples=[*opened["examples"], *result["examples"]],
            latencies_us=result["latencies"],
            first_word_us=result["first"],
        )

    def _ask(self, target: Target, **command: Any) -> dict[str, Any]:
        answer = self._load.ask(command.get("seconds", 0) + _GRACE_S, **command)
        if "failed" in answer:
            raise Failed(f"{target.name}: {command['do']}: {answer['failed']}")
        return answer


@dataclass(frozen=True, slots=True)
class Summary:
    """A target in a scenario, over all rounds. `over` holds ratios to bare Envoy: (median, least, most)."""

    scenario: str
    target: str
    rate: float
    slices: int
    calls: int
    errors: int
    per_second: float
    us_envoy: float
    us_python: float
    latency_p50_us: float
    latency_p99_us: float
    first_p50_us: float
    first_p99_us: float
    over: Mapping[str, tuple[float, float, float]]

    @property
    def us_total(self) -> float:
        return self.us_envoy + self.us_python


def summarize(slices: Sequence[Slice], base: str) -> list[Summary]:
    """One row a scenario and target."""
    slices = [one for one in slices if one.round != WARM_UP]
    keys = list(dict.fromkeys((one.scenario, one.target) for one in slices))
    order = list(dict.fromkeys(one.target for one in slices if one.round == 0))
    keys.sort(key=lambda key: (list(SCENARIOS).index(key[0]), order.index(key[1])))
    return [_summary(slices, scenario, target, base) for scenario, target in keys]


def _summary(slices: Sequence[Slice], scenario: str, target: str, base: str) -> Summary:
    mine = [one for one in slices if (one.scenario, one.target) == (scenario, target)]
    bases = {one.round: one for one in slices if (one.scenario, one.target) == (scenario, base)}
    pairs = [(one, bases[one.round]) for one in mine if one.round in bases]
    over = {}
    for name in ("per_second", "us_envoy", "us_total"):
        ratios = [getattr(a, name) / getattr(b, name) for a, b in pairs if getattr(b, name)]
        if ratios:
            over[name] = (statistics.median(ratios), min(ratios), max(ratios))
    latencies = [sample for one in mine for sample in one.latencies_us]
    first = [sample for one in mine for sample in one.first_word_us]
    return Summary(
        scenario=scenario,
        target=target,
        rate=mine[0].rate,
        slices=len(mine),
        calls=sum(one.calls for one in mine),
        errors=sum(one.errors for one in mine),
        per_second=statistics.median(one.per_second for one in mine),
        us_envoy=statistics.median(one.us_envoy for one in mine),
        us_python=statistics.median(one.us_python for one in mine),
        # p50: what a disturbed slice says is voted down. p99: one slice has too few calls for it.
        latency_p50_us=statistics.median(quantile(one.latencies_us, 0.5) for one in mine),
        latency_p99_us=quantile(latencies, 0.99),
        first_p50_us=statistics.median(quantile(one.first_word_us, 0.5) for one in mine),
        first_p99_us=quantile(first, 0.99),
        over=over,
    )
