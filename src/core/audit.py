"""The section `audit`, compiled: the form and the life of the chain of audit events, and who gets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalog import SecretRef

OCSF, ECS = "ocsf", "ecs"
FORMS = (OCSF, ECS)
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
NO_CREDENTIALS: Mapping[str, SecretRef] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AuditSink:
    """One place that events are sent to. `options` are those of its kind (docs/audit.md), `credentials` where
    its secrets are to be found, by what its kind calls them."""

    name: str
    kind: str
    form: str = OCSF
    options: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    credentials: Mapping[str, SecretRef] = field(default_factory=lambda: NO_CREDENTIALS)


@dataclass(frozen=True, slots=True)
class Audit:
    """`keep_s` 0: for ever; `most_bytes` is the bound of the chain on the disk, whatever its age. `key` None:
    one is made in the state folder."""

    is_on: bool = False
    form: str = OCSF
    keep_s: int = 90 * 86_400
    most_bytes: int = 8 << 30
    key: SecretRef | None = None
    sinks: tuple[AuditSink, ...] = ()


NO_AUDIT = Audit()
