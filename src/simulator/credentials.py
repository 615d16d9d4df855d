"""Who may call: where each provider looks for its key, and what it says of a wrong one."""

import math
import time
import urllib.parse

from . import sigv4
from .refusal import Refusal
from .requests import Call
from .script import Script

_ANONYMOUS = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or "
    "other form of API consumer identity to call this API."
)
_BAD_TOKEN = "The security token included in the request is invalid."  # noqa: S105 - what is said of one
_OLD_TOKEN = "The security token included in the request is expired"  # noqa: S105 - the same


def check(call: Call, script: Script, now: float | None = None) -> None:
    """Raises Refusal, as the provider at that path does; `now` is unix seconds."""
    if not script.require_key:
        return
    now = time.time() if now is None else now
    if call.shape == "aws":
        _aws(call, script, now)
    elif call.shape == "google" or call.platform == "vertex":
        _google(call, script, now)
    else:
        _plain(call, script, now)


def _is_over(key: str, script: Script, now: float) -> bool:
    return now >= script.expire.get(key, math.inf)


def _plain(call: Call, script: Script, now: float) -> None:
    key = _credential(call, "authorization", "x-api-key", "api-key")
    if key is None:
        missing = "You didn't provide an API key."
        if call.shape != "openai":
            missing = "x-api-key header is required" if call.anthropic else ""
        raise Refusal(401, missing)
    if _is_over(key, script, now) or (script.keys is not None and key not in script.keys):
        # Left empty, the message is the provider's own for the status.
        raise Refusal(401, "invalid x-api-key" if call.anthropic else "")


def _google(call: Call, script: Script, now: float) -> None:
    on_vertex = call.platform == "vertex"
    key = _credential(call, "authorization") if on_vertex else None
    key = key or _credential(call, "x-goog-api-key")
    key = key or next(iter(urllib.parse.parse_qs(call.query).get("key", ())), None)
    is_known = key is not None and (script.keys is None or key in script.keys)
    if key is not None and is_known and not _is_over(key, script, now):
        return
    if on_vertex:
        raise Refusal(401, "")
    if key is None:
        raise Refusal(403, _ANONYMOUS)
    raise Refusal(400, "API key not valid. Please pass a valid API key.", code="API_KEY_INVALID")


def _credential(call: Call, *names: str) -> str | None:
    """The key a request carries in one of these headers, without its scheme; None when there is none."""
    for name in names:
        value = call.headers.get(name, "").strip()
        if value:
            scheme, _, rest = value.partition(" ")
            return rest.strip() if rest and scheme.lower() in ("bearer", "basic") else value
    return None


def _aws(call: Call, script: Script, now: float) -> None:
    authorization = call.headers.get("authorization", "").strip()
    if not authorization:
        raise Refusal(403, "Missing Authentication Token", kind="MissingAuthenticationTokenException")
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        if script.keys is not None and rest.strip() not in script.keys:
            raise Refusal(403, "Authentication failed: Please make sure your API Key is valid.")
        return
    if scheme != sigv4.ALGORITHM:
        raise Refusal(403, "Unsupported AWS 'algorithm'.", kind="IncompleteSignatureException")
    found = sigv4.parse(rest, call.headers, now)
    region = script.aws.region
    if region is not None and found.region != region:
        message = f"Credential should be scoped to a valid region, not '{found.region}'."
        raise Refusal(403, message, kind="InvalidSignatureException")
    secret = _secret(found.access_key, script)
    token = script.aws.session_tokens.get(found.access_key)
    if token is not None and call.headers.get("x-amz-security-token") != token:
        raise Refusal(403, _BAD_TOKEN, kind="UnrecognizedClientException")
    if _is_over(found.access_key, script, now):
        raise Refusal(403, _OLD_TOKEN, kind="ExpiredTokenException")
    if secret is not None:
        sigv4.check(found, secret, call.method, call.path, call.query, call.headers, call.body)


def _secret(access_key: str, script: Script) -> str | None:
    """The secret of an access key; None when any signature of it will do. Raises Refusal."""
    known = script.keys
    if isinstance(known, dict) and access_key in known:
        return known[access_key]
    if known is not None and access_key not in known:
        raise Refusal(403, _BAD_TOKEN, kind="UnrecognizedClientException")
    return script.aws.secret_key if access_key == script.aws.access_key else None
