"""Answers that wait to be scored: a bounded queue, from which nobody's call ever waits. Single answers of
both arms; at a stage of copies a call's own answer and its copy's, together.

What does not fit, or is too late, is dropped and counted: a gate without scores stays open.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client import Counter, Gauge

from ..core.traffic import Sample, is_good
from ..core.trials import CANDIDATE, STABLE, Scores, ToScore
from .frames import Graded

# Of each rollout; in bytes, of all together.
MOST_WAITING = 500
MOST_BYTES = 64 << 20
CONCURRENCY = 8
LATE_S = 60.0
TIMEOUT_S = 120.0  # of one, with all that judges take
_MOST_HALVES = 2_000
_HALF_S = 300.0  # a copy takes no longer than that
_MOST_PAUSE_S = 60.0
BOTH = "both"  # arms, of a pair
_UNSCORED = ("failed", "unfit")  # where it may be the answer's own fault
_RESULTS = Counter(
    "modelbroker_rollout_scores",
    "Answers drawn to be scored, by what became of them",
    ["rollout", "arm", "result"],
)
_WAITING = Gauge("modelbroker_rollout_scoring_waiting", "Answers that wait to be scored", ["rollout"])
_UNDER_WAY = Gauge("modelbroker_rollout_scoring_under_way", "Answers that are being scored", ["rollout"])


class Job(NamedTuple):
    """`samples`: one answer of an `arm`, or the client's and its copy's (BOTH). `since_s` is of a clock that
    does not go back."""

    since_s: float
    rollout: str
    arm: str
    scores: Scores
    samples: tuple[Sample, ...]

    @property
    def size(self) -> int:
        return sum(len(one.request or b"") + len(one.reply or b"") for one in self.samples)


class Scored(NamedTuple):
    """`arm` "": as the call's record says."""

    request_id: str
    value: float
    arm: str = ""


class _Half(NamedTuple):
    since_s: float
    rollout: str
    arm: str
    sample: Sample | None  # None: it can't be scored, and neither can the other one


@dataclass(slots=True)
class _Line:
    """One rollout's."""

    waiting: deque[Job] = field(default_factory=deque)
    under_way: int = 0
    paused_until_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    unscored: dict[str, int] = field(default_factory=lambda: {STABLE: 0, CANDIDATE: 0})
    why: str = ""  # the last failure's


