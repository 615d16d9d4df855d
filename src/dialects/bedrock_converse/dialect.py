"""The dialect as the broker asks for it. Clients do not speak it: it has no surfaces."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...core.catalog import NO_ITEMS
from ..conversation import Chat, Embed, Encoded, Upstream
from ..replies import Embeddings, Fault, Reply
from ..translation import StreamDecoder
from . import embeddings, faults, replies_in, requests_out
from .models import DEVIATIONS
from .stream_in import BedrockStreamDecoder


class BedrockConverse:
    name = "bedrock-converse"
    deviations = DEVIATIONS
    tool_names = re.compile(r"[a-zA-Z0-9_-]{1,64}")

    def encode_request(self, chat: Chat, upstream: Upstream) -> Encoded:
        return requests_out.encode_request(chat, upstream)

    def decode_reply(self, body: bytes, upstream: Upstream) -> Reply:
        return replies_in.decode_reply(body, upstream)

    def stream_decoder(self, upstream: Upstream) -> StreamDecoder:
        return BedrockStreamDecoder(upstream)

    def decode_fault(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        return faults.decode_fault(status, headers, body)

    def encode_count(self, chat: Chat, upstream: Upstream) -> Encoded:
        return requests_out.encode_count(chat, upstream)

    def decode_count(self, body: bytes) -> int:
        return replies_in.decode_count(body)

    def encode_embed(self, embed: Embed, upstream: Upstream) -> Encoded:
        return embeddings.encode_embed(embed, upstream)

    def decode_embed(
        self, body: bytes, upstream: Upstream, headers: Mapping[str, str] = NO_ITEMS
    ) -> Embeddings:
        return embeddings.decode_embed(body, upstream, headers)
