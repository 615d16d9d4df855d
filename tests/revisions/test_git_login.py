"""Who git says it is to a server that asks, and who can see that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from modelbroker.core.catalog import SecretRef
from modelbroker.core.errors import Misconfigured
from modelbroker.revisions.git import GitAway, Repository
from modelbroker.revisions.git_login import Login, asked_url, environ_of, login_of
from modelbroker.revisions.place import place_of
from modelbroker.secrets.given import Unusable, reference_of
from support.repositories import GitHttp, GitServer

FILE = {"broker.yaml": "a: 1\n"}


@pytest.fixture
def server(tmp_path: Path) -> GitServer:
    (tmp_path / "server").mkdir()
    made = GitServer(tmp_path / "server")
    made.commit(FILE)
    return made


@pytest.fixture
def http(server: GitServer) -> Iterator[GitHttp]:
    running = GitHttp(server.bare.parent, "ada", "s3cret")
    yield running
    running.close()


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command lines of every git that runs, one JSON list each."""
    told, folder = tmp_path / "words", tmp_path / "bin"
    folder.mkdir()
    real = subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout.strip()
    note = f"import json,sys; open({str(told)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')"
    (folder / "git").write_text(f'#!/bin/sh\n"{sys.executable}" -c "{note}" "$@"\nexec "{real}" "$@"\n')
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return told


def repository(path: Path, http: GitHttp, who: str = "", credential: SecretRef | None = None) -> Repository:
    place = place_of(f"git+http://{who}127.0.0.1:{http.port}/config.git@main")
    assert place is not None
    return Repository(path / "git", place, credential=credential)


def test_a_password_in_the_url_is_on_no_command_line(tmp_path: Path, http: GitHttp, words: Path) -> None:
    fetched = repository(tmp_path, http, "ada:s3cret@").fetch()
    assert repository(tmp_path, http, "ada:s3cret@").texts(fetched.id) == FILE
    assert "ada:s3cret" in http.logins
    lines = [json.loads(line) for line in words.read_text().splitlines()]
    assert any("fetch" in line for line in lines)
    assert not any("ada" in word or "s3cret" in word for line in lines for word in line)


@pytest.mark.parametrize("who", ["ada:s3%63ret@", "ada@"])
def test_a_file_is_read_anew_at_each_fetch(tmp_path: Path, http: GitHttp, words: Path, who: str) -> None:
    file = tmp_path / "token"
    credential = None if ":" in who else SecretRef("file", str(file))
    file.write_text("s3cret\n")
    repo = repository(tmp_path, http, who, credential)
    repo.fetch()
    if credential is None:
        return
    http.password = "n3xt"
    with pytest.raises(GitAway, match="Authentication failed") as refused:
        repo.fetch()
    assert "s3cret" not in str(refused.value)
    file.write_text("n3xt\n")
    repo.fetch()
    assert {"ada:s3cret", "ada:n3xt"} <= set(http.logins)
    assert "s3cret" not in words.read_text() and "n3xt" not in words.read_text()


