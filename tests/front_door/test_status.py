"""What a running broker says of its members: `/status`, `modelbroker status` and the metrics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import asks, make
from support.simulators import Simulators
from support.waiting import wait_until

Config = dict[str, Any]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("bad", "good") as simulators:
        yield simulators


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def config(sims: Simulators, base: str = "1s", ramp: str = "1s") -> Config:
    members = [{"provider": name, "model": "m", "weight": 50} for name in ("bad", "good")]
    no_key = {**provider("no-key", sims["good"].port, "openai-chat"), "credential": {"env": "NOT_SET"}}
    return {
        "providers": [*(provider(name, sims[name].port, "openai-chat") for name in ("bad", "good")), no_key],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": "chat",
                "ejection": {"consecutive_errors": 2, "base": base, "max": base, "ramp": ramp},
                "members": [*members, {"provider": "no-key", "model": "m", "weight": 1}],
            },
            {"name": "other", "members": members},
        ],
    }


def start(folder: Any, sims: Simulators, **times: str) -> Broker:
    return Broker(folder, config(sims, **times))


def status_command(broker: Broker, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "modelbroker.cli.main",
        "status",
        "--admin",
        broker.admin_url,
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def shown(broker: Broker, pool: str = "chat", member: str = "bad/m", query: str = "") -> dict[str, Any]:
    with urllib.request.urlopen(f"{broker.admin_url}/status{query}", timeout=10) as reply:
        pools = json.load(reply)["pools"]
    (found,) = [m for p in pools if p["name"] == pool for m in p["members"] if m["id"] == member]
    return dict(found)


def eject(broker: Broker, sims: Simulators) -> None:
    sims["bad"].script(faults=[{"status": 500}])
    got = make(broker.url, asks(20, "chat"), parallel=1)
    assert [str(g) for g in got if not g.is_whole] == []
    wait_until(lambda: shown(broker)["state"] == "ejected")
    sims["bad"].script()


def test_an_ejection_is_seen_and_its_end_is_a_ramp(sims: Simulators, tmp_path: Any) -> None:
    with start(tmp_path, sims, base="2s", ramp="60s") as broker:
        eject(broker, sims)
        said = shown(broker)
        assert (said["weight"], said["weight_in_effect"], said["cause"]) == (50, 0, "errors in a row")
        assert 0 < said["until_s"] - time.time() <= 2
        assert shown(broker, "other")["state"] == "well"
        # Envoy lets it in again by itself, and finds a small weight.
        wait_until(lambda: shown(broker)["state"] == "ramping")
        envoy = wait_until(lambda: shown(broker, query="?envoy")["envoy"])
        assert envoy == {"weight": 250, "healthy": True, "ejected": False}
        assert shown(broker, member="good/m", query="?envoy")["envoy"]["weight"] == 5000
        assert broker.metrics("modelbroker_ejections_total") == {'{member="bad/m",pool="chat"}': 1.0}
        assert "bad/m: Envoy took it out of the pool chat for 2 s (errors in a row)" in broker.log()
        assert "bad/m may be called again (in the pool chat)" in broker.log()
        counts = [g.member for g in make(broker.url, asks(100, "chat"))].count("bad/m")
        assert counts < 20


def test_a_pool_that_ejects_otherwise_starts_afresh(sims: Simulators, tmp_path: Any) -> None:
    """It is another cluster at Envoy, which ejected nobody: the member has its whole share there."""
    with start(tmp_path, sims, base="60s") as broker:
        eject(broker, sims)
        edited = config(sims, base="50s")
        broker.edit(edited)
        assert shown(broker)["state"] == "well"
        wait_until(
            lambda: (
                shown(broker, query="?envoy")["envoy"] == {"weight": 50, "healthy": True, "ejected": False}
            )
        )


def test_an_ejection_stays_known_over_a_restart_of_the_control_plane(sims: Simulators, tmp_path: Any) -> None:
    with start(tmp_path, sims, base="60s") as broker:
        eject(broker, sims)
        (pid,) = broker.child_pids("serve")
        os.kill(pid, signal.SIGKILL)
        broker.wait_for(lambda s: s["in_effect"] and broker.child_pids("serve") != [pid], 60)
        assert shown(broker)["state"] == "ejected"
        # Another Envoy has ejected nobody.
        (pid,) = broker.child_pids("envoy")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: broker.status() and shown(broker)["state"] == "well")


def test_envoys_own_truth_while_a_member_is_ejected(sims: Simulators, tmp_path: Any) -> None:
    with start(tmp_path, sims, base="60s") as broker:
        eject(broker, sims)
        envoy = shown(broker, query="?envoy")["envoy"]
        assert (envoy["healthy"], envoy["ejected"]) == (True, True)
        sims["bad"].script(faults=[{"status": 429, "retry_after_s": 60}])
        make(broker.url, asks(10, "other"))
        wait_until(lambda: shown(broker, "other")["state"] == "out")
        wait_until(lambda: not shown(broker, "other", query="?envoy")["envoy"]["healthy"])
        table = status_command(broker)
        assert table.returncode == 0, table.stderr
        assert_table(table.stdout)
        whole = json.loads(status_command(broker, "--format", "json").stdout)
        assert whole["members"]["bad/m"]["last_error"]["cause"] == "rate-limit"


def assert_table(text: str) -> None:
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "POOL MEMBER PRIORITY WEIGHT NOW STATE" in lines
    assert "good/m 0 50 50 well" in lines
    (no_key,) = [line for line in lines if line.startswith("no-key/m")]
    assert "not set up" in no_key and "NOT_SET" in no_key
    (other,) = [line for line in lines if line.startswith("other bad/m 0 50 0 out for ")]
    assert "more (by its own word)" in other
    (failed,) = [line for line in lines if line.startswith("bad/m") and "rate-limit 429" in line]
    assert " ago " in failed


def test_a_refused_edit_is_said_and_is_no_success(sims: Simulators, tmp_path: Any) -> None:
    with start(tmp_path, sims) as broker:
        assert status_command(broker).returncode == 0
        broker.write("pools: 7")
        broker.wait_for(lambda s: bool(s["error"]))
        told = status_command(broker)
        assert told.returncode == 1
        assert "error" in told.stdout and "broker.yaml:1" in told.stdout


def test_no_broker_is_a_clear_error() -> None:
    command = [sys.executable, "-m", "modelbroker.cli.main", "status", "--admin"]
    for url, words in (("http://127.0.0.1:1", "no broker answers"), ("ftp://x", "is no URL")):
        told = subprocess.run([*command, url], capture_output=True, text=True, timeout=60, check=False)
        assert (told.returncode, told.stdout) == (1, "")
        assert words in told.stderr
