"""Error answers: each status in the shape and with the type the real provider uses.

https://platform.openai.com/docs/guides/error-codes
https://docs.anthropic.com/en/api/errors and https://docs.anthropic.com/en/api/rate-limits
"""

import datetime
import math
from typing import Any

from . import sse
from .script import ErrorText

# status: (type, code, message)
_OPENAI: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", "insufficient_quota", "Insufficient balance."),
    403: (
        "request_forbidden",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    404: (
        "invalid_request_error",
        "model_not_found",
        "The model does not exist or you do not have access to it.",
    ),
    408: ("server_error", "timeout", "Request timed out."),
    409: ("invalid_request_error", "conflict", "The resource was updated by another request."),
    413: ("invalid_request_error", "request_too_large", "The request body is too large."),
    429: (
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for requests per min (RPM): Limit 500, Used 500.",
    ),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}
_ANTHROPIC: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request is invalid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "The requested resource could not be found."),
    408: ("timeout_error", "Request timed out."),
    409: ("conflict_error", "The resource was updated by another request."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    503: ("api_error", "Service unavailable"),
    504: ("timeout_error", "The request timed out."),
    529: ("overloaded_error", "Overloaded"),
}


def _parts(status: int, anthropic: bool, text: ErrorText) -> tuple[str, str | None, str]:
    if anthropic:
        kind, message = _ANTHROPIC.get(status, _ANTHROPIC[500 if status >= 500 else 400])
        code = None
    else:
        kind, code, message = _OPENAI.get(status, _OPENAI[500 if status >= 500 else 400])
        if text.code == "insufficient_quota" and status == 429:
            # The other 429: no waiting helps. Code and type say so, the status does not.
            kind, message = "insufficient_quota", "You exceeded your current quota, please check your plan."
    return text.type or kind, text.code or code, text.message or message


def error_body(
    status: int, anthropic: bool, text: ErrorText, request_id: str, param: str | None = None
) -> Any:
    """The JSON body of an error answer."""
    kind, code, message = _parts(status, anthropic, text)
    if anthropic:
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_headers(
    status: int, anthropic: bool, retry_after_s: float | None, now: float
) -> list[tuple[str, str]]:
    """The headers that tell of waiting: retry-after when given, and on 429 the rate limits.

    `now` is unix seconds. Whole seconds in retry-after, rounded up, as providers send them.
    """
    out: list[tuple[str, str]] = []
    if retry_after_s is not None:
        out.append(("retry-after", str(math.ceil(retry_after_s))))
        if not anthropic:
            out.append(("retry-after-ms", str(round(retry_after_s * 1000))))
    if status != 429:
        return out
    wait = 1.0 if retry_after_s is None else retry_after_s
    if anthropic:
        reset = datetime.datetime.fromtimestamp(math.ceil(now + wait), datetime.UTC)
        stamp = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
        for what, limit in (("requests", "50"), ("input-tokens", "30000"), ("output-tokens", "8000")):
            head = f"anthropic-ratelimit-{what}-"
            out += [(head + "limit", limit), (head + "remaining", "0"), (head + "reset", stamp)]
        return out
    for what, limit, left in (("requests", "500", "0"), ("tokens", "30000", "29000")):
        out.append((f"x-ratelimit-limit-{what}", limit))
        out.append((f"x-ratelimit-remaining-{what}", left))
        out.append((f"x-ratelimit-reset-{what}", f"{wait:g}s"))
    return out


def error_events(surface: str | None, text: ErrorText, number: int, request_id: str) -> list[bytes]:
    """What a stream says when the model fails after the 200; `number` events went before.

    Anthropic: one `error` event (overloaded by default). Chat: one unnamed event holding `error`.
    Responses: `error`, then `response.failed`.
    """
    if surface == "anthropic-messages":
        kind, _, message = _parts(529, True, text)
        return [sse.event({"type": "error", "error": {"type": kind, "message": message}}, "error")]
    kind, code, message = _parts(500, False, text)
    if surface != "openai-responses":
        error = {"message": message, "type": kind, "param": None, "code": code}
        return [sse.event({"error": error})]
    code = code or kind
    event = {"type": "error", "code": code, "message": message, "param": None, "sequence_number": number}
    failed = {
        "id": request_id.replace("req_", "resp_"),
        "object": "response",
        "created_at": 0,
        "status": "failed",
        "error": {"code": code, "message": message},
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "unknown",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }
    last = {"type": "response.failed", "response": failed, "sequence_number": number + 1}
    return [sse.event(event, "error"), sse.event(last, "response.failed")]
