"""Google's errors → faults.

Sources: Google Cloud, "AIP-193 Errors", `google.rpc.Code`, `google.rpc.error_details`; Gemini API,
"Troubleshooting guide"; Vertex AI, "API errors".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from .. import openai
from ..google import BILLING_WORDS, Details
from ..replies import Cause, Fault

_BY_STATUS_NAME = {
    "INVALID_ARGUMENT": Cause.BAD_REQUEST,
    "OUT_OF_RANGE": Cause.BAD_REQUEST,
    "UNAUTHENTICATED": Cause.CREDENTIAL,
    "PERMISSION_DENIED": Cause.CREDENTIAL,
    "NOT_FOUND": Cause.NOT_FOUND,
    "ALREADY_EXISTS": Cause.CONFLICT,
    "ABORTED": Cause.CONFLICT,
    "RESOURCE_EXHAUSTED": Cause.RATE_LIMIT,
    "DEADLINE_EXCEEDED": Cause.TIMEOUT,
    "CANCELLED": Cause.TIMEOUT,
    "UNAVAILABLE": Cause.OVERLOADED,
    # Neither is the client's doing: the account's place or set-up, or a method that a model has not.
    "FAILED_PRECONDITION": Cause.SERVER,
    "UNIMPLEMENTED": Cause.SERVER,
    "INTERNAL": Cause.SERVER,
    "UNKNOWN": Cause.SERVER,
    "DATA_LOSS": Cause.SERVER,
}
_BY_STATUS = {
    400: Cause.BAD_REQUEST,
    401: Cause.CREDENTIAL,
    403: Cause.CREDENTIAL,
    404: Cause.NOT_FOUND,
    408: Cause.TIMEOUT,
    409: Cause.CONFLICT,
    413: Cause.TOO_LARGE,
    422: Cause.BAD_REQUEST,
    429: Cause.RATE_LIMIT,
    499: Cause.TIMEOUT,
    503: Cause.OVERLOADED,
    504: Cause.TIMEOUT,
    529: Cause.OVERLOADED,
}
# google.api.ErrorReason, where it tells more than the status does.
_BY_REASON = {
    "API_KEY_INVALID": Cause.CREDENTIAL,
    "API_KEY_EXPIRED": Cause.CREDENTIAL,
    "API_KEY_SERVICE_BLOCKED": Cause.CREDENTIAL,
    "ACCESS_TOKEN_EXPIRED": Cause.CREDENTIAL,
    "BILLING_DISABLED": Cause.BILLING,
    "RATE_LIMIT_EXCEEDED": Cause.RATE_LIMIT,
    "RESOURCE_QUOTA_EXCEEDED": Cause.RATE_LIMIT,
}
_CREDENTIAL_WORDS = re.compile(
    r"api[ _]key (not valid|expired|not found|invalid)|valid api key|unregistered callers"
    r"|reported as leaked|authentication credential",
    re.I,
)
_OVERFLOW_WORDS = re.compile(
    r"token count[^.]{0,40}(exceeds|but (the )?model only supports)|exceeds the maximum number of tokens"
    r"|context (window|length)|input (context )?is too long|prompt is too long",
    re.I,
)
_TOO_LARGE_WORDS = re.compile(r"payload size exceeds|request (size|payload|is) (exceeds|too large)", re.I)
_POLICY_WORDS = re.compile(
    r"prohibited content|blocked (by|due to|because)|safety (filter|polic|setting)|responsible ai"
    r"|violat\w*[^.]{0,30}polic|content polic",
    re.I,
)
# The API's own words name the path, Vertex AI's the field and its value.
_CONFIG_FIELD = re.compile(r"(?:generation_?config\.|\bit has an? )([a-z_]+)", re.I)
_FIELD_NAMES = {
    "maxoutputtokens": "max_output_tokens",
    "temperature": "temperature",
    "topp": "top_p",
    "topk": "top_k",
    "presencepenalty": "presence_penalty",
    "frequencypenalty": "frequency_penalty",
    "seed": "seed",
    "stopsequences": "stop",
    "candidatecount": "choices",
    "responselogprobs": "logprobs",
    "logprobs": "top_logprobs",
    "responsejsonschema": "output",
    "responseschema": "output",
    "responsemimetype": "output",
    "thinkingconfig": "effort",
}
_OTHER_FIELDS = (
    ("function_declarations", "tools"),
    ("functiondeclarations", "tools"),
    ("function_calling_config", "tool_choice"),
    ("system_instruction", "system"),
)


def decode_fault(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    retry_after = headers.get("retry-after", "")
    error = _error_of(body)
    if error is None:
        cause = _BY_STATUS.get(status, Cause.SERVER)
        if cause is Cause.BAD_REQUEST:
            cause = Cause.SERVER
        kept = status if status >= 400 and cause is not Cause.SERVER else 502
        shown = body[:200].decode("utf-8", "replace").strip()
        message = f"the provider answered with status {status} and no error that can be read: {shown!r}"
        return _made(cause, kept, message, "", "", retry_after, "")
    return fault_of(error, status, retry_after)


def fault_of(error: Mapping[str, Any], status: int = 0, retry_after: str = "") -> Fault:
    """`error` is what stands under `error`. `status` 0: its own code; inside a stream there is no other."""
    code = error.get("code")
    if status < 400:
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    name = str(error.get("status") or "")
    message = str(error.get("message") or name or "the provider gave no reason")
    details = Details(error.get("details"))
    cause = _cause(status, name, message, details)
    param = _param(details.field or message) if cause is Cause.BAD_REQUEST else ""
    return _made(
        cause,
        status,
        message,
        name or details.reason,
        param,
        details.retry_after or retry_after,
        details.request,
    )


def broken_off(message: str, code: str) -> Fault:
    """A reply that can't be gone on with."""
    return Fault(Cause.SERVER, 502, message, code)


