"""Configurations in git, by the real program: what is read, and what is said where it can't be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from modelbroker.core.errors import Misconfigured
from modelbroker.revisions.git import GitAway, Place, Repository, Unsigned, place_of
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


def test_what_is_away_or_not_there_is_said(tmp_path: Path, server: GitServer) -> None:
    commit = server.commit({"config/a.yaml": "a: 1"})
    with pytest.raises(GitAway, match="couldn't find remote ref nowhere"):
        repository(tmp_path / "1", server, "nowhere").fetch()
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


def test_signers_that_can_not_be_read_sign_nothing(tmp_path: Path, server: GitServer) -> None:
    server.commit({"config/a.yaml": "a: 1"})
    with pytest.raises(Unsigned, match="can't be read"):
        repository(tmp_path, server, signers=tmp_path / "nobody").fetch()
