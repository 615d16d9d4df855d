"""The revisions that were live, in the state folder: a folder each, whole at any moment."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from ..core.acts import COMMAND, By
from ..core.errors import Misconfigured

log = logging.getLogger("modelbroker")

FOLDER = "revisions"
MOST = 200
_META = "revision.json"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a configuration is from. `who`: the author of its commit, or the owner of the file that was
    edited last; `at_s` (unix time) when that was."""

    source: str = ""
    commit: str = ""
    who: str = ""
    at_s: float = 0.0
    subject: str = ""


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """One that an Envoy took. `number` counts up; `since_s`: unix time; `why`: START, EDIT, ROLLBACK, RELEASE
    (which ends a rollback). `by`, `actor`: whose command brought it, "" where none did (`done_by`). `files`
    are the names that its texts had."""

    number: int
    revision: str
    since_s: float
    why: str
    by: str = ""
    actor: str = ""
    origin: Origin = Origin()
    files: tuple[str, ...] = ()

    @property
    def done_by(self) -> By | None:
        """None: by no command."""
        return by_of(self.why, self.actor, self.by)


START, EDIT, ROLLBACK, RELEASE = "start", "edit", "rollback", "release"
WHY_WORDS: Mapping[str, str] = MappingProxyType({ROLLBACK: "rolled back", RELEASE: "released"})


def until_words(*, holds: bool) -> str:
    """How long a rollback lasts."""
    return "it is released" if holds else "the source says something new"


def by_of(why: str, actor: str, user: str) -> By | None:
    """Whose command brought a revision; None: none did. What was kept before actors were has none, and proves
    nothing."""
    return By(actor or COMMAND, user) if why in (ROLLBACK, RELEASE) else None


class Revisions:
    """Read by any process; written by the control plane alone."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER

    def all(self) -> list[Live]:
        """The newest first."""
        found = []
        for path in self._folder.glob(f"[0-9]*/{_META}"):  # one that is written just now is none yet
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                found.append(msgspec.json.decode(path.read_bytes(), type=Live))
        return sorted(found, key=lambda one: one.number, reverse=True)

    def texts(self, live: Live) -> dict[str, str]:
        """OSError where it went meanwhile."""
        folder = self._path(live)
        return {
            name: (folder / f"{place:04d}.yaml").read_text(encoding="utf-8")
            for place, name in enumerate(live.files)
        }

    def newest(self) -> tuple[Live, dict[str, str]] | None:
        for live in self.all():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                return live, self.texts(live)
        return None

    def add(self, texts: Mapping[str, str], live: Live, *, keeps: int | None = None) -> Live:
        """Behind all that are there; the same as the newest is not written again. `keeps`: a number that
        stays, however old. OSError where the disk has no room."""
        known = self.newest()
        if known is not None and known[0].revision == live.revision and known[1] == dict(texts):
            return known[0]
        all_of = self.all()
        live = msgspec.structs.replace(live, number=all_of[0].number + 1 if all_of else 1, files=tuple(texts))
        fresh = self._folder / ".new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
        for place, text in enumerate(texts.values()):
            (fresh / f"{place:04d}.yaml").write_text(text, encoding="utf-8")
        (fresh / _META).write_bytes(msgspec.json.encode(live))
        fresh.rename(self._path(live))
        for old in all_of[MOST - 1 :]:
            if old.number != keeps:
                shutil.rmtree(self._path(old), ignore_errors=True)
        return live

    def _path(self, live: Live) -> Path:
        return self._folder / f"{live.number:06d}-{live.revision}"


def find(all_of: list[Live], said: str) -> Live:
    """The newest that `said` names: a revision or a commit (or how it begins, 4 characters or more), or its
    number (`#12`). LookupError: none, or several."""
    if said.startswith("#") and said[1:].isdecimal():
        matching = [one for one in all_of if one.number == int(said[1:])]
    elif len(said) >= 4:
        matching = [
            one for one in all_of if one.revision.startswith(said) or one.origin.commit.startswith(said)
        ]
    else:
        matching = []
    if not matching:
        right = "`modelbroker history` says which there are"
        raise LookupError(f"no revision {said!r} was live here: {right}")
    if (
        len({(one.revision, one.origin.commit) for one in matching}) > 1
        and len({one.revision for one in matching}) > 1
    ):
        raise LookupError(f"{said!r} is how several begin: {', '.join(one.revision for one in matching)}")
    return matching[0]


def changed_s(all_of: list[Live], revision: str, now_s: float) -> float | None:
    """When the broker that has these behind it, and serves `revision` since now, came to it from another one
    (unix time); None: it never served another."""
    if not all_of or all(one.revision == revision for one in all_of):
        return None
    came_s = now_s
    for one in all_of:
        if one.revision != revision:
            break
        came_s = one.since_s
    return min(came_s, now_s)


def before(all_of: list[Live], revision: str) -> Live:
    """The newest that is another one than `revision`. LookupError: there is none."""
    for one in all_of:
        if one.revision != revision:
            return one
    raise LookupError("no other revision was live here: there is nothing to come back to")


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """What is served in place of what the source says: the revision with this number, until the source says
    something else than `source_digest`, or where it `holds`, until it is released."""

    number: int
    revision: str
    source_digest: str
    holds: bool = False
    by: str = ""
    actor: str = COMMAND
    at_s: float = 0.0

    @property
    def done_by(self) -> By:
        return By(self.actor, self.by)


class RollbackFile:
    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "rollback.json"

    def read(self) -> Rollback | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Rollback)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.error("the rollback in %s can't be read, and is not in effect: %s", self._path, error)
            return None

    def write(self, rollback: Rollback | None) -> None:
        """Misconfigured where that can't be kept: it would be forgotten by a restart."""
        try:
            if rollback is None:
                self._path.unlink(missing_ok=True)
                return
            fresh = self._path.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(rollback))
            fresh.replace(self._path)
        except OSError as error:
            message = f"the rollback can't be kept in {self._path}: {error.strerror}"
            raise Misconfigured(500, "state_dir", message) from None
