"""Errors: Anthropic's, and those of the clouds that serve its models, → Fault; Fault → an error as
Anthropic's SDK expects it.

Sources: Anthropic API reference, "Errors", "Rate limits"; the SDK's types/shared; Google Cloud, "API errors";
Amazon Bedrock API reference, InvokeModel, "Errors".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..aws_event_stream import EventStreamMessage
from ..base import OWN_MESSAGES, decode_json
from ..causes import cause_of
from ..google import Details
from ..replies import Cause, Fault
from ..translation import Context

# Anthropic's types, Google's statuses and Amazon's exceptions → the HTTP status that goes with them: an error
# inside a stream has none.
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "resource_exhausted": 429,
    "internal": 500,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "validationexception": 400,
    "accessdeniedexception": 403,
    "unrecognizedclientexception": 403,
    "expiredtokenexception": 403,
    "invalidsignatureexception": 403,
    "resourcenotfoundexception": 404,
    "modeltimeoutexception": 408,
    "conflictexception": 409,
    "modelerrorexception": 424,
    "modelstreamerrorexception": 424,
    "servicequotaexceededexception": 400,
    "modelnotreadyexception": 429,
    "throttlingexception": 429,
    "internalserverexception": 500,
    "serviceunavailableexception": 503,
}
_FIELD = re.compile(r"([a-z_]+)(?:[.\[][a-z_0-9.\]\[]*)?:")
_FIELDS: Mapping[str, str] = {
    "max_tokens": "max_output_tokens",
    "stop_sequences": "stop",
    "thinking": "effort",
    "output_config": "output",
    "output_format": "output",
    "metadata": "user",
    "cache_control": "cached",
    "messages": "messages",
    "system": "system",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "service_tier": "service_tier",
    "model": "model",
}
# How agents that were written against Anthropic's API recognise it.
_TOO_LONG = "prompt is too long"
_MOST_WORDS = 4000

# Fields of Chat → the client's own names.
OWN_FIELDS: Mapping[str, str] = {
    "max_output_tokens": "max_tokens",
    "stop": "stop_sequences",
    "effort": "thinking",
    "output": "output_config.format",
    "user": "metadata.user_id",
    "cached": "cache_control",
    "parallel_tools": "tool_choice.disable_parallel_tool_use",
    "cite": "citations",
}
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OUR_STATUS: Mapping[Cause, int] = {
    Cause.CONTEXT_OVERFLOW: 400,
    Cause.CONTENT_POLICY: 400,
    Cause.TOO_LARGE: 413,
    Cause.CREDENTIAL: 502,
    Cause.BILLING: 503,
    Cause.CONFLICT: 409,
    Cause.RATE_LIMIT: 429,
    Cause.OVERLOADED: 529,
    Cause.TIMEOUT: 504,
    Cause.FIRST_EVENT: 504,
    Cause.STALL: 504,
    Cause.MODEL_NOT_FOUND: 502,
    Cause.GARBAGE: 502,
}
# Statuses of a bad request that would say something else to a client.
_NOT_THE_CLIENTS = frozenset((401, 402, 403, 404, 407, 408, 413, 429))


def error_type(status: int) -> str:
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


# -- in


def decode_fault(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """Any error reply, garbage too. `headers` have lower-case names."""
    error = decode_json(body)
    code = headers.get("x-amzn-errortype", "").partition(":")[0]
    request_id = headers.get("request-id") or headers.get("x-amzn-requestid") or ""
    if not request_id and isinstance(error, dict):
        request_id = str(error.get("request_id") or "")
    return _fault(error, status, code, body, headers.get("retry-after", ""), request_id)


def stream_fault(data: bytes) -> Fault:
    """An `error` event."""
    error = decode_json(data)
    request_id = str(error.get("request_id") or "") if isinstance(error, dict) else ""
    return _fault(error, None, "", data, "", request_id)


def thrown(message: EventStreamMessage) -> Fault | None:
    """A message of a binary event stream that is an exception."""
    kind = message.headers.get(":message-type", "event")
    if kind == "event":
        return None
    code = message.headers.get(":exception-type") or message.headers.get(":error-code") or ""
    error = decode_json(message.payload) or {"message": message.headers.get(":error-message", "")}
    return _fault(error, None, code, msgspec.json.encode(error), "", "")


def _fault(
    error: Any, status: int | None, code: str, body: bytes, retry_after: str, request_id: str
) -> Fault:
    """`status` None: inside a stream, where the type says it. `code`: Amazon's, if it is not in the body."""
    words, kind, detail = _said(error)
    google = _googles(error)
    if google is not None:
        retry_after, request_id = google.retry_after or retry_after, google.request or request_id
    if status is None:
        status = _STATUSES.get((code or kind).lower(), 500)
    cause = cause_of("anthropic-messages", status, body, code)
    code = code or kind
    if not words:
        words = body[:200].decode("utf-8", "replace").strip() or "the provider gave no reason"
        if not code:
            words = f"the provider's error is not of the dialect: it begins with {words[:60]!r}"
            status = 502 if cause is Cause.SERVER else status
    if cause is Cause.GARBAGE:
        status = 502
    named = _FIELD.match(words)
    param = _FIELDS.get(named[1], "") if named is not None and cause is Cause.BAD_REQUEST else ""
    return Fault(cause, status, words[:_MOST_WORDS], detail or code, param, retry_after, request_id)


