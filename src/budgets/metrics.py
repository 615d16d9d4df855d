"""Where budgets stand, for Prometheus: read when it asks, so that calls pay nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

# Customers may be many: of each budget the accounts of which most is used.
MOST_SCOPES = 100
_LABELS = ["budget", "scope", "unit"]


class Standing(Collector):
    def __init__(self, shown: Callable[[], list[dict[str, Any]]]) -> None:
        self._shown = shown

    def collect(self) -> Iterable[Metric]:
        families = {
            "spent": GaugeMetricFamily("modelbroker_budget_spent", "Charged in the window", labels=_LABELS),
            "reserved": GaugeMetricFamily(
                "modelbroker_budget_reserved", "Reserved for calls under way", labels=_LABELS
            ),
            "limit": GaugeMetricFamily("modelbroker_budget_limit", "The whole amount", labels=_LABELS),
        }
        counts: dict[tuple[str, str], int] = {}
        for row in sorted(self._shown(), key=lambda row: row["spent"] + row["reserved"], reverse=True):
            name = (row["budget"], row["unit"])
            counts[name] = counts.get(name, 0) + 1
            if counts[name] > MOST_SCOPES:
                continue
            for field, family in families.items():
                family.add_metric([row["budget"], row["scope"], row["unit"]], row[field])
        return families.values()


def register(shown: Callable[[], list[dict[str, Any]]]) -> Collector:
    standing = Standing(shown)
    REGISTRY.register(standing)
    return standing


def unregister(standing: Collector) -> None:
    REGISTRY.unregister(standing)
