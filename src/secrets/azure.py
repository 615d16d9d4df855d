"""Azure Key Vault.

Source: Key Vault REST API, "Get Secret".
"""

from __future__ import annotations

from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import CredentialUnavailableError
from azure.keyvault.secrets import SecretClient

from ..core.catalog import StoredSecret
from ..core.secrets import StorePlace
from ..policy.holding import Value
from .azure_identity import default_credential
from .store import TIMEOUT_S, Away, Denied, Gone, Opener, SecretStore


class KeyVault:
    """By the identity that azure-identity finds: workload identity, a managed one, the environment's."""

    def __init__(self, place: StorePlace) -> None:
        options = place.options
        waits = {"connection_timeout": TIMEOUT_S, "read_timeout": TIMEOUT_S, "retry_total": 0}
        ca_file = options.get("ca_file")
        trust = {"connection_verify": ca_file} if ca_file else {}
        self._credential = default_credential(options)
        # Vaults of a private cloud are in no domain that the client knows.
        is_azures = not ca_file
        self._client = SecretClient(
            options["address"],
            self._credential,
            verify_challenge_resource=is_azures,
            **waits,
            **trust,
        )

    def fetch(self, ref: StoredSecret) -> Value:
        if ref.field:
            raise Gone("secrets of Azure have no fields: leave `field` out")
        try:
            found = self._client.get_secret(ref.name, ref.version or None)
        except ResourceNotFoundError:
            raise Gone(f"{ref.name} is not there") from None
        except (ClientAuthenticationError, CredentialUnavailableError):
            raise Away("the broker has no identity that the vault knows") from None
        except HttpResponseError as error:
            if error.status_code == 403:
                raise Denied(f"the broker may not read {ref.name}, or it is disabled") from None
            raise Away(f"it answers with {error.status_code}") from None
        except (ServiceRequestError, ServiceResponseError) as error:
            raise Away(f"it can't be reached ({type(error).__name__})") from None
        return Value(found.value or "", found.properties.version or "")

    def close(self) -> None:
        self._client.close()
        self._credential.close()


def open_store(place: StorePlace, opener: Opener) -> SecretStore:
    return KeyVault(place)
