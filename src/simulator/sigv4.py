"""AWS Signature Version 4, as the receiving side checks it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

import calendar
import hashlib
import hmac
import re
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from .refusal import Refusal

ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "bedrock"
_SKEW_S = 300
_PART = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
_SCOPE = re.compile(r"([^/]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")
_WRONG = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
    "Access Key and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class Signature:
    """What an Authorization header of the algorithm says."""

    access_key: str
    date: str  # YYYYMMDD
    region: str
    signed_headers: list[str]
    signature: str


def parse(authorization: str, headers: Mapping[str, str], now: float) -> Signature:
    """The header taken apart and found well-formed, in time and for Bedrock. Raises Refusal."""
    parts = dict(_PART.findall(authorization))
    for name in ("Credential", "Signature", "SignedHeaders"):
        if name not in parts:
            raise _incomplete(f"Authorization header requires '{name}' parameter.")
    scope = _SCOPE.fullmatch(parts["Credential"])
    if scope is None:
        raise _incomplete("Credential must have exactly 5 slash-delimited elements.")
    access_key, date, region, service = scope.groups()
    if service != _SERVICE:
        raise _invalid(f"Credential should be scoped to correct service: '{_SERVICE}'.")
    signed = parts["SignedHeaders"].split(";")
    if "host" not in signed:
        raise _invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    _check_date(headers.get("x-amz-date", ""), date, now)
    return Signature(access_key, date, region, signed, parts["Signature"])


def _check_date(stamp: str, date: str, now: float) -> None:
    try:
        made = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise _incomplete("Authorization header requires existence of a valid 'X-Amz-Date' header.") from None
    if not stamp.startswith(date):
        raise _invalid(f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version: {stamp}.")
    if abs(now - made) > _SKEW_S:
        raise _invalid(f"Signature expired: {stamp} is more than 5 min. away from now.")


def check(
    found: Signature, secret: str, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> None:
    """Whether the signature is that secret's, of this very request. Raises Refusal."""
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}" for name in found.signed_headers]
    canonical = "\n".join(
        [
            method,
            # Every service but S3 has the path encoded once more.
            urllib.parse.quote(path, safe="/~-._"),
            _canonical_query(query),
            *lines,
            "",
            ";".join(found.signed_headers),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{found.date}/{found.region}/{_SERVICE}/aws4_request"
    digest = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
    to_sign = "\n".join([ALGORITHM, headers.get("x-amz-date", ""), scope, digest])
    key = f"AWS4{secret}".encode()
    for part in (found.date, found.region, _SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    right = hmac.digest(key, to_sign.encode(), "sha256").hex()
    if not hmac.compare_digest(right, found.signature):
        raise _invalid(_WRONG)


def _canonical_query(query: str) -> str:
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
    quoted = [(urllib.parse.quote(k, safe="~"), urllib.parse.quote(v, safe="~")) for k, v in pairs]
    return "&".join(f"{name}={value}" for name, value in sorted(quoted))


def _incomplete(message: str) -> Refusal:
    return Refusal(403, message, kind="IncompleteSignatureException")


def _invalid(message: str) -> Refusal:
    return Refusal(403, message, kind="InvalidSignatureException")
