"""GCP Secret Manager.

Source: Secret Manager API, "projects.secrets.versions.access".
"""

from __future__ import annotations

import warnings
from typing import Any
from urllib.parse import urlsplit

import google.api_core.exceptions as answers
import google.auth
import google.auth.exceptions
from google.auth.credentials import Credentials
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceRestTransport,
)

from ..core.catalog import StoredSecret
from ..core.secrets import StorePlace
from ..policy.holding import Value
from .store import TIMEOUT_S, Away, Denied, Gone, Opener, SecretStore

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_HOST = "https://secretmanager.googleapis.com"


class SecretManager:
    """By application default credentials, or those of a file; google-auth refreshes their tokens."""

    def __init__(self, place: StorePlace) -> None:
        self._options = place.options
        self._client: SecretManagerServiceClient | None = None

    def fetch(self, ref: StoredSecret) -> Value:
        if ref.field:
            raise Gone("secrets of GCP have no fields: leave `field` out")
        name = f"projects/{self._options['project']}/secrets/{ref.name}/versions/{ref.version or 'latest'}"
        try:
            found = self._opened().access_secret_version(name=name, timeout=TIMEOUT_S, retry=None)
            text = found.payload.data.decode()
        except (answers.NotFound, answers.BadRequest):  # the latter: disabled, or destroyed
            raise Gone(f"{ref.name} is not there, or has no such version") from None
        except (answers.Forbidden, answers.Unauthorized):
            raise Denied(f"the broker may not read {ref.name}") from None
        except answers.GoogleAPICallError as error:
            raise Away(f"it answers with {type(error).__name__}") from None
        except google.auth.exceptions.GoogleAuthError as error:
            raise Away(f"the broker has no credentials of Google's ({type(error).__name__})") from None
        except OSError as error:  # requests' errors are such
            raise Away(f"it can't be reached ({type(error).__name__})") from None
        except UnicodeDecodeError:
            raise Gone(f"{ref.name} is no text") from None
        return Value(text, found.name.rpartition("/")[2])

    def close(self) -> None:
        if self._client is not None:
            self._client.transport.close()  # type: ignore[no-untyped-call]

    def _opened(self) -> SecretManagerServiceClient:
        """Credentials are looked for with the first question: that may ask a metadata server."""
        if self._client is None:
            parts = urlsplit(self._options.get("endpoint") or _HOST)
            transport = SecretManagerServiceRestTransport(
                host=parts.netloc, credentials=self._credentials(), url_scheme=parts.scheme
            )
            self._client = SecretManagerServiceClient(transport=transport)
        return self._client

    def _credentials(self) -> Credentials:
        path = self._options.get("credential_file")
        if not path:
            found: Credentials = google.auth.default(scopes=_SCOPES)[0]
            return found
        with warnings.catch_warnings():
            # Whose file it is matters where others bring it; this one is the operator's.
            warnings.simplefilter("ignore", DeprecationWarning)
            read: Any = google.auth.load_credentials_from_file  # it has no types
            found = read(path, scopes=_SCOPES)[0]
            return found


def open_store(place: StorePlace, opener: Opener) -> SecretStore:
    return SecretManager(place)
