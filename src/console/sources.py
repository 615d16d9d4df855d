"""Where pages have it from: the admin port, the ledger, and the state folder. Everything is only read."""

from __future__ import annotations

import contextlib
import http.client
import shlex
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from ..core.errors import Misconfigured
from ..ledger.database import Ledger, in_short, why_away
from ..ledger.days import Days
from ..ledger.place import default_url, is_sqlite
from .kept import Kept
from .reports import Settings

_PATIENCE_S = 20.0


class Away(Exception):
    """A source that can't be had now: its text says which, and why."""


class Sources:
    """From any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folder = Path(settings.folder)
        self.kept = Kept()  # what takes long to ask
        self.days = Days()  # of the ledger: what calls of days that are over cost
        self._ledger: Ledger | None = None
        self._lock = Lock()

    @property
    def has_own_ledger(self) -> bool:
        """Is there one, and no other broker writes into it?"""
        return bool(self._settings.ledger) and is_sqlite(self._settings.ledger)

    def spend_options(self) -> str:
        """What `modelbroker spend` has to be told so that it asks this broker's ledger."""
        try:
            config = self.status()["source"]["source"]
        except Away:
            config = "CONFIGURATION"
        words = ["--config", config]
        if self._settings.ledger == default_url(self.folder):
            words += ["--state-dir", str(self.folder)]
        return shlex.join(words)

    def text(self, path: str) -> bytes:
        """What the admin port says to this GET. Away."""
        host, _, port = self._settings.admin.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_PATIENCE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Away(f"the broker's admin port does not answer: {in_short(error)}") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise Away(f"the broker has no answer to {path}: {body[:200].decode(errors='replace').strip()}")
        return body

    def tree(self, path: str) -> Any:
        """The same, of JSON."""
        return msgspec.json.decode(self.text(path))

    def status(self) -> dict[str, Any]:
        """As `GET /status` has it."""
        told: dict[str, Any] = self.tree("/status")
        return told

    def ledger(self) -> Ledger:
        """Away: there is none, or it can't be opened. What is asked of it raises SQLAlchemy's errors."""
        if not self._settings.ledger:
            off = "the ledger is off: the configuration says `ledger: {url: none}`"
            raise Away(self._settings.ledger_why or off)
        with self._lock, self.told():
            if self._ledger is None:
                try:
                    self._ledger = Ledger(self._settings.ledger, creates=False)
                except Misconfigured as error:
                    raise Away(error.message) from None
            return self._ledger

    @contextlib.contextmanager
    def asking(self) -> Iterator[Ledger]:
        """The ledger; whatever keeps it from answering meanwhile is Away."""
        ledger = self.ledger()
        with self.told():
            yield ledger

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """What the ledger raises meanwhile is Away."""
        try:
            yield
        except SQLAlchemyError as error:
            raise Away(why_away(error, self._settings.ledger)) from None
