"""What records tell of rollouts that ran: when each of their stages was, how many calls each arm had, and
what either arm's members counted and wrote.

Whose a call was is a lot, drawn by session. So an arm's chance is the share of its calls, and arms compare
members as pools do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..core.trials import CANDIDATE, STABLE
from .recorded import Chance, Recorded
from .tokens import Sums

_MOST_SETS, _MOST_SESSIONS, _MOST_STAGES = 100, 50_000, 1_000
# With more than so many of its calls of other members, an arm's calls are not of one kind.
_MOST_OTHERS = 0.02
_MOST_CHANCE = 1.0


def share_of_stage(name: str) -> float:
    """As stages are named: `10%`; of one that is called otherwise (`shadow`) nobody is the candidate's."""
    try:
        return min(_MOST_CHANCE, float(name.removesuffix("%")) / 100) if name.endswith("%") else 0.0
    except ValueError:
        return 0.0


@dataclass(slots=True)
class ArmSums:
    """Of one arm at one stage. `sessions`: of calls whose conversation is known; `apart`: calls of others."""

    calls: int = 0
    apart: int = 0
    sets: Counter[tuple[Chance, ...]] = field(default_factory=Counter)
    sessions: set[str] = field(default_factory=set)
    members: dict[str, Sums] = field(default_factory=dict)

    def merge(self, other: ArmSums) -> None:
        self.calls += other.calls
        self.apart += other.apart
        self.sets.update(other.sets)
        self.sessions |= other.sessions
        for name, sums in other.members.items():
            self.members.setdefault(name, Sums()).merge(sums)

    @property
    def usual(self) -> tuple[Chance, ...]:
        """The chances that its calls had as a rule."""
        return self.sets.most_common(1)[0][0] if self.sets else ()

    @property
    def is_of_one_kind(self) -> bool:
        most = self.sets[self.usual]
        return bool(most) and self.calls - most <= _MOST_OTHERS * self.calls

    @property
    def per_lot(self) -> float:
        """Calls for which one lot was drawn, on average: they are worth no more than one call, if all of a
        conversation's calls are alike."""
        lots = len(self.sessions) + self.apart
        return max(1.0, self.calls / lots) if lots else 1.0


class Stretch(NamedTuple):
    """When a stage was in force: its first and last call, in ms."""

    first_ms: int
    last_ms: int


class Arms:
    """`take` each call that was part of a rollout."""

    def __init__(self) -> None:
        self.stages: dict[tuple[str, str], dict[str, ArmSums]] = {}
        self.stretches: dict[tuple[str, str], Stretch] = {}

    def take(self, call: Recorded) -> None:
        key, at_ms = (call.rollout, call.stage), call.at_ms
        had = self.stretches.get(key)
        if had is None:
            if len(self.stretches) >= _MOST_STAGES:
                return
            had = Stretch(at_ms, at_ms)
        self.stretches[key] = Stretch(min(had.first_ms, at_ms), max(had.last_ms, at_ms))
        if not call.eligible:
            return
        arm = self.stages.setdefault(key, {}).setdefault(call.arm, ArmSums())
        arm.calls += 1
        if call.eligible in arm.sets or len(arm.sets) < _MOST_SETS:
            arm.sets[call.eligible] += 1
        if not call.conversation:
            arm.apart += 1
        elif len(arm.sessions) < _MOST_SESSIONS:
            arm.sessions.add(call.conversation)
        used = call.usage
        if used is not None and call.attempts_made == 1 and not call.was_hit:
            cost = float(call.cost.total or 0) if call.cost is not None else 0.0
            told = (float(call.context_tokens or 0), float(used.usage.prompt), float(used.usage.output), cost)
            arm.members.setdefault(used.member, Sums()).add(*told)

    def merge(self, other: Arms) -> None:
        for key, arms in other.stages.items():
            mine = self.stages.setdefault(key, {})
            for name, arm in arms.items():
                mine.setdefault(name, ArmSums()).merge(arm)
        for key, (first_ms, last_ms) in other.stretches.items():
            had = self.stretches.get(key, Stretch(first_ms, last_ms))
            self.stretches[key] = Stretch(min(first_ms, had.first_ms), max(last_ms, had.last_ms))

    def without_lots(self) -> Arms:
        """The same for those who do not ask for `sets`: it is far less to tell other processes."""
        found = Arms()
        found.stretches = self.stretches
        found.stages = {
            key: {name: ArmSums(arm.calls, arm.apart, arm.sets) for name, arm in arms.items()}
            for key, arms in self.stages.items()
        }
        return found

    def names(self) -> frozenset[str]:
        """Of rollouts that calls were part of."""
        return frozenset(name for name, _ in self.stretches)

    def stages_of(self, rollout: str) -> list[str]:
        """Those that it was at, in their order."""
        found = [(stretch, stage) for (name, stage), stretch in self.stretches.items() if name == rollout]
        return [stage for _, stage in sorted(found)]

    def stage_at(self, rollout: str, at_ms: int) -> str | None:
        """The one that it was at; None: it was at none. Where two overlap, brokers did not take the step at
        once, or it began anew: the later one."""
        best: tuple[int, str] | None = None
        for (name, stage), (first_ms, last_ms) in self.stretches.items():
            if name == rollout and first_ms <= at_ms <= last_ms and (best is None or first_ms > best[0]):
                best = first_ms, stage
        return best[1] if best is not None else None

    def sets(self) -> Iterable[dict[str, Sums]]:
        """Of each stage: who had calls of the same kind by lot. An arm whose members differ from call to call
        tells nothing: who had which calls is then not the lot's alone."""
        for arms in self.stages.values():
            if len(arms) == 2 and all(arm.is_of_one_kind for arm in arms.values()):
                found: dict[str, Sums] = {}
                for arm in arms.values():
                    for name, sums in arm.members.items():
                        found.setdefault(name, Sums()).merge(sums.worth(arm.per_lot))
                yield found

    def chances_of(self, call: Recorded) -> Mapping[str, float] | None:
        """How likely each member was to have the call, before its arm was drawn. None: nothing is known."""
        arms = self.stages.get((call.rollout, call.stage))
        if not arms or not call.eligible:
            return None
        own, other = (CANDIDATE, STABLE) if call.arm == CANDIDATE else (STABLE, CANDIDATE)
        counts = {name: arms[name].calls if name in arms else 0 for name in (own, other)}
        if not counts[own]:
            return None
        share = counts[own] / (counts[own] + counts[other])
        had = {one.member: share * one.chance for one in call.eligible if one.chance > 0}
        for one in arms[other].usual if counts[other] else ():
            if one.chance > 0:
                had[one.member] = had.get(one.member, 0.0) + (1.0 - share) * one.chance
        return had
