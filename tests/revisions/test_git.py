"""Configurations in git, by the real program: what is read, and what is said where it can't be."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from modelbroker.core.errors import Misconfigured
from modelbroker.revisions.git import GitAway, Repository, Unsigned
from modelbroker.revisions.place import Place, place_of
from support.repositories import GitServer, allowed_signers, signed_with, ssh_key


@pytest.fixture
def server(tmp_path: Path) -> GitServer:
    (tmp_path / "server").mkdir()
    return GitServer(tmp_path / "server")


def repository(
    tmp_path: Path, server: GitServer, ref: str = "", folder: str = "config", **more: Path
) -> Repository:
    return Repository(tmp_path / "state" / "git", Place(server.url, ref, folder), **more)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("git+https://h/o/r.git", Place("https://h/o/r.git")),
        ("git+https://h/o/r.git@main#subdirectory=config", Place("https://h/o/r.git", "main", "config")),
        ("git+ssh://git@h/o/r.git@v1.2#subdirectory=a/b/", Place("ssh://git@h/o/r.git", "v1.2", "a/b")),
        ("git+https://u:p@h:8443/r@feature/x", Place("https://u:p@h:8443/r", "feature/x")),
        ("git+file:///srv/r.git", Place("file:///srv/r.git")),
        ("config/", None),
        ("gitlab.yaml", None),
    ],
)
def test_places(text: str, place: Place | None) -> None:
    assert place_of(text) == place
    if place is not None and "u:p" not in text:
        assert place_of(str(place)) == place


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("git+https://h/r.git#folder=x", "#folder=x means nothing"),
        ("git+https://h/r.git#subdirectory=a/../../b", "subdirectory=a/../../b"),
        ("git+https://h/r.git@", "'' is no branch"),
        ("git+https://h/r.git@--upload-pack=x", "is no branch"),
        ("git+https://h/r.git@a..b c", "is no branch"),
        ("git+ext::sh -c x", "is no repository"),
        ("git+https:///r.git", "is no repository"),
        ("git+/srv/r.git", "is no repository"),
        ("git+https://[h/r.git", "is no repository"),
        ("git+https://h/r.git@a\nb", "control characters"),
        ("git+https://h/r.git@a\0b", "control characters"),
    ],
)
def test_what_is_no_place_is_said(text: str, wrong: str) -> None:
    with pytest.raises(Misconfigured) as error:
        place_of(text)
    assert wrong in error.value.message
    assert "git+https://HOST/REPOSITORY.git@REF#subdirectory=FOLDER" in error.value.message


def test_the_newest_commit_is_read_as_a_folder_is(tmp_path: Path, server: GitServer) -> None:
    files = {"config/b.yml": "b: 1", "config/a.yaml": "a: ö", "config/.c.yaml": "c: 1"}
    first = server.commit(
        {**files, "config/deep/d.yaml": "d: 1", "other/e.yaml": "e: 1", "config/f.txt": "f"}
    )
    repo = repository(tmp_path, server)
    assert repo.kept() is None
    commit = repo.fetch()
    assert (commit.id, commit.author, commit.subject) == (first, "Ada <ada@example.com>", "a change")
    assert repo.texts(commit.id) == {"config/a.yaml": "a: ö", "config/b.yml": "b: 1"}
    second = server.commit({"config/a.yaml": "a: 2"}, "another")
    assert repo.kept() == commit  # over a restart, too, until it is fetched
    assert repo.fetch().id == second
    assert repo.texts(second)["config/a.yaml"] == "a: 2"
    assert Repository(tmp_path / "state" / "git", repo.place).kept() == repo.kept()


def test_branches_tags_commits_and_one_file(tmp_path: Path, server: GitServer) -> None:
    first = server.commit({"config/a.yaml": "a: 1"})
    server.git("tag", "-a", "v1", "-m", "one")
    server.git("push", "--quiet", str(server.bare), "v1")
    second = server.commit({"config/a.yaml": "a: 2"}, branch="next")
    for name, ref, expected in (
        ("t", "v1", first),
        ("b", "next", second),
        ("m", "main", first),
        ("c", first, first),
    ):
        repo = Repository(tmp_path / name, Place(server.url, ref, "config/a.yaml"))
        assert repo.fetch().id == expected
        assert list(repo.texts(expected)) == ["config/a.yaml"]


def test_history_that_was_written_anew_is_followed(tmp_path: Path, server: GitServer) -> None:
    server.commit({"config/a.yaml": "a: 1"})
    repo = repository(tmp_path, server)
    repo.fetch()
    server.git("commit", "--quiet", "--amend", "-m", "amended")
    newest = server.commit({"config/a.yaml": "a: 3"}, "on top of it")
    assert repo.fetch().id == newest
    assert repo.texts(repo.fetch().id) == {"config/a.yaml": "a: 3"}


def test_links_and_modules_are_not_followed(tmp_path: Path, server: GitServer) -> None:
    server.commit({"config/a.yaml": "a: 1"})
    (server.bare.parent / "clone" / "config" / "b.yaml").symlink_to("/etc/passwd")
    server.commit({})
    repo = repository(tmp_path, server)
    assert list(repo.texts(repo.fetch().id)) == ["config/a.yaml"]
    alone = repository(tmp_path, server, folder="config/b.yaml")
    with pytest.raises(GitAway, match="holds no"):
        alone.texts(alone.fetch().id)


def test_what_is_away_or_not_there_is_said(tmp_path: Path, server: GitServer) -> None:
    commit = server.commit({"config/a.yaml": "a: 1"})
    with pytest.raises(GitAway, match="couldn't find remote ref nowhere"):
        repository(tmp_path / "1", server, "nowhere").fetch()
    with pytest.raises(GitAway, match=r"remote ref \w{8}: a commit is named by its whole id"):
        repository(tmp_path / "1", server, commit[:8]).fetch()
    repo = repository(tmp_path / "2", server, folder="elsewhere")
    repo.fetch()
    with pytest.raises(GitAway, match=r"elsewhere of .* holds no \*\.yaml"):
        repo.texts(commit)
    server.bare.rename(server.bare.with_name("gone.git"))
    with pytest.raises(GitAway, match="does not appear to be a git repository"):
        repo.fetch()
    assert repo.kept() is not None


def test_a_password_in_the_url_is_never_said(tmp_path: Path) -> None:
    place = place_of("git+http://ada:hunter2@127.0.0.1:1/r.git")
    assert place is not None and "hunter2" not in str(place)
    with pytest.raises(GitAway) as error:
        Repository(tmp_path / "git", place).fetch()
    assert "hunter2" not in str(error.value) and "127.0.0.1" in str(error.value)
    with pytest.raises(Misconfigured) as wrong:
        place_of("git+https://ada:hunter2@h/r.git#folder=x")
    assert "hunter2" not in wrong.value.message
    place = place_of("git+ssh://git:hunter2@h/r.git")
    assert str(place) == "git+ssh://git@h/r.git"


def test_a_user_of_ssh_is_no_secret(tmp_path: Path) -> None:
    place = place_of("git+ssh://git@127.0.0.1:1/r.git")
    assert place is not None
    with pytest.raises(GitAway) as error:
        Repository(tmp_path / "git", place).fetch()
    assert "…" not in str(error.value)


# -- what others do to it


def test_many_files_of_any_name(tmp_path: Path, server: GitServer) -> None:
    names = ["config/-x.yaml", "config/a b\n.yaml", *(f"config/{number:04d}.yml" for number in range(500))]
    commit = server.commit({name: f"name: {number}\n\n" for number, name in enumerate(names)})
    repo = repository(tmp_path, server)
    texts = repo.texts(repo.fetch().id)
    assert texts == {name: f"name: {number}\n\n" for number, name in enumerate(names)}
    dash = repository(tmp_path, server, folder="-x")
    with pytest.raises(GitAway, match=r"-x of .* holds no"):
        dash.texts(commit)


def test_what_is_too_large_is_not_read(tmp_path: Path, server: GitServer) -> None:
    repo = repository(tmp_path, server)
    server.commit({"config/a.yaml": "a: 1", "config/b.yaml": "#" * (65 << 20)})
    commit = repo.fetch()
    with pytest.raises(GitAway, match=r"over 64 MiB together; the largest is config/b\.yaml"):
        repo.texts(commit.id)


def test_who_writes_a_commit_writes_no_terminal(
    tmp_path: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "log.showSignature")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    server.commit({"config/a.yaml": "a: 1"})
    who = "--author=A\x0cd\u2028a\x1b[31m <ada@example.com>"
    server.git("commit", "--quiet", "--amend", who, "-m", "a\x1b[2J change")
    newest = server.commit({}, "on \x1b]0;top")
    commit = repository(tmp_path, server, newest).fetch()
    assert (commit.id, commit.subject) == (newest, "on �]0;top")
    before = repository(tmp_path / "2", server, server.git("rev-parse", "HEAD~1").strip()).fetch()
    assert (before.author, before.subject) == ("A�d�a�[31m <ada@example.com>", "a�[2J change")


def test_a_commit_that_looks_like_an_option_is_none(
    tmp_path: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(server.bare.parent / "clone")
    server.commit({"config/a.yaml": "a: 1"})
    with pytest.raises(GitAway, match="nowhere is no branch, tag or commit of this repository"):
        Repository.here("nowhere", "config").fetch()
    with pytest.raises(GitAway):
        Repository.here(f"--output={tmp_path / 'x'}", "config").fetch()
    assert list(tmp_path.glob("x*")) == []


def test_another_place_in_the_same_folder_is_another_one(tmp_path: Path, server: GitServer) -> None:
    server.commit({"config/a.yaml": "a: 1"})
    server.commit({"config/a.yaml": "a: 2"}, branch="next")
    path = tmp_path / "git"
    commit = Repository(path, Place(server.url, "main", "config")).fetch()
    assert Repository(path, Place(server.url, "next", "config")).kept() is None
    assert Repository(path, Place("file:///srv/other.git", "main", "config")).kept() is None
    assert Repository(path, Place(server.url, "main", "config")).kept() == commit


def test_lock_files_of_a_git_that_was_killed(tmp_path: Path, server: GitServer) -> None:
    server.commit({"config/a.yaml": "a: 1"})
    repository(tmp_path, server).fetch()
    newest = server.commit({"config/a.yaml": "a: 2"})
    repo = repository(tmp_path, server)
    lock = tmp_path / "state" / "git" / "shallow.lock"
    lock.touch()
    with pytest.raises(GitAway):
        repo.fetch()  # somebody may be at it just now
    os.utime(lock, (time.time() - 3600,) * 2)
    assert repo.fetch().id == newest


def test_what_the_disk_lost_is_fetched_anew(tmp_path: Path, server: GitServer) -> None:
    commit = server.commit({"config/a.yaml": "a: 1"})
    repository(tmp_path, server).fetch()
    for file in (tmp_path / "state" / "git" / "objects").glob("??/*"):
        file.chmod(0o600)
        file.write_bytes(b"")
    repo = repository(tmp_path, server)
    assert repo.kept() is None
    assert repo.texts(repo.fetch().id) == {"config/a.yaml": "a: 1"}
    assert repository(tmp_path, server).kept() == repo.kept() and commit == repo.fetch().id


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_fetch_that_is_stopped_ends_at_once(tmp_path: Path, silent: int) -> None:
    repo = Repository(tmp_path / "git", Place(f"git://127.0.0.1:{silent}/r.git"))
    errors: list[Exception] = []

    def fetch() -> None:
        with contextlib.suppress(Misconfigured):
            try:
                repo.fetch()
            except GitAway as error:
                errors.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    repo.stop()
    thread.join(30)
    assert not thread.is_alive() and errors
    assert list((tmp_path / "git").rglob("*.lock")) == []
    with pytest.raises(GitAway, match="the broker ends"):
        repo.fetch()


# -- signatures


def test_commits_have_to_be_signed_by_those_who_may(tmp_path: Path, server: GitServer) -> None:
    mine, foreign = ssh_key(tmp_path, "mine"), ssh_key(tmp_path, "foreign")
    signers = allowed_signers(tmp_path, mine)
    good = server.commit({"config/a.yaml": "a: 1"}, "signed", *signed_with(mine))
    repo = repository(tmp_path, server, signers=signers)
    assert repo.fetch().id == good
    for options in ((), signed_with(foreign)):
        server.commit({"config/a.yaml": f"a: {len(options)}x"}, "not by me", *options)
        with pytest.raises(Unsigned, match="allowed_signers has no signer of commit"):
            repo.fetch()
        kept = repo.kept()
        assert kept is not None and kept.id == good
    again = server.commit({"config/a.yaml": "a: 5"}, "signed again", *signed_with(mine))
    assert repo.fetch().id == again


def test_signers_may_have_openpgp_keys(
    tmp_path: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    make = [
        "gpg",
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--quick-gen-key",
        "Ada <ada@example.com>",
        "ed25519",
    ]
    subprocess.run(make, check=True, capture_output=True)
    armored = subprocess.run(["gpg", "--armor", "--export"], check=True, capture_output=True).stdout
    signers = tmp_path / "signers.asc"
    signers.write_bytes(armored)
    good = server.commit({"config/a.yaml": "a: 1"}, "signed", "-c", "user.signingkey=ada@example.com")
    repo = repository(tmp_path, server, signers=signers)
    assert repo.fetch().id == good
    server.commit({"config/a.yaml": "a: 2"})
    with pytest.raises(Unsigned):
        repo.fetch()
    subprocess.run(["gpgconf", "--kill", "all"], check=False, capture_output=True)


def test_what_was_kept_has_to_be_signed_too(tmp_path: Path, server: GitServer) -> None:
    """By those who may sign now: before a restart there may have been none, or others."""
    mine, foreign = ssh_key(tmp_path, "mine"), ssh_key(tmp_path, "foreign")
    commit = server.commit({"config/a.yaml": "a: 1"}, "signed", *signed_with(mine))
    repository(tmp_path, server).fetch()
    kept = repository(tmp_path, server, signers=allowed_signers(tmp_path, mine)).kept()
    assert kept is not None and kept.id == commit
    assert repository(tmp_path, server, signers=allowed_signers(tmp_path, foreign)).kept() is None


def test_signers_that_can_not_be_read_sign_nothing(tmp_path: Path, server: GitServer) -> None:
    server.commit({"config/a.yaml": "a: 1"})
    with pytest.raises(Unsigned, match="can't be read"):
        repository(tmp_path, server, signers=tmp_path / "nobody").fetch()
