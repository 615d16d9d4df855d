"""Google's access tokens: application default credentials, a service account's key, workload identity
federation.

Source: Google Cloud, "How Application Default Credentials works"; RFC 8693 (federation exchanges tokens).
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import google.auth
import google.auth.exceptions
import requests
from google.auth.credentials import with_scopes_if_required
from google.auth.impersonated_credentials import Credentials as Impersonated
from google.auth.transport.requests import Request

from ..core.secrets import GCP, StorePlace
from ..policy.holding import Value
from .identity import Renewing, files_of
from .store import TIMEOUT_S, Away, Opener, SecretStore

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
# What token endpoints say of a refusal (RFC 6749, 5.2) and IAM's words; nothing else of it is repeated.
_SAID = re.compile(
    r"\b(invalid_[a-z]{5,20}|unauthorized_client|unsupported_grant_type|access_denied|PERMISSION_DENIED"
    r"|temporarily_unavailable)\b"
)


class _Bounded(Request):
    """Requests that end: its own wait two minutes."""

    def __call__(self, *args: Any, **more: Any) -> Any:
        return super().__call__(*args, **{"timeout": TIMEOUT_S, **more})  # type: ignore[no-untyped-call]


def access_token(options: Mapping[str, str]) -> Value:
    """Everything is looked for anew. Raises Away."""
    with requests.Session() as session:
        request = _Bounded(session)
        try:
            found = credentials_of(options.get("credential_file") or "", request)
            if account := options.get("impersonate"):
                found = Impersonated(found, account, SCOPES)  # type: ignore[no-untyped-call]
            found.refresh(request)
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise no_credentials(options, error) from None
        except google.auth.exceptions.TransportError:
            raise Away("Google's token service can't be reached") from None
        except google.auth.exceptions.GoogleAuthError as error:
            said = _SAID.search(str(error))
            raise Away(f"it gives no token ({said[0] if said else type(error).__name__})") from None
        except OSError as error:  # requests' errors are such
            raise Away(f"it can't be asked ({type(error).__name__})") from None
    expires = found.expiry  # UTC, and does not say so
    expires_s = expires.replace(tzinfo=UTC).timestamp() if expires is not None else math.inf
    return Value(found.token or "", expires_s=expires_s)


def credentials_of(path: str, request: Request | None = None) -> Any:
    """Of that file, or application default credentials. Scopes are added behind: with them google-auth would
    ask another service for the project's name."""
    with warnings.catch_warnings():
        # Whose file it is matters where others bring it; this one is the operator's.
        warnings.simplefilter("ignore", DeprecationWarning)
        read: Any = google.auth.load_credentials_from_file  # it has no types
        found = read(path, request=request) if path else google.auth.default(request=request)
    return with_scopes_if_required(found[0], SCOPES)  # type: ignore[no-untyped-call]


def no_credentials(options: Mapping[str, str], error: Exception) -> Away:
    path = options.get("credential_file") or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if path:
        return Away(f"the file {path} holds no credentials of Google's ({type(error).__name__})")
    what = "no variable or file, and no metadata server answers"
    return Away(f"there are no application default credentials here: {what}")


def open_store(place: StorePlace, opener: Opener) -> SecretStore:
    return Renewing(lambda: access_token(place.options), files_of(GCP, place.options, os.environ))
