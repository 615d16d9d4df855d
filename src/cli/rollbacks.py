"""Back to what was live before, as people ask for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, Protocol

from ..core.acts import By
from ..core.errors import Misconfigured
from ..core.problems import SettingsError
from .admin import Query, Routes
from .answers import Now
from .collection import no_collection
from .runtime import Ready
from .sourcing import Sourcing

log = logging.getLogger("modelbroker")

_PATIENCE_S = 30


class Control(Protocol):
    """What a rollback needs of the control plane."""

    def now(self) -> Now: ...

    def prepared(self, texts: Mapping[str, str], before: Ready | None) -> Ready:
        """SettingsError or Misconfigured where it can't be served. Takes its time."""

    async def reload_now(self) -> None: ...


class Rollbacks:
    """`lock`: of whoever loads a configuration."""

    def __init__(self, sourcing: Sourcing, lock: asyncio.Lock, control: Control) -> None:
        self._sourcing, self._lock, self._control = sourcing, lock, control

    async def roll_back(self, to: str, *, holds: bool, by: By) -> dict[str, Any]:
        """LookupError where there is no such revision, or something new is served meanwhile. SettingsError or
        Misconfigured where it can't be served any more: then nothing has changed."""
        async with self._lock:  # an edit that is just being loaded comes before it, or behind
            current = self._control.now().ready
            was = current.catalog.revision if current is not None else ""
            served = current.texts if current is not None else None
            target = partial(self._sourcing.target, to, was, served, holds=holds)
            live, texts = await asyncio.to_thread(target)
            with no_collection():
                ready = await asyncio.to_thread(self._control.prepared, texts, current)
                self._sourcing.roll_back(live, holds=holds, by=by)
                log.warning("%s rolls back from %s to %s", by, was, live.revision)
                await self._control.reload_now()
        if not self._sourcing.is_rolled_back:
            raise LookupError(f"the source says something new just now: that is served, not {live.revision}")
        # By its name of today: another version of the broker may have called it otherwise.
        return {"was": was, "revision": ready.catalog.revision, "number": live.number}

    async def release(self, by: By) -> dict[str, Any]:
        """The rollback ends. LookupError where there is none; Misconfigured where the source is broken."""
        async with self._lock:
            before = self._control.now().ready
            was = before.catalog.revision if before is not None else ""
            self._sourcing.release(by)
            log.warning("%s ends the rollback to %s", by, was)
            with no_collection():
                await self._control.reload_now()
        ready, _, error, _ = self._control.now()
        if error:
            message = f"the rollback has ended, and what the source says is refused: {error}"
            raise Misconfigured(409, "refused", f"{message}\n{was} goes on until it is mended")
        return {"was": was, "revision": ready.catalog.revision if ready is not None else ""}


def revision_routes(rollbacks: Rollbacks, sourcing: Sourcing, loop: asyncio.AbstractEventLoop) -> Routes:
    """What the admin port answers of revisions."""

    def on_loop(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
        try:
            return asyncio.run_coroutine_threadsafe(work, loop).result(_PATIENCE_S)
        except (SettingsError, Misconfigured) as error:
            raise ValueError(str(error)) from None
        except TimeoutError:
            raise ValueError(f"it goes on, and takes longer than {_PATIENCE_S} s: see /status") from None

    def first(query: Query, name: str) -> str:
        return query.get(name, [""])[0]

    def history(query: Query, body: bytes, by: By) -> dict[str, Any]:
        return {"revisions": sourcing.history(), **sourcing.status()}

    def roll_back(query: Query, body: bytes, by: By) -> dict[str, Any]:
        holds = bool(first(query, "hold"))
        return on_loop(rollbacks.roll_back(first(query, "to"), holds=holds, by=by))

    def release(query: Query, body: bytes, by: By) -> dict[str, Any]:
        return on_loop(rollbacks.release(by))

    return {
        ("GET", "/history"): history,
        ("POST", "/rollback"): roll_back,
        ("POST", "/rollback/release"): release,
    }
