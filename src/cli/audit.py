"""The control plane's side of audit events: the follower that keeps their chain is kept alive, heard and
ended."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import Counter, Gauge

from .. import __version__
from ..audit.keys import check_can_sign, read_key
from ..audit.reports import AuditReport, Settings, SinkReport
from ..audit.sink import SinkSettings
from ..core.audit import Audit, AuditSink
from ..journal.reports import FOLLOWING, OFF, SENDING, Report
from ..metrics import Up
from ..secrets.box import SecretBox, secret_place
from .followers import FollowerKeeper, more_than
from .secrets import read_secret

log = logging.getLogger("modelbroker.audit")

_UP = Up("modelbroker_audit_up", "1 while events go into the chain")
_BEHIND = Gauge("modelbroker_audit_behind_bytes", "Of records and acts that are not in the chain yet")
_EVENTS = Counter("modelbroker_audit_events", "Records and acts that went into the chain")
_REFUSED = Counter("modelbroker_audit_refused_lines", "Lines of the journals that are neither record nor act")
_CHECKPOINT = Gauge("modelbroker_audit_checkpoint_seconds", "When the chain was signed last: unix time")
_EXPIRED = Counter(
    "modelbroker_audit_expired_events", "Events that left the chain: by age, or for want of room"
)
_SINK_UP = Gauge("modelbroker_audit_sink_up", "1 while the sink takes events", ["sink"])
_SINK_BEHIND = Gauge("modelbroker_audit_sink_behind", "Events that the sink does not have yet", ["sink"])
_SINK_EVENTS = Counter(
    "modelbroker_audit_sink_events",
    "Events by what became of them: sent, refused, missed",
    ["sink", "result"],
)


def settings_of(
    audit: Audit, environ: Mapping[str, str], box: SecretBox | None = None
) -> tuple[Settings | None, tuple[str, ...]]:
    """(settings without the folder, warnings). Misconfigured where what it needs is not installed. A key that
    can't be had leaves no chain: another one in its place would be what a forger does."""
    if not audit.is_on:
        return None, ()
    check_can_sign()
    key = ""
    if audit.key is not None:
        text, why = read_secret(audit.key, environ, box)
        if text is None:
            return None, (f"audit.key: {why}; no events are written until it is there",)
        try:
            key = read_key(text).hex()
        except ValueError as error:
            place = secret_place(audit.key)
            return None, (f"audit.key: what {place} holds {error}; no events are written until it is one",)
    sinks, warnings = [], []
    for at, sink in enumerate(audit.sinks):
        made = _sink(sink, environ, box)
        sinks.append(made)
        if made.lacks:
            place = f"audit.sinks[{at}].{sink.kind}.{made.lacks}"
            warnings.append(f"{place}; events wait in the chain for the sink {sink.name}")
    settings = Settings(
        folder="",
        key=key,
        keep_s=audit.keep_s,
        most_bytes=audit.most_bytes,
        version=__version__,
        sinks=tuple(sinks),
    )
    return settings, tuple(warnings)


def _sink(sink: AuditSink, environ: Mapping[str, str], box: SecretBox | None) -> SinkSettings:
    secrets: dict[str, str] = {}
    lacks = ""
    for name, ref in sink.credentials.items():
        value, why = read_secret(ref, environ, box)
        if value is None:
            lacks = lacks or f"{name.replace('header.', 'headers.', 1)}: {why}"
        else:
            secrets[name] = value
    return SinkSettings(
        name=sink.name,
        kind=sink.kind,
        form=sink.form,
        options=dict(sink.options),
        secrets=secrets,
        lacks=lacks,
    )


class _ActsReader:
    """How far the follower has read the journal of acts."""

    def __init__(self, keeper: AuditKeeper) -> None:
        self._keeper = keeper

    def done(self, inodes: Sequence[int]) -> int:
        return self._keeper.done_of(inodes, self._keeper.heard.acts_inode)

    def offset(self, inode: int) -> int:
        heard = self._keeper.heard
        return heard.acts_offset if heard.acts_inode == inode else 0


