"""The control plane's side of texts for a collector: their exporter is kept alive, heard, and ended.

Since when each pool is named is kept in the state folder: nobody asked for what was said before that."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import Counter, Gauge

from ..core.catalog import Catalog
from ..core.telemetry import Content
from ..journal.reports import FOLLOWING, OFF, Report
from ..metrics import Up
from ..secrets.box import SecretBox
from ..telemetry.content import strangers_of
from ..telemetry.places import places_of
from ..telemetry.reports import ContentReport, ContentSettings
from ..traffic.place import default_url
from ..traffic.reports import Settings as CaptureSettings
from .followers import FollowerKeeper, more_than
from .telemetry import collector_of

log = logging.getLogger("modelbroker.telemetry")

SINCE_NAME = "content.pools"  # in the state folder
_UP = Up("modelbroker_content_up", "1 while a collector takes texts of calls")
_BEHIND = Gauge("modelbroker_content_behind_bytes", "Of records whose texts are not with the collector yet")
_CALLS = Counter(
    "modelbroker_content_calls", "Calls whose texts were to be sent, by what became of them", ["result"]
)
_RESULTS = {"sent": "taken", "refused": "refused", "missing": "missing", "unread": "unread"}
for _result in _RESULTS:
    _CALLS.labels(_result)  # from 0 on


def content_settings(
    catalog: Catalog,
    capture: CaptureSettings | None,
    capture_why: str,
    environ: Mapping[str, str],
    box: SecretBox | None = None,
) -> tuple[ContentSettings | None, str]:
    """(settings, why there are none, behind the field that is to blame). `capture`: how what is captured is
    written; None: nothing is, and `capture_why` where something was to be. Misconfigured where what it needs
    is not installed."""
    otlp = catalog.telemetry.otlp
    if otlp is None or otlp.content is None:
        return None, ""
    if capture is None:
        return None, capture_why
    collector, why = collector_of(catalog, otlp, environ, box)
    if collector is None:
        return None, why
    made = ContentSettings(
        **msgspec.structs.asdict(collector),
        folder="",
        pools=dict.fromkeys(otlp.content.pools, 0.0),
        strangers=strangers_of(catalog.pools, otlp.content.pools),
        most_chars=otlp.content.most_chars,
        url=capture.url,
        keys=capture.keys,
        places=places_of(catalog.providers.values()),
    )
    return made, ""


class ContentKeeper(FollowerKeeper[ContentSettings]):
    """`configured` says what holds from now on."""

    def __init__(self, state_dir: Path) -> None:
        what = "the exporter of texts"
        super().__init__(what, log, "modelbroker.telemetry.follow_content", state_dir)
        self._named = _kept(state_dir / SINCE_NAME)

    def configured(self, catalog: Catalog, settings: ContentSettings | None, why: str) -> None:
        otlp = catalog.telemetry.otlp
        self._name(otlp.content if otlp is not None else None)
        if settings is not None:
            folder, url = str(self._folder.absolute()), settings.url or default_url(self._folder)
            settings = msgspec.structs.replace(settings, folder=folder, pools=self._named, url=url)
        self.want(settings, why)

    def _name(self, content: Content | None) -> None:
        """Since when each of the pools is. One that was left out for a while begins anew."""
        pools = content.pools if content is not None else ()
        named = {pool: self._named.get(pool) or time.time() for pool in pools}
        if named == self._named:
            return
        self._named, path = named, self._folder / SINCE_NAME
        fresh = path.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.encode(named))
            fresh.replace(path)
        except OSError as error:
            log.error("%s can't be written (%s): after a restart it may be forgotten", path, error.strerror)

    def status(self) -> dict[str, Any]:
        more = {name: getattr(self._report, name, 0) for name in ("missing", "unread")}
        return {**super().status(), **more}

    def _hear(self, line: bytes) -> None:
        self._heard(msgspec.json.decode(line, type=ContentReport))

    def _count(self, before: Report, report: Report) -> None:
        _UP.is_up = None if report.state == OFF else report.state == FOLLOWING
        _BEHIND.set(report.behind_bytes)
        for result, name in _RESULTS.items():
            _CALLS.labels(result).inc(more_than(getattr(before, name, 0), getattr(report, name, 0)))


def _kept(path: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError):
        return {}
