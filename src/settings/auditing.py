"""The `audit` section of a configuration → the catalog's."""

from __future__ import annotations

from dataclasses import replace

from ..core.audit import NO_AUDIT, Audit
from .audit_schema import AuditIn
from .audit_sinks import sinks_of
from .explain import read_one
from .merge import Merged


def read_audit(merged: Merged) -> Audit:
    """What is wrong is noted."""
    said = merged.mappings["audit"]
    if ("audit",) not in merged.homes:
        return NO_AUDIT
    return _compiled(merged, read_one(merged, ("audit",), AuditIn, said))


def _compiled(merged: Merged, entry: AuditIn | None) -> Audit:
    if entry is None:
        return NO_AUDIT
    sinks = sinks_of(merged, ("audit", "sinks"), entry.sinks)
    if entry.form is not None:
        said = {sink.name for sink in entry.sinks if sink.form}
        sinks = tuple(one if one.name in said else replace(one, form=entry.form) for one in sinks)
    form = entry.form or NO_AUDIT.form
    return Audit(True, form, entry.keep, entry.most_bytes, entry.key, sinks)
