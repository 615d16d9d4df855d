"""What Bedrock's errors mean, before and inside a stream.

Sources: Amazon Bedrock user guide, "Troubleshooting Amazon Bedrock API Error Codes"; Amazon Bedrock API
reference, Converse, "Errors", and ConverseStreamOutput; AWS JSON protocols: the error's type stands in
`x-amzn-errortype`, or in the body as `__type` or `code`, with more behind a colon or in front of a hash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..base import decode_json
from ..replies import Cause, Fault

_NO_WORDS = "the provider answered with an error that it does not explain"

# By type, without `Exception`, in lower case.
_CAUSES = {
    "accessdenied": Cause.CREDENTIAL,
    "badcscore": Cause.CREDENTIAL,
    "conflict": Cause.CONFLICT,
    "expiredtoken": Cause.CREDENTIAL,
    "ftuformnotfilled": Cause.CREDENTIAL,
    "incompletesignature": Cause.CREDENTIAL,
    "internalfailure": Cause.SERVER,
    "internalserver": Cause.SERVER,
    "invalidclienttokenid": Cause.CREDENTIAL,
    "invalidsignature": Cause.CREDENTIAL,
    "missingauthenticationtoken": Cause.CREDENTIAL,
    "modelerror": Cause.SERVER,
    "modelnotready": Cause.OVERLOADED,
    "modelstreamerror": Cause.SERVER,
    "modeltimeout": Cause.TIMEOUT,
    "notauthorized": Cause.CREDENTIAL,
    "optinrequired": Cause.CREDENTIAL,
    "requestentitytoolarge": Cause.TOO_LARGE,
    "requestexpired": Cause.CREDENTIAL,
    "requesttimetooskewed": Cause.CREDENTIAL,
    "resourcenotfound": Cause.NOT_FOUND,
    "servicequotaexceeded": Cause.RATE_LIMIT,
    "serviceunavailable": Cause.OVERLOADED,
    "signaturedoesnotmatch": Cause.CREDENTIAL,
    "throttling": Cause.RATE_LIMIT,
    "toomanyrequests": Cause.RATE_LIMIT,
    "unrecognizedclient": Cause.CREDENTIAL,
    "validation": Cause.BAD_REQUEST,
    "validationerror": Cause.BAD_REQUEST,
}
_CAUSES_BY_STATUS = {
    401: Cause.CREDENTIAL,
    402: Cause.BILLING,
    403: Cause.CREDENTIAL,
    404: Cause.NOT_FOUND,
    408: Cause.TIMEOUT,
    409: Cause.CONFLICT,
    413: Cause.TOO_LARGE,
    424: Cause.SERVER,
    429: Cause.RATE_LIMIT,
    503: Cause.OVERLOADED,
    504: Cause.TIMEOUT,
    529: Cause.OVERLOADED,
}
# HTTP statuses that the service model gives to what comes inside a stream.
_STREAM_STATUSES = {
    "internalserver": 500,
    "modelstreamerror": 424,
    "serviceunavailable": 503,
    "throttling": 429,
    "validation": 400,
    "modeltimeout": 408,
}
# What a refused request was refused for, by its words.
_WORDS: tuple[tuple[Cause, re.Pattern[str]], ...] = (
    (
        Cause.CONTEXT_OVERFLOW,
        re.compile(
            r"(input|prompt|conversation|request|context|messages?)\b.{0,40}\bis too long"
            r"|too many (input )?tokens for"
            r"|maximum context length|context (window|length) (of|is|limit|exceed)"
            r"|exceeds? .{0,40}(context (window|length)|max(imum)? (number of )?(input )?tokens)"
            r"|input (length|tokens?).{0,60}exceed",
            re.IGNORECASE | re.DOTALL,
        ),
    ),
    (
        Cause.BILLING,
        re.compile(r"INVALID_PAYMENT_INSTRUMENT|payment instrument|marketplace subscription", re.IGNORECASE),
    ),
    (
        Cause.CREDENTIAL,
        re.compile(r"use case details have not been submitted|security token .{0,30}invalid", re.IGNORECASE),
    ),
    (
        Cause.CONTENT_POLICY,
        re.compile(
            r"content (filter|filtering|policy|moderation)|blocked by .{0,40}(filter|guardrail|polic)"
            r"|responsible ai|usage policy|violat\w+ .{0,40}polic",
            re.IGNORECASE,
        ),
    ),
)
_REFINED = frozenset((Cause.BAD_REQUEST, Cause.SERVER, Cause.CREDENTIAL, Cause.NOT_FOUND))
_FIELD = re.compile(r" at '([A-Za-z0-9_.]+?)(?:\.\d+.*|\.member.*)?' failed")
_FIELDS = {
    "inferenceConfig.maxTokens": "max_output_tokens",
    "inferenceConfig.temperature": "temperature",
    "inferenceConfig.topP": "top_p",
    "inferenceConfig.stopSequences": "stop",
    "messages": "messages",
    "system": "system",
    "outputConfig": "output",
    "requestMetadata": "metadata",
    "serviceTier": "service_tier",
    "modelId": "model",
}
# Words of the models themselves, which know nothing of Converse's names.
_SPOKEN_FIELDS = (
    (re.compile(r"model identifier is invalid|on-demand throughput isn.t supported", re.IGNORECASE), "model"),
    (re.compile(r"maximum tokens you requested|max_tokens", re.IGNORECASE), "max_output_tokens"),
    (re.compile(r"\btemperature\b"), "temperature"),
    (re.compile(r"\btop_p\b"), "top_p"),
    (re.compile(r"\btop_k\b"), "top_k"),
    (re.compile(r"\bstop_?sequences\b", re.IGNORECASE), "stop"),
    (re.compile(r"\btool_?choice\b", re.IGNORECASE), "tool_choice"),
    (re.compile(r"\b(thinking|reasoning_effort|reasoning_config|budget_tokens)\b"), "effort"),
    (re.compile(r"\b(outputConfig|textFormat|output_config)\b"), "output"),
    (re.compile(r"\b(toolConfig|toolSpec|inputSchema|tools\.\d+)\b"), "tools"),
    (re.compile(r"\bmessages\.\d+"), "messages"),
)


def decode_fault(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    value = decode_json(body)
    fields: Mapping[str, Any] = value if isinstance(value, dict) else {}
    kind = headers.get("x-amzn-errortype") or _text(fields, "__type", "code")
    kind = kind.rpartition("#")[2].partition(":")[0].strip()
    message = _text(fields, "message", "Message", "originalMessage")
    known = bool(kind or message) or status in _CAUSES_BY_STATUS
    fault = _fault(kind, message or _NO_WORDS, status if known and status >= 400 else 502, fields)
    return Fault(
        fault.cause,
        fault.status,
        fault.message,
        code=kind,
        param=fault.param,
        retry_after=headers.get("retry-after", ""),
        request_id=headers.get("x-amzn-requestid", ""),
    )


def stream_fault(kind: str, message: str, payload: bytes) -> Fault:
    """`kind`: an exception's or error's type; `message`: an error's words, where its headers hold them."""
    value = decode_json(payload)
    fields: Mapping[str, Any] = value if isinstance(value, dict) else {}
    message = message or _text(fields, "message", "Message", "originalMessage") or _NO_WORDS
    return _fault(kind, message, _STREAM_STATUSES.get(_plain(kind), 502), fields)