def test_a_token_needs_no_user(tmp_path: Path, http: GitHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    http.user = "x-access-token"
    monkeypatch.setenv("CONFIG_TOKEN", "s3cret")
    repository(tmp_path, http, credential=SecretRef("env", "CONFIG_TOKEN")).fetch()
    monkeypatch.delenv("CONFIG_TOKEN")
    with pytest.raises(GitAway, match="env:CONFIG_TOKEN: the environment has no such variable"):
        repository(tmp_path, http, credential=SecretRef("env", "CONFIG_TOKEN")).fetch()


@pytest.mark.parametrize(("version", "is_old"), [("2.30.2", True), ("1.99.9", True), ("2.31.0", False)])
def test_a_git_that_is_too_old_is_said(
    tmp_path: Path, http: GitHttp, words: Path, version: str, is_old: bool
) -> None:
    """It would ask the server as nobody."""
    program = words.parent / "bin" / "git"
    head, _, rest = program.read_text().partition("\n")
    case = f'case "$*" in *version) echo "git version {version}"; exit;; esac'
    program.write_text(f"{head}\n{case}\n{rest}")
    if is_old:
        with pytest.raises(
            Misconfigured, match=f"needs git 2.31 or newer, and here is git version {version}"
        ):
            repository(tmp_path, http, "ada:s3cret@").fetch()
        assert http.logins == []
    else:
        repository(tmp_path, http, "ada:s3cret@").fetch()


def test_what_is_given_comes_before_helpers(
    tmp_path: Path, http: GitHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the machine, whose word for this server may be another one."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "credential.helper")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "!echo username=eve; echo password=wrong; :")
    repository(tmp_path, http, "ada:s3cret@").fetch()
    assert "eve:wrong" not in http.logins
    with pytest.raises(GitAway):
        repository(tmp_path / "other", http).fetch()
    assert "eve:wrong" in http.logins  # where nothing is given, helpers are asked as always


@pytest.mark.parametrize(
    ("value", "why"),
    [(None, "No such file"), (b"  \n", "is empty"), (b"\xff", "not UTF-8"), (b"a\nb", "more than a line")],
)
def test_a_file_that_holds_none(tmp_path: Path, http: GitHttp, value: bytes | None, why: str) -> None:
    file = tmp_path / "token"
    if value is not None:
        file.write_bytes(value)
    with pytest.raises(GitAway, match=why):
        repository(tmp_path, http, credential=SecretRef("file", str(file))).fetch()
    assert http.logins == []


def test_a_line_break_in_the_url_says_nothing_more_to_helpers() -> None:
    with pytest.raises(Unusable, match="control characters") as wrong:
        login_of("https://ada:x%0Ahost=evil.example@h/r.git", None)
    assert "evil" not in str(wrong.value)


@pytest.mark.parametrize(
    ("url", "shown", "login"),
    [
        ("https://h/r.git", "https://h/r.git", Login()),
        ("https://ada@h:8443/r.git", "https://h:8443/r.git", Login("ada")),
        ("https://:s3cret@h/r", "https://h/r", Login("x-access-token", "s3cret")),
        ("https://ada:a%40b@[::1]:8443/r", "https://[::1]:8443/r", Login("ada", "a@b")),
        ("ssh://git@h/r.git", "ssh://git@h/r.git", Login()),
        ("ssh://git:pw@h/r.git", "ssh://git@h/r.git", Login()),
        ("file:///srv/r.git", "file:///srv/r.git", Login()),
        ("git://h/r.git", "git://h/r.git", Login()),
    ],
)
def test_urls(url: str, shown: str, login: Login) -> None:
    assert asked_url(url) == shown
    assert login_of(url, None) == login


def test_a_user_alone_is_told_to_helpers() -> None:
    found = environ_of("https://ada@h/r.git", Login("ada"), {"GIT_CONFIG_COUNT": "2"})
    assert found == {
        "GIT_CONFIG_COUNT": "3",
        "GIT_CONFIG_KEY_2": "credential.https://h.username",
        "GIT_CONFIG_VALUE_2": "ada",
    }


@pytest.mark.parametrize("text", ["", "ghp_abcdef", "env:", "env:A-B", "file:", "vault:x", "ENV:A"])
def test_what_is_no_reference_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="give env:NAME or file:PATH") as wrong:
        reference_of(text)
    assert "ghp" not in str(wrong.value)


@pytest.mark.parametrize("knows_who", [False, True])
def test_a_server_that_sends_on_to_another_takes_no_password_there(
    tmp_path: Path, http: GitHttp, monkeypatch: pytest.MonkeyPatch, knows_who: bool
) -> None:
    """Neither at once nor when it has heard it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if knows_who and not self.headers.get("authorization"):
                self.send_response(401)
                self.send_header("www-authenticate", 'Basic realm="repositories"')
            else:
                self.send_response(302)
                self.send_header("location", f"http://localhost:{http.port}{self.path}")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CONFIG_TOKEN", "s3cret")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as first:
        threading.Thread(target=first.serve_forever, daemon=True).start()
        place = place_of(f"git+http://ada@127.0.0.1:{first.server_address[1]}/config.git@main")
        assert place is not None
        with pytest.raises(GitAway) as refused:
            Repository(tmp_path / "git", place, credential=SecretRef("env", "CONFIG_TOKEN")).fetch()
        first.shutdown()
    assert set(http.logins) == {""} and "s3cret" not in str(refused.value)
