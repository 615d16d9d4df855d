"""Keys of providers and callers in files, such as mounted secrets: rotated under load, as those in stores."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import KEY, Broker, provider
from support.rotation import asked, came_with, rotated
from support.shown import everything_shown
from support.simulators import Simulators
from support.waiting import wait_until

KEYS = [f"sk-canary-{number}" for number in range(5)]


@pytest.fixture(scope="module")
def all_sims() -> Iterator[Simulators]:
    with Simulators("main") as simulators:
        yield simulators


@pytest.fixture
def sims(all_sims: Simulators) -> Simulators:
    all_sims.reset()
    all_sims["main"].script(keys=KEYS[:1])
    return all_sims


class Mount:
    """A secret as the kubelet mounts it: `key` leads to `..data/key`, and `..data` to the folder of one
    version. A new version is another folder, and `..data` is swapped at once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        folder.mkdir()
        self.path = folder / "key"
        self.path.symlink_to(Path("..data", "key"))

    def put(self, value: str) -> None:
        self._number += 1
        old, new = (self._folder / f"..2026_{number}" for number in (self._number - 1, self._number))
        new.mkdir()
        (new / "key").write_text(value)
        fresh = self._folder / "..data_tmp"
        fresh.symlink_to(new.name)
        fresh.replace(self._folder / "..data")
        shutil.rmtree(old, ignore_errors=True)


def replaced(path: Path) -> Callable[[str], None]:
    def put(value: str) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(value)
        fresh.replace(path)

    return put


def config(sims: Simulators, provider_key: Path, caller_key: Path, **times: str) -> dict[str, Any]:
    main = provider("main", sims["main"].port, "openai-chat", "/v1")
    return {
        "secrets": times,
        "providers": [{**main, "credential": {"file": str(provider_key)}}],
        "callers": [{"name": "tester", "key": {"file": str(caller_key)}}],
        "pools": [{"name": "chat", "members": [{"provider": "main", "model": "m"}]}],
    }


@pytest.mark.parametrize("kind", ["replaced", "written anew", "mounted"])
def test_rotations_under_load_fail_no_call(kind: str, sims: Simulators, tmp_path: Path) -> None:
    path, callers = tmp_path / "key-of-main", tmp_path / "key-of-tester"
    callers.write_text(KEY)
    put: Callable[[str], Any] = path.write_text  # empty for a moment each time
    if kind == "replaced":
        put = replaced(path)
    elif kind == "mounted":
        mount = Mount(tmp_path / "mount")
        path, put = mount.path, mount.put
    put(KEYS[0])
    (tmp_path / "broker").mkdir()
    with Broker(tmp_path / "broker", config(sims, path, callers)) as broker:
        done = rotated(broker, sims, KEYS, put)
        assert not done.bad, done.told(0)
        (main,) = [one for one in broker.status()["secrets"] if one["secret"] == f"file:{path}"]
        assert (main["state"], main["failures"]) == ("good", 0)
        shown = everything_shown(broker)
        for secret in (*KEYS, KEY):
            assert [place for place, text in shown.items() if secret in text] == []


def test_a_callers_key_that_was_replaced_is_good_for_the_overlap(sims: Simulators, tmp_path: Path) -> None:
    path, mount = tmp_path / "key-of-main", Mount(tmp_path / "mount")
    path.write_text(KEYS[0])
    mount.put(KEY)
    with Broker(tmp_path, config(sims, path, mount.path, overlap="1h")) as broker:
        assert asked(broker).status == 200
        mount.put("mb-the-next")
        wait_until(lambda: asked(broker, "mb-the-next").status == 200)
        assert asked(broker).status == 200
        broker.edit(config(sims, path, mount.path, overlap="2s"))
        mount.put("mb-the-last")
        wait_until(lambda: asked(broker, "mb-the-last").status == 200)
        wait_until(lambda: asked(broker, "mb-the-next").status == 401)
        assert asked(broker).status == 401  # two are good at most
        assert asked(broker, "mb-the-last").status == 200


def test_a_key_is_rotated_beside_edits_that_are_refused(sims: Simulators, tmp_path: Path) -> None:
    path, callers = tmp_path / "key-of-main", tmp_path / "key-of-tester"
    path.write_text(KEYS[0])
    callers.write_text(KEY)
    sims["main"].script(keys=KEYS[:3])
    good = config(sims, path, callers)
    with Broker(tmp_path, good, may_be_refused=True) as broker:
        broker.write("pools: 7")
        broker.wait_for(lambda status: status["error"])
        replaced(path)(KEYS[1])
        wait_until(lambda: asked(broker).status == 200 and came_with(sims, KEYS[1]))
        assert "pools" in broker.status()["error"]
        # One that Envoy refuses.
        tls = {**good["providers"][0], "name": "tls", "base_url": "https://127.0.0.1:9/v1"}
        tls["ca_file"] = str(tmp_path / "none.pem")
        members = [{"provider": "tls", "model": "m"}]
        pools = [*good["pools"], {"name": "tls", "members": members}]
        broker.write({**good, "providers": [*good["providers"], tls], "pools": pools})
        broker.wait_for(lambda status: status["refused_by_envoy"] and status["in_effect"])
        replaced(path)(KEYS[2])
        wait_until(lambda: asked(broker).status == 200 and came_with(sims, KEYS[2]))
        broker.wait_for(lambda status: "none.pem" in (status["error"] or ""))  # Envoy says it once more
