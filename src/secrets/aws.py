"""AWS Secrets Manager.

Source: AWS Secrets Manager API Reference, "GetSecretValue".
"""

from __future__ import annotations

import re
from typing import Any

import boto3  # type: ignore[import-untyped]
import botocore.exceptions  # type: ignore[import-untyped]
import msgspec
from botocore.client import Config  # type: ignore[import-untyped]

from ..core.catalog import StoredSecret
from ..core.secrets import StorePlace
from ..policy.holding import Value
from .aws_identity import acting_as
from .store import TIMEOUT_S, Away, Denied, Gone, Opener, SecretStore, field_of

# A version is named by its id, or by a label such as AWSPREVIOUS.
_VERSION_ID = re.compile(r"[A-Za-z0-9-]{32,64}")
_GONE = ("ResourceNotFoundException", "InvalidRequestException")  # the latter: it is marked for deletion
_DENIED = (
    *("AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException"),
    *("ExpiredTokenException", "InvalidClientTokenId", "DecryptionFailure"),
)


class SecretsManager:
    """AWS's own credentials are looked for by botocore, and refreshed by it before they expire."""

    def __init__(self, place: StorePlace) -> None:
        options = place.options
        config = Config(connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1})
        session = boto3.session.Session(region_name=options["region"])
        if role := options.get("role_arn"):
            session = _as_role(session, role, config)
        self._client = session.client("secretsmanager", endpoint_url=options.get("endpoint"), config=config)

    def fetch(self, ref: StoredSecret) -> Value:
        version: dict[str, str] = {}
        if ref.version:
            is_id = _VERSION_ID.fullmatch(ref.version) is not None
            version = {"VersionId" if is_id else "VersionStage": ref.version}
        try:
            found = self._client.get_secret_value(SecretId=ref.name, **version)
        except botocore.exceptions.ClientError as error:
            raise _away(ref, error.response.get("Error", {}).get("Code", "")) from None
        except botocore.exceptions.NoCredentialsError:
            raise Away("the broker has no credentials of AWS") from None
        except botocore.exceptions.BotoCoreError as error:
            raise Away(f"it can't be asked ({type(error).__name__})") from None
        text = found.get("SecretString")
        if text is None:
            raise Gone(f"{ref.name} is binary, and no text")
        return Value(_value(text, ref), str(found.get("VersionId", "")))

    def close(self) -> None:
        self._client.close()


def _away(ref: StoredSecret, code: str) -> Away:
    if code in _GONE:
        return Gone(f"{ref.name} is not there")
    if code in _DENIED:
        return Denied(f"the broker may not read {ref.name} ({code})")
    return Away(f"it answers with {code or 'an error'}")


def _value(text: str, ref: StoredSecret) -> str:
    """Secrets are a text, or fields in JSON, as the console makes them."""
    try:
        fields: Any = msgspec.json.decode(text)
    except msgspec.DecodeError:
        fields = None
    if isinstance(fields, dict):
        return field_of(fields, ref)
    if ref.field:
        raise Gone(f"{ref.name} has no fields: leave `field` out")
    return text


def _as_role(session: boto3.session.Session, role_arn: str, config: Config) -> boto3.session.Session:
    """What acts as the role; its credentials are got anew before they expire."""
    inner = session._session  # the only way that boto3 has to a credential that refreshes itself
    inner.set_default_client_config(config)
    acting = boto3.session.Session(region_name=session.region_name)
    acting._session._credentials = acting_as(inner, inner.get_credentials(), role_arn, {})
    return acting


def open_store(place: StorePlace, opener: Opener) -> SecretStore:
    return SecretsManager(place)
