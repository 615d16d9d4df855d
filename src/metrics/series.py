"""Counters and histograms of calls: cheap to count and to tell, never more series than is said, and none for
ever of what is configured no longer.

prometheus-client's own take a lock for each count, keep what they have for good, and take five times as long
to be written. These are for one thread that counts, the event loop's; any other may ask for their text. An
empty label is left out: to Prometheus that is the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

OTHER = "other"  # what all values are folded into for which there is no room
MOST = 10_000  # series of a counter; a histogram has as many lines as buckets for each
MOST_HISTOGRAMS = 2_000
GONE_S = 900.0  # so long the series of a pool or member that is configured no longer are there all the same

_FAMILIES: dict[str, Family[Count] | Family[Spread]] = {}
_gone: dict[tuple[str, tuple[str, ...]], float] = {}  # (metric, labels' values) → since when


class Count:
    """`labels`: as they are written, `a="1",b="2"`."""

    __slots__ = ("labels", "value")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        self.value += amount


class Spread:
    """A histogram: how many were in each bucket, by their upper bounds. `labels` as a Count has them."""

    __slots__ = ("bounds", "counts", "labels", "sum")

    def __init__(self, labels: str, bounds: Sequence[float]) -> None:
        self.labels = labels
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


Child = TypeVar("Child", Count, Spread)


class Family(Generic[Child]):
    """One metric. `of(*values)` is the child of these labels' values, to be kept by who counts often. Where
    `most` have one, all that is new is one more: OTHER in all labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], most: int) -> None:
        if name in _FAMILIES:
            raise ValueError(f"there are two metrics {name}")
        self.name = name
        self.documentation = documentation
        self.labels = tuple(labels)
        self.most = most
        self.is_full = False
        self._children: dict[tuple[str, ...], Child] = {}
        _FAMILIES[name] = self

    def of(self, *values: str) -> Child:
        if (child := self._children.get(values)) is None:
            if len(self._children) >= self.most:
                self.is_full = True
                values = (OTHER,) * len(self.labels)
                if (child := self._children.get(values)) is not None:
                    return child
            named = sorted((name, value) for name, value in zip(self.labels, values, strict=True) if value)
            written = ",".join([f'{name}="{_escaped(value)}"' for name, value in named])
            child = self._children[values] = self._made(written)
        return child

    def series(self) -> list[tuple[str, ...]]:
        """The labels' values of each."""
        return list(self._children)

    def forget(self, values: tuple[str, ...]) -> None:
        self._children.pop(values, None)
        self.is_full = False

    def clear(self) -> None:
        self._children, self.is_full = {}, False

    def relabel(self, labels: Sequence[str]) -> None:
        """Other labels from now on: what was counted by the old ones goes."""
        if self.labels != (labels := tuple(labels)):
            self.labels = labels
            self.clear()

    def text(self) -> str:
        """In Prometheus' text format, each line with its end."""
        # One look at them: the event loop goes on counting.
        children: list[Child] = list(self._children.values())
        return "".join([*self._head(), *(line for child in children for line in self._lines(child))])

    def _head(self) -> tuple[str, str]:
        raise NotImplementedError

    def _made(self, labels: str) -> Child:
        raise NotImplementedError

    def _lines(self, child: Child) -> list[str]:
        raise NotImplementedError


class Counts(Family[Count]):
    """A counter, in whole numbers; `name` is without `_total`."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = (), most: int = MOST) -> None:
        super().__init__(name, documentation, labels, most)

    def _made(self, labels: str) -> Count:
        return Count(labels)

    def _head(self) -> tuple[str, str]:
        return f"# HELP {self.name}_total {self.documentation}\n", f"# TYPE {self.name}_total counter\n"

    def _lines(self, child: Count) -> list[str]:
        labels = f"{{{child.labels}}}" if child.labels else ""
        return [f"{self.name}_total{labels} {child.value}\n"]


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
        self._ends = [f'le="{bound}"}} ' for bound in (*self._bounds, "+Inf")]
        super().__init__(name, documentation, labels, most)

    def _made(self, labels: str) -> Spread:
        return Spread(labels, self._bounds)

    def _head(self) -> tuple[str, str]:
        return f"# HELP {self.name} {self.documentation}\n", f"# TYPE {self.name} histogram\n"

    def _lines(self, child: Spread) -> list[str]:
        total, counts = child.sum, list(accumulate(child.counts))
        if not counts[-1]:  # nothing yet, as of streams in a pool that has none: many lines for nothing
            return []
        begin = f"{self.name}_bucket{{{child.labels}{',' if child.labels else ''}"
        lines = [f"{begin}{end}{count}\n" for end, count in zip(self._ends, counts, strict=True)]
        labels = f"{{{child.labels}}}" if child.labels else ""
        lines.append(f"{self.name}_count{labels} {counts[-1]}\n")
        lines.append(f"{self.name}_sum{labels} {total}\n")
        return lines


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def texts() -> str:
    """All metrics of this kind."""
    return "".join([family.text() for family in _FAMILIES.values()])


def full() -> list[str]:
    """The metrics that have as many series as they may: what came since was folded."""
    return [family.name for family in _FAMILIES.values() if family.is_full]


def sweep(known: dict[str, Container[str]], now_s: float) -> bool:
    """Let go of the series of all metrics that are of what is not known any more, and was not for GONE_S.
    `known`: label → its values that are; other labels do not count. `now_s`: of a clock that never goes back.
    True where some went: who keeps children has to ask for them again."""
    gone: set[tuple[str, tuple[str, ...]]] = set()
    went = False
    for family in _FAMILIES.values():
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
