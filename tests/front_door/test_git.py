"""A configuration in git: commits go live by themselves, and no call fails of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.cli.status_table import lines
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.figures import enlarged
from support.load import Load, load
from support.repositories import GitDaemon, GitHttp, GitServer, allowed_signers, signed_with, ssh_key
from support.simulators import Simulators
from support.waiting import wait_until

FILE = "config/broker.yaml"
Start = Callable[..., Broker]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        yield simulators


@pytest.fixture
def server(tmp_path: Path) -> GitServer:
    (tmp_path / "server").mkdir()
    return GitServer(tmp_path / "server")


@pytest.fixture
def start(tmp_path: Path, server: GitServer) -> Iterator[Start]:
    """Starts the broker on the repository; `words` are further ones of the command line."""
    started: list[Broker] = []

    def run(*words: str, url: str = server.url) -> Broker:
        source = f"git+{url}@main#subdirectory=config"
        broker = Broker(tmp_path / "broker", {}, arguments=("--git-every", "0.2", *words), source=source)
        started.append(broker)
        broker.start()
        broker.wait_for(lambda s: s["in_effect"])
        return broker

    yield run
    for broker in started:
        broker.stop()


def text(sims: Simulators, member: str, **more: Any) -> str:
    config = {
        "providers": [provider(sim.name, sim.port, "openai-chat", "/v1") for sim in sims],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": member, "model": "m"}]}],
        "ledger": {"url": "none"},
        **more,
    }
    return yaml.safe_dump(config, sort_keys=False)


def serves(commit: str) -> Callable[[dict[str, Any]], bool]:
    def is_served(status: dict[str, Any]) -> bool:
        origin = status["origin"]
        return bool(origin) and origin["commit"] == commit and status["in_effect"]

    return is_served


def member(broker: Broker) -> str | None:
    (got,) = make(broker.url, [Ask("chat")])
    assert got.is_whole, str(got)
    return got.member


def test_a_commit_goes_live_and_a_bad_one_does_not(server: GitServer, sims: Simulators, start: Start) -> None:
    first = server.commit({FILE: text(sims, "a")}, "the first")
    broker = start()
    source = broker.wait_for(serves(first))["source"]
    assert source["source"] == f"git+{server.url}@main#subdirectory=config"
    assert (source["author"], source["subject"], source["error"]) == (
        "Ada <ada@example.com>",
        "the first",
        None,
    )
    assert member(broker) == "a/m"
    second = server.commit({FILE: text(sims, "b")}, "to b")
    broker.wait_for(serves(second))
    assert member(broker) == "b/m"
    bad = server.commit({FILE: text(sims, "c")}, "to nowhere")
    status = broker.wait_for(lambda s: s["source"]["commit"] == bad and s["error"])
    assert f"{FILE}:" in status["error"] and "pools[0].members[0].provider" in status["error"]
    assert member(broker) == "b/m"
    third = server.commit({FILE: text(sims, "a", limits={"concurrency": 99})}, "mended")
    broker.wait_for(lambda s: serves(third)(s) and s["error"] is None)
    assert member(broker) == "a/m"
    told = [
        sys.executable,
        "-m",
        "modelbroker.cli.main",
        "history",
        "--admin",
        broker.admin_url,
        "--format",
        "json",
    ]

    def commits() -> list[str]:
        said = subprocess.run(told, capture_output=True, check=True, timeout=60).stdout
        return [one["origin"]["commit"] for one in json.loads(said)["revisions"]]

    broker.wait_for(lambda _: commits() == [third, second, first])


def test_commits_under_load_fail_no_call(server: GitServer, sims: Simulators, start: Start) -> None:
    server.commit({FILE: text(sims, "a")})
    broker = start()

    async def run() -> Load:
        async with load(broker.url, [("chat", "openai-chat")], workers=4) as seen:
            for turn in range(6):
                commit = await asyncio.to_thread(server.commit, {FILE: text(sims, "ba"[turn % 2])})
                await asyncio.to_thread(broker.wait_for, serves(commit))
                await seen.reach(seen.calls + enlarged(20))
        return seen

    seen = asyncio.run(run())
    assert [str(got) for got in seen.bad] == []


def test_a_repository_that_is_away_is_needed_for_nothing_new(
    server: GitServer, sims: Simulators, start: Start
) -> None:
    commit = server.commit({FILE: text(sims, "a")})
    broker = start()
    away = server.bare.with_name("away.git")
    server.bare.rename(away)
    status = broker.wait_for(lambda s: s["source"]["error"])
    assert "does not appear to be a git repository" in status["source"]["error"]
    assert broker.metrics("modelbroker_config_source_up", labels=False) == {"": 0.0}
    told = "\n".join(lines(status, 0))
    assert f"source     away: {status['source']['error']}; what was fetched last goes on\n" in told
    assert member(broker) == "a/m"
    broker.stop()
    broker.start()  # with what was fetched last
    broker.wait_for(serves(commit))
    assert member(broker) == "a/m"
    away.rename(server.bare)
    other = server.commit({FILE: text(sims, "b")})
    broker.wait_for(lambda s: serves(other)(s) and s["source"]["error"] is None)
    assert member(broker) == "b/m"


def test_a_restart_on_a_bad_commit_serves_what_was_live(
    server: GitServer, sims: Simulators, start: Start
) -> None:
    """Also where the newest revision that was live is lost."""
    good = server.commit({FILE: text(sims, "a")})
    broker = start()
    broker.wait_for(serves(good))
    wait_until(lambda: broker.kept_revisions() == 1)
    better = server.commit({FILE: text(sims, "b")})
    broker.wait_for(serves(better))
    wait_until(lambda: broker.kept_revisions() == 2)
    bad = server.commit({FILE: "pools: [{name: x}]\n"}, "to nowhere")
    broker.wait_for(lambda s: s["source"]["commit"] == bad and s["error"])
    broker.stop()
    (newest,) = (broker.folder / "state" / "revisions").glob("000002-*")
    (newest / "0000.yaml").write_text("half a")
    broker.start()
    status = broker.wait_for(lambda s: s["in_effect"])
    assert f"{FILE}:1: pools[0].members: is missing" in status["error"]
    assert status["source"]["commit"] == bad and member(broker) == "a/m"
    mended = server.commit({FILE: text(sims, "b")}, "mended")
    broker.wait_for(lambda s: serves(mended)(s) and s["error"] is None)
    assert member(broker) == "b/m"


def test_a_server_that_says_nothing_holds_nobody_up(
    server: GitServer, sims: Simulators, start: Start
) -> None:
    daemon = GitDaemon(server.bare.parent)
    try:
        first = server.commit({FILE: text(sims, "a")})
        broker = start(url=f"git://127.0.0.1:{daemon.port}/{server.bare.name}")
        broker.wait_for(serves(first))
        daemon.is_silent = True
        wait_until(lambda: daemon.silent)
        assert member(broker) == "a/m" and broker.status()["in_effect"]
        assert broker.stop(timeout_s=50) == 0  # git alone would take longer
        assert broker.log().count("Traceback") == 0
        broker.start()  # with what was fetched last
        broker.wait_for(serves(first))
        assert member(broker) == "a/m"
        daemon.is_silent = False
        for one in daemon.silent:
            one.close()
        second = server.commit({FILE: text(sims, "b")})
        broker.wait_for(serves(second))
    finally:
        daemon.close()


def test_only_signed_commits_go_live(
    server: GitServer, sims: Simulators, start: Start, tmp_path: Path
) -> None:
    key = ssh_key(tmp_path, "mine")
    signers = allowed_signers(tmp_path, key)
    good = server.commit({FILE: text(sims, "a")}, "signed", *signed_with(key))
    broker = start("--git-signers", str(signers))
    broker.wait_for(serves(good))
    server.commit({FILE: text(sims, "b")}, "not signed")
    status = broker.wait_for(lambda s: s["source"]["error"])
    assert "allowed_signers has no signer of commit" in status["source"]["error"]
    assert status["source"]["commit"] == good and member(broker) == "a/m"
    again = server.commit({FILE: text(sims, "b", limits={"concurrency": 9})}, "signed", *signed_with(key))
    broker.wait_for(serves(again))
    assert member(broker) == "b/m"


def test_a_private_repository_by_a_token_in_a_file(
    server: GitServer, sims: Simulators, start: Start, tmp_path: Path
) -> None:
    """The server wants another one after a while; no process has either on its command line."""
    first = server.commit({FILE: text(sims, "a")})
    http, token = GitHttp(server.bare.parent, "deploy", "f1rst-token"), tmp_path / "token"
    token.write_text(http.password)
    try:
        url = f"http://deploy@127.0.0.1:{http.port}/config.git"
        broker = start("--git-credential", f"file:{token}", url=url)
        broker.wait_for(serves(first))
        assert member(broker) == "a/m"
        http.password = "s3cond-token"
        second = server.commit({FILE: text(sims, "b")})
        # A look that was under way, with the first token, may fail otherwise.
        broker.wait_for(lambda s: "Authentication failed" in (s["source"]["error"] or ""))
        assert member(broker) == "a/m"
        token.write_text(http.password)
        broker.wait_for(serves(second))
        assert member(broker) == "b/m" and not broker.status()["source"]["error"]
        assert {"deploy:f1rst-token", "deploy:s3cond-token"} <= set(http.logins)
        seen = [json.dumps(broker.status()), broker.log(), *command_lines()]
        assert any("serve" in one for one in seen) and not any(
            secret in one for secret in ("f1rst-token", "s3cond-token") for one in seen
        )
    finally:
        http.close()


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


@pytest.mark.parametrize(
    ("config", "credential", "wrong"),
    [
        ("config/", "env:T", "--git-credential is for a configuration in git"),
        (
            "git+ssh://git@h/r.git",
            "env:T",
            "is for repositories at https://…, and git+ssh://git@h/r.git is none",
        ),
        ("git+https://a:b@h/r.git", "env:T", "beside a password in the URL git+https://…@h/r.git"),
        ("git+https://h/r.git", "ghp_123", "give env:NAME or file:PATH, where it is to be found"),
    ],
)
def test_a_credential_that_is_of_no_use_is_refused(
    tmp_path: Path, config: str, credential: str, wrong: str
) -> None:
    told = [sys.executable, "-m", "modelbroker.cli.main", "up", "--state-dir", str(tmp_path / "state")]
    told += ["--config", config, "--git-credential", credential]
    done = subprocess.run(told, capture_output=True, text=True, timeout=60)
    assert done.returncode and wrong in done.stderr and "Traceback" not in done.stderr
    assert "ghp_123" not in done.stderr


def test_a_start_without_the_repository_says_why(tmp_path: Path, server: GitServer) -> None:
    told = [sys.executable, "-m", "modelbroker.cli.main", "up", "--state-dir", str(tmp_path / "state")]
    told += ["--config", f"git+{server.url}@nowhere"]
    done = subprocess.run(told, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"git+{server.url}@nowhere: can't be fetched: couldn't find remote ref nowhere" in done.stderr


def test_a_start_without_a_signed_commit_says_where_to_look(tmp_path: Path, server: GitServer) -> None:
    server.commit({FILE: "pools: []"}, "not signed")
    told = [sys.executable, "-m", "modelbroker.cli.main", "up", "--state-dir", str(tmp_path / "state")]
    told += ["--config", f"git+{server.url}", "--git-signers", str(tmp_path / "nobody")]
    done = subprocess.run(told, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "nobody, who may sign, can't be read; look at --git-signers" in done.stderr
    assert "ls-remote" not in done.stderr


def test_check_and_diff_read_repositories(server: GitServer, sims: Simulators) -> None:
    first = server.commit({FILE: text(sims, "a")})
    server.commit({FILE: text(sims, "b")})
    new, old = (f"git+{server.url}@{ref}#subdirectory=config" for ref in ("main", first))
    tool = [sys.executable, "-m", "modelbroker.cli.main"]
    done = subprocess.run([*tool, "check", "--no-envoy", new], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and f"{new}: good" in done.stdout, done.stderr
    done = subprocess.run(
        [*tool, "diff", "--exit-code", old, new], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stderr
    assert "a/m goes (had 100%)" in done.stdout and "b/m is new: 100%" in done.stdout
