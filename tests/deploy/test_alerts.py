"""What is shipped for Prometheus, by its own tool: alerts that fire when they should, and say what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.servers import program

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "prometheus"
ALERTS = DEPLOY / "alerts.yml"


def promtool(*words: str, **options: Any) -> str:
    done = subprocess.run(
        [program("promtool", "prometheus"), *words], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_rules_and_configuration_are_right() -> None:
    assert f"{len(alerts()) + 2} rules found" in promtool("check", "rules", str(ALERTS))
    assert "1 rule files found" in promtool("check", "config", str(DEPLOY / "prometheus.yml"))


def test_each_alert_fires_on_series_as_the_broker_makes_them(tmp_path: Path) -> None:
    """And none where all is well. Those that a real broker can be brought to are provoked there, too
    (tests/front_door/test_metrics.py)."""
    text = (Path(__file__).with_name("alerts.yml")).read_text()
    assert set(alerts()) == set(re.findall(r"alertname=\"(\w+)\"}', value", text))
    tests = tmp_path / "alerts.yml"
    tests.write_text(text.replace("rule_files: [ALERTS]", f"rule_files: ['{ALERTS}']"))
    promtool("test", "rules", str(tests))


@pytest.mark.parametrize("name", sorted(alerts()))
def test_each_alert_says_what_to_do(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    said = rule["annotations"]
    assert set(said) == {"summary", "description", "runbook"}
    page, _, anchor = said["runbook"].partition("#")
    assert anchor == name.lower()
    assert re.search(rf"^## {name}$", (ROOT / page).read_text(), re.MULTILINE), "no section of that name"
