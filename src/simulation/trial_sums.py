"""What rollouts and shadows come to under two policies: counted apart, for none of it is the clients'."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ..core.outcomes import REFUSED
from .policies import Outcome
from .recorded import Recorded
from .sums import Side
from .tried import OVER, SENT, Spent

OLD, NEW = "old", "new"


class Judgement(Protocol):
    """As run.Judged."""

    @property
    def outcome(self) -> Outcome: ...

    @property
    def copies(self) -> tuple[Spent, ...]: ...


@dataclass(slots=True)
class CopySums:
    """Of one shadow: copies by what becomes of them, and what those that are sent cost."""

    results: dict[str, int] = field(default_factory=dict)
    side: Side = field(default_factory=Side)

    def add(self, spent: Spent) -> None:
        result, side = spent.copy.result, self.side
        self.results[result] = self.results.get(result, 0) + 1
        if result != SENT:
            return
        side.sent += 1
        if spent.nano is None:
            side.unknown += 1
            return
        side.pay(spent, spent.nano)

    def merge(self, other: CopySums) -> None:
        for name, copies in other.results.items():
            self.results[name] = self.results.get(name, 0) + copies
        self.side.merge(other.side)


@dataclass(slots=True)
class TriedSums:
    """`copies` by (OLD or NEW, shadow); `arms` by (OLD or NEW, rollout): calls that are part of it, and how
    many of these are expected to be the candidate's."""

    copies: dict[tuple[str, str], CopySums] = field(default_factory=dict)
    arms: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def count(self, call: Recorded, old: Judgement, new: Judgement) -> None:
        for side, judged in ((OLD, old), (NEW, new)):
            lot = judged.outcome.lot
            if lot is not None:
                self._part(side, lot.rollout, lot.chance)
            for spent in judged.copies:
                self._copies(side, spent.copy.shadow).add(spent)

    def recorded(self, call: Recorded, nano: int | None) -> None:
        """A copy that was sent in truth."""
        sums = self._copies(OLD, call.agent)
        result = OVER if call.outcome == REFUSED else SENT
        sums.results[result] = sums.results.get(result, 0) + 1
        if result != SENT:
            return
        sums.side.sent += 1
        if nano is None:
            sums.side.unknown += 1
        else:
            sums.side.cost += nano

    def merge(self, other: TriedSums) -> None:
        for key, copies in other.copies.items():
            self.copies.setdefault(key, CopySums()).merge(copies)
        for key, (calls, candidates) in other.arms.items():
            sums = self.arms.setdefault(key, [0.0, 0.0])
            sums[0] += calls
            sums[1] += candidates

    def _part(self, side: str, rollout: str, chance: float) -> None:
        sums = self.arms.setdefault((side, rollout), [0.0, 0.0])
        sums[0] += 1
        sums[1] += chance

    def _copies(self, side: str, shadow: str) -> CopySums:
        return self.copies.setdefault((side, shadow), CopySums())
