"""What cannot be served changes nothing, is said, and heals when it is mended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, make
from support.simulators import Simulators

Config = dict[str, Any]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as simulators:
        yield simulators


def config(sims: Simulators, **more: Any) -> Config:
    return {
        "providers": [provider("a", sims["a"].port, "openai-chat")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": "a", "model": "m"}]}],
        **more,
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(
        tmp_path_factory.mktemp("broker"), config(sims), may_be_refused=True, with_ledger=True
    ) as running:
        yield running


@pytest.fixture(scope="module")
def first_revision(broker: Broker) -> str:
    return str(broker.status()["revision"])


@pytest.fixture
def revision(broker: Broker, sims: Simulators, first_revision: str) -> str:
    """The good configuration's, which is in effect."""
    broker.write(config(sims))
    broker.wait_for(lambda s: s["serving"] == first_revision == s["revision"] and s["error"] is None)
    return first_revision


def ask(broker: Broker, pool: str = "chat") -> Got:
    (got,) = make(broker.url, [Ask(pool)])
    return got


def assert_serves(broker: Broker, revision: str) -> None:
    got = ask(broker)
    assert got.is_whole, got
    assert got.headers["x-broker-revision"] == revision


BROKEN = {
    "not-yaml": ("pools: [\n  {name: chat\n", "broker.yaml:"),
    "unknown-pool": ("rules:\n  - match: {tier: x}\n    pool: nowhere\n", "nowhere"),
    "wrong-type": ("limits:\n  concurrency: many\n", "many"),
    "unknown-section": ("pool: []\n", "there is no section"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_edit_changes_nothing_and_is_said(
    broker: Broker, sims: Simulators, revision: str, kind: str
) -> None:
    text, said = BROKEN[kind]
    good = yaml.safe_dump(config(sims))
    broker.write(good + text if kind != "not-yaml" else text)
    status = broker.wait_for(lambda s: s["error"])
    line = len(good.splitlines()) + (2 if kind in ("unknown-pool", "wrong-type") else 1)
    place = "broker.yaml:" if kind == "not-yaml" else f"broker.yaml:{line + (kind == 'unknown-pool')}"
    assert place in status["error"]
    assert said in status["error"]
    assert status["error"] in broker.log()
    assert status["revision"] == status["serving"] == revision
    assert_serves(broker, revision)
    broker.write(good)
    assert broker.wait_for(lambda s: not s["error"])["revision"] == revision


def test_all_problems_of_an_edit_are_said_at_once(broker: Broker, sims: Simulators, revision: str) -> None:
    broker.write(config(sims, limits={"concurrency": 0}, rules=[{"match": {}, "pool": "no"}], surprise={}))
    error = broker.wait_for(lambda s: s["error"])["error"]
    assert all(word in error for word in ("concurrency", "rules", "surprise"))
    assert_serves(broker, revision)


def test_a_file_that_is_deleted_and_put_back(broker: Broker, sims: Simulators, revision: str) -> None:
    (broker.config_dir / "broker.yaml").unlink()
    assert broker.wait_for(lambda s: s["error"])["serving"] == revision
    assert_serves(broker, revision)
    broker.write(config(sims))
    assert broker.wait_for(lambda s: not s["error"])["serving"] == revision


def test_several_files_in_the_folder(broker: Broker, revision: str) -> None:
    more = broker.config_dir / "more.yaml"
    more.write_text("pools: [{name: second, members: [{provider: a, model: x}]}]\n")
    status = broker.wait_for(lambda s: s["serving"] == s["revision"] != revision)
    got = ask(broker, "second")
    assert (got.status, got.headers["x-broker-revision"]) == (200, status["revision"])
    (broker.config_dir / "notes.txt").write_text("not a part of it")
    more.unlink()
    broker.wait_for(lambda s: s["serving"] == revision)
    assert ask(broker, "second").status == 404


def test_kubernetes_swaps_a_link(broker: Broker, sims: Simulators, revision: str) -> None:
    def mount(number: int, weight: int) -> None:
        folder = broker.config_dir / f"..2026_{number}"
        folder.mkdir()
        pools = [{"name": "chat", "members": [{"provider": "a", "model": "m", "weight": weight}]}]
        (folder / "broker.yaml").write_text(yaml.safe_dump(config(sims, pools=pools)))
        fresh = broker.config_dir / "..data_tmp"
        fresh.symlink_to(folder.name)
        fresh.replace(broker.config_dir / "..data")

    mount(1, 11)
    link = broker.config_dir / "link"
    link.symlink_to("..data/broker.yaml")
    link.replace(broker.config_dir / "broker.yaml")
    first = broker.wait_for(lambda s: s["serving"] == s["revision"] != revision)["revision"]
    assert_serves(broker, first)
    mount(2, 12)
    second = broker.wait_for(lambda s: s["serving"] == s["revision"] != first)["revision"]
    assert_serves(broker, second)
    (broker.config_dir / "broker.yaml").unlink()


def test_the_configurations_folder_is_swapped(sims: Simulators, tmp_path: Path) -> None:
    """A deploy that points the link `current` at another release; then a folder that goes and comes back."""
    running = Broker(tmp_path, config(sims), with_ledger=True)
    releases = [tmp_path / "release-1", tmp_path / "release-2"]
    for number, release in enumerate(releases):
        release.mkdir()
        text = yaml.safe_dump(config(sims, limits={"concurrency": 10 + number}))
        (release / "broker.yaml").write_text(text)
    running.config_dir = tmp_path / "current"
    running.config_dir.symlink_to("release-1")
    with running:
        first = running.status()["revision"]
        (tmp_path / "next").symlink_to("release-2")
        (tmp_path / "next").replace(running.config_dir)
        second = running.wait_for(lambda s: s["serving"] == s["revision"] != first)["revision"]
        assert_serves(running, second)
        releases[1].rename(tmp_path / "away")
        assert running.wait_for(lambda s: s["error"])["serving"] == second
        (tmp_path / "away").rename(releases[1])
        running.wait_for(lambda s: not s["error"])
        (releases[1] / "broker.yaml").write_text(yaml.safe_dump(config(sims, limits={"concurrency": 99})))
        third = running.wait_for(lambda s: s["serving"] == s["revision"] != second)["revision"]
        assert_serves(running, third)


# -- what only Envoy finds


def with_ca(sims: Simulators, ca_file: Path) -> Config:
    """A configuration with a good pool, and one whose provider has a certificate authority of its own."""
    tls = provider("tls", sims["a"].port, "openai-chat") | {"ca_file": str(ca_file)}
    tls["base_url"] = tls["base_url"].replace("http:", "https:")
    good = config(sims)
    pools = [*good["pools"], {"name": "tls", "members": [{"provider": "tls", "model": "m"}]}]
    return good | {"providers": [*good["providers"], tls], "pools": pools}


def kill(broker: Broker, name: str) -> None:
    """SIGKILL, and wait until the supervisor has another one."""
    (pid,) = broker.child_pids(name)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and broker.child_pids(name) in ([pid], []):
        time.sleep(0.01)
    broker.wait_for(lambda s: s["in_effect"], timeout_s=30)


def test_envoy_refuses_and_the_last_good_one_stays(
    broker: Broker, sims: Simulators, revision: str, tmp_path: Path
) -> None:
    ca_file, before = tmp_path / "ca.pem", sum(broker.metrics("modelbroker_xds_nacks_total").values())
    broker.write(with_ca(sims, ca_file))
    status = broker.wait_for(lambda s: s["refused_by_envoy"])
    refusal = status["refused_by_envoy"]
    assert refusal["revision"] != revision
    assert str(ca_file) in refusal["error"]
    assert "provider/tls/" in status["error"]
    assert "Envoy refused" in broker.log()
    assert sum(broker.metrics("modelbroker_xds_nacks_total").values()) > before
    assert broker.wait_for(lambda s: s["in_effect"])["serving"] == revision
    assert_serves(broker, revision)

    kill(broker, "envoy")
    assert_serves(broker, revision)  # a fresh Envoy gets the last good one
    assert broker.status()["refused_by_envoy"] == refusal
    kill(broker, "serve")
    assert_serves(broker, revision)  # a fresh control plane tries again, and comes back to it
    broker.wait_for(lambda s: s["refused_by_envoy"] and s["serving"] == revision)

    trustme.CA().cert_pem.write_to_path(str(ca_file))  # mended without an edit
    status = broker.wait_for(lambda s: s["serving"] == refusal["revision"] and s["in_effect"])
    assert (status["refused_by_envoy"], status["error"]) == (None, None)
    assert_serves(broker, refusal["revision"])
    assert ask(broker, "tls").status == 503  # the simulator speaks no TLS: its member is there, and fails


def test_a_certificate_that_is_not_there(
    broker: Broker, sims: Simulators, revision: str, tmp_path: Path
) -> None:
    tls = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    broker.write(config(sims, listen={"tls": tls}))
    status = broker.wait_for(lambda s: s["refused_by_envoy"] and s["in_effect"])
    assert str(tmp_path) in status["error"]
    assert status["serving"] == revision
    assert_serves(broker, revision)
    broker.write(config(sims))
    status = broker.wait_for(lambda s: not s["error"])
    assert status["refused_by_envoy"] is None
    assert_serves(broker, revision)


def test_a_bad_edit_over_a_bad_edit(broker: Broker, sims: Simulators, revision: str, tmp_path: Path) -> None:
    """Each is refused on its own, and what is good in them comes later all the same."""
    for number in range(3):
        bad = with_ca(sims, tmp_path / f"{number}.pem")
        name = f"new-{number}"
        bad["pools"].append({"name": name, "members": [{"provider": "a", "model": name}]})
        broker.write(bad)
        broker.wait_for(
            lambda s, file=f"{number}.pem": s["refused_by_envoy"] and file in s["refused_by_envoy"]["error"]
        )
        assert_serves(broker, revision)
    bad["providers"].pop()
    bad["pools"].pop(1)
    mended = broker.edit(bad)
    got = ask(broker, "new-2")
    assert (got.status, got.headers["x-broker-revision"]) == (200, mended)


def test_a_first_start_with_a_part_that_envoy_refuses(sims: Simulators, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    with Broker(tmp_path, with_ca(sims, ca_file), may_be_refused=True) as running:
        status = running.wait_for(lambda s: s["refused_by_envoy"])
        assert str(ca_file) in status["error"]
        assert_serves(running, status["revision"])  # what is good is served
        assert not status["in_effect"]
        assert status["serving"] is None
        trustme.CA().cert_pem.write_to_path(str(ca_file))
        healed = running.wait_for(lambda s: s["serving"] == s["revision"])
        assert (healed["refused_by_envoy"], healed["error"]) == (None, None)
