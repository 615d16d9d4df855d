"""What YAML may say of stores of secrets."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, StringConstraints

from ..core.catalog import SecretRef
from ..core.secrets import Secrets
from . import values
from .fields import Model, field

_RIGHT_OWN = "give {env: NAME} or {file: PATH}: what opens a store can't be in one"
_TEXT = "give a text"
_HOUR_MS = 3_600_000
_LABEL = "give letters, digits, `.`, `_`, `-` and `/`"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,252}$")]
Own = Annotated[SecretRef, PlainValidator(lambda value: values.secret(value, ("env", "file"), _RIGHT_OWN))]
Url = Annotated[str, PlainValidator(values.base_url)]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class AppRoleIn(Model):
    """Vault's AppRole."""

    role_id: Word = field("The role's id.", "text", _TEXT)
    secret_id: Own = field("Where its secret id is.", "reference to a secret", _RIGHT_OWN)
    mount: Word = field("Where the method is mounted.", "text", _LABEL, "approle")


class KubernetesAuthIn(Model):
    """Vault's Kubernetes method: by the token of the pod's service account."""

    role: Word = field("The role in Vault.", "text", _TEXT)
    mount: Word = field("Where the method is mounted.", "text", _LABEL, "kubernetes")
    token_file: FilePath = field(
        "The service account's token. It is read for each login, since Kubernetes replaces it.",
        "path",
        "give a path",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
    )


class VaultAuthIn(Model):
    """How the broker logs in: by one of these."""

    token: Own | None = field(
        "A token. It is renewed while it can be.", "reference to a secret", _RIGHT_OWN, None
    )
    approle: AppRoleIn | None = field(
        "AppRole.", "mapping", "give {role_id: …, secret_id: {file: PATH}}", None
    )
    kubernetes: KubernetesAuthIn | None = field("Kubernetes.", "mapping", "give {role: NAME}", None)


class VaultIn(Model):
    """HashiCorp Vault, or OpenBao: the KV engine, version 2."""

    address: Url = field("Its URL.", "URL", "give e.g. https://vault.internal:8200")
    auth: VaultAuthIn = field("How the broker logs in.", "mapping", "give {kubernetes: {role: NAME}}")
    mount: Word = field("Where the engine is mounted.", "text", _LABEL, "secret")
    namespace: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]{0,252}$")] = field(
        "Vault's namespace.", "text", _LABEL, ""
    )
    ca_file: FilePath | None = field(
        "Certificates of authorities that its own is signed by.", "path", "give a path", None
    )


class StoreIn(Model):
    """One store, of one kind. Secrets refer to it by its name: `credential: {NAME: PATH, field: FIELD}`."""

    name: Name = field("What references call it.", "name", "give a name of small letters, e.g. vault")
    vault: VaultIn | None = field("HashiCorp Vault.", "mapping", "give {address: URL, auth: …}", None)


class SecretsIn(Model):
    """Stores of secrets, and how long their values are good: docs/secrets.md."""

    stores: list[StoreIn] = field("The stores.", "list", "give [{name: vault, vault: {address: …}}]", list)
    refresh: Annotated[int, BeforeValidator(values.duration(1_000, 24 * _HOUR_MS))] = field(
        "How often a store is asked for each of its values. What expires by itself is asked for before.",
        "duration",
        "give e.g. 1m",
        Secrets().refresh_s * 1_000,
    )
    keep: Annotated[int, BeforeValidator(values.duration(1_000, 24 * 30 * _HOUR_MS))] = field(
        "How long a value is good while its store can't be asked.",
        "duration",
        "give e.g. 24h",
        Secrets().keep_s * 1_000,
    )
    overlap: Annotated[int, BeforeValidator(values.duration(0, 24 * 30 * _HOUR_MS))] = field(
        "How long a caller's key that was replaced is still taken, and a secret that was deleted still used.",
        "duration",
        "give e.g. 10m, or 0s",
        Secrets().overlap_s * 1_000,
    )
