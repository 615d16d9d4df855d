"""Metrics that are registered, documented, drawn and alarmed of are the same ones."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from modelbroker.core.labels import CALLER_LABELS
from modelbroker.metrics import Counts, Looked, Up, series
from prometheus_client import REGISTRY

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARDS = sorted(GRAFANA.glob("*.json"))
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\| (.+) \|$", re.MULTILINE)
_NAMED = re.compile(r"\b((?:modelbroker|gen_ai)_\w+)\b(?=[{\[) ]|$)")


def registered() -> dict[str, tuple[str, frozenset[str]]]:
    """Name → type and labels of every metric of ours that the code registers."""
    for path in (ROOT / "src").rglob("*.py"):
        if re.search(r"prometheus_client|from \.\.metrics import", path.read_text()):
            parts = path.relative_to(ROOT / "src").with_suffix("").parts
            importlib.import_module(".".join(("modelbroker", *parts)))
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for family in series._FAMILIES.values():
        kind = "counter" if isinstance(family, Counts) else "histogram"
        found[family.name] = kind, frozenset(family.labels) - frozenset(CALLER_LABELS)
    for collector in list(REGISTRY._collector_to_names):
        if isinstance(collector, Looked):
            found |= {name: ("gauge", frozenset(labels)) for name, labels in collector.labels.items()}
        elif isinstance(collector, Up):
            found[collector.name] = "gauge", frozenset()
        elif hasattr(collector, "_labelnames"):
            found[collector._name] = collector._type, frozenset(collector._labelnames)
    return {
        f"{name}_total" if kind == "counter" else name: (kind, labels)
        for name, (kind, labels) in found.items()
        if name.startswith(("modelbroker_", "gen_ai_"))
    }


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    rows = _ROW.findall((ROOT / "docs" / "metrics.md").read_text())
    names = [name for name, *_ in rows]
    assert len(names) == len(set(names))
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}


def test_what_is_registered_is_documented_and_the_other_way_round() -> None:
    assert documented() == registered()


def test_what_pages_and_rules_speak_of_is_there() -> None:
    known = registered()
    lines = set(known)
    for name, (kind, _) in known.items():
        lines |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else set()
    for path in (ROOT / "deploy" / "prometheus" / "alerts.yml", ROOT / "docs" / "alerts.md", *DASHBOARDS):
        text = path.read_text().replace("\\n", " ")
        queries = re.findall(r'"(?:expr|query|definition)": "((?:[^"\\]|\\.)*)"', text) or [text]
        spoken = {name for query in queries for name in _NAMED.findall(query)}
        assert spoken - lines - CALLED_SO == set(), path.name


# Labels, which look as metrics do.
CALLED_SO = {"gen_ai_token_type"}


def test_the_dashboards_are_what_their_panels_say() -> None:
    sys.path.insert(0, str(GRAFANA))
    try:
        made = runpy.run_path(str(GRAFANA / "make.py"))
        rendered = {one.name: made["rendered"](one) for one in made["ALL"]}
    finally:
        sys.path.remove(str(GRAFANA))
    assert {path.stem: json.loads(path.read_text()) for path in DASHBOARDS} == rendered, "run: ./dev docs"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_as_somebody_who_looks_at_it_wants_it(path: Path) -> None:
    dashboard: dict[str, Any] = json.loads(path.read_text())
    assert dashboard["uid"] == f"modelbroker-{path.stem}" and dashboard["schemaVersion"] >= 39
    names = [one["name"] for one in dashboard["templating"]["list"]]
    assert names == ["datasource", "instance", "pool"]
    panels = dashboard["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    assert panels[0]["type"] == "row"
    for panel in panels:
        assert panel["title"] and panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        if panel["type"] != "row":
            assert panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert all(target["legendFormat"] for target in panel["targets"])
            letters = [target["refId"] for target in panel["targets"]]
            assert len(letters) == len(set(letters)) > 0
    for one, other in itertools.combinations(panels, 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    def meet(at: str, size: str) -> bool:
        return one[at] < other[at] + other[size] and other[at] < one[at] + one[size]

    return meet("x", "w") and meet("y", "h")
