"""The control plane's side of traces and logs: their exporter is kept alive, heard, and ended."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from prometheus_client import Counter, Gauge

from ..core.catalog import Catalog
from ..core.errors import Misconfigured
from ..core.telemetry import Otlp
from ..journal.reports import FOLLOWING, OFF, Report
from ..metrics import Up
from ..secrets.box import SecretBox
from ..telemetry.places import places_of
from ..telemetry.reports import Collector, Settings
from .followers import FollowerKeeper, more_than
from .secrets import file_digest, read_secret

log = logging.getLogger("modelbroker.telemetry")

_UP = Up("modelbroker_telemetry_up", "1 while a collector takes traces and logs")
_BEHIND = Gauge("modelbroker_telemetry_behind_bytes", "Of records that are not with the collector yet")
_EXPORTED = Counter("modelbroker_telemetry_exported", "Calls whose spans or logs the collector took")
_REFUSED = Counter("modelbroker_telemetry_refused", "Spans, logs and lines that no collector takes")


def telemetry_settings(
    catalog: Catalog, environ: Mapping[str, str], box: SecretBox | None = None
) -> tuple[Settings | None, str]:
    """(settings, why there are none, behind the field that is to blame). Misconfigured where what it needs is
    not installed."""
    telemetry = catalog.telemetry
    otlp = telemetry.otlp
    if otlp is None or (telemetry.traces is None and not telemetry.logs):
        return None, ""
    collector, why = collector_of(catalog, otlp, environ, box)
    if collector is None:
        return None, why
    made = Settings(
        **msgspec.structs.asdict(collector),
        folder="",
        spans=telemetry.traces is not None,
        logs=telemetry.logs,
        places=places_of(catalog.providers.values()),
    )
    return made, ""


def collector_of(
    catalog: Catalog, otlp: Otlp, environ: Mapping[str, str], box: SecretBox | None
) -> tuple[Collector | None, str]:
    """As `telemetry_settings`."""
    if importlib.util.find_spec("opentelemetry") is None or _has_no_messages():
        told = "telemetry.otlp needs opentelemetry-proto: pip install 'modelbroker[otlp]', or leave it out"
        raise Misconfigured(500, "missing_extra", told)
    headers: dict[str, str] = {}
    for name, ref in otlp.headers.items():
        value, why = read_secret(ref, environ, box)
        if value is None:
            return None, f"telemetry.otlp.headers.{name}: {why}"
        headers[name] = value
    made = Collector(
        endpoint=otlp.endpoint,
        protocol=otlp.protocol,
        headers=headers,
        ca_file=otlp.ca_file,
        ca_digest=file_digest(otlp.ca_file) if otlp.ca_file else "",
        compression=otlp.compression,
        timeout_s=otlp.timeout_ms / 1000,
        resource=dict(catalog.telemetry.resource),
    )
    return made, ""


def _has_no_messages() -> bool:
    return importlib.util.find_spec("opentelemetry.proto") is None


class TelemetryKeeper(FollowerKeeper[Settings]):
    """`configured` says what holds from now on."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__("the exporter of telemetry", log, "modelbroker.telemetry.follow", state_dir)
        self._since_s = 0.0  # when it was wanted first

    def configured(self, settings: Settings | None, why: str) -> None:
        if settings is not None:
            self._since_s = self._since_s or time.time()
            folder = str(self._folder.absolute())
            settings = msgspec.structs.replace(settings, folder=folder, since_s=self._since_s)
        self.want(settings, why)

    def _count(self, before: Report, report: Report) -> None:
        _UP.is_up = None if report.state == OFF else report.state == FOLLOWING
        _BEHIND.set(report.behind_bytes)
        _EXPORTED.inc(more_than(before.taken, report.taken))
        _REFUSED.inc(more_than(before.refused, report.refused))
