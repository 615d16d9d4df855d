"""What is to be served: what the source says, or the revision that was rolled back to; and those that were
live before."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from prometheus_client import Gauge

from ..core import acts
from ..core.acts import By
from ..core.errors import Misconfigured
from ..revisions.kept import (
    EDIT,
    RELEASE,
    ROLLBACK,
    START,
    Live,
    Origin,
    Revisions,
    Rollback,
    RollbackFile,
    before,
    changed_s,
    find,
)
from ..settings import Problem, SettingsError
from .sources import Source, digest_of

log = logging.getLogger("modelbroker")

_UP = Gauge("modelbroker_config_source_up", "1 while what the source says now is known")
_ROLLED_BACK = Gauge("modelbroker_config_rolled_back", "1 while a rollback is in effect")
_KEEP_AGAIN_S = 2.0
_MOST_ORIGINS = 64
_SAID_EACH = 30  # of the times that it fails
Made = TypeVar("Made")


class Whence(NamedTuple):
    """How a configuration came to be served: by START, EDIT, ROLLBACK or RELEASE, and who did it."""

    origin: Origin
    why: str
    by: By


class Sourcing:
    """`read` gives the texts that are to be served; `serves` is told what an Envoy took. Its files are the
    control plane's alone."""

    def __init__(self, source: Source, state_dir: Path) -> None:
        self._source = source
        self._revisions, self._file = Revisions(state_dir), RollbackFile(state_dir)
        self._rollback = self._file.read()
        _ROLLED_BACK.set(self._rollback is not None)
        self._source_digest = ""
        self._source_origin = Origin()
        self._origins: dict[str, Whence] = {}  # digest of texts → whence
        self._why = START
        self._released: tuple[str, By] | None = None  # (what the source said then, by whom)
        self._to_keep: tuple[str, Mapping[str, str]] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._digested: tuple[Mapping[str, str], str] | None = None  # what was asked for last
        self._said = ""

    # -- what is to be served

    def read(self) -> Mapping[str, str]:
        """SettingsError where nothing can be read. Takes as long as a disk does."""
        try:
            said = self._source.read()
        except SettingsError:
            _UP.set(0)
            if (texts := self._rolled_back()) is not None:
                return texts
            raise
        _UP.set(not self._source.status().get("error"))
        self._source_digest, self._source_origin = digest_of(said.texts), said.origin
        rollback = self._rollback
        if rollback is not None and not rollback.holds and rollback.source_digest != self._source_digest:
            log.info("the source says something new: the rollback to %s ends", rollback.revision)
            self._end_rollback()
        if (texts := self._rolled_back()) is not None:
            return texts
        self._note(self._source_digest, self._from_source())
        return said.texts

    def _rolled_back(self) -> Mapping[str, str] | None:
        rollback = self._rollback
        if rollback is None:
            return None
        try:
            live = find(self._revisions.all(), f"#{rollback.number}")
            texts = self._revisions.texts(live)
        except (LookupError, OSError, UnicodeDecodeError) as error:
            message = f"{rollback.revision}, which was rolled back to, can't be read: {error}"
            right = "release it: modelbroker rollback --release"
            raise SettingsError([Problem("rollback", 0, "", message, right)]) from None
        self._note(digest_of(texts), Whence(live.origin, ROLLBACK, rollback.done_by))
        return texts

    def _from_source(self) -> Whence:
        """Of what the source said last."""
        if self._released is not None and self._released[0] != self._source_digest:
            self._released = None
        if self._released is not None:
            return Whence(self._source_origin, RELEASE, self._released[1])
        return Whence(self._source_origin, self._why, By(acts.EDIT, self._source_origin.who))

    def whence(self, texts: Mapping[str, str] | None) -> Whence:
        """None: what the source said last."""
        known = self._origins.get(digest_of(texts)) if texts is not None else None
        return known or self._from_source()

    def _digest(self, texts: Mapping[str, str]) -> str:
        if self._digested is None or self._digested[0] is not texts:
            self._digested = texts, digest_of(texts)
        return self._digested[1]

    def _note(self, digest: str, whence: Whence) -> None:
        self._origins.pop(digest, None)
        self._origins[digest] = whence
        if len(self._origins) > _MOST_ORIGINS:
            self._origins.pop(next(iter(self._origins)))

    def paths(self) -> list[Path]:
        return self._source.paths()

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Looks for what is new where nothing tells it; `changed` is called then."""
        if (every_s := self._source.every_s) is None:
            return
        while True:
            try:
                if await asyncio.to_thread(self._refresh):
                    await changed()
            except Exception:
                log.exception("the source can't be looked at")
            await asyncio.sleep(every_s)

    async def looked(self, stop: asyncio.Event) -> bool:
        """`first_look`, in a thread. False where all is to end meanwhile: nobody is held up by silence."""
        look = asyncio.create_task(asyncio.to_thread(self.first_look))
        ends = asyncio.create_task(stop.wait())
        await asyncio.wait((look, ends), return_when=asyncio.FIRST_COMPLETED)
        ends.cancel()
        if stop.is_set():
            self.stop()
        await look
        return not stop.is_set()

    def first_look(self) -> None:
        """Where nothing is known of the source yet. Who was here before begins with what it knew."""
        if self._source.every_s is not None and not self._source.status().get("commit"):
            self._refresh()

    def stop(self) -> None:
        """A look that is under way ends soon, and there is none behind it."""
        self._source.stop()

    def _refresh(self) -> bool:
        is_new = self._source.refresh()
        error = str(self._source.status().get("error") or "")
        _UP.set(not error)
        if error and error != self._said:
            log.error("%s; what is known goes on", error)
        elif self._said and not error:
            log.warning("the source is there again")
        self._said = error
        return is_new

    # -- rolling back

    def target(
        self, to: str, current: str, served: Mapping[str, str] | None = None, *, holds: bool = False
    ) -> tuple[Live, Mapping[str, str]]:
        """What a rollback to `to` serves ("": the one before `current`, whose texts are `served`; where a
        rollback is in effect and is to hold from now on, its own). LookupError where it is none."""
        all_of = self._revisions.all()
        if holds and not to and self._rollback is not None:
            to = f"#{self._rollback.number}"
        if to:
            live = find(all_of, to)
        else:  # another version of the broker gives the same texts another revision
            live = before([one for one in all_of if not self._says(one, served)], current)
        if live.revision == current and not holds:
            raise LookupError(f"{current} is served already")
        try:
            return live, self._revisions.texts(live)
        except (OSError, UnicodeDecodeError):
            raise LookupError(f"{live.revision} can't be read any more") from None

    def _says(self, live: Live, texts: Mapping[str, str] | None) -> bool:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return texts is not None and list(self._revisions.texts(live).values()) == list(texts.values())
        return False

    @property
    def is_rolled_back(self) -> bool:
        return self._rollback is not None

    def roll_back(self, live: Live, *, holds: bool, by: By) -> None:
        """From now on `read` gives this one. Misconfigured where that can't be kept."""
        self._set(
            Rollback(
                number=live.number,
                revision=live.revision,
                source_digest=self._source_digest,
                holds=holds,
                by=by.user,
                actor=by.actor,
                at_s=time.time(),
            )
        )

    def release(self, by: By) -> None:
        """`read` gives what the source says. LookupError where no rollback is in effect."""
        if self._rollback is None:
            raise LookupError("no rollback is in effect")
        self._set(None)
        self._released = self._source_digest, by

    def _end_rollback(self) -> None:
        """The source says so, and will say so again after a restart."""
        try:
            self._set(None)
        except Misconfigured as error:
            log.error("%s", error.message)
            self._rollback = None
            _ROLLED_BACK.set(0)

    def _set(self, rollback: Rollback | None) -> None:
        self._file.write(rollback)
        self._rollback = rollback
        _ROLLED_BACK.set(rollback is not None)

    # -- those that were live

    def serves(self, revision: str, texts: Mapping[str, str]) -> None:
        """An Envoy has it: it is kept, beside the event loop; where the disk is full, when it is not."""
        self._to_keep = revision, texts
        self._why = EDIT
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        failures = 0
        while (kept := self._to_keep) is not None:
            try:
                await asyncio.to_thread(self._add, *kept)
            except OSError as error:
                if failures % _SAID_EACH == 0:
                    log.error("this revision can't be kept, the one before is: %s", error)
                failures += 1
                await asyncio.sleep(_KEEP_AGAIN_S)
                continue
            if failures:
                log.warning("revisions are kept again")
                failures = 0
            if self._to_keep is kept:
                self._to_keep = None

    def _add(self, revision: str, texts: Mapping[str, str]) -> None:
        origin, why, by = self._origins.get(digest_of(texts), Whence(Origin(), EDIT, By(acts.EDIT)))
        live = Live(number=0, revision=revision, since_s=time.time(), why=why, origin=origin)
        if why in (ROLLBACK, RELEASE):
            live = msgspec.structs.replace(live, by=by.user, actor=by.actor)
        keeps = self._rollback.number if self._rollback is not None else None
        self._revisions.add(texts, live, keeps=keeps)

    def last_good(self) -> Mapping[str, str] | None:
        """The newest that was live; None: none is known."""
        with contextlib.suppress(OSError):
            if (newest := self._revisions.newest()) is not None:
                return newest[1]
        return None

    def newest_of(self, make: Callable[[Mapping[str, str]], Made]) -> Made | None:
        """`make` of the newest that was live and of which that can be made; None: there is none."""
        for live in self._revisions.all():
            with contextlib.suppress(OSError, UnicodeDecodeError, SettingsError, Misconfigured):
                return make(self._revisions.texts(live))
        return None

    def changed_s(self, revision: str) -> float | None:
        """When this broker came from another revision to this one, which it serves since now (unix time);
        None: it never served another. Takes as long as a disk does."""
        return changed_s(self._revisions.all(), revision, time.time())

    def history(self) -> list[dict[str, Any]]:
        """The newest first."""
        return [msgspec.to_builtins(live) for live in self._revisions.all()]

    def status(self, served: Mapping[str, str] | None = None) -> dict[str, Any]:
        """`served`: the texts of what an Envoy has in full."""
        rollback = self._rollback
        origin = self._origins.get(self._digest(served)) if served is not None else None
        return {
            "source": self._source.status(),
            "origin": msgspec.to_builtins(origin.origin) if origin is not None else None,
            "rollback": msgspec.to_builtins(rollback) if rollback is not None else None,
        }
