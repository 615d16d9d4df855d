"""Secrets of a Kubernetes cluster, by its API.

Source: Kubernetes API, "Secret" (core/v1).
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import kubernetes.client  # type: ignore[import-untyped]
import kubernetes.client.exceptions  # type: ignore[import-untyped]
import urllib3.exceptions

from ..core.catalog import StoredSecret
from ..core.secrets import StorePlace
from ..policy.holding import Value
from .store import TIMEOUT_S, Away, Denied, Gone, Opener, SecretStore, field_of

# Where a pod finds its service account. Source: "Accessing the Kubernetes API from a Pod".
_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Cluster:
    """By the token of the pod's service account, which is read each time: Kubernetes replaces it."""

    def __init__(self, place: StorePlace) -> None:
        options = place.options
        self._token_file = Path(options.get("token_file") or _POD / "token")
        self._namespace = options.get("namespace") or ""
        configuration = kubernetes.client.Configuration()
        configuration.host = options.get("address") or _pods_address()
        ca_file = options.get("ca_file") or str(_POD / "ca.crt")
        configuration.ssl_ca_cert = ca_file if Path(ca_file).exists() else None
        configuration.retries = False
        self._client = kubernetes.client.ApiClient(configuration)
        self._api = kubernetes.client.CoreV1Api(self._client)

    def fetch(self, ref: StoredSecret) -> Value:
        if ref.version:
            raise Gone("Kubernetes keeps no versions of secrets: leave `version` out")
        self._client.set_default_header("authorization", f"Bearer {_read(self._token_file)}")
        namespace = self._namespace or _read(_POD / "namespace")
        try:
            found = self._api.read_namespaced_secret(ref.name, namespace, _request_timeout=TIMEOUT_S)
        except kubernetes.client.exceptions.ApiException as error:
            raise _away(ref, namespace, error.status) from None
        except urllib3.exceptions.HTTPError as error:
            raise Away(f"the API server can't be reached ({type(error).__name__})") from None
        fields = {name: _decoded(value) for name, value in (found.data or {}).items()}
        version = found.metadata.resource_version if found.metadata is not None else ""
        return Value(field_of(fields, ref), str(version or ""))

    def close(self) -> None:
        self._client.close()


def _away(ref: StoredSecret, namespace: str, status: Any) -> Away:
    if status == 404:
        return Gone(f"{ref.name} is not there, in {namespace}")
    if status in (401, 403):
        return Denied(f"the broker may not read {ref.name} in {namespace}")
    return Away(f"it answers with {status}")


def _decoded(value: str) -> str | None:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise Away(
            f"{path} can't be read: the broker does not run in a pod, or has no service account"
        ) from None


def _pods_address() -> str:
    """Source: the variables that Kubernetes sets in every container."""
    host, port = (
        os.environ.get("KUBERNETES_SERVICE_HOST", ""),
        os.environ.get("KUBERNETES_SERVICE_PORT", "443"),
    )
    host = f"[{host}]" if ":" in host else host
    return f"https://{host or 'kubernetes.default.svc'}:{port}"


def open_store(place: StorePlace, opener: Opener) -> SecretStore:
    return Cluster(place)
