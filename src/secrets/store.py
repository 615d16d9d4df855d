"""What every store of secrets can do, and how one is opened."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from ..core.catalog import StoredSecret
from ..core.errors import Misconfigured
from ..core.secrets import AWS, AZURE, GCP, KUBERNETES, VAULT, StorePlace
from ..policy.holding import Value
from .identity import SUFFIX

# A store that takes longer counts as away.
TIMEOUT_S = 5
# No key, URL or password is longer; Envoy would take no header of that length.
MOST_CHARS = 16_384


class Away(Exception):
    """The store can't be asked, or does not let the broker in: what is known is good on. The text has no
    secret in it."""


class Gone(Away):
    """The store answers that there is no such secret."""


class Denied(Away):
    """It does not let the broker have this one secret; others it may."""


class SecretStore(Protocol):
    """Its calls take as long as they take; one is made at a time."""

    def fetch(self, ref: StoredSecret) -> Value:
        """Raises Away, or Gone."""

    def close(self) -> None: ...


# Kind → (module, what it needs, the extra that has it).
_KINDS: Mapping[str, tuple[str, str, str]] = {
    VAULT: ("vault", "hvac", "vault"),
    AWS: ("aws", "boto3", "aws"),
    GCP: ("gcp", "google.cloud.secretmanager_v1", "gcp"),
    AZURE: ("azure", "azure.keyvault.secrets", "azure"),
    KUBERNETES: ("kubernetes", "kubernetes", "kubernetes"),
    AWS + SUFFIX: ("aws_identity", "botocore", "aws"),
    GCP + SUFFIX: ("gcp_identity", "google.auth", "gcp"),
    AZURE + SUFFIX: ("azure_identity", "azure.identity", "azure"),
}
# On the level `debug` these write what they sent and were answered, secrets and tokens among it; and what
# goes wrong is the box's to say, once.
_TALKATIVE = ("azure", "boto3", "botocore", "google", "hvac", "kubernetes", "msal", "urllib3")
# Reads what opens a store: the name of a credential of StorePlace → its text. Raises Away.
Opener = Callable[[str], str]


def open_store(place: StorePlace, opener: Opener) -> SecretStore:
    """Nothing is asked yet. Misconfigured where what it needs is not installed."""
    hush()
    module, needs, extra = _KINDS[place.kind]
    if not is_installed(place.kind):
        where = "credential" if place.kind.endswith(SUFFIX) else "secrets.stores"
        raise Misconfigured(
            500,
            "missing_extra",
            f"{where}: {place.name} needs the package {needs}: pip install 'modelbroker[{extra}]'",
        )
    found: Callable[[StorePlace, Opener], SecretStore] = importlib.import_module(
        f".{module}", __package__
    ).open_store
    return found(place, opener)


def hush() -> None:
    """Clients of stores say nothing in the log."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def is_installed(kind: str) -> bool:
    """What a store of this kind needs."""
    try:
        return importlib.util.find_spec(_KINDS[kind][1]) is not None
    except ModuleNotFoundError:  # the package that it is in is not
        return False


def field_of(fields: Mapping[str, object], ref: StoredSecret) -> str:
    """The value of the secret's field; of its only one where none is named. Raises Gone."""
    if ref.field:
        if ref.field not in fields:
            raise Gone(f"{ref.name} has no field {ref.field}")
        value = fields[ref.field]
    elif len(fields) == 1:
        (value,) = fields.values()
    else:
        raise Gone(f"{ref.name} has {len(fields)} fields: say which by `field`")
    if not isinstance(value, str):
        raise Gone(f"{ref.name}{f', field {ref.field},' if ref.field else ''} is no text")
    return value


def usable(text: str, where: str) -> str:
    """`text` without the white space at its ends, which is an editor's and never a key's. Raises Gone where
    that is no secret at all."""
    text = text.strip()
    if not text:
        raise Gone(f"{where} is empty")
    if len(text) > MOST_CHARS:
        raise Gone(f"{where} is longer than {MOST_CHARS:,} characters")
    if _is_object(text):
        raise Gone(f"{where} holds JSON, and no key alone: put the value itself there, or name its `field`")
    if not text.isprintable():
        raise Gone(f"{where} holds characters that no header can carry")
    return text


def _is_object(text: str) -> bool:
    """What a store's console shows of a secret with fields, or a whole file of credentials."""
    if not (text.startswith("{") and text.endswith("}")):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
