"""GCP Secret Manager.

Source: Secret Manager API, "projects.secrets.versions.access".
"""

from __future__ import annotations

from urllib.parse import urlsplit

import google.api_core.exceptions as answers
import google.auth.exceptions
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceRestTransport,
)

from ..core.catalog import StoredSecret
from ..core.secrets import StorePlace
from ..policy.holding import Value
from .gcp_identity import credentials_of, no_credentials
from .store import TIMEOUT_S, Away, Denied, Gone, Opener, SecretStore

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
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise no_credentials(self._options, error) from None
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
                host=parts.netloc,
                credentials=credentials_of(self._options.get("credential_file") or ""),
                url_scheme=parts.scheme,
            )
            self._client = SecretManagerServiceClient(transport=transport)
        return self._client


def open_store(place: StorePlace, opener: Opener) -> SecretStore:
    return SecretManager(place)
