"""Where pages have it from: the admin port, the ledger, and the state folder. Everything is only read."""

from __future__ import annotations

import http.client
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..core.errors import Misconfigured
from ..ledger.database import Ledger
from ..ledger.place import place_of
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
        self._ledger: Ledger | None = None
        self._lock = Lock()

    def text(self, path: str) -> bytes:
        """What the admin port says to this GET. Away."""
        host, _, port = self._settings.admin.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_PATIENCE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Away(f"the broker's admin port does not answer: {_in_short(error)}") from None
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
        """Away: there is none, or it can't be opened. What is asked of it raises SQLAlchemy's errors, for
        which `why_away` has words."""
        if not self._settings.ledger:
            off = "the ledger is off: the configuration says `ledger: {url: none}`"
            raise Away(self._settings.ledger_why or off)
        with self._lock:
            if self._ledger is None:
                try:
                    self._ledger = Ledger(self._settings.ledger, creates=False)
                except Misconfigured as error:
                    raise Away(error.message) from None
                except SQLAlchemyError as error:
                    raise Away(self.why_away(error)) from None
            return self._ledger

    def why_away(self, error: SQLAlchemyError) -> str:
        told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        return f"the ledger can't be asked: {place_of(self._settings.ledger)}: {_in_short(told)}"


def _in_short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
