"""`modelbroker drill` as a user runs it: it tells what clients saw, and fails when a promise is broken."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.waiting import wait_until

DRILL_S = 150
CALLS_PER_S = "40"  # a row of a second has some dozens
SECOND_TRY = {
    "pools": [
        {
            "name": "tier",
            "failover": "up to 2",
            "members": [
                {"provider": "anthropic", "model": "claude-x"},
                {"provider": "openai", "model": "gpt-x"},
            ],
        }
    ],
    "rules": [{"match": {"tier": "gold"}, "pool": "tier"}],
}


def started(folder: Path, config: dict[str, Any], *arguments: str) -> subprocess.Popen[str]:
    path = folder / "broker.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "modelbroker.cli.main", "drill", "--config", str(path)]
    command += ["--calls-per-second", CALLS_PER_S]
    return subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    )


def ended(drill: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        output, errors = drill.communicate(timeout=DRILL_S)
    except subprocess.TimeoutExpired:
        drill.terminate()
        output, errors = drill.communicate()
    return drill.returncode, output, errors


def test_a_drill_says_what_clients_saw_and_keeps_its_hands_off_the_configuration(tmp_path: Path) -> None:
    faults = ["status-429", "refused", "stream-ends-empty", "mid-stream-end", "slow-headers"]
    arguments = ["--only", *faults, "--scope", "one", "all", "--seconds", "1", "--format", "json"]
    drill = started(tmp_path, SECOND_TRY, *arguments)
    code, output, errors = ended(drill)
    assert code == 0, output + errors
    result = json.loads(output)
    assert result["passed"] is True
    rows = {(row["fault"], row["scope"]): row for row in result["rows"]}
    assert set(rows) == {(fault, scope) for fault in faults for scope in ("one", "all")}
    for (fault, scope), row in rows.items():
        assert row["calls"] > 0
        assert row["unforeseen"] == 0
        # Where all are known to fail, calls are told so without an attempt.
        assert (0 if scope == "all" else 1) <= row["attempts_average"] <= row["attempts_most"] <= 3
        if fault == "slow-headers":
            assert (row["errors"], row["attempts_most"]) == (0, 1)
        elif scope == "one" and fault != "mid-stream-end":
            assert row["errors"] == 0
        else:  # nobody is left, or the client has the beginning already
            assert row["errors"] > 0
    assert result["calls"] > sum(row["calls"] for row in rows.values())
    assert any("1 rules are not drilled" in note for note in result["notes"])
    assert [path.name for path in tmp_path.iterdir()] == ["broker.yaml"]


def test_more_members_that_fail_together_than_failover_allows_are_a_finding(tmp_path: Path) -> None:
    members = [{"provider": name, "model": "x"} for name in ("anthropic", "openai", "groq")]
    pools = [{"name": "tier", "failover": "none", "members": members}]
    arguments = ("--only", "status-500", "--scope", "one", "--profile", "quick", "--seconds", "1")
    code, output, errors = ended(started(tmp_path, {"pools": pools}, *arguments))
    assert code == 0, output + errors
    assert "finding: pool tier has `failover: none`, and 1 members failed together" in output


def test_a_drill_fails_when_the_member_that_should_have_answered_does_not(tmp_path: Path) -> None:
    """The drill lets one member fail. What it does not know: the only other one takes no connection."""
    folder = tmp_path / "kept"
    arguments = ["--only", "status-500", "--scope", "one", "--profile", "quick", "--seconds", "1"]
    drill = started(tmp_path, SECOND_TRY, *arguments, "--folder", str(folder))
    try:
        log = folder / "broker.log"
        found = wait_until(
            lambda: log.exists() and re.search(r"simulator of openai: .* control (\S+)", log.read_text()), 60
        )
        # Once the drill has told its simulators to answer well, it leaves this one alone.
        wait_until(lambda: b"replies" in asked(f"{found[1]}/script"), 60)
        asked(f"{found[1]}/script", b"refuse: true")
    except BaseException:
        drill.terminate()
        raise
    code, output, errors = ended(drill)
    assert code == 1, output + errors
    assert "promise 1 is broken" in output
    assert "tier: status-500 at anthropic/claude-x: request " in output
    assert "1. no error reaches a client while a healthy member that can serve the call is left" in output


def test_a_drill_that_is_ended_leaves_no_broker_behind(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    drill = started(tmp_path, SECOND_TRY, "--folder", str(folder))
    wait_until(lambda: len(processes(folder)) == 2, 60)  # the supervisor and its control plane
    drill.send_signal(signal.SIGTERM)
    code, output, errors = ended(drill)
    assert (code, output) == (1, "")
    assert "the drill was ended before it was through" in errors
    wait_until(lambda: not processes(folder))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_drill_that_is_interrupted_says_what_it_has(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "kept"
    arguments = ["--only", "status-500", "refused", "--seconds", "1", "--format", "json"]
    drill = started(tmp_path, SECOND_TRY, *arguments, "--folder", str(folder))
    assert drill.stderr is not None
    for line in drill.stderr:
        if " 1: tier: " in line:
            break
    drill.send_signal(number)
    code, output, errors = ended(drill)
    assert code == 1, output + errors
    result = json.loads(output)
    assert (result["complete"], result["passed"], result["broken"]) == (False, False, [])
    assert len(result["rows"]) == 1 and result["rows"][0]["calls"] > 0
    assert any("ended before it was through: 1 of " in note for note in result["notes"])
    wait_until(lambda: not processes(folder))


def processes(folder: Path) -> list[str]:
    """The command lines of what runs with a configuration in this folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().decode("utf-8", "replace")
                if str(folder / "config") in words:
                    found.append(words)
    return found


def asked(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, method="PUT" if body else "GET")
    with urllib.request.urlopen(request, timeout=10) as reply:
        data: bytes = reply.read()
        return data


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "status-999"], "there is no fault status-999; the faults are status-429, "),
        (["--pool", "teir"], "there is no pool teir; the pools are tier"),
        (["--soak", "forever"], "'forever' is no time up to a day: give e.g. 90s, 30m or 2h"),
        (["--calls-per-second", "0"], "'0' is no rate: give calls a second, e.g. 100"),
    ],
)
def test_what_can_not_be_drilled_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    code, output, errors = ended(started(tmp_path, SECOND_TRY, *arguments))
    assert code in (1, 2)
    assert said in errors
    assert output == ""
