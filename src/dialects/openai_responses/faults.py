"""Failures, both ways, where the Responses API has words of its own. Source: OpenAI API reference, "Errors",
"ResponseError"; https://github.com/openai/openai-dotnet/issues/881 (how `error` events really look)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .. import openai
from ..replies import Fault
from .fields import chat_field

# What codes inside a stream stand for. Any other code of a failed response is about the request.
_STATUSES: Mapping[str, int] = {
    "context_length_exceeded": 400,
    "internal_error": 500,
    "rate_limit_exceeded": 429,
    "server_error": 500,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "too_many_requests": 429,
    "vector_store_timeout": 504,
}


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """Any error reply, garbage too."""
    return _named(openai.decode_fault(status, headers, body))


def fault_of_event(event: Mapping[str, Any]) -> Fault:
    """An `error` event: its fields stand in it, or in an object of that name."""
    inner = event.get("error")
    fields = inner if isinstance(inner, dict) else event
    return _named(openai.fault_from(event, _STATUSES.get(str(fields.get("code")))))


def fault_of_response(response: Mapping[str, Any]) -> Fault:
    """A response that failed."""
    error = response.get("error")
    error = error if isinstance(error, dict) else {"message": "the provider's response failed"}
    code = error.get("code")
    return _named(openai.fault_from({"error": error}, _STATUSES.get(str(code), 400 if code else 500)))


def _named(fault: Fault) -> Fault:
    """`param` as `Chat` has it."""
    return msgspec.structs.replace(fault, param=chat_field(fault.param)) if fault.param else fault
