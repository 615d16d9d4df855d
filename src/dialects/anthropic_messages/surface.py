"""`anthropic-messages`: Messages and its token count.

Source: Anthropic API reference, "Messages", "Count tokens", "Streaming", "Errors".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...core.call import Surface
from ...core.errors import CallError
from .. import openai
from ..base import (
    ABSENT,
    PREAMBLE,
    REAL,
    RequestFacts,
    StreamStart,
    credential_refused,
    decode_json,
    failed,
    garbage,
)
from ..body import Routed, decoder_of, estimate_tokens, holds, read_routed
from ..sse import SseEvent


class _Request(Routed):
    messages: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    thinking: msgspec.Raw = ABSENT
    output_config: msgspec.Raw = ABSENT
    output_format: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT


_decoder = decoder_of(_Request)
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# What a stream's error event stands for; the other types are answers about the request itself.
_FAULTS = {
    "overloaded_error": (529, "upstream_overloaded"),
    "rate_limit_error": (429, "upstream_rate_limited"),
    "api_error": (503, "upstream_error"),
    "timeout_error": (503, "upstream_error"),
}
_CREDENTIAL_FAULTS = frozenset(("authentication_error", "permission_error", "billing_error"))
# Blocks that begin empty: their first delta is the first piece of the answer.
_EMPTY_BLOCKS = frozenset(("text", "thinking"))


def error_type(status: int) -> str:
    return _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


class AnthropicMessages:
    name = "anthropic-messages"
    surfaces = (
        Surface("anthropic-messages", "anthropic-messages", "/v1/messages", "/v1/messages"),
        Surface(
            "anthropic-count-tokens",
            "anthropic-messages",
            "/v1/messages/count_tokens",
            "/v1/messages/count_tokens",
        ),
    )

    def read(self, body: bytes) -> RequestFacts:
        request, model, span = read_routed(_decoder, body)
        has_parts = holds(body, b"image", b"document")
        kinds = set(openai.part_types(decode_json(request.messages))) if has_parts else set()
        thinking = bytes(request.thinking)
        return RequestFacts(
            model=model,
            model_span=span,
            context_tokens=estimate_tokens(body),
            max_output_tokens=openai.positive_int(request.max_tokens),
            tools=openai.is_set(request.tools),
            images="image" in kinds,
            documents="document" in kinds,
            schema=b"json_schema" in bytes(request.output_config) + bytes(request.output_format),
            reasoning=openai.is_set(request.thinking) and b'"disabled"' not in thinking,
            stream=bytes(request.stream) == b"true",
        )

    def error_body(self, error: CallError, request_id: str) -> bytes:
        return msgspec.json.encode(
            {
                "type": "error",
                "error": {"type": error_type(error.status), "message": error.message, "code": error.code},
                "request_id": request_id or None,
            }
        )

    def judge(self, event: SseEvent) -> StreamStart:
        message = decode_json(event.data)
        if not isinstance(message, dict):
            return garbage(event.data)
        match message.get("type") or event.name:
            case "error":
                error = message.get("error")
                kind = str(error.get("type") or "") if isinstance(error, dict) else ""
                text = str(error.get("message") if isinstance(error, dict) else error)
                if kind in _CREDENTIAL_FAULTS:
                    return credential_refused()
                if kind and kind not in _FAULTS:
                    return REAL
                status, code = _FAULTS.get(kind, (503, "upstream_error"))
                return failed(status, code, text)
            case "ping" | "message_start":
                return PREAMBLE
            case "content_block_start":
                block = message.get("content_block")
                empty = isinstance(block, dict) and str(block.get("type")) in _EMPTY_BLOCKS
                return PREAMBLE if empty else REAL
        return REAL

    def models_body(self, names: Sequence[str]) -> bytes:
        data = [
            {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
            for name in names
        ]
        return msgspec.json.encode(
            {
                "data": data,
                "has_more": False,
                "first_id": names[0] if names else None,
                "last_id": names[-1] if names else None,
            }
        )
