"""A configuration in a git repository: one commit of it, fetched, verified and read without a working tree.

`git` itself does it (the program), with the credentials that it finds as always: helpers, `.netrc`, SSH keys,
or with the one that is given (`git_login`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.catalog import SecretRef
from ..core.errors import Misconfigured
from ..secrets.given import Unusable
from .git_login import Login, asked_url, environ_of, login_of
from .place import CONTROL, Place

TIMEOUT_S = 60.0
# Git that is asked to end takes its lock files with it.
_END_S = 2.0
# No git of ours runs so long: a lock file that is older was left behind.
_STALE_S = 2 * TIMEOUT_S
_SUFFIXES = (".yaml", ".yml")
_MOST_BYTES = 64 << 20
_SHORT = re.compile(r"[0-9a-f]{4,39}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# Hooks and helpers of a foreign repository are never run; nothing asks a person.
_OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "gc.auto=0")
# A server that says nothing: git ends then by itself, also where nobody is left to end it.
_PATIENCE = ("-c", "http.lowSpeedLimit=1", "-c", f"http.lowSpeedTime={TIMEOUT_S:.0f}")
_SSH = "ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=15"
# The first that takes settings from its environment (GIT_CONFIG_COUNT).
LEAST_GIT = (2, 31)
_VERSION = re.compile(r"\b(\d+)\.(\d+)")
_PGP = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_FORMAT = "%H%x00%an <%ae>%x00%ct%x00%s"


class GitAway(Exception):
    """It can't be fetched now, or says no. The text has no secret in it."""


class Unfit(GitAway):
    """It is here, and no configuration."""


class Unsigned(Exception):
    """The commit has no signature of one of those who may sign."""


class Commit(NamedTuple):
    """`at_s`: when it was committed, unix time."""

    id: str
    author: str
    at_s: int
    subject: str


class Repository:
    """A bare copy in `path`, of one commit at a time; made when it is first fetched. Its calls take as long
    as they take, TIMEOUT_S at most."""

    def __init__(
        self, path: Path, place: Place, signers: Path | None = None, credential: SecretRef | None = None
    ) -> None:
        """`signers`: whose signature a commit has to have: a file of allowed signers (ssh-keygen(1)) or of
        OpenPGP public keys. None: nobody's. `credential`: where the token or the password is to be found that
        an http(s) server wants; None: git looks for it by itself."""
        self.place, self._path, self._signers, self._credential = place, path, signers, credential
        self._is_sound = False
        self._children = _Children()

    @classmethod
    def here(cls, commit: str, folder: str) -> Repository:
        """The one that this folder is in, at a commit as git names them (`HEAD~1`, `origin/main`)."""
        top = _git("rev-parse", "--show-toplevel").decode().strip()
        return cls(Path(top), Place("", commit, folder.strip("/")))

    @property
    def _head(self) -> str:
        """Each place has its own: what was fetched of another one is nothing of this one."""
        said = f"{self.place.shown_url}\0{self.place.ref}"
        return f"refs/modelbroker/{hashlib.sha256(said.encode()).hexdigest()[:16]}"

    def fetch(self) -> Commit:
        """The newest commit of the place. GitAway, Unsigned, OSError where the disk is full, or Misconfigured
        where there is no git."""
        if not self.place.url:
            return self._commit(self.place.ref or "HEAD")
        self._make_ready()
        ref, fresh = self.place.ref or "HEAD", f"{self._head}-new"
        options = ("--quiet", "--depth=1", "--no-tags", "--force")
        try:
            login = login_of(self.place.url, self._credential)
            if login.password:
                _check_version()
            asked = ("--", asked_url(self.place.url), f"{ref}:{fresh}")
            self._run("fetch", *options, *asked, environ=environ_of(self.place.url, login), login=login)
        except Unusable as error:
            raise GitAway(str(error)) from None
        except GitAway as error:
            if "couldn't find remote ref" in str(error) and _SHORT.fullmatch(ref):
                raise GitAway(f"{error}: a commit is named by its whole id") from None
            raise
        commit = self._commit(fresh)
        self.verify(commit.id)
        self._run("update-ref", self._head, commit.id)
        self._is_sound = True
        return commit

    def _make_ready(self) -> None:
        """Git that was killed, or a disk that failed, leaves things behind that no later git gets over."""
        if not self._is_sound and self.kept() is None:  # there is nothing in it that could be lost
            shutil.rmtree(self._path, ignore_errors=True)
        if not (self._path / "HEAD").exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _git("init", "--quiet", "--bare", str(self._path))
        before_s = time.time() - _STALE_S
        for lock in self._path.rglob("*.lock"):
            with contextlib.suppress(OSError):
                if lock.stat().st_mtime < before_s:
                    lock.unlink()

    def stop(self) -> None:
        """From another thread: what runs comes to an end at once, and nothing runs any more."""
        self._children.stop()

    def kept(self) -> Commit | None:
        """The one that was fetched and verified last, where its signer may still sign; None: there is
        none."""
        if not (self._path / "HEAD").exists():
            return None
        with contextlib.suppress(GitAway, Unsigned, OSError):
            commit = self._commit(self._head)
            self.verify(commit.id)
            with contextlib.suppress(Unfit):
                self.texts(commit.id)  # a disk may have lost them
            self._is_sound = True
            return commit
        return None

    def texts(self, commit: str) -> dict[str, str]:
        """The configuration's files at that commit: path in the repository → text. GitAway where there is
        none."""
        blobs = {name: (id_, size) for name, id_, size in self._blobs(commit)}
        if not blobs:
            where = f"{self.place.folder or 'the repository'} of {commit[:12]}"
            raise Unfit(f"{where} holds no *.yaml or *.yml file")
        if sum(size for _, size in blobs.values()) > _MOST_BYTES:
            largest = max(blobs, key=lambda name: blobs[name][1])
            raise Unfit(f"the files are over {_MOST_BYTES >> 20} MiB together; the largest is {largest}")
        asked = "".join(f"{id_}\n" for id_, _ in blobs.values()).encode()
        said, found, at = self._run("cat-file", "--batch", given=asked), {}, 0
        for name, (_, size) in blobs.items():
            line, _, _ = said[at : at + 200].partition(b"\n")
            if not line.endswith(b" blob %d" % size):
                raise GitAway(f"{name} of {commit[:12]} is lost")
            at += len(line) + 1
            try:
                found[name] = said[at : at + size].decode("utf-8-sig")
            except UnicodeDecodeError:
                raise Unfit(f"{name} of {commit[:12]} is not UTF-8 text") from None
            at += size + 1
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
                options = ("-c", f"gpg.ssh.allowedSignersFile={os.devnull}")  # nor those of whoever runs it
            try:
                self._run(*options, "verify-commit", commit, environ=environ)
            except GitAway as error:
                who = f"{self._signers.name} has no signer of commit {commit[:12]}"
                raise Unsigned(f"{who}, or it is not signed: {error}") from None

    def _blobs(self, commit: str) -> Iterator[tuple[str, str, int]]:
        """(name, id, bytes) of files right in the folder, as of a folder on a disk; of one file by its own
        name."""
        folder = self.place.folder
        where = folder if folder.endswith(_SUFFIXES) else f"{folder}/"
        listed = self._run("ls-tree", "-z", "-l", commit, "--", *([where] if folder else []))
        for entry in listed.decode("utf-8", "replace").split("\0"):
            kind, _, name = entry.partition("\t")
            base = name.rpartition("/")[2]
            if kind.startswith("100") and base.endswith(_SUFFIXES) and not base.startswith("."):
                _, _, id_, size = kind.split()
                yield name, id_, int(size)

    def _commit(self, ref: str) -> Commit:
        show = ("show", "--no-patch", "--no-show-signature", f"--format={_FORMAT}")
        try:
            said = self._run(*show, "--end-of-options", f"{ref}^{{commit}}").decode("utf-8", "replace")
        except GitAway as error:
            if "unknown revision" in str(error):
                raise GitAway(f"{ref} is no branch, tag or commit of this repository") from None
            raise
        id_, author, at, subject, *_ = [*said.rstrip("\n").split("\0"), "", "", ""]
        if not _COMMIT.fullmatch(id_):
            raise GitAway(f"{self.place.ref or 'HEAD'} is no commit")
        return Commit(id_, CONTROL.sub("�", author), int(at), CONTROL.sub("�", subject))

    def _run(
        self,
        *words: str,
        environ: dict[str, str] | None = None,
        given: bytes | None = None,
        login: Login | None = None,
    ) -> bytes:
        where = ("-C", str(self._path))
        hidden = (*self.place.secrets, *((login.password,) if login is not None and login.password else ()))
        return _git(*where, *words, environ=environ, hide=hidden, given=given, children=self._children)


