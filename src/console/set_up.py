"""How the pools that are served are set up: out of the texts of that revision, which the state folder keeps.

Compiling a thousand pools takes seconds. So it is done once for each revision, in a thread of its own, and
pages show it from then on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from ..changes.set_up import Setting, set_up
from ..core.errors import Misconfigured
from ..revisions.compiled import compiled
from ..revisions.kept import Revisions
from ..settings import SettingsError

log = logging.getLogger("modelbroker.console")

_WAITS_S = 0.25


class SetUps(NamedTuple):
    """Pool → how it is set up. `why_not`: why nobody knows."""

    pools: Mapping[str, tuple[Setting, ...]]
    why_not: str = ""


_LATER = SetUps({}, "it is being read; look again in a moment")


class SetUpReader:
    """From any thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="set-up")
        self._lock = Lock()
        self._key: tuple[Path, str] | None = None
        self._future: Future[SetUps] | None = None

    def of(self, folder: Path, revision: str) -> SetUps:
        with self._lock:
            if self._future is None or self._key != (folder, revision):
                self._key = folder, revision
                self._future = self._thread.submit(read, folder, revision)
            future = self._future
        try:
            found = future.result(_WAITS_S)
        except Late:
            return _LATER
        if found.why_not:
            with self._lock:
                self._key = None  # it may be there the next time
        return found


def read(folder: Path, revision: str) -> SetUps:
    revisions = Revisions(folder)
    live = next((one for one in revisions.all() if one.revision == revision), None)
    if live is None:
        return SetUps({}, f"the state folder does not keep revision {revision or '(none)'}")
    try:
        catalog = compiled(revisions.texts(live), int(time.time())).catalog
    except (SettingsError, Misconfigured, OSError, UnicodeDecodeError) as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        return SetUps({}, f"revision {revision} can't be read: {first[0]}")
    except Exception:
        log.exception("how pools of revision %s are set up can't be told", revision)
        return SetUps({}, f"revision {revision} can't be read: the log has more")
    return SetUps({name: set_up(pool, catalog.trials.get(name)) for name, pool in catalog.pools.items()})
