"""Who may command a broker: by the commands that people run, and by what an agent beside it could send."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, for_the_product, provider
from support.simulators import Simulators
from support.waiting import wait_until

ANAS = "the-token-of-ana-for-commands"


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("main") as running:
        yield running


def config(sims: Simulators, model: str, **more: Any) -> dict[str, Any]:
    return {
        "providers": [provider("main", sims["main"].port, "openai-chat", "/v1")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "pool", "members": [{"provider": "main", "model": model}]}],
        **more,
    }


def run(broker: Broker, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelbroker.cli.main", *words, "--admin", broker.admin_url]
    return subprocess.run(
        command, env={**for_the_product(os.environ), **environ}, capture_output=True, text=True, timeout=60
    )


def posted(broker: Broker, path: str, headers: dict[str, str]) -> tuple[int, str, str]:
    """(status, what to show, what it says)."""
    where = urllib.parse.urlsplit(broker.admin_url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
    try:
        connection.request("POST", path, b"", headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("www-authenticate") or "", answer.read().decode()
    finally:
        connection.close()


def asked(broker: Broker, path: str, headers: dict[str, str]) -> int:
    where = urllib.parse.urlsplit(broker.admin_url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def said_to(broker: Broker, path: str, token: str = "") -> int:
    """The status that a command gets which `curl` sends."""
    return posted(broker, path, {"authorization": f"Bearer {token}"} if token else {})[0]


def told(broker: Broker, act: str) -> list[tuple[str, str]]:
    """(actor, user) of the acts of this kind."""
    lines = (broker.folder / "state" / "acts.jsonl").read_text().splitlines()
    return [(one["actor"], one["user"]) for line in lines if (one := json.loads(line))["act"] == act]


def test_commands_need_a_token_where_it_says_so(tmp_path: Path, sims: Simulators) -> None:
    admin = {"commands": "token", "users": [{"name": "ana", "token": {"env": "TOKEN_OF_ANA"}}]}
    state = tmp_path / "state"
    broker = Broker(
        tmp_path,
        config(sims, "a", admin=admin),
        environ={"TOKEN_OF_ANA": ANAS},
        arguments=("--state-dir", str(state)),
    )
    with broker:
        first = broker.wait_for(lambda s: s["in_effect"])["serving"]
        second = broker.edit(config(sims, "b", admin=admin))
        # What an agent beside it can do: ask, and no more.
        for path in (
            "/rollback",
            "/rollback/release",
            "/forget",
            "/rollouts?rollout=x&do=promote",
            "/nothing",
        ):
            status, shows, said = posted(broker, path, {})
            assert (status, shows) == (401, "Bearer") and "a command needs a token here" in said
            assert posted(broker, path, {"authorization": "Bearer no-such-token"})[0] == 401
        for words in (("rollback",), ("forget",), ("rollout", "pause", "x")):
            done = run(broker, *words)
            assert done.returncode and f"--token file:{state}/admin-token, or of one of ana" in done.stderr
            assert "Traceback" not in done.stderr
        # Of many so many are told.
        wait_until(lambda: told(broker, "command.refused") == [("command", "")] * 10)
        assert broker.status()["serving"] == second and run(broker, "status").returncode == 0
        # Nor does a page whose name was made to lead here read anything.
        for host, code in (("evil.example", 403), ("localhost", 200)):
            assert asked(broker, "/status", {"host": host}) == code
        # Who has one.
        done = run(broker, "rollback", "--token", "env:MINE", MINE=ANAS)
        assert done.returncode == 0 and f"{first} is in effect" in done.stdout, done.stderr
        done = run(broker, "rollback", "--release", "--token", f"file:{state / 'admin-token'}")
        assert done.returncode == 0 and f"{second} is in effect" in done.stdout, done.stderr
        assert run(broker, "forget", MODELBROKER_ADMIN_TOKEN=ANAS).returncode == 0
        # The token says who it was, whatever a command says of itself.
        for act in ("config.rolled-back", "members.forgotten"):
            wait_until(lambda act=act: ("token", "ana") in told(broker, act))
            assert len(told(broker, act)) == 1
        assert ANAS not in broker.log() and ANAS not in json.dumps(broker.status())
        # It is a setting as any other: an edit takes it away.
        broker.edit(config(sims, "b"))
        assert run(broker, "forget").returncode == 0


def test_who_proved_who_he_is_and_who_only_says_so_are_told_apart(tmp_path: Path, sims: Simulators) -> None:
    admin = {"users": [{"name": "ana", "token": {"env": "TOKEN_OF_ANA"}}]}
    own = tmp_path / "state" / "admin-token"
    more = {"admin": admin, "audit": {}}
    claims = "by=ana&actor=token&user=ana&by=ana"
    broker = Broker(tmp_path, config(sims, "a", **more), environ={"TOKEN_OF_ANA": ANAS})
    with broker:
        first = broker.wait_for(lambda s: s["in_effect"])["serving"]
        second = broker.edit(config(sims, "b", **more))

        def lived(count: int) -> list[dict[str, Any]]:
            """Whose command brought each revision, the newest first. It is kept a moment later."""
            shown: list[dict[str, Any]] = []

            def is_kept() -> bool:
                shown[:] = json.loads(run(broker, "history", "--format", "json").stdout)["revisions"]
                return len(shown) == count

            wait_until(is_kept)
            return shown

        lived(2)
        # Who says that he is ana; who shows the folder's token and says so; ana.
        for count, (path, token) in enumerate(
            (
                (f"/rollback?{claims}", ""),
                (f"/rollback/release?{claims}", own.read_text().strip()),
                ("/rollback?by=rob&actor=command", ANAS),
                ("/rollback/release?by=rob", ANAS),
                (f"/rollback?hold=1&{claims}", ANAS),
            ),
            3,
        ):
            assert said_to(broker, path, token) == 200
            lived(count)
        whose = [(one["why"], one["actor"], one["by"]) for one in lived(7)]
        assert whose == [
            ("rollback", "token", "ana"),
            ("release", "token", "ana"),
            ("rollback", "token", "ana"),
            ("release", "command", "ana"),
            ("rollback", "command", "ana"),
            ("edit", "", ""),
            ("start", "", ""),
        ]
        *table, sentence = run(broker, "history").stdout.splitlines()
        assert sum(" ana (token)" in line for line in table) == 3
        assert sum(" ana (command)" in line for line in table) == 2
        assert sentence.startswith(f"rolled back to {first} by ana (token), ")
        for token in ("", own.read_text().strip(), ANAS):
            assert said_to(broker, f"/forget?{claims}", token) == 200
        assert broker.status()["rollback"]["actor"] == "token"
        assert f"ana (token) rolls back from {second} to {first}" in broker.log()
        # A restart tells again what is in effect, and by whom.
        broker.stop()
        broker.start()
        broker.wait_for(lambda s: s["in_effect"] and s["serving"] == first)
        wait_until(lambda: len(told(broker, "config.rolled-back")) == 4)
        assert told(broker, "config.rolled-back") == [("command", "ana"), *[("token", "ana")] * 3]
        assert told(broker, "config.loaded")[2:] == [("command", "ana"), ("token", "ana")]
        assert told(broker, "members.forgotten") == [*[("command", "ana")] * 2, ("token", "ana")]
        assert len(lived(7)) == 7

        def proven() -> list[str]:
            words = ("audit", "query", "--state-dir", str(tmp_path / "state"))
            command = [sys.executable, "-m", "modelbroker.cli.main", *words, "--actor", "token"]
            shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
            return [line.split()[1] for line in shown.splitlines() if " ana (token) " in line]

        wait_until(lambda: len(proven()) == 5)
        assert sorted(set(proven())) == ["config.loaded", "config.rolled-back", "members.forgotten"]


def test_what_a_proxy_on_this_machine_brings_is_from_elsewhere(tmp_path: Path, sims: Simulators) -> None:
    admin = {"users": [{"name": "zoe", "token": {"env": "TOKEN_OF_ZOE"}}]}
    token = "zoë-has-a-token-of-her-own"
    with Broker(tmp_path, config(sims, "a", admin=admin), environ={"TOKEN_OF_ZOE": token}) as broker:
        broker.wait_for(lambda s: s["in_effect"])
        assert posted(broker, "/forget", {})[0] == 200
        for name, value in {
            "X-Forwarded-For": "10.1.2.3",
            "Forwarded": "for=10.1.2.3",
            "Via": "1.1 p",
        }.items():
            status, _, said = posted(broker, "/forget", {name: value})
            assert status == 401 and f"({name.lower()}) a command needs a token" in said
            shown = {"authorization": f"Bearer {token}".encode(), name: value}
            assert posted(broker, "/forget", shown)[0] == 200  # type: ignore[arg-type]
        # By the command, too, in any letters.
        assert run(broker, "forget", MODELBROKER_ADMIN_TOKEN=token).returncode == 0
        wait_until(lambda: ("token", "zoe") in told(broker, "members.forgotten"))
        assert token not in broker.log()


@pytest.mark.parametrize(
    ("token", "wrong"),
    [
        ("s3cret-itself", "give env:NAME or file:PATH"),
        ("env:NOT_THERE", "--token env:NOT_THERE: the environment has no such variable"),
        ("file:/nowhere/token", "--token file:/nowhere/token can't be read: No such file or directory"),
    ],
)
def test_a_token_that_is_none_is_said(token: str, wrong: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modelbroker.cli.main", "rollback", "--token", token],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode and wrong in done.stderr
    assert "s3cret" not in done.stderr and "Traceback" not in done.stderr
