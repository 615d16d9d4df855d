"""What YAML may say of audit events."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator

from ..core.audit import FORMS, NO_AUDIT
from ..core.catalog import SecretRef
from . import values
from .audit_sink_schema import SinkIn
from .fields import Model, field
from .ledger import days_s
from .problems import refuse, show

_RIGHT_KEY = "give {env: NAME}, {file: PATH} or {STORE: PATH}: 32 bytes, by openssl rand -base64 32"
_MIB, _TIB = 1 << 20, 1 << 40


def form_name(value: Any) -> str:
    if value not in FORMS:
        refuse(f"{show(value)} is no form of events", f"give {' or '.join(FORMS)}")
    return str(value)


def key_ref(value: Any) -> SecretRef:
    if isinstance(value, str):
        refuse("holds a key in plain text", _RIGHT_KEY)
    return values.stored(value, ("env", "file"), _RIGHT_KEY)


class AuditIn(Model):
    """An event for each call and each act on the broker, in a chain that shows tampering, and sent to sinks.
    With this section alone, `audit: {}`, there is the chain in the state folder: docs/audit.md"""

    form: Annotated[str, PlainValidator(form_name)] | None = field(
        "The form of events for sinks that do not say theirs: `ocsf` or `ecs`.",
        "word",
        "give ocsf or ecs",
        None,
    )
    keep: Annotated[int, PlainValidator(days_s)] = field(
        "How long events stay in the chain: days, or `forever`.",
        "days or `forever`",
        "give e.g. 90d",
        NO_AUDIT.keep_s,
    )
    most_bytes: Annotated[int, BeforeValidator(values.size(64 * _MIB, 1024 * _TIB))] = field(
        "The oldest events leave the chain while it takes more on the disk.",
        "size",
        'give e.g. "8GiB"',
        NO_AUDIT.most_bytes,
    )
    key: Annotated[SecretRef, PlainValidator(key_ref)] | None = field(
        "The private key that signs checkpoints (Ed25519). Left out: one is made in the state folder.",
        "reference to a secret",
        _RIGHT_KEY,
        None,
    )
    sinks: list[SinkIn] = field(
        "Where events are sent.", "list of sinks", "give e.g. [{name: siem, syslog: {address: …}}]", list
    )
