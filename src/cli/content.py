"""The control plane's side of texts for a collector: their exporter is kept alive, heard, and ended.

Since when each pool is named is kept in the state folder: nobody asked for what was said before that."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import Counter, Gauge

from ..core.catalog import Catalog, Pool
from ..core.trials import beside
from ..journal.reports import FOLLOWING, OFF, Report
from ..metrics import Up
from ..secrets.box import SecretBox
from ..telemetry.content import STILL, Strangers, strangers_of
from ..telemetry.places import places_of
from ..telemetry.reports import ContentReport, ContentSettings
from ..traffic.place import default_url
from ..traffic.reports import Settings as CaptureSettings
from .followers import FollowerKeeper, more_than
from .telemetry import collector_of

log = logging.getLogger("modelbroker.telemetry")

SINCE_NAME = "content.pools"  # in the state folder
_OVERLAP_S = 60.0  # so long after an edit no call is decided by what was before it
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
        strangers={},
        most_chars=otlp.content.most_chars,
        url=capture.url,
        keys=capture.keys,
        places=places_of(catalog.providers.values()),
    )
    return made, ""


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A pool whose texts are asked for, since `since_s` (unix time). `strangers` of it and of those that the
    broker made beside it."""

    since_s: float
    strangers: Strangers = {}


class ContentKeeper(FollowerKeeper[ContentSettings]):
    """`configured` says what holds from now on."""

    def __init__(self, state_dir: Path) -> None:
        what = "the exporter of texts"
        super().__init__(what, log, "modelbroker.telemetry.follow_content", state_dir)
        self._named = _kept(state_dir / SINCE_NAME)

    def configured(self, catalog: Catalog, settings: ContentSettings | None, why: str) -> None:
        otlp = catalog.telemetry.otlp
        self._name(catalog.pools, otlp.content.pools if otlp is not None and otlp.content is not None else ())
        if settings is not None:
            settings = msgspec.structs.replace(
                settings,
                folder=str(self._folder.absolute()),
                url=settings.url or default_url(self._folder),
                pools={pool: one.since_s for pool, one in self._named.items()},
                strangers={
                    name: those for one in self._named.values() for name, those in one.strangers.items()
                },
            )
        self.want(settings, why)

    def _name(self, catalog: Mapping[str, Pool], pools: Sequence[str]) -> None:
        """Since when each of the pools is. One that was left out for a while begins anew."""
        now_s, strangers = time.time(), strangers_of(catalog, pools)
        named = {}
        for pool in pools:
            before = self._named.get(pool) or Named(since_s=now_s)
            own = {name: those for name, those in strangers.items() if beside(name) == pool}
            named[pool] = Named(since_s=before.since_s, strangers=_with_former(before.strangers, own, now_s))
        if named == self._named:
            return
        self._named, path = named, self._folder / SINCE_NAME
        fresh = path.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.encode(named))
            fresh.replace(path)
        except OSError as error:
            # What stands there still may name a pool that is not named any more.
            with contextlib.suppress(OSError):
                path.unlink()
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


def _with_former(before: Strangers, own: Mapping[str, Sequence[str]], now_s: float) -> Strangers:
    """Those that there are, and those that there were: of calls of that time some may not be read yet."""
    until_s = now_s + _OVERLAP_S
    found = {name: {one: until or until_s for one, until in those.items()} for name, those in before.items()}
    for name, those in own.items():
        found[name] = {**found.get(name, {}), **dict.fromkeys(those, STILL)}
    return found


def _kept(path: Path) -> dict[str, Named]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Named])
    except (OSError, msgspec.MsgspecError):
        return {}
