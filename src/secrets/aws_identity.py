"""AWS's own credentials, as botocore finds them: variables, a profile, a web identity (IRSA), the container's
or the instance's role; and roles that are assumed by them.

Source: AWS SDKs and Tools Reference Guide, "Standardized credential providers"; AWS STS API Reference.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import botocore.exceptions  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials  # type: ignore[import-untyped]
from botocore.session import Session  # type: ignore[import-untyped]

from ..core.secrets import AWS, StorePlace
from ..policy.holding import Value
from .identity import Renewing, files_of
from .store import TIMEOUT_S, Away, Opener, SecretStore

SESSION_NAME = "modelbroker"
_NO = (
    *("AccessDenied", "AccessDeniedException", "IDPRejectedClaim", "InvalidIdentityToken"),
    *("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch"),
)


def signing_keys(options: Mapping[str, str]) -> Value:
    """KEY_ID:SECRET[:SESSION_TOKEN]. Everything is looked for anew: a session of botocore's would give what
    it has found before. Raises Away."""
    try:
        found = _found(options)
        keys = found.get_frozen_credentials()
    except botocore.exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _NO:
            raise Away(f"the role may not be assumed ({code})") from None
        raise Away(f"STS answers with {code or 'an error'}") from None
    except botocore.exceptions.ProfileNotFound:
        raise Away(f"there is no profile {options.get('profile') or os.environ.get('AWS_PROFILE')}") from None
    except botocore.exceptions.NoRegionError:
        raise Away("STS has no address without a region: set AWS_REGION") from None
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
        raise Away(f"STS can't be reached ({type(error).__name__})") from None
    except botocore.exceptions.BotoCoreError as error:
        raise Away(f"the credentials can't be had ({type(error).__name__})") from None
    except OSError as error:  # the token of a web identity is a file
        raise Away(f"the file {error.filename} can't be read ({error.strerror})") from None
    # Nothing public tells when they expire.
    expires: datetime | None = getattr(found, "_expiry_time", None)
    text = ":".join(filter(None, (keys.access_key, keys.secret_key, keys.token)))
    return Value(text, expires_s=expires.timestamp() if expires is not None else math.inf)


def _found(options: Mapping[str, str]) -> Any:
    session = Session(profile=options.get("profile"))
    config = Config(connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1})
    session.set_default_client_config(config)
    if region := _region(session, options):
        session.set_config_variable("region", region)
    found = session.get_credentials()
    if found is None:
        raise Away(
            "there are no credentials of AWS: no variables, profile, web identity, container or instance"
        )
    role = options.get("role_arn")
    return acting_as(session, found, role, options) if role else found


def _region(session: Session, options: Mapping[str, str]) -> str:
    """Where STS is asked: as AWS's own settings say, before the region of the provider."""
    said = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    return str(said or options.get("region") or "")


def acting_as(session: Session, source: Any, role_arn: str, options: Mapping[str, str]) -> Any:
    """Credentials of the role, which is assumed by `source` when they are first needed."""
    more = {"RoleSessionName": options.get("session_name") or SESSION_NAME}
    if external_id := options.get("external_id"):
        more["ExternalId"] = external_id
    fetcher = AssumeRoleCredentialFetcher(session.create_client, source, role_arn, extra_args=more)
    return DeferredRefreshableCredentials(method="assume-role", refresh_using=fetcher.fetch_credentials)


def open_store(place: StorePlace, opener: Opener) -> SecretStore:
    return Renewing(lambda: signing_keys(place.options), files_of(AWS, place.options, os.environ))
