"""What calls of one arm came to, as sums: they merge in any order, and so over replicas and restarts."""

from __future__ import annotations

from bisect import bisect_left

import msgspec

from ..stats import Bounded, Counts

# Quantiles are known to some per cent: as fine as the steps between the edges.
_MS = Counts.empty(1.0, 3_600_000.0, 480)
_DOLLARS = Counts.empty(1e-7, 1e3, 480)
# What a call costs on average is bounded with each call cut at so many times what dear calls of the stable
# arm cost: one call in a thousand would else say more than all others.
_CUT_AT = 4.0
NANO = 1_000_000_000

Kept = dict[int, int]  # number of the span between two edges → how many


class Tally(msgspec.Struct):
    """`calls` that have ended, `errors` of them; times in ms and costs in dollars of those that went well.
    `unpriced`: of so many it is not known what they cost. Scores are between 0 and 1."""

    calls: int = 0
    errors: int = 0
    latency: Kept = {}
    first_event: Kept = {}
    cost: Kept = {}
    unpriced: int = 0
    scores: int = 0
    score_total: float = 0.0
    score_squares: float = 0.0

    def add(
        self, *, failed: bool, latency_ms: float, first_event_ms: float | None, cost_nano: int | None
    ) -> None:
        """One call. What it cost counts also where it failed."""
        self.calls += 1
        if failed:
            self.errors += 1
        else:
            _count(self.latency, _MS, latency_ms)
            if first_event_ms is not None:
                _count(self.first_event, _MS, first_event_ms)
        if cost_nano is None:
            self.unpriced += 1
        else:
            _count(self.cost, _DOLLARS, cost_nano / NANO)

    def score(self, value: float) -> None:
        self.scores += 1
        self.score_total += value
        self.score_squares += value * value

    def merged(self, other: Tally) -> Tally:
        """Of both."""
        return Tally(
            self.calls + other.calls,
            self.errors + other.errors,
            _sum(self.latency, other.latency),
            _sum(self.first_event, other.first_event),
            _sum(self.cost, other.cost),
            self.unpriced + other.unpriced,
            self.scores + other.scores,
            self.score_total + other.score_total,
            self.score_squares + other.score_squares,
        )

    # -- as statistics

    def failures(self) -> Bounded:
        return Bounded(n=self.calls, total=float(self.errors), squares=float(self.errors))

    def quality(self) -> Bounded:
        return Bounded(n=self.scores, total=self.score_total, squares=self.score_squares)

    def latencies(self) -> Counts:
        """Seconds would do as well: in ms."""
        return _counts(self.latency, _MS)

    def first_events(self) -> Counts:
        return _counts(self.first_event, _MS)

    def costs(self, cut: float) -> Bounded:
        """Dollars a call, each cut at `cut`."""
        total = squares = 0.0
        n = 0
        for number, count in self.cost.items():
            part = min(_middle(number), cut) / cut
            n += count
            total += count * part
            squares += count * part * part
        return Bounded(0.0, cut, n, total, squares)

    def cut(self) -> float:
        """In dollars, for both arms, where this is the stable one; of steps so wide that it seldom moves."""
        dear = _counts(self.cost, _DOLLARS).interval(0.95)
        least = _CUT_AT * dear.value if dear is not None else 1.0
        step = 1e-7
        while step < least:
            step *= 4.0
        return step


def _count(kept: Kept, between: Counts, value: float) -> None:
    number = bisect_left(between.edges, value)
    kept[number] = kept.get(number, 0) + 1


def _sum(one: Kept, other: Kept) -> Kept:
    return {number: one.get(number, 0) + other.get(number, 0) for number in sorted({*one, *other})}


def _counts(kept: Kept, empty: Counts) -> Counts:
    counts = list(empty.counts)
    for number, count in kept.items():
        counts[number] += count
    return Counts(empty.edges, tuple(counts))


def _middle(number: int) -> float:
    edges = _DOLLARS.edges
    if number == 0:
        return 0.0 if edges[0] < 1e-6 else edges[0]
    if number >= len(edges):
        return edges[-1]
    return float((edges[number - 1] * edges[number]) ** 0.5)
