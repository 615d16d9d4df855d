"""Counters and histograms of calls: cheap to count, never more series than is said, and none for ever of what
is configured no longer.

prometheus-client's own take a lock for each count and keep what they have for good. These are for one thread
that counts, the event loop's; any other may collect. An empty label is left out: to Prometheus that is the
same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

OTHER = "other"  # what all values are folded into for which there is no room
MOST = 10_000  # series of a counter; a histogram has as many lines as buckets for each
MOST_HISTOGRAMS = 2_000
GONE_S = 900.0  # so long the series of a pool or member that is configured no longer are there all the same

_FAMILIES: list[Family[Count] | Family[Spread]] = []
_gone: dict[tuple[str, tuple[str, ...]], float] = {}  # (metric, labels' values) → since when


class Count:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        self.value += amount


class Spread:
    """A histogram: how many were in each bucket, by their upper bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


Child = TypeVar("Child", Count, Spread)


class Family(Collector, Generic[Child]):
    """One metric. `of(*values)` is the child of these labels' values, to be kept by who counts often. Where
    `most` have one, all that is new is one more: OTHER in all labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], most: int) -> None:
        self.name = name
        self.documentation = documentation
        self.labels = tuple(labels)
        self.most = most
        self.is_full = False
        self._children: dict[tuple[str, ...], Child] = {}
        REGISTRY.register(self)
        _FAMILIES.append(self)

    def of(self, *values: str) -> Child:
        if (child := self._children.get(values)) is None:
            if len(self._children) >= self.most:
                self.is_full = True
                values = (OTHER,) * len(self.labels)
                if (child := self._children.get(values)) is not None:
                    return child
            child = self._children[values] = self._made()
        return child

    def series(self) -> list[tuple[str, ...]]:
        """The labels' values of each."""
        return list(self._children)

    def forget(self, values: tuple[str, ...]) -> None:
        self._children.pop(values, None)
        self.is_full = False

    def relabel(self, labels: Sequence[str]) -> None:
        """Other labels from now on: what was counted by the old ones goes."""
        if self.labels != (labels := tuple(labels)):
            self.labels, self._children, self.is_full = labels, {}, False

    def describe(self) -> Iterable[Metric]:
        return [self._metric()]

    def collect(self) -> Iterable[Metric]:
        # One look at each: the event loop goes on counting.
        metric, labels, children = self._metric(), self.labels, list(self._children.items())
        for values, child in children:
            named = {name: value for name, value in zip(labels, values, strict=False) if value}
            self._add(metric, named, child)
        return [metric]

    def _metric(self) -> Metric:
        raise NotImplementedError

    def _made(self) -> Child:
        raise NotImplementedError

    def _add(self, metric: Metric, labels: dict[str, str], child: Child) -> None:
        raise NotImplementedError


class Counts(Family[Count]):
    """A counter, in whole numbers; `name` is without `_total`."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = (), most: int = MOST) -> None:
        super().__init__(name, documentation, labels, most)

    def _made(self) -> Count:
        return Count()

    def _metric(self) -> Metric:
        return CounterMetricFamily(self.name, self.documentation)

    def _add(self, metric: Metric, labels: dict[str, str], child: Count) -> None:
        metric.add_sample(f"{self.name}_total", labels, child.value)


class Times(Family[Spread]):
    """A histogram, mostly of seconds. `buckets`: their upper bounds, rising, without infinity."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        buckets: Sequence[float],
        most: int = MOST_HISTOGRAMS,
    ) -> None:
        self._bounds = tuple(float(bound) for bound in buckets)
        self._names = (*(str(bound) for bound in self._bounds), "+Inf")
        super().__init__(name, documentation, labels, most)

    def _made(self) -> Spread:
        return Spread(self._bounds)

    def _metric(self) -> Metric:
        return HistogramMetricFamily(self.name, self.documentation)

    def _add(self, metric: Metric, labels: dict[str, str], child: Spread) -> None:
        total, counts = child.sum, list(accumulate(child.counts))
        if not counts[-1]:  # nothing yet, as of streams in a pool that has none: many lines for nothing
            return
        for bound, count in zip(self._names, counts, strict=True):
            metric.add_sample(f"{self.name}_bucket", {**labels, "le": bound}, count)
        metric.add_sample(f"{self.name}_count", labels, counts[-1])
        metric.add_sample(f"{self.name}_sum", labels, total)


def full() -> list[str]:
    """The metrics that have as many series as they may: what came since was folded."""
    return [family.name for family in _FAMILIES if family.is_full]


def sweep(known: dict[str, Container[str]], now_s: float) -> bool:
    """Let go of the series of all metrics that are of what is not known any more, and was not for GONE_S.
    `known`: label → its values that are; other labels do not count. `now_s`: of a clock that never goes back.
    True where some went: who keeps children has to ask for them again."""
    gone: set[tuple[str, tuple[str, ...]]] = set()
    went = False
    for family in _FAMILIES:
        watched = [(i, known[name]) for i, name in enumerate(family.labels) if name in known]
        for values in family.series() if watched else ():
            if all(values[i] in here or values[i] in ("", OTHER) for i, here in watched):
                continue
            key = (family.name, values)
            if now_s - _gone.setdefault(key, now_s) < GONE_S:
                gone.add(key)
            else:
                family.forget(values)
                went = True
    for key in [key for key in _gone if key not in gone]:
        del _gone[key]
    return went
