"""Two revisions that are compared, in a thread of its own: pages ask for it, and show what is ready.

Compiling a configuration of a thousand pools takes seconds. So each is compiled once and only when somebody
asks; what was found is kept, a bounded number of each.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from threading import Lock
from typing import NamedTuple

from ..changes import ADDED, REMOVED, Change, changes
from ..changes.told import by_section, counted, is_one, plain, whom_of
from ..core.errors import Misconfigured
from ..revisions.compiled import compiled
from ..revisions.kept import Live, Revisions
from ..settings import Loaded, SettingsError
from .texts import MOST_LINES, Line, lines_between, shown

log = logging.getLogger("modelbroker.console")

_CATALOGS, _PAIRS = 3, 64
MOST_CHANGES = 200


class Said(NamedTuple):
    """One change. `sign`: +, - or ~; `whom` "": its name tells it; `everyone`: all names, where `whom` has
    not room for them."""

    name: str
    sign: str
    kind: str
    what: tuple[str, ...]
    whom: str
    everyone: str


class Section(NamedTuple):
    title: str
    changes: tuple[Said, ...]


class Pair(NamedTuple):
    """`counted`: in a few words; "" where `why_not` says why there are no words. `more`: changes that are not
    in `sections`, and lines that are not in `lines`."""

    counted: str
    sections: tuple[Section, ...]
    more: int
    why_not: str
    lines: tuple[Line, ...]
    more_lines: int


def pair_of(found: Sequence[Change]) -> tuple[str, tuple[Section, ...], int]:
    """Pure: (in a few words, section by section, how many more there are)."""
    sections, left = [], MOST_CHANGES
    for title, those in by_section(found):
        said = tuple(_said(change) for change in those[:left])
        left -= len(said)
        if said:
            sections.append(Section(title, said))
    return counted(found) if found else "nothing", tuple(sections), max(len(found) - MOST_CHANGES, 0)


def _said(change: Change) -> Said:
    whom = whom_of(change)
    names = sorted(change.whom) if not change.everybody else []
    sign = {ADDED: "+", REMOVED: "−"}.get(change.kind, "~")
    what = tuple(plain(line) for line in change.what)
    name = "" if is_one(change) else plain(change.name)
    everyone = plain(", ".join(names[:200])) if len(names) > 5 else ""
    return Said(name, sign, change.kind, what, plain(whom), everyone)


class Desk:
    """From any thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compare")
        self._lock = Lock()
        self._pairs: OrderedDict[tuple[str, int, int], Future[Pair]] = OrderedDict()
        self._catalogs: OrderedDict[tuple[str, int, str], Loaded | str] = OrderedDict()  # of the thread alone

    def ask(self, folder: str, revisions: Revisions, old: Live, new: Live, within_s: float) -> Pair | None:
        """None: it is not ready within `within_s` seconds, ask again."""
        key = folder, old.number, new.number
        with self._lock:
            future = self._pairs.get(key)
            if future is None:
                future = self._thread.submit(self._compare, folder, revisions, old, new)
                self._pairs[key] = future
                self._forget()
            self._pairs.move_to_end(key)
        try:
            return future.result(within_s)
        except Late:
            return None
        except Exception as error:
            with self._lock:
                self._pairs.pop(key, None)
            if isinstance(error, CancelledError):  # others were asked for behind it, too many
                return None
            if not isinstance(error, OSError | UnicodeDecodeError):
                log.exception("revisions %d and %d can't be compared", old.number, new.number)
            return Pair("", (), 0, f"they can't be read any more: {error}", (), 0)

    def look(
        self, folder: str, revisions: Revisions, pairs: Iterable[tuple[Live, Live]], within_s: float
    ) -> dict[int, Pair]:
        """Of as many as are ready in time, by the number of the newer one."""
        until_s = time.monotonic() + within_s
        found = {}
        for old, new in pairs:
            pair = self.ask(folder, revisions, old, new, max(until_s - time.monotonic(), 0.0))
            if pair is not None:
                found[new.number] = pair
        return found

    def ready(self, folder: str, old: Live, new: Live) -> Pair | None:
        """What is known without more work."""
        with self._lock:
            future = self._pairs.get((folder, old.number, new.number))
        if future is None or not future.done() or future.exception() is not None:
            return None
        return future.result()

    def _forget(self) -> None:
        """What was asked for first, and what waits so long that nobody waits for it any more."""
        while len(self._pairs) > _PAIRS:
            _, gone = self._pairs.popitem(last=False)
            gone.cancel()

    # -- in the thread

    def _compare(self, folder: str, revisions: Revisions, old: Live, new: Live) -> Pair:
        before, now = revisions.texts(old), revisions.texts(new)
        masked = [{name: shown(text) for name, text in texts.items()} for texts in (before, now)]
        lines = list(lines_between(masked[0], masked[1]))
        kept, more = tuple(lines[:MOST_LINES]), max(len(lines) - MOST_LINES, 0)
        loaded = []
        for live, texts in ((old, before), (new, now)):
            one = self._loaded(folder, live, texts)
            if isinstance(one, str):
                return Pair("", (), 0, one, kept, more)
            loaded.append(one)
        a, b = loaded
        found = changes(a.catalog, b.catalog, a.prices, b.prices, at_s=int(time.time()))
        return Pair(*pair_of(found), "", kept, more)

    def _loaded(self, folder: str, live: Live, texts: dict[str, str]) -> Loaded | str:
        key = folder, live.number, live.revision
        if key not in self._catalogs:
            self._catalogs[key] = _compiled(live, texts)
            while len(self._catalogs) > _CATALOGS:
                self._catalogs.popitem(last=False)
        self._catalogs.move_to_end(key)
        return self._catalogs[key]


def _compiled(live: Live, texts: dict[str, str]) -> Loaded | str:
    """Why it can't be, where it is the configuration of another version."""
    try:
        return compiled(texts, int(time.time()))
    except (SettingsError, Misconfigured) as error:
        first = str(error).strip().splitlines() or ["it is no good configuration"]
        return (
            f"#{live.number} ({live.revision}) is nothing that this version of the broker reads: {first[0]}"
        )