class AuditKeeper(FollowerKeeper[Settings]):
    """`configured` says what holds from now on. `acts` is for the journal of acts, as the keeper itself is
    for that of calls. `stdout`: where events go that are sent to standard output."""

    def __init__(self, state_dir: Path, stdout: int = 1) -> None:
        super().__init__("the follower that keeps audit events", log, "modelbroker.audit.follow", state_dir)
        self.heard = AuditReport()
        self.acts = _ActsReader(self)
        self._stdout = stdout

    def configured(self, settings: Settings | None, audit: Audit, warnings: Sequence[str]) -> None:
        if settings is not None:
            folder = str(self._folder.absolute())
            sinks = tuple(self._with_stdout(sink) for sink in settings.sinks)
            settings = msgspec.structs.replace(settings, folder=folder, sinks=sinks)
        names = [sink.name for sink in settings.sinks] if settings is not None else []
        for name in {sink.name for sink in self.heard.sinks} - set(names):
            _SINK_UP.remove(name)
            _SINK_BEHIND.remove(name)
        if settings is None:
            self.heard = AuditReport()
        self.want(settings, warnings[0] if audit.is_on and settings is None else "")

    def _with_stdout(self, sink: SinkSettings) -> SinkSettings:
        if sink.kind != "stdout":
            return sink
        return msgspec.structs.replace(sink, options={**sink.options, "fd": str(self._descriptor())})

    def _descriptor(self) -> int:
        """One that a child may have: its own standard output is for reports."""
        if self._stdout < 3:
            self._stdout = os.dup(self._stdout)
        return self._stdout

    def _descriptors(self, wanted: Settings) -> Sequence[int]:
        return (self._descriptor(),) if any(sink.kind == "stdout" for sink in wanted.sinks) else ()

    def status(self) -> dict[str, Any]:
        said, heard = super().status(), self.heard
        said["refused_lines"] = said.pop("refused")
        return {
            "state": said.pop("state"),
            "folder": said.pop("place"),
            **said,
            "head": {"seq": heard.seq, "hash": heard.hash} if heard.seq else None,
            "checkpoint": (
                {"seq": heard.checkpoint_seq, "at_ms": heard.checkpoint_at_ms}
                if heard.checkpoint_seq
                else None
            ),
            "public_key": heard.key or None,
            "expired": heard.expired,
            "sinks": [_shown(sink) for sink in heard.sinks],
        }

    def _hear(self, line: bytes) -> None:
        report = msgspec.json.decode(line, type=AuditReport)
        if report.key and report.key != self.heard.key:
            log.info("audit events are signed; the public key is %s", report.key)
        before, self.heard = self.heard, report
        _CHECKPOINT.set(report.checkpoint_at_ms / 1000)
        _EXPIRED.inc(more_than(before.expired, report.expired))
        known = {sink.name: sink for sink in before.sinks}
        for sink in report.sinks:
            _count_sink(known.get(sink.name, SinkReport(name=sink.name, kind=sink.kind)), sink)
        self._heard(report)

    def _count(self, before: Report, report: Report) -> None:
        _UP.is_up = None if report.state == OFF else report.state == FOLLOWING
        _BEHIND.set(report.behind_bytes)
        _EVENTS.inc(more_than(before.taken, report.taken))
        _REFUSED.inc(more_than(before.refused, report.refused))


def _count_sink(before: SinkReport, sink: SinkReport) -> None:
    _SINK_UP.labels(sink.name).set(sink.state == SENDING)
    _SINK_BEHIND.labels(sink.name).set(sink.behind)
    for result in ("sent", "refused", "missed"):
        more = more_than(getattr(before, result), getattr(sink, result))
        _SINK_EVENTS.labels(sink.name, result).inc(more)


def _shown(sink: SinkReport) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(sink)
    return {**told, "error": sink.error or None}
