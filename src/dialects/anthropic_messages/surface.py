"""The dialect as the others see it: what each method does stands in the file that it is named for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...core.call import Surface
from ...core.errors import CallError
from ..base import PREAMBLE, REAL, RequestFacts, StreamStart, decode_json, failed, garbage
from ..conversation import Chat, Encoded, Upstream
from ..replies import Fault, Reply
from ..sse import SseEvent
from ..translation import Context, Filter, Rebound, StreamDecoder, StreamEncoder
from . import facts, faults, owned, rebind, replies_in, replies_out, requests_in, requests_out, wire
from .faults import error_type
from .models import DEVIATIONS, traits_of
from .stream_in import BedrockDecoder, SseDecoder
from .stream_out import MessageStream

# Blocks that begin empty: their first delta is the first piece of the answer.
_EMPTY_BLOCKS = frozenset(("text", "thinking"))


class AnthropicMessages:
    name = "anthropic-messages"
    deviations = DEVIATIONS
    tool_names = re.compile(r"[a-zA-Z0-9_-]{1,128}")
    surfaces = (
        Surface("anthropic-messages", "anthropic-messages", "/v1/messages", "/v1/messages"),
        Surface(
            "anthropic-count-tokens",
            "anthropic-messages",
            "/v1/messages/count_tokens",
            "/v1/messages/count_tokens",
            "count",
        ),
    )
    request_id_header = "request-id"

    # -- a client's calls, before they go anywhere

    def read(self, body: bytes) -> RequestFacts:
        return facts.read(body)

    def error_body(self, error: CallError, request_id: str) -> bytes:
        said = {"type": error_type(error.status), "message": error.message, "code": error.code}
        if error.param:
            said["param"] = error.param
        return msgspec.json.encode({"type": "error", "error": said, "request_id": request_id or None})

    def judge(self, event: SseEvent) -> StreamStart:
        message = decode_json(event.data)
        if not isinstance(message, dict):
            return garbage(event.data)
        match message.get("type") or event.name:
            case "error":
                fault = faults.stream_fault(event.data)
                return failed(fault.cause, fault.message)
            case "ping" | "message_start":
                return PREAMBLE
            case "content_block_start":
                block = message.get("content_block")
                empty = isinstance(block, dict) and str(block.get("type")) in _EMPTY_BLOCKS
                return PREAMBLE if empty else REAL
        return REAL

    def is_last(self, event: SseEvent) -> bool | None:
        message = decode_json(event.data)
        kind = (message.get("type") or event.name) if isinstance(message, dict) else ""
        return True if kind in ("message_stop", "error") else None

    def models_body(self, names: Sequence[str]) -> bytes:
        return msgspec.json.encode(
            {
                "data": [_model(name) for name in names],
                "has_more": False,
                "first_id": names[0] if names else None,
                "last_id": names[-1] if names else None,
            }
        )

    def model_body(self, name: str) -> bytes:
        return msgspec.json.encode(_model(name))

    # -- as clients speak it

    def decode_request(self, body: bytes) -> Chat:
        return requests_in.decode_request_body(body)

    def encode_reply(self, reply: Reply, context: Context) -> bytes:
        return replies_out.encode_reply(reply, context)

    def stream_encoder(self, context: Context) -> StreamEncoder:
        return MessageStream(context)

    def encode_fault(self, fault: Fault, context: Context) -> tuple[int, bytes]:
        return faults.encode_fault(fault, context)

    def encode_count_reply(self, input_tokens: int) -> bytes:
        return msgspec.json.encode({"input_tokens": input_tokens})

    def own_field(self, param: str) -> str:
        return faults.own_field(param)

    # -- the same dialect on both sides

    def rebind(self, body: bytes, upstream: Upstream, betas: tuple[str, ...] = ()) -> Rebound:
        return Rebound(rebind.rebind(body, upstream, betas))

    def is_mended(self, deviations: Mapping[str, Any]) -> bool:
        return False  # what there is to say of such providers is for calls that are translated

    def same_dialect_path(self, upstream: Upstream, surface: Surface, stream: bool) -> str:
        return wire.path(upstream, stream, surface.operation)

    def unframed(self, upstream: Upstream) -> Filter | None:
        return rebind.Unframed() if upstream.variant == "bedrock" else None

    def binds_unasked(self, upstream: Upstream) -> bool:
        return traits_of(upstream).off != ""  # it thinks unless it is told not to

    def owned_reply(self, body: bytes, provider: str) -> bytes:
        return owned.owned_reply(body, provider)

    def owned_stream(self, provider: str) -> Filter:
        return owned.owned_stream(provider)

    # -- as providers speak it

    def encode_request(self, chat: Chat, upstream: Upstream) -> Encoded:
        return requests_out.encode_request(chat, upstream)

    def decode_reply(self, body: bytes, upstream: Upstream) -> Reply:
        return replies_in.decode_reply(body, upstream)

    def stream_decoder(self, upstream: Upstream) -> StreamDecoder:
        return BedrockDecoder(upstream) if upstream.variant == "bedrock" else SseDecoder(upstream)

    def decode_fault(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        return faults.decode_fault(status, headers, body)

    def encode_count(self, chat: Chat, upstream: Upstream) -> Encoded:
        return requests_out.encode_count(chat, upstream)

    def decode_count(self, body: bytes) -> int:
        return replies_in.decode_count(body)


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
