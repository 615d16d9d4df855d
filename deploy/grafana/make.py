"""The dashboards as Grafana reads them: `python deploy/grafana/make.py` writes the JSON files beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dashboards import ALL
from dashboards.panels import Dashboard, Panel, Row

_SCHEMA = 39  # of Grafana 11, which newer ones read
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
_HEIGHT = {"stat": 4}
_USUAL_HEIGHT = 8


def rendered(dashboard: Dashboard) -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row in dashboard.rows:
        panels.append(_row(row, len(panels) + 1, y))
        y += 1
        x = high = 0
        for panel in row.panels:
            if x + panel.width > _WIDTH:
                x, y, high = 0, y + high, 0
            height = _HEIGHT.get(panel.kind, _USUAL_HEIGHT)
            place = {"x": x, "y": y, "w": panel.width, "h": height}
            panels.append(_panel(panel, len(panels) + 1, place))
            x, high = x + panel.width, max(high, height)
        y += high
    return {
        "uid": f"modelbroker-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["modelbroker"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one cross for all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "title": "modelbroker",
                "type": "dashboards",
                "tags": ["modelbroker"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "annotations": {"list": [_annotation()]},
        "templating": {"list": [_datasource(), *_variables()]},
        "panels": panels,
    }


def _row(row: Row, number: int, y: int) -> dict[str, Any]:
    place = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
    return {
        "id": number,
        "type": "row",
        "title": row.title,
        "collapsed": False,
        "gridPos": place,
        "panels": [],
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps = [{"color": colour, "value": value} for colour, value in panel.steps]
    custom: dict[str, Any] = {}
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        custom = {"lineWidth": 1, "fillOpacity": 20 if panel.stacked else 5, "stacking": stacking}
    limits = {"min": 0, "max": 1} if panel.unit == "percentunit" else {"min": 0}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                **({} if panel.kind == "stat" else limits),
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": custom,
            },
            "overrides": [],
        },
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": _DATASOURCE,
                "expr": expression,
                "legendFormat": legend,
                "editorMode": "code",
                "range": True,
                "instant": False,
            }
            for i, (expression, legend) in enumerate(panel.queries)
        ],
    }


def _options(panel: Panel) -> dict[str, Any]:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "stat":
        return {"reduceOptions": last, "colorMode": "value", "graphMode": "area", "textMode": "value"}
    if panel.kind == "bargauge":
        return {"reduceOptions": last, "orientation": "horizontal", "displayMode": "basic"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def _annotation() -> dict[str, Any]:
    """Another configuration was loaded."""
    return {
        "name": "Configuration",
        "datasource": _DATASOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": '1000 * modelbroker_config_loaded_timestamp_seconds{instance=~"$instance"}',
        "useValueForTime": True,
        "titleFormat": "another configuration",
        "textFormat": "{{instance}}",
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": _DATASOURCE,
            "query": {"query": f"label_values({metric}, {name})", "refId": name},
            "definition": f"label_values({metric}, {name})",
            "refresh": 2,  # whenever the time changes
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "hide": 0,
        }
        for name, label, metric in (
            ("instance", "Broker", "modelbroker_xds_envoys"),
            ("pool", "Pool", "modelbroker_pool_members"),
        )
    ]


def main() -> None:
    for dashboard in ALL:
        text = json.dumps(rendered(dashboard), indent=2) + "\n"
        Path(__file__).with_name(f"{dashboard.name}.json").write_text(text)


if __name__ == "__main__":
    main()
