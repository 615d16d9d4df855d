"""The broker's own identities in clouds, where no box asks for their tokens: what the environment says by
itself, and why that is not enough."""

from __future__ import annotations

import configparser
from collections.abc import Mapping

from ..core.catalog import Identity
from ..core.secrets import AWS
from ..secrets.identity import SUFFIX, files_of
from ..secrets.store import is_installed

_AWS_NAMES = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_ENVIRONMENT = "the environment"
# Variables that clusters set for a role, which botocore knows what to do with.
_AWS_ROLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)


def is_asked_for(ref: Identity, environ: Mapping[str, str]) -> bool:
    """Whether its token comes from its cloud. Not where a variable goes before it; and without the extra,
    AWS's variables and its credentials file are read all the same, and what comes with the built-in providers
    keeps nobody from the rest."""
    if ref.instead and environ.get(ref.instead):
        return False
    if _is_plain_aws(ref) and environ.get("AWS_ACCESS_KEY_ID"):
        return False
    return not (_is_plain_aws(ref) or ref.instead) or is_installed(ref.kind + SUFFIX)


def without_box(ref: Identity, environ: Mapping[str, str]) -> tuple[str | None, str]:
    """(what it signs with, why there is none)."""
    if ref.instead:
        why = f"the environment variable {ref.instead} is not set"
        return None, why if is_installed(ref.kind + SUFFIX) else f"{why}, and {_lack(ref)}"
    if not _is_plain_aws(ref):
        return None, f"{ref} was not asked for"
    value, why = _aws_credential(environ)
    role = next((name for name in _AWS_ROLES if environ.get(name)), "")
    if value is None and role and not is_installed(ref.kind + SUFFIX):
        return None, f"{role} names a role, and {_lack(ref)}"
    return value, why


def _is_plain_aws(ref: Identity) -> bool:
    return ref.kind == AWS and all(name == "region" for name, _ in ref.options)


def _lack(ref: Identity) -> str:
    return f"{ref.kind}'s client is not installed: pip install 'modelbroker[{ref.kind}]'"


def _aws_credential(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """AWS's own variables, else a profile of its credentials file, as KEY_ID:SECRET[:SESSION_TOKEN].

    Source: AWS SDKs and Tools Reference Guide, "AWS access keys".
    """
    path, profile = files_of(AWS, {}, environ)[0], environ.get("AWS_PROFILE") or "default"
    where = _ENVIRONMENT
    found = {name: environ.get(name.upper(), "").strip() for name in _AWS_NAMES}
    if not found["aws_access_key_id"]:
        where = f"the profile {profile} in {path}"
        profiles = configparser.RawConfigParser(strict=False)
        try:
            profiles.read_string(path.read_text(encoding="utf-8"))
            found = {name: profiles.get(profile, name, fallback="").strip() for name in _AWS_NAMES}
        except OSError as error:
            why = f"AWS_ACCESS_KEY_ID is not set, and the file {path} can't be read ({error.strerror})"
            return None, why
        except (configparser.Error, UnicodeDecodeError):
            return None, f"AWS_ACCESS_KEY_ID is not set, and the file {path} is not valid"
    for name in _AWS_NAMES[:2]:
        if not found[name]:
            return None, f"{where} has no {name if where != _ENVIRONMENT else name.upper()}"
    value = ":".join(filter(None, found.values()))
    return (
        (value, "") if value.isprintable() else (None, f"{where} holds characters that no header can carry")
    )