def _fault(kind: str, message: str, status: int, fields: Mapping[str, Any]) -> Fault:
    cause = _CAUSES.get(_plain(kind))
    if cause is None:
        cause = _CAUSES_BY_STATUS.get(status, Cause.SERVER if status >= 500 else Cause.BAD_REQUEST)
    # A model's own status, where Bedrock only passes its failure on.
    if cause is Cause.SERVER and isinstance(original := fields.get("originalStatusCode"), int):
        cause = _CAUSES_BY_STATUS.get(original, cause)
        cause = Cause.SERVER if cause is Cause.CREDENTIAL else cause
    if cause in _REFINED:
        cause = next((found for found, words in _WORDS if words.search(message)), cause)
    param = _param(message) if cause is Cause.BAD_REQUEST else ""
    return Fault(cause, status, message, code=kind, param=param)


def _plain(kind: str) -> str:
    return kind.lower().removesuffix("exception")


def _text(fields: Mapping[str, Any], *names: str) -> str:
    return next((value for name in names if isinstance(value := fields.get(name), str) and value), "")


def _param(message: str) -> str:
    if match := _FIELD.search(message):
        path = match[1]
        top = path.partition(".")[0]
        if top == "toolConfig":
            return "tool_choice" if path.startswith("toolConfig.toolChoice") else "tools"
        return _FIELDS.get(path) or _FIELDS.get(top) or path
    return next((name for words, name in _SPOKEN_FIELDS if words.search(message)), "")
