"""A configuration in a git repository: one commit of it, fetched, verified and read without a working tree.

`git` itself does it (the program), with the credentials that it finds as always: helpers, `.netrc`, SSH keys.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit, urlunsplit

from ..core.errors import Misconfigured

PREFIX = "git+"
TIMEOUT_S = 60.0
_HEAD = "refs/modelbroker/head"
_SUFFIXES = (".yaml", ".yml")
_MOST_BYTES = 64 << 20
_SCHEMES = ("https", "http", "ssh", "git", "file")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# Hooks and helpers of a foreign repository are never run; nothing asks a person.
_OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "gc.auto=0")
_PGP = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_FORMAT = "%H%n%an%n%ae%n%ct%n%s"


class GitAway(Exception):
    """It can't be fetched now, or says no. The text has no secret in it."""


class Unsigned(Exception):
    """The commit has no signature of one of those who may sign."""


class Place(NamedTuple):
    """`git+URL@REF#subdirectory=FOLDER`. `ref`: a branch, a tag or a commit; "": the default branch.
    `folder` "": the repository's own; it may be one file."""

    url: str
    ref: str = ""
    folder: str = ""

    def __str__(self) -> str:
        """As it is written, without the password that it may hold."""
        if not self.url:
            return f"{self.ref}:{self.folder}"
        ref = f"@{self.ref}" if self.ref else ""
        folder = f"#subdirectory={self.folder}" if self.folder else ""
        return f"{PREFIX}{self.shown_url}{ref}{folder}"

    @property
    def shown_url(self) -> str:
        parts = urlsplit(self.url)
        if parts.scheme == "ssh" or "@" not in parts.netloc:
            return self.url
        return urlunsplit(parts._replace(netloc=f"…@{parts.netloc.rpartition('@')[2]}"))


class Commit(NamedTuple):
    """`at_s`: when it was committed, unix time."""

    id: str
    author: str
    at_s: int
    subject: str


def place_of(text: str) -> Place | None:
    """None where it does not begin as one. Misconfigured where it is none."""
    if not text.startswith(PREFIX):
        return None
    body, _, fragment = text.removeprefix(PREFIX).partition("#")
    said = parse_qs(fragment, keep_blank_values=True)
    right = f"give {PREFIX}https://HOST/REPOSITORY.git@REF#subdirectory=FOLDER"
    if fragment and (set(said) != {"subdirectory"} or len(said["subdirectory"]) != 1):
        raise Misconfigured(500, "git_place", f"{text!r}: #{fragment} means nothing: {right}")
    parts = urlsplit(body)
    path, at, ref = parts.path.rpartition("@")
    if not at:
        path, ref = parts.path, ""
    if parts.scheme not in _SCHEMES or not path.strip("/") or (parts.scheme != "file" and not parts.hostname):
        raise Misconfigured(500, "git_place", f"{PREFIX}{parts.scheme}… is no repository: {right}")
    folder = said.get("subdirectory", [""])[0].strip("/")
    if any(part in ("", ".", "..") for part in folder.split("/")) and folder:
        raise Misconfigured(500, "git_place", f"subdirectory={folder}: {right}")
    if ref.startswith("-") or (at and not ref) or any(c.isspace() or c in ":~^?*[\\" for c in ref):
        raise Misconfigured(500, "git_place", f"{ref!r} is no branch, tag or commit: {right}")
    return Place(urlunsplit(parts._replace(path=path)), ref, folder)


