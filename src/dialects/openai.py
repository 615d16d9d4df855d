"""What OpenAI's dialects share: the error object, the models list, reading a request's fields.

Source: OpenAI API reference, "Errors", "Models".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ..core.errors import CallError
from .base import ABSENT, StreamStart, credential_refused, failed

_SAYS_NOTHING = (b"", b"null", b"false", b"{}", b"[]")
_CREDENTIAL_WORDS = ("invalid_api_key", "authentication", "permission")


def error_body(error: CallError, request_id: str) -> bytes:
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error_type(error.status),
                "param": error.param or None,
                "code": error.code,
            }
        }
    )


def error_type(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def models_body(names: Sequence[str]) -> bytes:
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "modelbroker"} for name in names]
    return msgspec.json.encode({"object": "list", "data": data})


def is_set(raw: msgspec.Raw) -> bool:
    """A field that is there and says something: not null, false, {} or []."""
    return raw is not ABSENT and bytes(raw) not in _SAYS_NOTHING


def positive_int(raw: msgspec.Raw) -> int | None:
    """The number, or None: whether a bad one is an error is the provider's to say."""
    if raw is ABSENT:
        return None
    text = bytes(raw)
    return int(text) if text.isdigit() and len(text) < 12 else None


def part_types(value: Any) -> Iterable[str]:
    """The `type` of every content part below `value`, however deep (tool results hold parts too)."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(kind := item.get("type"), str):
                yield kind
            stack.extend(inner for inner in item.values() if isinstance(inner, (dict, list)))
        elif isinstance(item, list):
            stack.extend(inner for inner in item if isinstance(inner, (dict, list)))


def fault_of(error: Any) -> StreamStart:
    """A stream's `error` object → what it stands for. Rate limits and overload keep their status."""
    if not isinstance(error, dict):
        return failed(503, "upstream_error", str(error)[:500])
    code, kind = str(error.get("code") or ""), str(error.get("type") or "")
    message = str(error.get("message") or "the provider ended its stream with an error")
    if any(word in code + kind for word in _CREDENTIAL_WORDS) or code in ("401", "403"):
        return credential_refused()
    if "rate_limit" in code + kind or code == "429":
        return failed(429, "upstream_rate_limited", message)
    if "overloaded" in code + kind or code in ("529", "503"):
        return failed(529, "upstream_overloaded", message)
    return failed(503, "upstream_error", message)
