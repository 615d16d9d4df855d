"""Back to what was live: in effect at once, under load without an error, until something new is said."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.figures import enlarged, figure
from support.load import Load, load
from support.simulators import Simulators


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        yield simulators


def config(sims: Simulators, member: str, **more: Any) -> dict[str, Any]:
    return {
        "providers": [provider(sim.name, sim.port, "openai-chat", "/v1") for sim in sims],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": member, "model": "m"}]}],
        **more,
    }


@pytest.fixture
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims, "a")) as running:
        running.wait_for(lambda s: s["in_effect"])
        yield running


def command(broker: Broker, *words: str) -> subprocess.CompletedProcess[str]:
    told = [sys.executable, "-m", "modelbroker.cli.main", *words, "--admin", broker.admin_url]
    return subprocess.run(told, capture_output=True, text=True, timeout=60)


def member(broker: Broker) -> str | None:
    (got,) = make(broker.url, [Ask("chat")])
    assert got.is_whole, str(got)
    return got.member


def revisions(broker: Broker) -> list[dict[str, Any]]:
    told = command(broker, "history", "--format", "json")
    assert told.returncode == 0, told.stderr
    found: list[dict[str, Any]] = json.loads(told.stdout)["revisions"]
    return found


def acts(broker: Broker) -> list[dict[str, Any]]:
    lines = (broker.folder / "state" / "acts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def wait_for_history(broker: Broker, count: int) -> list[dict[str, Any]]:
    """What an Envoy took is kept a moment later."""
    deadline = time.monotonic() + 30
    while len(found := revisions(broker)) < count:
        assert time.monotonic() < deadline, found
    return found


def test_back_and_forth(broker: Broker, sims: Simulators) -> None:
    first = broker.status()["revision"]
    second = broker.edit(config(sims, "b"))
    assert member(broker) == "b/m"
    newest, oldest = wait_for_history(broker, 2)
    assert (oldest["revision"], oldest["why"]) == (first, "start")
    assert (newest["revision"], newest["why"]) == (second, "edit")
    assert newest["origin"]["source"] == str(broker.config_dir) and newest["origin"]["who"]
    told = command(broker, "rollback")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"{first} is in effect after ")
    assert member(broker) == "a/m"
    status = broker.status()
    assert status["rollback"]["revision"] == first and status["rollback"]["by"]
    assert wait_for_history(broker, 3)[0]["why"] == "rollback"
    (act,) = [one for one in acts(broker) if one["act"] == "config.rolled-back"]
    assert (act["actor"], act["user"]) == ("command", status["rollback"]["by"])
    assert (act["details"]["name"], act["details"]["before"]) == (first, second)
    assert [one["actor"] for one in acts(broker) if one["act"] == "config.loaded"] == ["edit", "edit"]
    said = command(broker, "history").stdout
    assert "rolled back" in said and f"rolled back to {first}" in said
    since = datetime.fromtimestamp(status["rollback"]["at_s"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    words = f"to {first} by {status['rollback']['by']} (command), since {since}"
    assert f"\nrollback   {words}, until the source says something new\n" in command(broker, "status").stdout
    # The same text once more is nothing new, and something new ends it.
    broker.write(config(sims, "b"))
    broker.stop()
    broker.start()
    broker.wait_for(lambda s: s["in_effect"] and s["serving"] == first)
    assert broker.metrics("modelbroker_config_rolled_back", labels=False) == {"": 1.0}
    assert member(broker) == "a/m"
    third = broker.edit(config(sims, "b", limits={"concurrency": 77}))
    assert broker.status()["rollback"] is None and third not in (first, second)
    assert "\nrollback " not in command(broker, "status").stdout
    assert member(broker) == "b/m"


def test_what_holds_stays_until_it_is_released(broker: Broker, sims: Simulators) -> None:
    first = broker.status()["revision"]
    broker.edit(config(sims, "b"))
    wait_for_history(broker, 2)
    assert command(broker, "rollback", first[:6], "--hold").returncode == 0
    broker.write(config(sims, "b", limits={"concurrency": 78}))
    broker.write(config(sims, "b", limits={"concurrency": 79}))
    assert member(broker) == "a/m" and broker.status()["rollback"]["holds"]
    told = command(broker, "rollback", "--release")
    assert told.returncode == 0, told.stderr
    assert f"was {first}" in told.stdout
    assert member(broker) == "b/m" and broker.status()["rollback"] is None
    told = command(broker, "rollback", "--release")
    assert told.returncode == 1 and "no rollback is in effect" in told.stderr


@pytest.mark.parametrize("by_name", [False, True], ids=["", "by-name"])
def test_a_rollback_can_be_told_to_hold_later(broker: Broker, sims: Simulators, by_name: bool) -> None:
    first = broker.status()["revision"]
    broker.edit(config(sims, "b"))
    wait_for_history(broker, 2)
    assert command(broker, "rollback").returncode == 0
    words = (first,) if by_name else ()
    told = command(broker, "rollback", *words, "--hold")
    assert told.returncode == 0 and told.stdout.startswith(f"{first} is in effect"), told.stderr
    status = broker.status()
    assert status["rollback"]["holds"] and member(broker) == "a/m"
    (line,) = [one for one in command(broker, "status").stdout.splitlines() if one.startswith("rollback ")]
    assert line.endswith(", until it is released")


def test_what_can_not_be_rolled_back_to_changes_nothing(broker: Broker) -> None:
    revision = broker.status()["revision"]
    wait_for_history(broker, 1)
    for words, wrong in (
        ((), "no other revision was live here"),
        (("beefbeef",), "no revision 'beefbeef' was live here: `modelbroker history` says"),
        ((revision,), f"{revision} is served already"),
    ):
        told = command(broker, "rollback", *words)
        assert told.returncode == 1 and wrong in told.stderr, told.stderr
    page = urllib.request.Request(f"{broker.admin_url}/rollback", b"", {"Origin": "https://example.com"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(page, timeout=30)
    status = broker.status()
    assert (status["revision"], status["rollback"]) == (revision, None)


def test_a_broken_source_does_not_end_a_rollback(broker: Broker, sims: Simulators) -> None:
    first = broker.status()["revision"]
    broker.edit(config(sims, "b"))
    wait_for_history(broker, 2)
    assert command(broker, "rollback", "--hold").returncode == 0
    (broker.config_dir / "broker.yaml").unlink()
    broker.stop()
    broker.write(config(sims, "b"))
    broker.start()
    broker.wait_for(lambda s: s["in_effect"] and s["serving"] == first)
    assert member(broker) == "a/m"


def test_another_version_of_the_broker_may_have_called_it_otherwise(broker: Broker, sims: Simulators) -> None:
    """The same texts are then no revision to come back to, and those of old get today's name."""
    first = broker.status()["revision"]
    second = broker.edit(config(sims, "b"))
    wait_for_history(broker, 2)
    broker.stop()
    folder = broker.folder / "state" / "revisions"
    for number, of_today in enumerate((first, second), 1):
        path, of_old = folder / f"{number:06d}-{of_today}", f"{number:012x}"
        said = (path / "revision.json").read_text().replace(of_today, of_old)
        (path / "revision.json").write_text(said)
        shutil.move(path, folder / f"{number:06d}-{of_old}")
    broker.start()
    broker.wait_for(lambda s: s["in_effect"] and s["serving"] == second)
    wait_for_history(broker, 3)
    told = command(broker, "rollback")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"{first} is in effect after ")
    assert member(broker) == "a/m"


