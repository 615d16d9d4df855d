"""Gauges that are read when Prometheus asks: calls pay nothing for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

log = logging.getLogger("modelbroker.metrics")

# (metric's name, its labels' values, value)
Reading = tuple[str, Sequence[str], float]


class Looked(Collector):
    """Gauges by name, with what they are and their labels. `read` gives what they say now, from any thread;
    until it is set they say nothing."""

    def __init__(self, gauges: Mapping[str, tuple[str, Sequence[str]]]) -> None:
        self._gauges = {name: (said, tuple(labels)) for name, (said, labels) in gauges.items()}
        self.read: Callable[[], Iterable[Reading]] | None = None
        REGISTRY.register(self)

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """Of each, by its name."""
        return {name: labels for name, (_, labels) in self._gauges.items()}

    def describe(self) -> Iterable[Metric]:
        return list(self._families().values())

    def collect(self) -> Iterable[Metric]:
        families = self._families()
        try:
            for name, values, value in self.read() if self.read is not None else ():
                families[name].add_metric(list(values), value)
        except Exception:  # the other metrics are there all the same
            log.exception("some metrics could not be read")
        return [family for family in families.values() if family.samples]

    def _families(self) -> dict[str, GaugeMetricFamily]:
        return {
            name: GaugeMetricFamily(name, said, labels=labels)
            for name, (said, labels) in self._gauges.items()
        }


class Up(Collector):
    """1 while something runs, 0 while it should and does not; nothing where it is not wanted at all."""

    labels: tuple[str, ...] = ()

    def __init__(self, name: str, documentation: str) -> None:
        self.name = name
        self._documentation = documentation
        self.is_up: bool | None = None
        REGISTRY.register(self)

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(self.name, self._documentation)]

    def collect(self) -> Iterable[Metric]:
        if (is_up := self.is_up) is None:
            return []
        return [GaugeMetricFamily(self.name, self._documentation, value=float(is_up))]
