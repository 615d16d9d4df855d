"""What a dialect gives so that others can be translated into it and out of it. All of it is pure.

A client's dialect decodes requests and encodes replies; a provider's dialect encodes requests and decodes
replies. One and the same dialect may be both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from ..core.call import Surface
from ..core.deviation import Deviation
from ..core.errors import BadRequest
from .base import Dialect
from .conversation import Chat, Embed, Encoded, Upstream
from .replies import Embeddings, Fault, Reply, ReplyEvent


class CannotCarry(BadRequest):
    """Content that a provider's dialect has no place for. `param` names it as the canonical conversation
    does (`messages[2].parts[0]`); another member may carry it."""

    def __init__(self, what: str, why: str, param: str = "") -> None:
        super().__init__(400, "content_not_supported", f"{what}: {why}", param=param)


class Context(msgspec.Struct, frozen=True):
    """What a client's encoder needs beside the reply. `request_id` is the broker's: 32 hex digits, for ids
    where the provider gives none. `model` is said where the provider names none."""

    request_id: str
    now_s: int
    model: str = ""
    include_usage: bool = True
    echo: Mapping[str, Any] = {}
    said_as: Mapping[str, str] = {}  # as in Chat

    def named(self, own_field: Callable[[str], str]) -> Callable[[str], str]:
        """`own_field` of a dialect, with the names that this very client used first."""
        return lambda param: self.said_as.get(param) or own_field(param)


class Rebound(msgspec.Struct, frozen=True):
    """A request of the client's own dialect for one very provider. `dropped`: knobs that it does not get, by
    the client's own names."""

    body: bytes
    dropped: tuple[str, ...] = ()


class Field(msgspec.Struct, frozen=True):
    """What becomes of one field of a client's request when it is translated. `treatment`:

    carried: every provider dialect that a call with it is sent to says it, under whatever name;
    dropped: a tuning knob that some or all providers lack; it is named in `x-broker-dropped`;
    label: says nothing to a model (an id, a status); it is left out and not named;
    same-dialect: calls with it go only to members of this dialect, and are passed as they are; without such
    a member the call is answered with 400, which names it.
    `note` says in a few words how, where or why: it stands in docs/fields.md.
    """

    treatment: Literal["carried", "dropped", "label", "same-dialect"]
    note: str = ""


class StreamEncoder(Protocol):
    """Canonical events → bytes of the client's stream. Kept for one stream."""

    def encode(self, events: Sequence[ReplyEvent]) -> bytes:
        """What these events add to the client's stream; b"" where nothing yet. After Ended or Failed it is
        complete: the client's SDK needs no more."""


class StreamDecoder(Protocol):
    """Bytes of a provider's stream → canonical events. Kept for one stream. Any split of the same bytes
    gives the same events. It never raises: what is not of the dialect becomes Failed."""

    def feed(self, chunk: bytes) -> list[ReplyEvent]:
        """The events that `chunk` completes."""

    def end(self) -> list[ReplyEvent]:
        """The stream's bytes are over: what was still open. Without Ended or Failed before it was cut."""


class Filter(Protocol):
    """Bytes of a provider's stream → the same stream as its client is to see it. ValueError in words where
    they are not what they should be. Kept for one stream."""

    def feed(self, chunk: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class ClientDialect(Dialect, Protocol):
    """What clients speak."""

    @property
    def request_id_header(self) -> str:
        """Where the dialect's SDK looks for a provider's request id."""

    def decode_request(self, body: bytes) -> Chat:
        """BadRequest naming the client's own field where it can't be read or translated."""

    def encode_reply(self, reply: Reply, context: Context) -> bytes:
        """A whole reply."""

    def stream_encoder(self, context: Context) -> StreamEncoder: ...

    def encode_fault(self, fault: Fault, context: Context) -> tuple[int, bytes]:
        """(status, body) as the dialect's SDK expects them. Faults of our own account are 502 or 503."""

    def own_field(self, param: str) -> str:
        """The client's own name of a field of `Chat` (`max_output_tokens` → `max_tokens`); else `param`."""

    def encode_count_reply(self, input_tokens: int) -> bytes:
        """The reply to a count of a prompt's tokens."""

    # -- the same dialect on both sides, where bytes can't simply pass

    def rebind(self, body: bytes, upstream: Upstream, betas: tuple[str, ...] = ()) -> Rebound:
        """The request for this very provider: its model, its own blobs and ids without their tags, nothing
        that others issued, and what its variant and its deviations want. All else stays. `betas`: what the
        client's header `anthropic-beta` lists, for variants that have it in the body."""

    def is_mended(self, deviations: Mapping[str, Any]) -> bool:
        """Can calls of this dialect not pass as they are, at a provider that says this of itself?"""

    def same_dialect_path(self, upstream: Upstream, surface: Surface, stream: bool) -> str:
        """What stands behind the provider's base path. CannotCarry where its variant has the operation in
        other words only."""

    def unframed(self, upstream: Upstream) -> Filter | None:
        """What takes the variant's own framing off a stream; None where it has none."""

    def binds_unasked(self, upstream: Upstream) -> bool:
        """Do replies of this provider's model hold what only its issuer can use again, though the call does
        not ask for it?"""

    def owned_reply(self, body: bytes, provider: str) -> bytes:
        """A whole reply whose ids and blobs name the provider that issued them."""

    def owned_stream(self, provider: str) -> Filter:
        """The same for a stream."""


class SameDialect:
    """What most client dialects say of calls that stay in their dialect."""

    def is_mended(self, deviations: Mapping[str, Any]) -> bool:
        return False

    def same_dialect_path(self, upstream: Upstream, surface: Surface, stream: bool) -> str:
        return surface.suffix

    def unframed(self, upstream: Upstream) -> Filter | None:
        return None

    def binds_unasked(self, upstream: Upstream) -> bool:
        return False

    def owned_reply(self, body: bytes, provider: str) -> bytes:
        return body

    def owned_stream(self, provider: str) -> Filter:
        raise NotImplementedError("streams of this dialect hold no ids of an account")


class ProviderDialect(Protocol):
    """What providers speak."""

    @property
    def name(self) -> str:
        """As in YAML."""

    @property
    def deviations(self) -> Mapping[str, Deviation]:
        """What providers that speak it may say under `deviations`."""

    @property
    def tool_names(self) -> re.Pattern[str]:
        """The names that tools may have; others get an alias (tool_names.py)."""

    def encode_request(self, chat: Chat, upstream: Upstream) -> Encoded:
        """CannotCarry where content has no place; knobs without one are named in `dropped`."""

    def decode_reply(self, body: bytes, upstream: Upstream) -> Reply:
        """ValueError in words where the bytes are no reply of the dialect."""

    def stream_decoder(self, upstream: Upstream) -> StreamDecoder: ...

    def decode_fault(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        """Any error reply, garbage too. `headers` have lower-case names."""


class CountsTokens(Protocol):
    """A provider's dialect that can count a prompt's tokens without answering it."""

    def encode_count(self, chat: Chat, upstream: Upstream) -> Encoded: ...

    def decode_count(self, body: bytes) -> int:
        """Input tokens. ValueError in words where the bytes are no such reply."""


class MakesEmbeddings(Protocol):
    """A provider's dialect that makes embeddings of texts."""

    def encode_embed(self, embed: Embed, upstream: Upstream) -> Encoded:
        """CannotCarry where the model takes fewer inputs at once, or other dimensions."""

    def decode_embed(self, body: bytes, upstream: Upstream, headers: Mapping[str, str]) -> Embeddings:
        """ValueError in words where the bytes are no such reply. `headers` have lower-case names."""
