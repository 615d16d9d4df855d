"""Error answers: each status in the shape and with the type the real provider uses.

https://platform.openai.com/docs/guides/error-codes
https://docs.anthropic.com/en/api/errors and https://docs.anthropic.com/en/api/rate-limits
https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
https://ai.google.dev/gemini-api/docs/troubleshooting and https://cloud.google.com/apis/design/errors
https://learn.microsoft.com/azure/ai-foundry/openai/quotas-limits
"""

import datetime
import math
from typing import Any

from . import event_stream, gemini, sse
from .error_tables import ANTHROPIC, AWS, AZURE, GOOGLE, OPENAI
from .requests import Call, Shape
from .script import ErrorText

# What a stream's failure is, by shape, where the script does not say.
_EVENT_STATUS: dict[Shape, int] = {"anthropic": 529, "aws": 503, "google": 503, "openai": 500, "azure": 500}
# Google's own doors stand before another's model: these it answers itself.
_OF_VERTEX = frozenset((401, 403, 404, 429))
_VERTEX_WAIT_S = 1.0


def shape_of(call: Call, status: int) -> Shape:
    """Whose error an answer of that status is."""
    vertex_itself = call.platform == "vertex" and status in _OF_VERTEX
    return "google" if vertex_itself else call.shape


def _parts(status: int, shape: Shape, text: ErrorText) -> tuple[str, str | None, str]:
    """Type, code (None where the shape has none) and message."""
    fallback = 500 if status >= 500 else 400
    code: str | None = None
    if shape == "anthropic":
        kind, message = ANTHROPIC.get(status, ANTHROPIC[fallback])
    elif shape == "aws":
        kind, message = AWS.get(status, AWS[fallback])
    elif shape == "google":
        kind, message = GOOGLE.get(status, GOOGLE[fallback])
    else:
        kind, code, message = OPENAI.get(status, OPENAI[fallback])
        if shape == "azure" and status in AZURE:
            kind, (code, message) = "", AZURE[status]
        if text.code == "insufficient_quota" and status == 429:
            # The other 429: no waiting helps. Code and type say so, the status does not.
            kind, message = "insufficient_quota", "You exceeded your current quota, please check your plan."
    code = code if text.code is None else text.code or None
    return text.type or kind, code, text.message or message


def error_body(
    status: int,
    shape: Shape,
    text: ErrorText,
    request_id: str,
    param: str | None = None,
    retry_after_s: float | None = None,
) -> Any:
    """The JSON body of an error answer."""
    kind, code, message = _parts(status, shape, text)
    if shape == "anthropic":
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    if shape == "aws":
        return {"message": message}
    if shape == "google":
        return {"error": _google(status, kind, text.code, message, param, retry_after_s)}
    if shape == "azure" and not kind:
        return {"error": {"code": code, "message": message}}
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _google(
    status: int, kind: str, reason: str | None, message: str, param: str | None, retry_after_s: float | None
) -> dict[str, Any]:
    details: list[dict[str, Any]] = []
    head = "type.googleapis.com/google.rpc."
    if reason is not None:
        details.append({"@type": f"{head}ErrorInfo", "reason": reason, "domain": "googleapis.com"})
    if param is not None:
        violation = {"field": param, "description": message}
        details.append({"@type": f"{head}BadRequest", "fieldViolations": [violation]})
    if retry_after_s is not None or status == 429:
        wait = _VERTEX_WAIT_S if retry_after_s is None else retry_after_s
        details.append({"@type": f"{head}RetryInfo", "retryDelay": f"{wait:g}s"})
    more = {"details": details} if details else {}
    return {"code": status, "message": message, "status": kind, **more}


def error_headers(
    status: int, shape: Shape, text: ErrorText, retry_after_s: float | None, now: float
) -> list[tuple[str, str]]:
    """The headers that tell of the error's type (AWS), and of waiting: retry-after when given, and on 429
    the rate limits. Google tells of waiting in the body alone.

    `now` is unix seconds. Whole seconds in retry-after, rounded up, as providers send them.
    """
    out: list[tuple[str, str]] = []
    if shape == "google":
        return out
    if shape == "aws":
        kind, _, _ = _parts(status, shape, text)
        out.append(("x-amzn-errortype", f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"))
    if retry_after_s is not None:
        out.append(("retry-after", str(math.ceil(retry_after_s))))
        if shape in ("openai", "azure"):
            out.append(("retry-after-ms", str(round(retry_after_s * 1000))))
    if status == 429 and shape != "aws":
        out += _limits(shape, 1.0 if retry_after_s is None else retry_after_s, now)
    return out


def _limits(shape: Shape, wait: float, now: float) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    if shape == "anthropic":
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


def event_status(shape: Shape) -> int:
    """The status that a failure under a 200 would have had."""
    return _EVENT_STATUS[shape]


def error_events(
    call: Call, text: ErrorText, number: int, request_id: str, status: int | None = None
) -> list[bytes]:
    """What a stream says when the model fails after the 200; `number` events went before, and `status` would
    have been the status of it.

    Anthropic: one `error` event (overloaded by default). Chat: one unnamed event holding `error`.
    Responses: `error`, then `response.failed`. Bedrock: an exception. Gemini: a chunk holding `error`.
    """
    shape = call.shape
    status = status if status is not None and status >= 400 else event_status(shape)
    kind, code, message = _parts(status, shape, text)
    if shape == "aws":
        # The same names as in headers, but here they begin small.
        return [event_stream.exception(kind[:1].lower() + kind[1:], {"message": message})]
    if shape == "google":
        return [_google_event(call, error_body(status, shape, text, request_id), number)]
    if shape == "anthropic":
        return [sse.event({"type": "error", "error": {"type": kind, "message": message}}, "error")]
    if call.surface != "openai-responses":
        error = {"message": message, "type": kind or None, "param": None, "code": code}
        return [sse.event({"error": error})]
    return _responses_events(kind, code, message, number, request_id)


def _google_event(call: Call, body: Any, number: int) -> bytes:
    if gemini.is_sse(call):
        return gemini.event(body)
    return b"%b%b]\n" % (b",\r\n" if number else b"[", sse.encode(body))


def _responses_events(kind: str, code: str | None, message: str, number: int, request_id: str) -> list[bytes]:
    code = code or kind
    # Not flat, as the reference has it: https://github.com/openai/openai-dotnet/issues/881
    error = {"type": kind, "code": code, "message": message, "param": None}
    event = {"type": "error", "error": error, "sequence_number": number}
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
