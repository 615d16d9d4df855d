"""A member's call that can't pass as it is: the request goes into the member's dialect, the reply comes back.

Same dialect, but tags in the body or a provider that speaks it otherwise: the request is only mended.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from ..core.call import Surface
from ..core.causes import Cause
from ..core.errors import BadRequest, CallError, Misconfigured
from ..core.usage import Usage
from ..dialects import (
    ClientDialect,
    Context,
    Encoded,
    ProviderDialect,
    Upstream,
    Used,
    client_dialect,
    counts_tokens,
    embeddings_client,
    makes_embeddings,
    provider_dialect,
    surface_named,
    used_text,
)
from ..dialects.conversation import Chat
from ..dialects.tool_names import Restoring, renamed
from ..dialects.translation import CannotCarry
from ..policy import served_dialect
from .alone import Alone
from .filtered import FilteredStream
from .inbound import Inbound
from .member import MemberStream
from .translated import Translated, TranslatedStream, WholeReply
from .view import BOUND

# What a client says to providers of its own dialect: it means nothing to others.
_DIALECT_PREFIXES = ("anthropic-", "openai-", "x-stainless-", "x-goog-", "x-broker-", "x-envoy-")
# Variants at hosts of other houses' models: bodies, framing and errors are the host's own, nothing passes.
HOSTS = frozenset(("bedrock", "vertex"))
# Of the names of dropped knobs: characters in all, characters of one, and what none may have.
_MOST_SHOWN, _MOST_OF_A_NAME = 1_500, 100
_NOT_SHOWN = re.compile(r"[^!-+\--~]")
_REPLACED = frozenset(("content-type", "accept", "content-length", "x-request-id", "x-forwarded-for"))


class Mode(Enum):
    """What of the reply the broker has to see."""

    STREAM = "stream"  # each piece as it comes
    WHOLE = "whole"  # when it is whole
    LEAVE = "leave"  # nothing


class Spoken(msgspec.Struct, frozen=True):
    """What a member's listener says of its member: the dialects its provider speaks, in its own order, and
    the rest of an Upstream."""

    dialects: tuple[str, ...]
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Send:
    """Go on to the provider with this. `dropped`: knobs that it does not get."""

    headers: tuple[tuple[str, str], ...]
    remove_headers: tuple[str, ...]
    body: bytes
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotSent:
    """This member can't get the request; perhaps another one can."""

    status: int
    code: str
    body: bytes
    cause: Cause = Cause.NOT_CARRIED


def shown(names: Sequence[str]) -> tuple[str, ...]:
    """Names of knobs as they may stand in a header, for a client can call a knob anything: no more than there
    is room for, and the last one then says how many are left out (`+12`)."""
    room = _MOST_SHOWN
    told: list[str] = []
    for name in names:
        plain = _NOT_SHOWN.sub("?", name[:_MOST_OF_A_NAME]) or "?"
        room -= len(plain) + len(", ")
        if room < 0:
            return (*told, f"+{len(names) - len(told)}")
        told.append(plain)
    return tuple(told)


@functools.lru_cache(maxsize=4096)
def spoken(serialized: str) -> Spoken:
    return msgspec.json.decode(serialized, type=Spoken)


