"""Calls that stay in this dialect, where bytes can't simply pass: the broker's tags are taken off, what
others issued is left out, and the variants get their own body, path and framing.

Sources: Anthropic's Python SDK, lib/vertex and lib/bedrock; Amazon Bedrock API reference, InvokeModel.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..aws_event_stream import BadEventStream, EventStreamMessage, EventStreamSplitter
from ..base import decode_request
from ..blobs import MARK, id_and_owner, readable
from ..body import holds
from ..conversation import Upstream
from ..sse import SseEvent
from ..translation import Context
from .faults import error_object, thrown
from .owned import WITH_FILES, files_renamed
from .stream_in import unwrapped
from .thinking_out import loop_begins_with_thinking
from .wire import BEDROCK_VERSION, REDACTED, SIGNATURE, VERTEX_VERSION, detached

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_DISABLED = msgspec.Raw(b'{"type":"disabled"}')
# Fields that are an id of the account's, or hold one at their top.
_ID_FIELDS = ("container", "thread", "user_profile_id", "workspace_id", "diagnostics")
_ID_KEYS = ("id", "previous_message_id")
# The sign between an id and its owner, as it is and as some clients write it.
_AT = (b"@", b"\\u0040")
_NO_CONTEXT = Context("", 0)


def rebind(body: bytes, upstream: Upstream, betas: tuple[str, ...] = ()) -> bytes:
    """The request for this very provider; all else stays as it came. `betas`: what the client's header
    `anthropic-beta` lists, for variants that want it in the body."""
    fields = decode_request(_fields, body)
    for name in _ID_FIELDS:
        if name in fields and holds(bytes(fields[name]), *_AT):
            fields[name] = _raw(_disowned(msgspec.json.decode(fields[name]), upstream.provider))
    if "messages" in fields and holds(body, MARK.encode(), *_AT):
        _rebind_messages(fields, upstream)
    return msgspec.json.encode(_variant(fields, upstream, betas))


def _disowned(value: Any, provider: str) -> Any:
    """A field without the name of the account that its ids are of."""
    if isinstance(value, str):
        return _own_id(value)
    if not isinstance(value, dict):
        return value
    for name in _ID_KEYS:
        if isinstance(value.get(name), str):
            own, owner = id_and_owner(value[name])
            # Only a comparison can be with another account's: its message is not known here.
            is_foreign = name == "previous_message_id" and owner not in ("", provider)
            value[name] = None if is_foreign else own
    skills = value.get("skills")
    for skill in skills if isinstance(skills, list) else ():
        if isinstance(skill, dict) and isinstance(skill.get("skill_id"), str):
            skill["skill_id"] = _own_id(skill["skill_id"])
    return value


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _variant(fields: dict[str, msgspec.Raw], upstream: Upstream, betas: tuple[str, ...]) -> dict[str, Any]:
    if not upstream.variant:
        return {**fields, "model": upstream.model}
    is_count = "max_tokens" not in fields
    version = VERTEX_VERSION if upstream.variant == "vertex" else BEDROCK_VERSION
    head: dict[str, Any] = {"anthropic_version": upstream.api_version or version}
    if upstream.variant == "vertex" and is_count:
        head["model"] = upstream.model
    if upstream.variant == "bedrock" and betas:
        head["anthropic_beta"] = list(betas)
    gone = ("model", "stream") if upstream.variant == "bedrock" else ("model",)
    return head | {name: raw for name, raw in fields.items() if name not in gone}


# -- tags


def _rebind_messages(fields: dict[str, msgspec.Raw], upstream: Upstream) -> None:
    messages = msgspec.json.decode(fields["messages"])
    if not isinstance(messages, list):
        return
    lost = False
    kept = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            kept.append(message)
            continue
        blocks = [block for given in content if (block := _rebound(given, upstream)) is not None]
        lost = lost or len(blocks) != len(content)
        if blocks or not content:
            kept.append({**message, "content": blocks})
    fields["messages"] = _raw(kept)
    thinking = bytes(fields.get("thinking", b""))
    if lost and b'"enabled"' in thinking and not loop_begins_with_thinking(kept):
        # A tool loop that another provider's model began can't be gone on with on a budget of thinking.
        fields["thinking"] = _DISABLED


def _rebound(block: Any, upstream: Upstream) -> Any:
    """The block as this provider may get it; None for one that is not for it."""
    if not isinstance(block, dict):
        return block
    match block.get("type"):
        case "thinking" if _is_tagged(block.get("signature")):
            return _readable(block, "signature", SIGNATURE, upstream)
        case "redacted_thinking" if _is_tagged(block.get("data")):
            return _readable(block, "data", REDACTED, upstream)
        case "text":
            return _rebound_text(block)
        case "tool_result" if isinstance(block.get("content"), list):
            inner = [one for given in block["content"] if (one := _rebound(given, upstream)) is not None]
            return {**block, "content": inner}
        case "image" | "document" if isinstance(block.get("source"), dict):
            return {**block, "source": files_renamed(block["source"], _own_id)}
        case kind if kind in WITH_FILES:
            return files_renamed(block, _own_id)
    return block


def _is_tagged(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(MARK)


def _readable(block: dict[str, Any], key: str, kind: str, upstream: Upstream) -> dict[str, Any] | None:
    blob, backwards = detached(block[key], kind)
    if backwards or blob is None or not readable(blob, upstream, kind):
        return None
    return {**block, key: blob.data}


def _rebound_text(block: dict[str, Any]) -> dict[str, Any] | None:
    """An empty text can only be the broker's own: it is refused here."""
    if block.get("text") == "":
        return None
    citations = block.get("citations")
    if not isinstance(citations, list):
        return block
    kept = [
        one for one in citations if not (isinstance(one, dict) and _is_tagged(one.get("encrypted_index")))
    ]
    if len(kept) == len(citations):
        return block
    rest = {key: value for key, value in block.items() if key != "citations"}
    return {**rest, "citations": kept} if kept else rest


def _own_id(ident: str) -> str:
    return id_and_owner(ident)[0]


# -- Bedrock's framing


def _sse(event: SseEvent) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.name.encode(), event.data)


class Unframed:
    """Bedrock's binary event stream → Anthropic's server-sent events. ValueError in words where the bytes
    are damaged, with the first call behind what came out whole."""

    def __init__(self) -> None:
        self._splitter = EventStreamSplitter()
        self._fault = ""

    def feed(self, chunk: bytes) -> bytes:
        if self._fault:
            raise ValueError(self._fault)
        try:
            messages = self._splitter.feed(chunk)
        except BadEventStream as wrong:
            self._fault = str(wrong)
            messages = wrong.before
            if not messages:
                raise
        return b"".join(map(self._one, messages))

    def _one(self, message: EventStreamMessage) -> bytes:
        if (fault := thrown(message)) is not None:
            return _sse(SseEvent("error", msgspec.json.encode(error_object(fault, _NO_CONTEXT))))
        data = unwrapped(message)
        return b"" if data is None else _sse(SseEvent(_type_of(data), data))

    def end(self) -> bytes:
        if self._fault:
            raise ValueError(self._fault)
        if self._splitter.holds_part:
            raise ValueError("the stream ends in the middle of a message")
        return b""


class _Typed(msgspec.Struct):
    type: str = ""


def _type_of(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=_Typed).type
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("a chunk of the event stream is no event of Anthropic's") from None
