"""`./dev bench` measures what it says it does, and fails where calls fail. No figure is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).parents[2] / "bench" / "run.py"


def bench(*arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, RUN, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Any]:
    """One tiny run over a whole reply, a stream and a rate."""
    where = tmp_path_factory.mktemp("bench") / "result.json"
    scenarios = ("--scenario", "whole-1k", "--scenario", "stream", "--scenario", "first-event")
    done = bench("--seconds", "0.2", "--rounds", "2", *scenarios, "--json", str(where))
    assert done.returncode == 0, done.stdout + done.stderr
    return done, json.loads(where.read_text())


def test_every_target_is_measured_in_every_round_without_errors(measured: Any) -> None:
    _, result = measured
    targets = ["direct", "envoy", "broker", "translated"]
    assert result["plan"]["targets"] == targets
    counted = [one for one in result["slices"] if one["round"] >= 0]
    assert {(one["scenario"], one["target"], one["round"]) for one in counted} == {
        (scenario, target, number)
        for scenario in ("whole-1k", "stream", "first-event")
        for target in targets
        for number in (0, 1)
    }
    assert all(one["errors"] == 0 and one["calls"] > 0 for one in result["slices"])


def test_cpu_is_charged_to_envoy_and_python_apart(measured: Any) -> None:
    _, result = measured
    for one in result["slices"]:
        assert (one["cpu_envoy_s"] > 0) == (one["target"] != "direct")
        assert (one["cpu_python_s"] > 0) == (one["target"] in ("broker", "translated"))


def test_latencies_are_there_where_a_rate_is(measured: Any) -> None:
    _, result = measured
    for one in result["slices"]:
        assert ("first_word_us" in one) == (one["scenario"] == "first-event")
    for one in result["summaries"]:
        if one["scenario"] == "first-event":
            assert 0 < one["first_p50_us"] <= one["first_p99_us"] <= one["latency_p99_us"]


def test_the_table_has_a_row_for_each(measured: Any) -> None:
    done, result = measured
    words = [line.split() for line in done.stdout.splitlines()]
    for target in result["plan"]["targets"]:
        assert sum(["whole-1k", target] == line[:2] for line in words) == 1
        assert sum([target] == line[:1] for line in words) == 1
    assert result["machine"]["revision"] in done.stdout


def test_translated_calls_are_compared_with_the_identity_path(measured: Any) -> None:
    done, _ = measured
    told = [line for line in done.stdout.splitlines() if "times the identity path" in line]
    assert [line.partition(":")[0] for line in told] == ["whole-1k", "stream"]


def test_failed_calls_are_shown_and_end_in_exit_code_1(tmp_path: Path) -> None:
    """Errors come back faster than answers: they must never pass for a good figure."""
    program = (
        f"import sys; sys.path.insert(0, {str(RUN.parent)!r}); sys.argv[0] = {str(RUN)!r}\n"
        "import targets, run\n"
        "class Deaf(targets.Direct):\n"
        "    def __init__(self, upstream, folder):\n"
        "        self.port = targets.free_port('127.0.0.1')\n"
        "        config = targets.bare_envoy_config(self.port, targets.free_port('127.0.0.1'))\n"
        "        (folder / 'deaf.yaml').write_text(targets.yaml.safe_dump(config))\n"
        "        command = [targets.envoy_binary(), '-c', folder / 'deaf.yaml', '--disable-hot-restart']\n"
        "        self.child = targets.processes.start(command, folder / 'deaf.log')\n"
        "        url = f'http://127.0.0.1:{self.port}/'\n"
        "        self.child.wait_until(lambda: targets._status(url) is not None, 30)\n"
        "    def stop(self):\n"
        "        self.child.stop()\n"
        "targets.STARTERS['direct'] = Deaf\n"
        "sys.exit(run.main(sys.argv[1:]))\n"
    )
    arguments = ["--seconds", "0.2", "--rounds", "1", "--scenario", "whole-1k", "--target", "direct"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--json", str(tmp_path / "result.json")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ERRORS: whole-1k, direct" in done.stdout
    assert "status 503" in done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert all(one["errors"] > 0 for one in result["slices"])


def test_micro_measures_the_pure_functions(tmp_path: Path) -> None:
    where = tmp_path / "micro.json"
    done = bench("--micro", "--seconds", "0.02", "--rounds", "1", "--json", str(where))
    assert done.returncode == 0, done.stderr
    result = json.loads(where.read_text())
    measured = result["micro_us"]
    assert {"decide", "read the facts of a 100 KB body", "encode Forward"} <= measured.keys()
    assert all(us > 0 for us in measured.values())
    clients = ("openai-chat", "openai-responses", "anthropic-messages")
    pairs = result["translation_us"]
    assert sorted((one["client"], one["provider"]) for one in pairs) == sorted(
        (client, provider)
        for client in clients
        for provider in (*clients, "bedrock-converse", "gemini")
        if client != provider
    )
    assert all(len(one["us"]) == len(result["translation_columns"]) and min(one["us"]) > 0 for one in pairs)
    limits = [line.partition(": ")[2] for line in done.stdout.splitlines() if " in under " in line]
    assert len(limits) == 2
    assert all(line.startswith(("holds;", "DOES NOT HOLD;")) for line in limits)


def test_traces_and_audit_events_are_charged_to_their_own_processes() -> None:
    done = subprocess.run(
        [sys.executable, RUN.parent / "watching.py", "1", "0.2"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    head, _, *rows = (line.strip("|").split("|") for line in done.stdout.splitlines())
    names = [name.strip() for name in head]
    seen = {row[0].strip(): dict(zip(names, map(str.strip, row), strict=True)) for row in rows}
    spans, events = "spans and logs µs", "audit events µs"
    is_charged = {name: (float(row[spans]) > 0, float(row[events]) > 0) for name, row in seen.items()}
    assert is_charged == {
        "neither": (False, False),
        "traces and logs": (True, False),
        "audit, one sink": (False, True),
        "both": (True, True),
    }
    assert seen["neither"]["times neither"] == "1.00 (1.00-1.00)"


def test_a_chain_of_audit_events_is_made_verified_and_asked() -> None:
    done = subprocess.run(
        [sys.executable, RUN.parent / "audit.py", "1500"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert [line.split("|")[2].split()[0] for line in done.stdout.splitlines()[2:]] == [
        *("made", "verify", "query", "query", "query")
    ]


def test_a_wrong_argument_is_refused(tmp_path: Path) -> None:
    assert bench("--rounds", "-1").returncode == 2
    assert bench("--scenario", "none").returncode == 2
