"""Where configurations come from: a file or a folder, a git repository, a revision that was live."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..audit.acts import user_named
from ..core.errors import Misconfigured
from ..revisions.git import Commit, GitAway, Repository, Unsigned
from ..revisions.kept import Origin, Revisions, find
from ..revisions.place import PREFIX, Place, place_of
from ..settings import Problem, SettingsError, read_files
from .following import Following
from .state import state_folder_of

_RIGHT = f"give a file or a folder, {PREFIX}URL@REF#subdirectory=FOLDER, COMMIT:FOLDER, or a revision"


class Said(NamedTuple):
    """What a source says now, and where that is from."""

    texts: Mapping[str, str]
    origin: Origin


class Source(Protocol):
    @property
    def every_s(self) -> float | None:
        """How often `refresh` is to be called; None: never."""

    def read(self) -> Said:
        """SettingsError where nothing can be read. Asks no network."""

    def refresh(self) -> bool:
        """Looks for something new, which may take long; False: there is nothing new."""

    def paths(self) -> list[Path]:
        """Files and folders whose edits are to be seen."""

    def status(self) -> dict[str, Any]: ...

    def stop(self) -> None:
        """From another thread: a `refresh` that is under way ends soon."""


class FolderSource:
    every_s: float | None = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Said:
        texts = read_files(self._path)
        return Said(texts, _edited(self._path, texts))

    def refresh(self) -> bool:
        return False

    def paths(self) -> list[Path]:
        return [self._path]

    def status(self) -> dict[str, Any]:
        return {"source": str(self._path)}

    def stop(self) -> None:
        pass


class GitSource:
    """`read` is of the commit that was fetched and verified last, over restarts."""

    def __init__(self, repository: Repository, every_s: float) -> None:
        self._repository, self.every_s = repository, every_s
        self._commit: Commit | None = repository.kept()
        self._error, self._is_unsigned = "it was not fetched yet", False
        self._fetched_s = 0.0

    def read(self) -> Said:
        commit, place = self._commit, self._repository.place
        if commit is None:
            right = "look whether the broker may read it, with `git ls-remote`"
            if self._is_unsigned:
                right = "look at --git-signers"
            raise SettingsError([Problem(str(place), 0, "", f"can't be fetched: {self._error}", right)])
        try:
            texts = self._repository.texts(commit.id)
        except GitAway as error:
            right = "commit a configuration there"
            raise SettingsError([Problem(str(place), 0, "", str(error), right)]) from None
        return Said(texts, origin_of(str(place), commit))

    def refresh(self) -> bool:
        before = self._commit
        try:
            self._commit = self._repository.fetch()
        except (GitAway, Unsigned) as error:
            self._error, self._is_unsigned = str(error), isinstance(error, Unsigned)
            return False
        except Misconfigured as error:
            self._error = error.message
            return False
        except OSError as error:
            self._error = f"what is fetched can't be kept: {error.strerror or error}"
            return False
        self._error, self._fetched_s = "", time.time()
        return before != self._commit

    def paths(self) -> list[Path]:
        return []

    def stop(self) -> None:
        self._repository.stop()

    def status(self) -> dict[str, Any]:
        commit = self._commit
        return {
            "source": str(self._repository.place),
            "commit": commit.id if commit else None,
            "author": commit.author if commit else None,
            "subject": commit.subject if commit else None,
            "committed_at": commit.at_s if commit else None,
            "fetched_at": self._fetched_s or None,
            "error": self._error or None,
        }


def source_of(config: Path | str, state_dir: Path, following: Following) -> Source:
    """Misconfigured where a credential is given that can't be used there."""
    place = place_of(config) if isinstance(config, str) else None
    if following.credential is not None and (wrong := _wrong_credential(place)):
        raise Misconfigured(500, "git_credential", f"--git-credential {wrong}")
    if place is None:
        return FolderSource(Path(config))
    repository = Repository(state_dir / "git", place, following.signers, following.credential)
    return GitSource(repository, following.every_s)


def _wrong_credential(place: Place | None) -> str:
    if place is None:
        return "is for a configuration in git: --config is none of git+https://…"
    if not place.url.startswith(("https:", "http:")):
        return f"is for repositories at https://…, and {place} is none: git finds its key by itself there"
    if place.has_password:
        return f"stands beside a password in the URL {place}: leave one of them out"
    return ""


def read_texts(config: Path | str) -> Mapping[str, str]:
    """Of a configuration that is looked at once. SettingsError or Misconfigured where it can't be read."""
    place = place_of(config) if isinstance(config, str) else None
    if place is None:
        return read_files(Path(config))
    with tempfile.TemporaryDirectory(prefix="modelbroker-") as folder:
        return _at_git(Repository(Path(folder) / "git", place))


def origin_of(source: str, commit: Commit) -> Origin:
    return Origin(
        source=source, commit=commit.id, who=commit.author, at_s=commit.at_s, subject=commit.subject
    )


def digest_of(texts: Mapping[str, str]) -> str:
    """Of what a source says, whatever its files are called."""
    digest = hashlib.sha256()
    for text in texts.values():
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


def texts_of(given: str, config: Path | str | None, state_dir: Path | None) -> Mapping[str, str]:
    """What a command was given: `_RIGHT`. `config`, `state_dir`: whose revisions are meant. SettingsError or
    Misconfigured where that is nothing."""
    if place_of(given) is not None or Path(given).exists():
        return read_texts(given)
    commit, colon, folder_in = given.partition(":")
    if colon:
        return _at_git(Repository.here(commit, folder_in))
    if config is None and state_dir is None:
        why = f"there is no {given} here; a revision that was live is found with --config or --state-dir"
        raise Misconfigured(500, "no_source", f"{why}; {_RIGHT}")
    revisions = Revisions(state_folder_of(state_dir, config or ""))
    try:
        return revisions.texts(find(revisions.all(), given))
    except LookupError as error:
        raise Misconfigured(500, "no_source", f"{error}; {_RIGHT}") from None


def _at_git(repository: Repository) -> Mapping[str, str]:
    try:
        return repository.texts(repository.fetch().id)
    except GitAway as error:
        raise Misconfigured(500, "no_source", f"{repository.place}: {error}") from None


def _edited(path: Path, texts: Iterable[str]) -> Origin:
    """By the owner of the file that was written last."""
    newest, owner = 0.0, ""
    for name in texts:
        with contextlib.suppress(OSError):
            stat = Path(name).stat()
            if stat.st_mtime > newest:
                newest, owner = stat.st_mtime, user_named(stat.st_uid)
    return Origin(source=str(path), who=owner, at_s=newest)
