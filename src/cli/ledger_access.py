"""How commands get at the ledger of a configuration, whether its broker runs or not."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from ..core.catalog import Catalog
from ..core.errors import Misconfigured
from ..core.prices import PriceBook
from ..dialects import BUILT, DEVIATIONS, KNOWN
from ..journal.following import locked
from ..journal.writing import CALLS
from ..ledger.database import Ledger, why_away
from ..ledger.follow import LOCK_NAME, Follower
from ..ledger.place import default_url, is_sqlite
from ..ledger.questions import Question, has_calls, is_seen_as
from ..ledger.reports import Settings
from ..settings import compile_texts, price_book
from .prices import price_list_or_warning
from .printed import commanded, visible
from .secrets import asked_box, ledger_url_of
from .sources import read_texts
from .state import state_folder_of


@dataclass(frozen=True, slots=True)
class Opened:
    ledger: Ledger
    catalog: Catalog

    def book(self, models: Iterable[tuple[str, str]]) -> PriceBook:
        """The prices of these models, (provider, model as members name it) each, as they are known today."""
        return price_book(self.catalog.providers, models, self.catalog.prices, price_list_or_warning())


@contextlib.contextmanager
def opened(config: Path | str, state_dir: Path | None) -> Iterator[Opened]:
    """The ledger with all that the journal holds. Misconfigured where there is none, or nobody gets at it."""
    texts = read_texts(config)
    catalog = compile_texts(texts, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog
    folder = state_folder_of(state_dir, config)
    if not catalog.ledger.is_on:
        raise Misconfigured(500, "no_ledger", "the configuration says `ledger: {url: none}`: there is none")
    url, why = _url(catalog)
    if why:
        raise Misconfigured(500, "no_ledger", f"the ledger's URL: {why}")
    url = url or default_url(folder)
    try:
        _catch_up(folder, url, catalog.ledger.retention_s)
        if is_sqlite(url) and not folder.is_dir() and not catalog.ledger.url:
            message = f"there is no state folder {folder}: say --state-dir, as its broker does"
            raise Misconfigured(500, "no_ledger", message)
        with Ledger(url, creates=False) as ledger:
            yield Opened(ledger, catalog)
    except SQLAlchemyError as error:
        raise Misconfigured(500, "ledger_away", why_away(error, url)) from None


def _catch_up(folder: Path, url: str, retention_s: int) -> None:
    """What a broker left in its journal when it was ended at once. Where it runs, it does that itself."""
    if not (folder / CALLS).exists():
        return
    try:
        with locked(folder / LOCK_NAME, waits=False) as is_ours:
            if not is_ours:
                return
            follower = Follower(Settings(str(folder), url, retention_s))
            with contextlib.closing(follower):
                while follower.step():
                    pass
    except PermissionError as error:
        print(f"warning: the journal in {folder} can't be read: {error.strerror}", file=sys.stderr)


def take_journals(folders: Iterable[Path], catalog: Catalog, config: Path, state_dir: Path | None) -> None:
    """What other brokers of this configuration's wrote into their own state folders, into its ledger; nothing
    where there is none. What goes wrong is a warning: the journals stay, and are taken another time."""
    folder = state_folder_of(state_dir, config)
    url, why = _url(catalog) if catalog.ledger.is_on else ("", "off")
    if why or (not catalog.ledger.url and not folder.is_dir()):
        return
    try:
        for one in folders:
            _catch_up(one, url or default_url(folder), catalog.ledger.retention_s)
    except (SQLAlchemyError, Misconfigured, OSError) as error:
        print(f"warning: the ledger does not have these calls: {error}", file=sys.stderr)


def moment(at_ms: int, timespec: str = "auto") -> str:
    """`2026-11-29T20:53:20Z`"""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def window(question: Question) -> str:
    """`2026-11-01T00:00:00Z to 2026-12-01T00:00:00Z`"""
    return f"{moment(question.since_ms, 'seconds')} to {moment(question.until_ms, 'seconds')}"


def nothing_matches(ledger: Ledger, question: Question) -> str:
    """ "" where a call matches the question; else that none does, and where its words are found."""
    if has_calls(ledger, question):
        return ""
    where = " ".join(f"--{name} {value}" for name, values in question.where.items() for value in values)
    if not where:
        return f"no call in {window(question)}"
    said = f"no call in {window(question)} matches {where}"
    for name, values in question.where.items():
        for value in values:
            for other in is_seen_as(ledger, question, name, value):
                said += f"; {value!r} is {_MEANINGS[other]}: --{other} {value}"
    return said


_MEANINGS = {
    "asked": "what clients asked for",
    "pool": "a pool",
    "member": "a member",
    "model": "a member's model",
    "provider": "a provider",
}


class Progress:
    """How far a long work is, on a terminal, once it takes long."""

    _LONG_S = 1.0

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()
        self._since_s = time.monotonic()
        self._shown = ""

    def __call__(self, done: int, of: int) -> None:
        if self._shows and time.monotonic() - self._since_s > self._LONG_S:
            self._say(f"{done * 100 // max(of, 1):3d} %")

    def say(self, text: str) -> None:
        if self._shows and time.monotonic() - self._since_s > self._LONG_S:
            self._say(text)

    def end(self) -> None:
        if self._shown:
            self._say("")

    def _say(self, text: str) -> None:
        text = visible(text)
        moved = f"\r{text:{len(self._shown)}}\r{text}"
        print(moved, end="", file=commanded(sys.stderr), flush=True)
        self._shown = text


def _url(catalog: Catalog) -> tuple[str, str]:
    return ledger_url_of(catalog.ledger, os.environ, asked_box(catalog, catalog.ledger.secret))
