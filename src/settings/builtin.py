"""The providers that are built in, read from providers.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..core.catalog import SecretRef
from ..core.catalog import identity as identity_in
from . import identities, values, yamltext


@dataclass(frozen=True, slots=True)
class Builtin:
    """One entry of providers.yaml. `base_url` may hold {region}; `needs` are the fields that a user has to
    add, and `example` shows them. `cloud`: whose identities it knows."""

    name: str
    dialect: tuple[str, ...]
    base_url: str = ""
    auth: str = "none"
    credential: SecretRef | None = None
    cloud: str = ""
    api_version: str = ""
    needs: tuple[str, ...] = ()
    example: str = ""
    variant: str = ""
    deviations: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # pattern of models → what


@cache
def builtins() -> Mapping[str, Builtin]:
    """Name → built-in provider, in the order of the file."""
    text = Path(__file__).with_name("providers.yaml").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = yamltext.parse(text)[0]
    return MappingProxyType({entry["name"]: _builtin(**entry) for entry in entries})


def _builtin(
    *,
    dialect: Any,
    credential: Any = None,
    identity: str = "",
    needs: Any = (),
    deviations: Any = None,
    **rest: Any,
) -> Builtin:
    """`identity`: the cloud of the one that is used where the variable of `credential` is not set."""
    known = identities.credential(credential)
    if identity and known is not None:
        known = identity_in(identity, instead=known.name)
    return Builtin(
        dialect=tuple(values.one_or_more(dialect)),
        credential=known,
        needs=tuple(needs),
        deviations=values.deviations(deviations or {}),
        **rest,
    )