class Repository:
    """A bare copy in `path`, of one commit at a time; made when it is first fetched. Its calls take as long
    as they take, TIMEOUT_S at most."""

    def __init__(self, path: Path, place: Place, signers: Path | None = None) -> None:
        """`signers`: whose signature a commit has to have: a file of allowed signers (ssh-keygen(1)) or of
        OpenPGP public keys. None: nobody's."""
        self.place, self._path, self._signers = place, path, signers

    @classmethod
    def here(cls, commit: str, folder: str) -> Repository:
        """The one that this folder is in, at a commit as git names them (`HEAD~1`, `origin/main`)."""
        top = _git("rev-parse", "--show-toplevel").decode().strip()
        return cls(Path(top), Place("", commit, folder.strip("/")))

    def fetch(self) -> Commit:
        """The newest commit of the place. GitAway, Unsigned, or Misconfigured where there is no git."""
        if not self.place.url:
            return self._commit(self.place.ref or "HEAD")
        if not (self._path / "HEAD").exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _git("init", "--quiet", "--bare", str(self._path))
        ref = self.place.ref or "HEAD"
        self._run(
            "fetch", "--quiet", "--depth=1", "--no-tags", "--force", self.place.url, f"{ref}:{_HEAD}.new"
        )
        commit = self._commit(f"{_HEAD}.new")
        self.verify(commit.id)
        self._run("update-ref", _HEAD, commit.id)
        return commit

    def kept(self) -> Commit | None:
        """The one that was fetched and verified last; None: there is none."""
        if not (self._path / "HEAD").exists():
            return None
        with contextlib.suppress(GitAway):
            return self._commit(_HEAD)
        return None

    def texts(self, commit: str) -> dict[str, str]:
        """The configuration's files at that commit: path in the repository → text. GitAway where there is
        none."""
        names = list(self._names(commit))
        if not names:
            where = f"{self.place.folder or 'the repository'} of {commit[:12]}"
            raise GitAway(f"{where} holds no *.yaml or *.yml file")
        found = {}
        for name in names:
            data = self._run("cat-file", "blob", f"{commit}:{name}")
            if len(data) > _MOST_BYTES:
                raise GitAway(f"{name} is over {_MOST_BYTES >> 20} MiB")
            try:
                found[name] = data.decode("utf-8-sig")
            except UnicodeDecodeError:
                raise GitAway(f"{name} of {commit[:12]} is not UTF-8 text") from None
        return found

    def verify(self, commit: str) -> None:
        """Unsigned where it has to be signed, and is not by one of the signers."""
        if self._signers is None:
            return
        try:
            keys = self._signers.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise Unsigned(f"{self._signers}, who may sign, can't be read") from None
        with tempfile.TemporaryDirectory(prefix="modelbroker-") as home:
            options: Sequence[str] = ("-c", f"gpg.ssh.allowedSignersFile={self._signers.absolute()}")
            environ = {"GNUPGHOME": home}
            if _PGP in keys:
                _import_keys(self._signers, environ)
                options = ()
            try:
                self._run(*options, "verify-commit", commit, environ=environ)
            except GitAway as error:
                who = f"{self._signers.name} has no signer of commit {commit[:12]}"
                raise Unsigned(f"{who}, or it is not signed: {error}") from None

    def _names(self, commit: str) -> Iterator[str]:
        """Files right in the folder, as of a folder on a disk; one file by its own name."""
        folder = self.place.folder
        if folder.endswith(_SUFFIXES):
            yield folder
            return
        listed = self._run("ls-tree", "-z", commit, *([f"{folder}/"] if folder else []))
        for entry in listed.decode("utf-8", "replace").split("\0"):
            kind, _, name = entry.partition("\t")
            base = name.rpartition("/")[2]
            if kind.startswith("100") and base.endswith(_SUFFIXES) and not base.startswith("."):
                yield name

    def _commit(self, ref: str) -> Commit:
        lines = self._run("show", "--no-patch", f"--format={_FORMAT}", f"{ref}^{{commit}}")
        id_, name, mail, at, subject, *_ = [*lines.decode("utf-8", "replace").splitlines(), ""]
        if not _COMMIT.fullmatch(id_):
            raise GitAway(f"{self.place.ref or 'HEAD'} is no commit")
        return Commit(id_, f"{name} <{mail}>", int(at), subject)

    def _run(self, *words: str, environ: dict[str, str] | None = None) -> bytes:
        return _git("-C", str(self._path), *words, environ=environ, hide=self.place)


def _import_keys(keys: Path, environ: dict[str, str]) -> None:
    command = ["gpg", "--batch", "--quiet", "--import", str(keys)]
    try:
        subprocess.run(  # noqa: S603 - as it is written here
            command, env={**os.environ, **environ}, check=True, capture_output=True, timeout=TIMEOUT_S
        )
    except FileNotFoundError:
        raise Misconfigured(500, "no_gpg", "OpenPGP signatures need the program gpg: install gnupg") from None
    except (subprocess.SubprocessError, OSError):
        raise Unsigned(f"{keys} holds no OpenPGP keys") from None


def _git(*words: str, environ: dict[str, str] | None = None, hide: Place | None = None) -> bytes:
    env = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": os.environ.get("GIT_ASKPASS", ""),
        "LC_ALL": "C",
    }
    env.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    env.pop("GIT_DIR", None)
    command = ["git", *_OPTIONS, *words]
    try:
        child = subprocess.Popen(  # noqa: S603 - no shell, and words that begin with no dash are checked
            command,
            env={**env, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # with its own children, which are ended with it
        )
    except FileNotFoundError:
        raise Misconfigured(
            500, "no_git", "a configuration in git needs the program git: install it"
        ) from None
    try:
        out, error = child.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise GitAway(f"git did not come to an end in {TIMEOUT_S:g} s") from None
    if child.returncode:
        raise GitAway(_said(error, hide))
    return out


def _said(error: bytes, place: Place | None) -> str:
    """Git's own word, the one that matters, without the password of a URL."""
    text = error.decode("utf-8", "replace")
    if place is not None:
        text = text.replace(place.url, place.shown_url)
        if (secret := urlsplit(place.url).password) or (secret := urlsplit(place.url).username):
            text = text.replace(secret, "…")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")]
    return next(iter([*fatal, *lines]), "git failed and did not say why")