def _said(error: Any) -> tuple[str, str, str]:
    """(message, type, finer code) of an error in any of the shapes that are met: Anthropic's
    {"type": "error", "error": {"type", "message", "details": {"error_code"}}}, Google's {"error": {"status",
    "message"}}, alone or in a list, Amazon's {"message"}."""
    if isinstance(error, list) and error:
        error = error[0]
    if not isinstance(error, dict):
        return "", "", ""
    inner = error.get("error")
    if isinstance(inner, str):
        return inner, "", ""
    if not isinstance(inner, dict):
        return str(error.get("message") or error.get("Message") or ""), "", ""
    details = inner.get("details")
    detail = details.get("error_code") if isinstance(details, dict) else None
    kind = inner.get("type") or inner.get("status") or ""
    return str(inner.get("message") or ""), str(kind), str(detail or "")


def _googles(error: Any) -> Details | None:
    """The details of an error of Google's own; None of another's."""
    if isinstance(error, list) and error:
        error = error[0]
    inner = error.get("error") if isinstance(error, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("code"), int):
        return None
    return Details(inner.get("details"))


# -- out


def encode_fault(fault: Fault, context: Context) -> tuple[int, bytes]:
    """(status, body). What is wrong with our own account and models is none of the client's business."""
    status = _status(fault)
    return status, msgspec.json.encode(error_object(fault, context, status))


def error_object(fault: Fault, context: Context, status: int | None = None) -> dict[str, Any]:
    """The error, as a reply's body and as the data of a stream's error event."""
    fixed = OWN_MESSAGES.get(fault.cause)
    message, code = fixed or fault.message, fault.code
    match fault.cause:
        case Cause.CREDENTIAL:
            code = "upstream_credential_refused"
        case Cause.BILLING:
            code = "upstream_billing"
        case Cause.MODEL_NOT_FOUND:
            code = "upstream_model_not_found"
        case Cause.GARBAGE:
            code = "upstream_garbage"
        case Cause.CONTEXT_OVERFLOW if _TOO_LONG not in message.lower():
            message = f"{_TOO_LONG}: {message}"
    error: dict[str, Any] = {"type": error_type(status or _status(fault)), "message": message}
    if code:
        error["code"] = code
    if fault.param and not fixed:
        error["param"] = own_field(fault.param)
    return {"type": "error", "error": error, "request_id": context.request_id or None}


def _status(fault: Fault) -> int:
    status = _OUR_STATUS.get(fault.cause)
    if status is not None:
        return status
    if fault.cause in (Cause.BAD_REQUEST, Cause.NOT_FOUND):
        if 400 <= fault.status < 500 and fault.status not in _NOT_THE_CLIENTS:
            return fault.status
        return 400 if fault.cause is Cause.BAD_REQUEST else 404
    return fault.status if 500 <= fault.status < 600 and fault.status not in (504, 529) else 502


def own_field(param: str) -> str:
    """The client's name of a field of Chat: `messages[2].parts[0]` → `messages[2].content[0]`."""
    name, found, rest = param.partition(".")
    own = OWN_FIELDS.get(name, name)
    if name.startswith("tools[") and rest == "schema":
        rest = "input_schema"
    return f"{own}{found}{rest}".replace("parts[", "content[")
