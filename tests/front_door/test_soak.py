"""Some fifty seconds of `modelbroker drill --soak`: load with edits and faults, and nothing is lost."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from modelbroker.drill.endurance import MOST_DESCRIPTORS

# It rests behind each of its turns, eight times or so after the warm-up: what stays with each edit is found,
# for of the last quarter each has six of it more than the first, and four are allowed.
SOAK_S = 55
CONFIG = {
    "pools": [
        {
            "name": "tier",
            "members": [
                {"provider": "anthropic", "model": "claude-x", "weight": 60},
                {"provider": "openai", "model": "gpt-x", "weight": 30},
                {"provider": "bedrock", "model": "claude-x", "weight": 10},
            ],
        },
        {
            "name": "spare",
            "members": [
                {"provider": "openai", "model": "gpt-x"},
                {"provider": "gemini", "model": "gemini-x", "priority": 1},
            ],
        },
    ],
    "providers": [{"name": "bedrock", "region": "us-east-1"}],
}


@pytest.mark.timeout(SOAK_S + 120)
def test_a_soak_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "broker.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    command = [sys.executable, "-m", "modelbroker.cli.main", "drill", "--config", str(path)]
    command += ["--soak", f"{SOAK_S}s", "--calls-per-second", "50", "--format", "json"]
    command += ["--folder", str(tmp_path / "soak")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SOAK_S + 90)
    assert done.returncode == 0, done.stdout + done.stderr
    soak = json.loads(done.stdout)
    assert soak["broken"] == []
    assert (soak["unforeseen"], soak["lost"], soak["doubled"], soak["stuck_edits"]) == (0, 0, 0, 0)
    assert soak["calls"] > 30 * SOAK_S
    assert soak["edits"] == soak["faults"] > 5
    assert soak["errors"] > 0  # streams that break behind the commit point
    assert {trend["process"] for trend in soak["trends"]} == {"Envoy", "control plane"}
    with (tmp_path / "soak" / "soak.csv").open(newline="") as file:
        samples = list(csv.DictReader(file))
    counts = {
        at_rest: [
            int(sample["descriptors"])
            for sample in samples
            if sample["process"] == "Envoy" and sample["at_rest"] == at_rest
        ]
        for at_rest in "01"
    }
    assert len(counts["1"]) > 5
    # Calls that wait together need a connection each, on both sides of Envoy: at rest there is none of them.
    assert max(counts["0"]) > min(counts["1"]) + 30
    (envoy,) = (trend for trend in soak["trends"] if trend["process"] == "Envoy")
    assert max(envoy["descriptors"]) <= min(counts["1"]) + MOST_DESCRIPTORS
