"""The control plane's side of the ledger: its follower is kept alive, heard, and ended."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge

from ..core.catalog import LedgerPlace
from ..journal.reports import FOLLOWING, OFF, Report
from ..ledger.place import default_url
from ..ledger.reports import Settings
from ..metrics import Up
from .followers import FollowerKeeper, more_than
from .secrets import Resolved

log = logging.getLogger("modelbroker.ledger")

_UP = Up("modelbroker_ledger_up", "1 while the ledger takes records")
_BEHIND = Gauge("modelbroker_ledger_behind_bytes", "Of records that are not in the ledger yet")
_TAKEN = Counter("modelbroker_ledger_records", "Records that went into the ledger")
_REFUSED = Counter("modelbroker_ledger_refused_records", "Records, or lines, that no database takes")


def settings_of(place: LedgerPlace, resolved: Resolved, state_dir: Path) -> Settings | None:
    """None where there is no ledger, or nobody knows its URL."""
    if not place.is_on or resolved.ledger_why:
        return None
    url = resolved.ledger_url or default_url(state_dir)
    return Settings(str(state_dir.absolute()), url, place.retention_s)


class LedgerKeeper(FollowerKeeper[Settings]):
    """`configured` says what holds from now on."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__("the ledger's follower", log, "modelbroker.ledger.follow", state_dir)

    def configured(self, place: LedgerPlace, resolved: Resolved) -> None:
        self.want(settings_of(place, resolved, self._folder), resolved.ledger_why if place.is_on else "")

    def status(self) -> dict[str, Any]:
        said = super().status()
        keeps_s = self._settings.retention_s if self._settings is not None else 0
        return {"state": said.pop("state"), "database": said.pop("place"), **said, "retention_s": keeps_s}

    def _count(self, before: Report, report: Report) -> None:
        _UP.is_up = None if report.state == OFF else report.state == FOLLOWING
        _BEHIND.set(report.behind_bytes)
        _TAKEN.inc(more_than(before.taken, report.taken))
        _REFUSED.inc(more_than(before.refused, report.refused))
