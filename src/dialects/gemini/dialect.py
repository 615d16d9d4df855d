"""The dialect's class: what the registry holds."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...core.catalog import NO_ITEMS
from ...core.deviation import Deviation
from ..conversation import Chat, Embed, Encoded, Upstream
from ..replies import Embeddings, Fault, Reply
from ..translation import StreamDecoder
from . import embeddings, faults, replies_in, requests_out
from .stream_in import StreamReader


class Gemini:
    """ProviderDialect, CountsTokens, MakesEmbeddings."""

    name = "gemini"
    deviations: Mapping[str, Deviation] = {}
    tool_names = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")

    def encode_request(self, chat: Chat, upstream: Upstream) -> Encoded:
        return requests_out.encode_request(chat, upstream)

    def decode_reply(self, body: bytes, upstream: Upstream) -> Reply:
        return replies_in.decode_reply(body, upstream)

    def stream_decoder(self, upstream: Upstream) -> StreamDecoder:
        return StreamReader(upstream)

    def decode_fault(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        return faults.decode_fault(status, headers, body)

    def encode_count(self, chat: Chat, upstream: Upstream) -> Encoded:
        return requests_out.encode_count(chat, upstream)

    def decode_count(self, body: bytes) -> int:
        return requests_out.decode_count(body)

    def encode_embed(self, embed: Embed, upstream: Upstream) -> Encoded:
        return embeddings.encode_embed(embed, upstream)

    def decode_embed(
        self, body: bytes, upstream: Upstream, headers: Mapping[str, str] = NO_ITEMS
    ) -> Embeddings:
        return embeddings.decode_embed(body, upstream)
