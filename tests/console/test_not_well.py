"""What `modelbroker status` and the console say of what calls leave behind: nothing where all is well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from modelbroker.cli.audit import AuditKeeper
from modelbroker.cli.capture import CaptureKeeper
from modelbroker.cli.console import ConsoleKeeper
from modelbroker.cli.content import ContentKeeper
from modelbroker.cli.ledger import LedgerKeeper
from modelbroker.cli.telemetry import TelemetryKeeper
from modelbroker.console.not_well import not_well
from modelbroker.records.file import RecordFile

SINK = {"name": "siem", "kind": "http", "seq": 9, "sent": 9, "behind": 0, "refused": 0, "missed": 0}


@pytest.fixture
def off(tmp_path: Path) -> dict[str, Any]:
    """As `/status` has them, so that no word of theirs is missed here."""
    return {
        "records": RecordFile(tmp_path).status(0),
        "ledger": LedgerKeeper(tmp_path).status(),
        "telemetry": TelemetryKeeper(tmp_path).status(),
        "content": ContentKeeper(tmp_path).status(),
        "audit": AuditKeeper(tmp_path).status(),
        "capture": CaptureKeeper(tmp_path).status(),
        "console": ConsoleKeeper(tmp_path).status(),
    }


def told(off: dict[str, Any], part: str, **more: Any) -> list[str]:
    well = {
        "ledger": "following",
        "telemetry": "off",
        "content": "off",
        "audit": "following",
        "console": "off",
    }
    status = {name: {**fields, "state": well.get(name, "writing")} for name, fields in off.items()}
    status[part] |= more
    return [f"{name:<10} {said}" for name, said in not_well(status)]


@pytest.mark.parametrize(
    ("part", "more", "said"),
    [
        ("records", {"waiting": 3}, []),
        (
            "records",
            {"state": "waiting", "error": "No space left on device", "waiting": 1200, "unwritten": 7},
            ["records    waiting: No space left on device; 1,200 records behind; 7 were given up"],
        ),
        ("ledger", {"behind_bytes": 12}, []),
        (
            "ledger",
            {"state": "waiting", "error": "database is locked", "behind_bytes": 12_345},
            ["ledger     waiting: database is locked; 12,345 bytes behind"],
        ),
        ("telemetry", {"state": "starting"}, ["telemetry  starting"]),
        ("console", {"state": "idle"}, []),
        ("console", {"state": "rendering"}, []),
        (
            "console",
            {"state": "waiting", "error": "ended (exit code 1)"},
            ["console    waiting: ended (exit code 1)"],
        ),
        (
            "telemetry",
            {"state": "following", "refused": 3},
            ["telemetry  3 spans and log records are refused for ever"],
        ),
        (
            "content",
            {"state": "waiting", "error": "database is locked", "behind_bytes": 7, "missing": 2, "unread": 1},
            [
                "content    waiting: database is locked; 7 bytes behind; "
                "2 captured calls never came into the store; 1 captured calls can't be read"
            ],
        ),
        ("content", {"refused": 4}, ["content    4 texts are refused for ever"]),
        ("audit", {"sinks": [{**SINK, "state": "sending", "error": None, "behind": 4}]}, []),
        (
            "audit",
            {
                "state": "waiting",
                "error": "No space left on device",
                "sinks": [
                    {**SINK, "state": "away", "error": "it refuses the connection", "behind": 1200},
                    {**SINK, "name": "b", "state": "sending", "error": None, "refused": 1, "missed": 2},
                ],
            },
            [
                "audit      waiting: No space left on device",
                "sink       siem: away: it refuses the connection; 1,200 events behind",
                "sink       b: 1 events are refused for ever; 2 had left the chain before",
            ],
        ),
        (
            "capture",
            {"state": "waiting", "error": "it is away", "failed": 1, "dropped": 2, "lost": 3},
            ["capture    waiting: it is away; 1 bodies failed; 2 were dropped; 3 were lost"],
        ),
    ],
)
def test_what_is_said(off: dict[str, Any], part: str, more: dict[str, Any], said: list[str]) -> None:
    assert told(off, part, **more) == said


def test_of_what_is_off_nothing_is_said(off: dict[str, Any]) -> None:
    assert list(not_well({name: {**part, "state": "off"} for name, part in off.items()})) == []
