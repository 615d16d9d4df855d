"""What Bedrock's errors mean, before and inside a stream.

Sources: Amazon Bedrock user guide, "Troubleshooting Amazon Bedrock API Error Codes"; Amazon Bedrock API
reference, Converse, "Errors", and ConverseStreamOutput; AWS JSON protocols: the error's type stands in
`x-amzn-errortype`, or in the body as `__type` or `code`, with more behind a colon or in front of a hash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..base import decode_json
from ..causes import cause_of
from ..replies import Cause, Fault

_DIALECT = "bedrock-converse"
_NO_WORDS = "the provider answered with an error that it does not explain"

# HTTP statuses that the service model gives to what comes inside a stream.
_STREAM_STATUSES = {
    "internalserver": 500,
    "modelstreamerror": 424,
    "serviceunavailable": 503,
    "throttling": 429,
    "validation": 400,
    "modeltimeout": 408,
}
_NAMES_A_FIELD = (Cause.BAD_REQUEST, Cause.MODEL_NOT_FOUND)
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
    header = headers.get("x-amzn-errortype", "")
    kind = header or _text(fields, "__type", "code")
    kind = kind.rpartition("#")[2].partition(":")[0].strip()
    message = _text(fields, "message", "Message", "originalMessage")
    cause = cause_of(_DIALECT, status, body, header)
    if not kind and not message:
        # It was no API that answered.
        cause = Cause.GARBAGE if cause is Cause.BAD_REQUEST else cause
        status = 502 if cause is Cause.SERVER else status
    return Fault(
        cause,
        502 if cause is Cause.GARBAGE else status,
        message or _NO_WORDS,
        code=kind,
        param=_param(message) if cause in _NAMES_A_FIELD else "",
        retry_after=headers.get("retry-after", ""),
        request_id=headers.get("x-amzn-requestid", ""),
    )


def stream_fault(kind: str, message: str, payload: bytes) -> Fault:
    """`kind`: an exception's or error's type; `message`: an error's words, where its headers hold them."""
    value = decode_json(payload)
    fields: Mapping[str, Any] = value if isinstance(value, dict) else {}
    body = payload if not message else msgspec.json.encode({"message": message})
    message = message or _text(fields, "message", "Message", "originalMessage") or _NO_WORDS
    status = _STREAM_STATUSES.get(_plain(kind), 502)
    cause = cause_of(_DIALECT, status, body, kind)
    param = _param(message) if cause in _NAMES_A_FIELD else ""
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
