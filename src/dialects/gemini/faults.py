"""Google's errors → faults.

Sources: Google Cloud, "AIP-193 Errors", `google.rpc.Code`, `google.rpc.error_details`; Gemini API,
"Troubleshooting guide"; Vertex AI, "API errors".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..base import BILLING_MESSAGE, CREDENTIAL_MESSAGE
from ..causes import cause_of
from ..google import Details
from ..replies import Cause, Fault

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
    retry_after, kind = headers.get("retry-after", ""), headers.get("x-amzn-errortype", "")
    error = _error_of(body)
    if error is None:
        cause = cause_of("gemini", status, body, kind)
        if cause in (Cause.BAD_REQUEST, Cause.NOT_FOUND):  # it was no API that answered
            cause = Cause.GARBAGE
        kept = 502 if cause in (Cause.SERVER, Cause.GARBAGE) else status
        shown = body[:200].decode("utf-8", "replace").strip()
        message = f"the provider answered with status {status} and no error that can be read: {shown!r}"
        return _made(cause, kept, message, "", "", retry_after, "")
    return _fault(error, status, body, kind, retry_after)


def fault_of(error: Mapping[str, Any]) -> Fault:
    """Of what stands under `error` inside a stream: its own code is all the status that there is."""
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return _fault(error, status, msgspec.json.encode(error), "", "")


def _fault(error: Mapping[str, Any], status: int, body: bytes, kind: str, retry_after: str) -> Fault:
    name = str(error.get("status") or "")
    message = str(error.get("message") or name or "the provider gave no reason")
    details = Details(error.get("details"))
    cause = cause_of("gemini", status, body, kind)
    param = _param(details.field or message) if cause is Cause.BAD_REQUEST else ""
    return _made(
        cause,
        status if cause is not Cause.GARBAGE else 502,
        message,
        name or details.reason,
        param,
        details.retry_after or retry_after,
        details.request,
    )


def broken_off(message: str, code: str) -> Fault:
    """A reply that can't be gone on with."""
    return Fault(Cause.GARBAGE if code == "upstream_garbage" else Cause.SERVER, 502, message, code)


def _made(
    cause: Cause, status: int, message: str, code: str, param: str, retry_after: str, request_id: str
) -> Fault:
    """Of our own account nothing of the provider's words is passed on: they may quote the key."""
    if cause is Cause.CREDENTIAL:
        message, code = CREDENTIAL_MESSAGE, "upstream_credential_refused"
    elif cause is Cause.BILLING:
        message, code = BILLING_MESSAGE, "upstream_billing"
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


def _param(words: str) -> str:
    """The field of `Chat` that Google's words name; "" where they name none that is known."""
    if match := _CONFIG_FIELD.search(words):
        return _FIELD_NAMES.get(match[1].replace("_", "").lower(), "")
    lower = words.lower()
    return next((own for word, own in _OTHER_FIELDS if word in lower), "")