def test_what_is_broken_is_not_released_to(broker: Broker, sims: Simulators) -> None:
    first = broker.status()["revision"]
    broker.edit(config(sims, "b"))
    wait_for_history(broker, 2)
    assert command(broker, "rollback", "--hold").returncode == 0
    broker.write("pools: [{name: x}]\n")
    told = command(broker, "rollback", "--release")
    assert told.returncode == 1 and "what the source says is refused" in told.stderr, told.stderr
    assert f"{first} goes on until it is mended" in told.stderr
    status = broker.status()
    assert (status["serving"], status["rollback"]) == (first, None) and member(broker) == "a/m"


def test_under_load_no_call_fails(broker: Broker, sims: Simulators) -> None:
    broker.edit(config(sims, "b"))
    wait_for_history(broker, 2)
    took_s: list[float] = []

    async def turn(seen: Load) -> None:
        for _ in range(6):
            told = await asyncio.to_thread(command, broker, "rollback")
            assert told.returncode == 0, told.stderr
            took_s.append(float(told.stdout.partition("after ")[2].partition(" s")[0]))
            await seen.reach(seen.calls + enlarged(50))

    async def run() -> Load:
        async with load(broker.url, [("chat", "openai-chat")], workers=4) as seen:
            await turn(seen)
        return seen

    seen = asyncio.run(run())
    figure("rollbacks", rollbacks=len(took_s), slowest_s=max(took_s))
    assert [str(got) for got in seen.bad] == []
