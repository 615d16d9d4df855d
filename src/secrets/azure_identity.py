"""Access tokens of Entra ID, as azure-identity gets them: by Azure's variables, workload identity, a managed
identity.

Source: Azure OpenAI, "How to configure Azure OpenAI with Microsoft Entra ID authentication".
"""

from __future__ import annotations

from collections.abc import Mapping

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import DefaultAzureCredential

from ..core.secrets import AZURE, StorePlace
from ..policy.holding import Value
from .identity import Renewing, files_of
from .store import TIMEOUT_S, Away, Opener, SecretStore

SCOPE = "https://cognitiveservices.azure.com/.default"


def default_credential(options: Mapping[str, str]) -> DefaultAzureCredential:
    """What finds the broker's identity in Azure."""
    ca_file = options.get("ca_file")
    return DefaultAzureCredential(
        managed_identity_client_id=options.get("client_id") or None,
        # Of people's tools, not of a server's.
        exclude_interactive_browser_credential=True,
        disable_instance_discovery=bool(ca_file),
        process_timeout=TIMEOUT_S,
        connection_timeout=TIMEOUT_S,
        read_timeout=TIMEOUT_S,
        retry_total=0,
        **({"connection_verify": ca_file} if ca_file else {}),
    )


def access_token(options: Mapping[str, str]) -> Value:
    """Everything is looked for anew: what has got a token once would give it until just before its end.
    Raises Away."""
    try:
        with default_credential(options) as credential:
            found = credential.get_token(options.get("scope") or SCOPE)
    except ClientAuthenticationError:  # azure-identity makes this of all that its ways have run into
        raise Away("there is no identity of Azure here, or Entra ID does not answer it") from None
    except HttpResponseError as error:
        raise Away(f"Entra ID answers with {error.status_code}") from None
    return Value(found.token, expires_s=float(found.expires_on))


def open_store(place: StorePlace, opener: Opener) -> SecretStore:
    return Renewing(lambda: access_token(place.options), files_of(AZURE, place.options, {}))
