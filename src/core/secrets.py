"""Stores in which secrets are kept, outside of the configuration and of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalog import SecretRef

VAULT, AWS, GCP, AZURE, KUBERNETES = "vault", "aws", "gcp", "azure", "kubernetes"
KINDS = (VAULT, AWS, GCP, AZURE, KUBERNETES)
# Of these the broker can have an identity.
CLOUDS = (AWS, GCP, AZURE)
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
NO_CREDENTIALS: Mapping[str, SecretRef] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StorePlace:
    """One store. `options` are those of its kind (docs/secrets.md), `credentials` where that is to be found
    with which the broker logs in there: the environment, or a file."""

    name: str
    kind: str
    options: Mapping[str, str] = field(default_factory=lambda: NO_OPTIONS)
    credentials: Mapping[str, SecretRef] = field(default_factory=lambda: NO_CREDENTIALS)


@dataclass(frozen=True, slots=True)
class Secrets:
    """`refresh_s`: how often stores are asked; `keep_s`: how long a value is good that a store could not be
    asked for since; `overlap_s`: how long what was replaced is good beside what took its place."""

    stores: Mapping[str, StorePlace] = field(default_factory=lambda: MappingProxyType({}))
    refresh_s: int = 60
    keep_s: int = 86_400
    overlap_s: int = 600


NO_SECRETS = Secrets()