class _Children:
    """The processes that run for somebody. They come from one thread, and are stopped by another."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._ends = False

    def add(self, child: subprocess.Popen[bytes]) -> None:
        """GitAway where none is to run any more."""
        with self._lock:
            if self._ends:
                raise GitAway("the broker ends")
            self._running.add(child)

    def discard(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(child)

    def stop(self) -> None:
        with self._lock:
            self._ends = True
            for child in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)


def _check_version() -> None:
    """An older git does not read what its environment says of who it is, and the server's word for that would
    be no help. Misconfigured."""
    said = _git("version").decode("utf-8", "replace").strip()
    found = _VERSION.search(said)
    if found and (int(found[1]), int(found[2])) < LEAST_GIT:
        least = ".".join(map(str, LEAST_GIT))
        why = f"a password in the URL or --git-credential needs git {least} or newer, and here is {said}"
        raise Misconfigured(500, "old_git", f"{why}: install a newer one, or name a credential helper to it")


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


def _git(
    *words: str,
    environ: dict[str, str] | None = None,
    hide: Sequence[str] = (),
    given: bytes | None = None,
    children: _Children | None = None,
) -> bytes:
    env = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": os.environ.get("GIT_ASKPASS", ""),
        "LC_ALL": "C",
    }
    env.setdefault("GIT_SSH_COMMAND", _SSH)
    env.pop("GIT_DIR", None)
    command = ["git", *_OPTIONS, *_PATIENCE, *words]
    try:
        child = subprocess.Popen(  # noqa: S603 - no shell, and words that begin with no dash are checked
            command,
            env={**env, **(environ or {})},
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # with its own children, which are ended with it
        )
    except FileNotFoundError:
        raise Misconfigured(
            500, "no_git", "a configuration in git needs the program git: install it"
        ) from None
    children = children if children is not None else _Children()
    try:
        children.add(child)
        out, error = child.communicate(given, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise GitAway(f"git did not come to an end in {TIMEOUT_S:g} s") from None
    finally:
        children.discard(child)
        _end(child)
    if child.returncode:
        raise GitAway(_said(error, hide))
    return out


def _end(child: subprocess.Popen[bytes]) -> None:
    """Whatever became of it, with all that it started."""
    if child.returncode is None:
        for number, patience_s in ((signal.SIGTERM, _END_S), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(patience_s)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _said(error: bytes, hide: Sequence[str]) -> str:
    """Git's own word, the one that matters, without what is to be hidden."""
    text = error.decode("utf-8", "replace")
    for secret in sorted(hide, key=len, reverse=True):  # one may be in another
        text = text.replace(secret, "…")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")]
    return CONTROL.sub("�", next(iter([*fatal, *lines]), "git failed and did not say why"))