def _made(
    cause: Cause, status: int, message: str, code: str, param: str, retry_after: str, request_id: str
) -> Fault:
    """Of our own account nothing of the provider's words is passed on: they may quote the key."""
    if cause is Cause.CREDENTIAL:
        message, code = openai.CREDENTIAL_MESSAGE, "upstream_credential_refused"
    elif cause is Cause.BILLING:
        message, code = openai.BILLING_MESSAGE, "upstream_billing"
    return Fault(cause, status, message, code, param, retry_after, request_id)


def _error_of(body: bytes) -> Mapping[str, Any] | None:
    """The error object, also out of an array of one; None where there is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else None


def _cause(status: int, name: str, message: str, details: Details) -> Cause:
    if (cause := _BY_REASON.get(details.reason)) is not None:
        return cause
    cause = _BY_STATUS_NAME.get(name) or _BY_STATUS.get(status, Cause.SERVER)
    if _CREDENTIAL_WORDS.search(message) and cause in (Cause.BAD_REQUEST, Cause.SERVER):
        return Cause.CREDENTIAL
    if BILLING_WORDS.search(message) and cause in (Cause.SERVER, Cause.CREDENTIAL, Cause.RATE_LIMIT):
        return Cause.BILLING
    if cause is not Cause.BAD_REQUEST:
        return cause
    if status == 413 or _TOO_LARGE_WORDS.search(message):
        return Cause.TOO_LARGE
    if _OVERFLOW_WORDS.search(message):
        return Cause.CONTEXT_OVERFLOW
    return Cause.CONTENT_POLICY if _POLICY_WORDS.search(message) else cause


def _param(words: str) -> str:
    """The field of `Chat` that Google's words name; "" where they name none that is known."""
    if match := _CONFIG_FIELD.search(words):
        return _FIELD_NAMES.get(match[1].replace("_", "").lower(), "")
    lower = words.lower()
    return next((own for word, own in _OTHER_FIELDS if word in lower), "")