class MemberCall:
    """Events: `on_request_headers`, `on_request_body`; then `reply` takes over."""

    def __init__(self, member: Spoken, now_s: int) -> None:
        self._member = member
        self._now_s = now_s
        self._inbound = Inbound(())
        self._surface: Surface | None = None
        self._context = Context("", now_s)
        self._embed: Any = None
        self._aliases: Mapping[str, str] = {}  # of tools → the client's own names
        self.request_id = ""
        self.first_event_by_ms = 0  # of the monotonic clock; 0: not a stream
        self._handback = ""

    def on_request_headers(self, inbound: Inbound) -> Mode:
        self._inbound = inbound
        self.request_id = inbound.first("x-broker-request-id")
        surface = surface_named(inbound.first("x-broker-surface"))
        self._surface = surface
        upstream = self._member.upstream
        self._upstream = msgspec.structs.replace(
            upstream, dialect=served_dialect(self._member.dialects, surface)
        )
        self._context = Context(self.request_id, self._now_s, upstream.model)
        self.is_stream = bool(inbound.first("x-broker-stream"))
        self.first_event_by_ms = int(inbound.first("x-broker-first-event-by") or 0)
        self._handback = inbound.first("x-broker-handback")
        self._is_hosted = upstream.variant in HOSTS
        self._is_amazons = upstream.variant == "bedrock" or self._upstream.dialect == "bedrock-converse"
        self._path = self._same_dialect_path()
        self.is_same = bool(self._path)
        self._is_owned = bool(inbound.first("x-broker-owned"))
        self._is_guarded = bool(inbound.first("x-broker-guard"))
        if self.is_stream:
            return Mode.STREAM
        leaves = self.is_same and not self._is_owned and not self._is_hosted
        return Mode.LEAVE if leaves else Mode.WHOLE

    @property
    def surface(self) -> Surface:
        if self._surface is None:
            raise Misconfigured(500, "broker_defect", "a body came before its headers")
        return self._surface

    @property
    def client(self) -> ClientDialect:
        return client_dialect(self.surface.dialect)

    def error_body(self, error: CallError) -> bytes:
        """The error in the client's dialect."""
        return self.client.error_body(error, self.request_id)

    def on_request_body(self, body: bytes) -> Send | NotSent:
        client = self.client
        try:
            encoded = self._mended(body) if self.is_same else self._encoded(body)
        except CallError as error:
            told = self._in_clients_words(error)
            return NotSent(told.status, told.code, client.error_body(told, self.request_id))
        path = self._upstream.base_path + encoded.path
        names = frozenset(name for name, _ in encoded.headers) | _REPLACED
        return Send(
            headers=(
                (":path", path),
                ("content-type", "application/json"),
                ("accept", self._accepted()),
                ("content-length", str(len(encoded.body))),
                *encoded.headers,
            ),
            remove_headers=() if self.is_same and not self._is_amazons else self._foreign(names),
            body=encoded.body,
            dropped=shown(encoded.dropped),
        )

    def _in_clients_words(self, error: CallError) -> BadRequest:
        """Encoders know fields by their names in the canonical conversation."""
        own = self.client.own_field(error.param)
        message = error.message
        if error.param and message.startswith(f"{error.param}: "):
            message = f"{own}{message.removeprefix(error.param)}"
        return BadRequest(error.status, error.code, message, param=own)

    def _accepted(self) -> str:
        if not self.is_stream:
            return "application/json"
        return "application/vnd.amazon.eventstream" if self._is_amazons else "text/event-stream"

    def _foreign(self, ours: frozenset[str]) -> tuple[str, ...]:
        """The client's headers for its own dialect's providers, and the broker's own: a signature must not
        cover what is taken away behind it."""
        return tuple(
            name for name in self._inbound.names if name.startswith(_DIALECT_PREFIXES) and name not in ours
        )

    def _mended(self, body: bytes) -> Encoded:
        """The same dialect: only what has to be otherwise at this provider changes."""
        rebound = self.client.rebind(body, self._upstream, self._betas())
        return Encoded(self._path, rebound.body, (), rebound.dropped)

    def _betas(self) -> tuple[str, ...]:
        """Of Anthropic's features that are not there for everybody, those that the client asks for."""
        listed = self._inbound.first("anthropic-beta").split(",")
        return tuple(beta for one in listed if (beta := one.strip()))

    def _same_dialect_path(self) -> str:
        """Empty where the call has to be translated."""
        upstream, surface = self._upstream, self.surface
        if upstream.dialect != surface.dialect:
            return ""
        try:
            path = self.client.same_dialect_path(upstream, surface, self.is_stream)
        except CannotCarry:
            return ""  # the variant has the operation in its own words only
        _, mark, query = self._inbound.first("x-broker-suffix").partition("?")
        if not mark or self._is_hosted:  # a host's paths have queries of their own
            return path
        return f"{path}{'&' if '?' in path else '?'}{query}"

    def _encoded(self, body: bytes) -> Encoded:
        surface, upstream = self.surface, self._upstream
        if surface.operation == "embed":
            embed = embeddings_client().decode_embed_request(body)
            self._embed = embed
            encoded = makes_embeddings(upstream.dialect).encode_embed(embed, upstream)
            return msgspec.structs.replace(encoded, dropped=(*embed.dropped, *encoded.dropped))
        client = self.client
        provider = provider_dialect(upstream.dialect)
        chat, unwanted = self._wished(client.decode_request(body))
        chat, self._aliases = renamed(chat, provider.tool_names)
        if surface.operation == "count":
            encoded = counts_tokens(upstream.dialect).encode_count(chat, upstream)
        else:
            encoded = provider.encode_request(chat, upstream)
            # A pool may pass it on also to those who did not ask.
            takes_usage = chat.include_usage or self._inbound.first("x-broker-usage") == "pass"
            self._context = msgspec.structs.replace(
                self._context, include_usage=takes_usage, echo=chat.echo, said_as=chat.said_as
            )
        named = (*unwanted, *encoded.dropped)
        own = tuple(chat.said_as.get(name) or client.own_field(name) for name in named)
        betas = ("betas",) if self._betas() else ()
        return msgspec.structs.replace(encoded, dropped=tuple(dict.fromkeys((*betas, *chat.dropped, *own))))

    def _wished(self, chat: Chat) -> tuple[Chat, tuple[str, ...]]:
        """The conversation as this member can be asked for it, and the knobs that it can't be asked for."""
        if not (chat.messages or chat.system):
            raise BadRequest(400, "invalid_request", "messages: there is none", param="messages")
        if self._upstream.reasons is False and chat.effort is not None and chat.effort.enabled:
            return msgspec.structs.replace(chat, effort=None), ("effort",)
        return chat, ()

    def stream(self) -> MemberStream | FilteredStream | TranslatedStream:
        """What takes the reply in STREAM mode."""
        client, upstream = self.client, self._upstream
        if not self.is_same:
            return TranslatedStream(client, self._provider(), upstream, self._context)
        unframed = client.unframed(upstream)
        filters = [] if unframed is None else [unframed]
        if self._is_owned:
            filters.append(client.owned_stream(upstream.provider))
        if not filters and not self._is_hosted and not self._is_guarded:
            return MemberStream(client, self._handback, upstream.provider)
        return FilteredStream(
            client,
            self._errors(),
            filters,
            self._context,
            self._alone(),
            self._handback,
            upstream.provider,
            self._is_guarded,
        )

    def whole(self) -> WholeReply:
        """What takes the reply in WHOLE mode."""
        context, client = self._context, self.client
        if self.is_same:
            alone = self._alone()
            return WholeReply(client, self._errors(), context, self._owned, alone.instead if alone else None)
        return WholeReply(client, self._provider(), context, self._translated)

    def _provider(self) -> ProviderDialect:
        """Who reads the replies of a provider of another dialect."""
        provider = provider_dialect(self._upstream.dialect)
        return Restoring(provider, self._aliases) if self._aliases else provider

    def _errors(self) -> ProviderDialect | None:
        """Who reads the errors of a provider of the client's dialect; None: they pass as they are."""
        return provider_dialect(self._upstream.dialect) if self._is_hosted else None

    def _alone(self) -> Alone | None:
        if self._inbound.first("x-broker-owned") != BOUND:
            return None
        upstream = self._upstream
        return Alone(self.client, provider_dialect(upstream.dialect), upstream.provider, self._context)

    def _owned(self, body: bytes, headers: Mapping[str, str]) -> Translated:
        owned = self.client.owned_reply(body, self._upstream.provider) if self._is_owned else body
        return Translated(owned)  # Envoy reads its usage

    def _translated(self, body: bytes, headers: Mapping[str, str]) -> Translated:
        """A good whole reply in the client's dialect. ValueError where it is none of the provider's."""
        upstream, context, client = self._upstream, self._context, self.client
        match self.surface.operation:
            case "embed":
                made = makes_embeddings(upstream.dialect).decode_embed(body, upstream, headers)
                tokens = made.input_tokens
                used = used_text(Used(Usage(input=tokens))) if tokens is not None else ""
                return Translated(embeddings_client().encode_embed_reply(made, self._embed, context), used)
            case "count":
                counted = counts_tokens(upstream.dialect).decode_count(body)
                return Translated(client.encode_count_reply(counted))
        reply = self._provider().decode_reply(body, upstream)
        used = used_text(Used(reply.usage, reply.service_tier)) if reply.usage is not None else ""
        return Translated(client.encode_reply(reply, context), used)