class Jobs:
    """`offer` takes an answer or drops it, `due` gives what may be scored now, `over` is told what came of
    it. No clock, no I/O: `now_s` is of a clock that does not go back."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._halves: OrderedDict[str, _Half] = OrderedDict()
        self._under_way: dict[int, tuple[float, Job]] = {}
        self._bytes = 0  # of all that waits or is under way, halves among it
        self._number = 0

    def offer(self, to: ToScore, sample: Sample | None, now_s: float) -> bool:
        """`sample` None: there was no room for it before. Is there something to do?"""
        line = self._line(to.rollout)
        if to.scores.asks and now_s < line.paused_until_s:
            self._count(to.rollout, to.arm, "paused")
            return False
        if sample is None:
            self._count(to.rollout, to.arm, "dropped")
        elif not is_answer(sample):
            self._count(to.rollout, to.arm, "unfit")
            sample = None
        self.let_go_of_halves(now_s)
        if not to.is_pair:
            return sample is not None and self._wait(Job(now_s, to.rollout, to.arm, to.scores, (sample,)))
        other = self._halves.pop(to.first, None)
        if other is None:
            self._halves[to.first] = _Half(now_s, to.rollout, to.arm, sample)
            self._bytes += _size(sample)
            self.let_go_of_halves(now_s)
            return False
        self._bytes -= _size(other.sample)
        if other.sample is None or sample is None:
            return False
        both = (other.sample, sample) if to.arm == CANDIDATE else (sample, other.sample)
        return self._wait(Job(now_s, to.rollout, BOTH, to.scores, both))

    def _wait(self, job: Job) -> bool:
        line = self._line(job.rollout)
        if len(line.waiting) < MOST_WAITING and job.size <= MOST_BYTES:
            self.let_go_of_halves(job.since_s, job.size)
        if len(line.waiting) >= MOST_WAITING or self._bytes + job.size > MOST_BYTES:
            self._count(job.rollout, job.arm, "dropped")
            return False
        self._bytes += job.size
        line.waiting.append(job)
        _WAITING.labels(job.rollout).set(len(line.waiting))
        return True

    def let_go_of_halves(self, now_s: float, room: int = 0) -> None:
        """Of those that are too old or too many, and of more where so many bytes are wanted for what can be
        scored: whether a half ever can is not known."""
        while self._halves:
            first, half = next(iter(self._halves.items()))
            is_old = now_s - half.since_s > _HALF_S
            if not is_old and len(self._halves) <= _MOST_HALVES and self._bytes + room <= MOST_BYTES:
                return
            self._let_go_of_half(first, "unpaired")

    def _let_go_of_half(self, first: str, result: str) -> None:
        half = self._halves.pop(first)
        self._bytes -= _size(half.sample)
        if half.sample is not None:
            self._count(half.rollout, half.arm, result)

    def due(self, now_s: float) -> list[tuple[int, Job]]:
        """In the order in which they came, with their numbers."""
        found = []
        for name, line in self._lines.items():
            while line.waiting and line.under_way < CONCURRENCY:
                job = line.waiting.popleft()
                _WAITING.labels(name).set(len(line.waiting))
                if now_s - job.since_s > LATE_S:
                    self._bytes -= job.size
                    self._count(name, job.arm, "late")
                    continue
                self._number += 1
                line.under_way += 1
                _UNDER_WAY.labels(name).set(line.under_way)
                self._under_way[self._number] = now_s, job
                found.append((self._number, job))
        return found

    def over(self, report: Graded, now_s: float) -> list[Scored]:
        """The scores; none where it could not be scored."""
        job = self._end(report.number)
        if job is None:
            return []
        line = self._line(job.rollout)
        values = report.values
        if len(values) == len(job.samples) and all(0.0 <= value <= 1.0 for value in values):
            self._count(job.rollout, job.arm, "scored")
            arms = ("",) if len(values) == 1 else (STABLE, CANDIDATE)
            pairs = zip(job.samples, values, arms, strict=True)
            return [Scored(sample.request_id, value, arm) for sample, value, arm in pairs]
        line.why = report.why
        if report.retry_after_s > 0:
            # Asking again and again would fill the records with refusals.
            line.paused_until_s = now_s + min(report.retry_after_s, _MOST_PAUSE_S)
        self._count(job.rollout, job.arm, "unfit" if report.why == "unfit" else "failed")
        return []

    def lost(self) -> None:
        """Who scores them is gone, with all that was under way."""
        for number in list(self._under_way):
            if (job := self._end(number)) is not None:
                self._count(job.rollout, job.arm, "lost")

    def oldest_s(self) -> float | None:
        """Since when the oldest one is under way; None: there is none."""
        return min((since_s for since_s, _ in self._under_way.values()), default=None)

    def shown(self, rollout: str) -> dict[str, object]:
        """What became of its answers, and how many there are now."""
        line = self._lines.get(rollout, _Line())
        now = {"waiting": len(line.waiting), "under_way": line.under_way}
        return {**line.counts, **now, "unscored": dict(line.unscored), "last_failure": line.why or None}

    def forget(self, is_known: Callable[[str], bool]) -> None:
        """Of rollouts that are no more."""
        for first in [first for first, half in self._halves.items() if not is_known(half.rollout)]:
            self._let_go_of_half(first, "dropped")
        for name in [name for name in self._lines if not is_known(name)]:
            line = self._lines[name]
            for job in line.waiting:
                self._bytes -= job.size
                self._count(name, job.arm, "dropped")
            line.waiting.clear()
            _WAITING.labels(name).set(0)
            if not line.under_way:
                del self._lines[name]

    def _end(self, number: int) -> Job | None:
        _, job = self._under_way.pop(number, (0.0, None))
        if job is None:
            return None
        self._bytes -= job.size
        line = self._line(job.rollout)
        line.under_way -= 1
        _UNDER_WAY.labels(job.rollout).set(line.under_way)
        return job

    def _line(self, name: str) -> _Line:
        if (line := self._lines.get(name)) is None:
            line = self._lines[name] = _Line()
        return line

    def _count(self, name: str, arm: str, result: str) -> None:
        line = self._line(name)
        line.counts[result] = line.counts.get(result, 0) + 1
        if result in _UNSCORED and arm in line.unscored:
            line.unscored[arm] += 1
        _RESULTS.labels(name, arm, result).inc()


def is_answer(sample: Sample) -> bool:
    """A good one, and whole."""
    return bool(sample.request and sample.reply and not sample.cut) and is_good(sample.status)


def _size(sample: Sample | None) -> int:
    return len(sample.request or b"") + len(sample.reply or b"") if sample is not None else 0
