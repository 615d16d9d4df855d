"""What makes two requests equal, which replies are worth being given again, and how they are given again:
as they were, or in the other form (a stream for a whole reply, or the other way round)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .conversation import Part, Reasoning, Text, ToolCall, Upstream
from .plain import is_plain
from .registry import client_dialect, provider_dialect
from .replies import Reply, Stop
from .streaming import explode, fold
from .translation import Context
from .usage import used_from

# Fields that say nothing to a model, and that no reply says again: with another value of them a call is the
# same. (Replies of the Responses API say user and metadata again.) docs/cache.md says why of each.
_STREAM = frozenset(("stream", "stream_options"))
_LABELS = ("user", "safety_identifier", "metadata", "store", "prompt_cache_key", "prompt_cache_retention")
NOT_KEYED: Mapping[str, frozenset[str]] = {
    "openai-chat": _STREAM.union(_LABELS),
    "openai-responses": _STREAM,
    "openai-embeddings": frozenset(("user",)),
    "anthropic-messages": frozenset(("stream", "metadata")),
}

WHOLE, STREAM = "whole", "stream"
INCOMPLETE = "incomplete"  # it broke off, or is an error behind a good status
# A reply to be given again is one that came to its proper end.
_GOOD_STOPS = frozenset((Stop.END, Stop.STOP_SEQUENCE))

# Numbers as they are spelled: 1.0 is not 1, nor what floats make of the 17th digit.
_decode = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode())).decode
_encode = msgspec.json.Encoder(order="sorted").encode


class _Vectors(msgspec.Struct):
    data: list[msgspec.Raw]


_decode_vectors = msgspec.json.Decoder(_Vectors).decode


class Asked(msgspec.Struct, frozen=True):
    """A request as the cache sees it: `content` is equal for equal ones, `form` says how it wants its reply.
    `names`: the reply's id may be good at the provider for later calls, and has to stay what it is."""

    content: bytes
    form: str
    names: bool = False


class Kept(msgspec.Struct, frozen=True):
    """A reply that may be given again. `turns`: also in the other form, for nothing of what it says would be
    lost. (Ids are made anew there where the dialect's encoder makes them.)"""

    turns: bool


_TURNS = Kept(True)


def asked(dialect: str, body: bytes) -> Asked | None:
    """Keys in order, no spaces; None where it can't be told what the body says: it is no object, or says a
    thing twice, which two readers may take in two ways."""
    try:
        fields = _decode(body)
        if not isinstance(fields, dict):
            return None
        aside = {name: fields.pop(name) for name in NOT_KEYED[dialect].intersection(fields)}
        content = _encode(fields)
        colons = body.count(b":") - content.count(b":")
        if aside:
            colons -= _encode(aside).count(b":")
    except (ValueError, RecursionError):  # msgspec's and those of UTF-8, too
        return None
    # Each key has a colon, and those in texts are the same before and behind. (So a colon that is spelled
    # as an escape has its price: such a body is not cached.)
    if colons:
        return None
    return Asked(content, _form(aside), dialect == "openai-responses" and fields.get("store") is not False)


def _form(aside: Mapping[str, Any]) -> str:
    if aside.get("stream") is not True:
        return WHOLE
    options = aside.get("stream_options")
    return f"{STREAM} {_encode(options).decode()}" if options else STREAM


def is_stream(form: str) -> bool:
    return form.startswith(STREAM)


def kept(dialect: str, form: str, body: bytes, tool_effects: bool) -> Kept | str:
    """What a reply with a good status is worth; a word says why it is not kept. `body` is what its client
    got, to the end."""
    if dialect == "openai-embeddings":
        return _kept_embeddings(body)
    if is_plain(dialect, is_stream(form), body):
        return _TURNS
    return judged(dialect, form, body, tool_effects)


def judged(dialect: str, form: str, body: bytes, tool_effects: bool) -> Kept | str:
    """`kept`, of a chat's reply, by reading all of it."""
    try:
        reply = _read(dialect, form, body)
    except (ValueError, KeyError, RecursionError):
        return INCOMPLETE
    if not reply.choices:
        return "empty"
    for choice in reply.choices:
        if not tool_effects and (
            choice.stop is Stop.TOOL_CALLS or any(isinstance(part, ToolCall) for part in choice.parts)
        ):
            return "tools"
        if choice.stop not in _GOOD_STOPS and choice.stop is not Stop.TOOL_CALLS:
            return str(choice.stop.value)
        if not any(_says_something(part) for part in choice.parts):
            return "empty"
    return Kept(all(_turns(part) for choice in reply.choices for part in choice.parts))


def _says_something(part: Part) -> bool:
    return not isinstance(part, Reasoning) and not (isinstance(part, Text) and not part.text)


def _turns(part: Part) -> bool:
    match part:
        case Text(_, _, citations, blob):
            return not citations and blob is None
        case Reasoning(_, blob) | ToolCall(_, _, _, blob):
            return blob is None
    return False


def _kept_embeddings(body: bytes) -> Kept | str:
    try:  # nearly always, and a megabyte
        if body.isascii() and _decode_vectors(body).data:
            return Kept(False)
    except (ValueError, RecursionError):
        pass
    try:
        told: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return INCOMPLETE
    data = told.get("data") if isinstance(told, dict) else None
    return Kept(False) if isinstance(data, list) and data else "empty"


def _read(dialect: str, form: str, body: bytes) -> Reply:
    """ValueError where it is not whole."""
    reader, upstream = provider_dialect(dialect), Upstream(provider="", dialect=dialect, model="")
    if not is_stream(form):
        return reader.decode_reply(body, upstream)
    decoder = reader.stream_decoder(upstream)
    return fold([*decoder.feed(body), *decoder.end()])


class UsageUnknown(ValueError):
    """The reply has to tell what it used, and nobody has told it."""


class Again(msgspec.Struct, frozen=True):
    """For whom a reply is given again: the request, the form that it wants, and whether its pool passes
    usage to chat streams that do not ask for it. `used`: what the call used that the reply was for, as
    `used_text` writes it; it is not in a stream whose client did not ask for it."""

    request: bytes
    form: str
    context: Context
    passes_usage: bool = False
    used: str = ""


def repeated(dialect: str, form: str, body: bytes, again: Again) -> bytes:
    """A reply that was kept. ValueError or BadRequest where it can't be told in the form that is wanted,
    UsageUnknown where it could be with what it used."""
    if form == again.form:
        return body
    client = client_dialect(dialect)
    chat = client.decode_request(again.request)
    tells_usage = not is_stream(again.form) or chat.include_usage or again.passes_usage
    context = msgspec.structs.replace(
        again.context, include_usage=tells_usage, echo=chat.echo, said_as=chat.said_as
    )
    reply = _read(dialect, form, body)
    if reply.usage is None and tells_usage:
        if (used := used_from(again.used)) is None:
            raise UsageUnknown("what it used is not known")
        reply = msgspec.structs.replace(reply, usage=used.usage)
    if not is_stream(again.form):
        return client.encode_reply(reply, context)
    return client.stream_encoder(context).encode(list(explode(reply)))
