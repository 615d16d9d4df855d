"""`modelbroker eval` of configurations whose secrets are kept in files and in a store."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.traffic.stores import open_store
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.simulators import Simulators
from support.vault import SimulatedVault, Token
from support.waiting import wait_until

RUN_S = 150
TOKEN, STORED, MOUNTED = "hvs.canary-token", "sk-canary-stored", "sk-canary-mounted"


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("stored", "mounted") as simulators:
        yield simulators


@pytest.fixture
def vault(sims: Simulators) -> Iterator[SimulatedVault]:
    made = SimulatedVault(tokens={TOKEN: Token()})
    made.put("llm/stored", key=STORED, note="the main account")
    made.put("db/ledger", url="sqlite:///state/own.db")
    sims.reset()
    for name, key in (("stored", STORED), ("mounted", MOUNTED)):
        sims[name].script(keys=[key], replies=[{"text": "4"}])
    yield made
    made.close()


class Place:
    """A folder with a configuration, whose paths are relative as a user's are, and a suite."""

    def __init__(self, folder: Path, vault: SimulatedVault, sims: Simulators) -> None:
        self.folder = folder
        (folder / "run").mkdir()
        (folder / "state").mkdir()
        (folder / "run" / "key").write_text(f"{MOUNTED}\n")
        refs = {"stored": {"vault": "llm/stored", "field": "key"}, "mounted": {"file": "run/key"}}
        store = {"name": "vault", "vault": {"address": vault.url, "auth": {"token": {"env": "VAULT"}}}}
        config = {
            "secrets": {"stores": [store], "refresh": "1s"},
            "providers": [
                {**provider(name, sims[name].port, "openai-chat", "/v1"), "credential": ref}
                for name, ref in refs.items()
            ],
            "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
            "pools": [{"name": "chat", "members": [{"provider": "stored", "model": "m"}]}],
            "prices": [{"provider": name, "model": "*", "input": 1, "output": 10} for name in refs],
            "ledger": {"url": {"vault": "db/ledger"}},
        }
        self.write("broker.yaml", config)
        self.write("other.yaml", {**config, "rules": [{"match": {}, "pool": "chat"}]})
        cases = [
            {"id": f"q{n}", "expected": "4", "request": {"model": "chat", "messages": said(f"2 + 2 ({n})?")}}
            for n in range(4)
        ]
        (folder / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
        self.write(
            "suite.yaml",
            {
                "name": "sums",
                "config": "broker.yaml",
                "data": {"file": "cases.jsonl"},
                "candidates": [
                    {"name": "pool", "pool": "chat"},
                    {"name": "member", "provider": "mounted", "model": "m"},
                    {"name": "whole", "config": "other.yaml"},
                ],
                "scorers": [{"kind": "exact"}],
                "stop": {"decided": False},
            },
        )

    def write(self, name: str, tree: Mapping[str, Any]) -> None:
        (self.folder / name).write_text(yaml.safe_dump(dict(tree)))

    def told(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "modelbroker.cli.main", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "VAULT": TOKEN, "XDG_STATE_HOME": str(self.folder / "home")},
            timeout=RUN_S,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout, done.stderr

    def eval(self, code: int = 0) -> tuple[str, str]:
        return self.told("eval", "run", "suite.yaml", "--format", "json", "--state-dir", "state", code=code)


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_candidates_are_asked_with_keys_from_a_store_and_a_file(
    vault: SimulatedVault, sims: Simulators, tmp_path: Path
) -> None:
    place = Place(tmp_path, vault, sims)
    report = json.loads(place.eval()[0])
    assert report["ended"] == "through"
    for one in report["candidates"]:
        assert (one["n"], one["quality"]["value"]) == (4, 1.0), one
    assert len(sims["stored"].calls()) == 8 and len(sims["mounted"].calls()) == 4
    # The URL of the ledger that has it is in the store as well.
    with sqlite3.connect(tmp_path / "state" / "own.db") as ledger:
        assert ledger.execute("select count(*) from calls where purpose = 'eval'").fetchone() == (12,)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path != tmp_path / "run" / "key":
            held = path.read_bytes()
            assert [key for key in (TOKEN, STORED, MOUNTED) if key.encode() in held] == [], path


def test_a_candidate_without_a_key_is_told_before_anything_is_asked(
    vault: SimulatedVault, sims: Simulators, tmp_path: Path
) -> None:
    place = Place(tmp_path, vault, sims)
    vault.state = "sealed"
    output, errors = place.eval(code=1)
    assert not output and "Traceback" not in errors
    why = "stored/m: vault: it is sealed"
    told = {f"candidate {name} can't be asked: {why}" in errors for name in ("pool", "whole")}
    assert True in told, errors
    assert not sims["stored"].calls() and not sims["mounted"].calls()
    # A pool that lacks some of its members is asked all the same.
    tree = yaml.safe_load((tmp_path / "broker.yaml").read_text())
    tree["pools"][0]["members"].append({"provider": "mounted", "model": "m"})
    place.write("broker.yaml", tree)
    place.write("other.yaml", tree)
    # The same command goes on with it, once the store does.
    output, errors = place.eval()
    assert json.loads(output)["ended"] == "through"
    assert f"warning: candidate pool is asked without some of its members: {why}" in errors
    assert f"warning: candidate whole is asked without some of its members: {why}" in errors
    assert not sims["stored"].calls() and len(sims["mounted"].calls()) == 12
    assert len(list((tmp_path / "home" / "modelbroker" / "evals").iterdir())) == 1


def test_captured_traffic_whose_key_is_in_a_store(
    vault: SimulatedVault, sims: Simulators, tmp_path: Path
) -> None:
    vault.put("capture/key", key=base64.b64encode(bytes(range(32))).decode())
    place = Place(tmp_path, vault, sims)
    tree = yaml.safe_load((tmp_path / "broker.yaml").read_text())
    tree["providers"][1]["credential"] = {"file": str(tmp_path / "run" / "key")}
    tree["capture"] = {
        "rules": [{"match": {}, "pools": "*"}],
        "encryption": {"key": {"vault": "capture/key"}},
    }
    asked = [Ask("chat", "openai-chat", False, f"2 + 2 ({n})?") for n in range(4)]
    place.write("broker.yaml", tree)
    (tmp_path / "broker").mkdir()
    # A relative path of a database would begin at this process's own folder.
    alone = {**tree, "ledger": {"url": "none"}}
    with Broker(tmp_path / "broker", alone, environ={"VAULT": TOKEN}) as broker:
        assert all(got.is_whole for got in make(broker.url, asked))
        database = tmp_path / "broker" / "state" / "traffic.db"

        def captured() -> int:
            if not database.exists():
                return 0
            with open_store(f"sqlite:///{database}") as store:
                return store.stats().samples

        wait_until(lambda: captured() == len(asked))
    suite = yaml.safe_load((tmp_path / "suite.yaml").read_text())
    suite |= {"data": {"traffic": {"since": "1h"}}, "scorers": [{"kind": "similarity"}]}
    place.write("suite.yaml", {**suite, "candidates": suite["candidates"][:2]})
    shutil.rmtree(tmp_path / "state")
    shutil.move(tmp_path / "broker" / "state", tmp_path / "state")
    report = json.loads(place.eval()[0])
    assert [(one["n"], one["quality"]["value"]) for one in report["candidates"]] == [(4, 1.0)] * 2
