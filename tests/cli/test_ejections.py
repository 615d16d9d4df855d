"""Envoy's own log of ejections, in its own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from modelbroker.cli.ejections import Change, EventLog, change_of

# As Envoy 1.40 writes it.
OUT = {
    "type": "CONSECUTIVE_5XX",
    "timestamp": "2026-11-29T02:32:46.250Z",
    "cluster_name": "pool/chat/0123456789ab",
    "upstream_url": "envoy://member/a/models/m/ba9876543210/a/models/m",
    "action": "EJECT",
    "num_ejections": 2,
    "enforced": True,
    "eject_consecutive_event": {},
}
AT_S = 1795919566.25


def line(**changed: Any) -> bytes:
    return json.dumps(OUT | changed).encode() + b"\n"


def test_an_ejection_and_its_end() -> None:
    cluster = "pool/chat/0123456789ab"
    assert change_of(line()) == Change(cluster, "a/models/m", True, AT_S, 2, "errors in a row")
    over = change_of(line(action="UNEJECT", enforced=False, secs_since_last_action="2"))
    assert over == Change(cluster, "a/models/m", False, AT_S, 2, "errors in a row")
    assert over.pool == "chat"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no json",
        b"[1]",
        line(enforced=False),  # noticed, and nothing done about it
        line(upstream_url="127.0.0.1:80"),
        line(timestamp="yesterday"),
        line(upstream_url=None),
        b"{}",
    ],
)
def test_all_else_is_no_change(text: bytes) -> None:
    assert change_of(text) is None


def test_the_log_is_followed_from_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "ejections.log"
    log = EventLog(path)
    assert log.read() == (False, [])
    path.write_bytes(line() + line()[:40])  # the second is still being written
    assert [change.member for change in log.read()[1]] == ["a/models/m"]
    with path.open("ab") as file:
        file.write(line()[40:])
    assert len(log.read()[1]) == 1
    assert log.read() == (False, [])


def test_a_new_envoy_empties_it(tmp_path: Path) -> None:
    path = tmp_path / "ejections.log"
    path.write_bytes(line() + line())
    log = EventLog(path)
    assert len(log.read()[1]) == 2
    path.write_bytes(b"")
    assert log.read() == (True, [])
    path.write_bytes(line())
    assert len(log.read()[1]) == 1


def test_a_long_one_is_emptied_once_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelbroker.cli.ejections._MOST_BYTES", 100)
    path = tmp_path / "ejections.log"
    path.write_bytes(line())
    log = EventLog(path)
    assert len(log.read()[1]) == 1
    assert path.read_bytes() == b""
    assert log.read() == (False, [])


def test_a_file_that_can_not_be_read_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "folder").mkdir()
    log = EventLog(tmp_path / "folder")
    assert log.read() == log.read() == (False, [])
    assert len(caplog.records) == 1
