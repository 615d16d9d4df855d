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


class AwsIn(Model):
    """AWS Secrets Manager. The broker has AWS's own credentials: variables, a profile, a web identity (IRSA),
    the container's or the instance's role."""

    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,4}(-[a-z]+)+-[0-9]$")] = field(
        "The region.", "text", "give e.g. eu-central-1"
    )
    role_arn: Annotated[str, StringConstraints(pattern=r"^(arn:[a-z-]+:iam::[0-9]{12}:role/.{1,512})?$")] = (
        field(
            "A role that is assumed first.",
            "text",
            "give e.g. arn:aws:iam::123456789012:role/modelbroker",
            "",
        )
    )
    endpoint: Url | None = field("Another address of the service, e.g. a VPC's.", "URL", "give a URL", None)


class GcpIn(Model):
    """GCP Secret Manager. The broker has Google's application default credentials: a service account's file,
    workload identity, the instance's."""

    project: Word = field("The project, by its id or number.", "text", "give e.g. my-project")
    credential_file: FilePath | None = field(
        "A service account's key, or a configuration of workload identity federation.",
        "path",
        "give a path",
        None,
    )
    endpoint: Url | None = field("Another address of the service.", "URL", "give a URL", None)


class AzureIn(Model):
    """Azure Key Vault. The broker has an identity of Entra ID: workload identity, a managed one, or a client
    secret by Azure's own variables."""

    address: Url = field("The vault's URL.", "URL", "give e.g. https://my-vault.vault.azure.net")
    client_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F-]{0,36}$")] = field(
        "Of a managed identity, where the machine has several.", "text", "give its client id", ""
    )
    ca_file: FilePath | None = field(
        "Certificates of authorities, where a private cloud has its own.", "path", "give a path", None
    )


class KubernetesIn(Model):
    """Secrets of a cluster, by its API: those that the pod's service account may `get`."""

    namespace: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{0,63}$")] = field(
        "The namespace. Left out: the pod's own.", "text", "give e.g. models", ""
    )
    address: Url | None = field("The API server. Left out: the pod's.", "URL", "give a URL", None)
    token_file: FilePath | None = field(
        "The service account's token. Left out: the pod's.", "path", "give a path", None
    )
    ca_file: FilePath | None = field(
        "Certificates of authorities of the API server. Left out: the pod's.", "path", "give a path", None
    )


class StoreIn(Model):
    """One store, of one kind. Secrets refer to it by its name: `credential: {NAME: PATH, field: FIELD}`."""

    name: Name = field("What references call it.", "name", "give a name of small letters, e.g. vault")
    vault: VaultIn | None = field("HashiCorp Vault.", "mapping", "give {address: URL, auth: …}", None)
    aws: AwsIn | None = field("AWS Secrets Manager.", "mapping", "give {region: eu-central-1}", None)
    gcp: GcpIn | None = field("GCP Secret Manager.", "mapping", "give {project: my-project}", None)
    azure: AzureIn | None = field(
        "Azure Key Vault.", "mapping", "give {address: https://my-vault.vault.azure.net}", None
    )
    kubernetes: KubernetesIn | None = field("Kubernetes.", "mapping", "give {namespace: models}", None)


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
        "How long a value that was replaced is good beside its successor (a caller's key is taken, a "
        "provider's used while the new one is refused), and one that was deleted still used. Of files, too.",
        "duration",
        "give e.g. 10m, or 0s",
        Secrets().overlap_s * 1_000,
    )
