"""Calls that stay in the dialect, where bytes can't simply pass: ids and encrypted reasoning are one's own.

On the way out they get their issuer's name, and lose it on the way back; what others issued is left out.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ...core.errors import BadRequest
from ..base import ABSENT, decode_request
from ..blobs import MARK, id_and_owner, owned_id, readable, tagged, untagged
from ..conversation import Blob, Upstream
from .wire import ENCRYPTED, unsealed

Fields = dict[str, msgspec.Raw]

_MARK = MARK.encode()
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
# An event's end: an empty line. A CR before an LF ends nothing yet.
_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
_EVENT_END = re.compile(_LINE_END + _LINE_END)
_DATA = re.compile(rb"^data:[ ]?([^\r\n]*)", re.MULTILINE)
_ID_KEYS = frozenset(("id", "file_id", "container_id", "container"))
_ID_LISTS = frozenset(("file_ids", "vector_store_ids"))
_SEALED = frozenset(("reasoning", "compaction"))


def _decoded(raw: bytes | msgspec.Raw) -> Any:
    return msgspec.json.decode(raw)


# -- back to the provider


def rebind(body: bytes, upstream: Upstream) -> bytes:
    """The request for this very account: its model; its own ids and blobs without its name; without the
    reasoning that others issued. BadRequest where it can't be read."""
    fields = decode_request(_fields, body)
    try:
        _rebind(fields, upstream)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(400, "invalid_json", "the body is not valid JSON") from None
    except RecursionError:
        raise BadRequest(400, "invalid_json", "the body is nested too deeply to be read") from None
    return _encode(fields)


def _rebind(fields: Fields, upstream: Upstream) -> None:
    fields["model"] = _raw(upstream.model)
    for name in ("previous_response_id", "conversation", "prompt", "prompt_cache_options", "tools"):
        raw = fields.get(name, ABSENT)
        if b"@" in bytes(raw):
            is_id = name in ("previous_response_id", "conversation")
            fields[name] = _raw(_disowned(_decoded(raw), is_id))
    items = fields.get("input", ABSENT)
    if bytes(items)[:1] == b"[" and (_MARK in bytes(items) or b"@" in bytes(items)):
        kept = [item for raw in _raws(items) if (item := _item_for(raw, upstream)) is not None]
        fields["input"] = _raw(kept)


def _item_for(raw: msgspec.Raw, upstream: Upstream) -> msgspec.Raw | None:
    """The item as this provider gets it; None where it is another's reasoning."""
    plain = bytes(raw)
    if _MARK not in plain and b"@" not in plain:
        return raw
    item = _decoded(raw)
    if not isinstance(item, dict):
        return raw
    if item.get("type") in _SEALED:
        encrypted = item.get("encrypted_content")
        if isinstance(encrypted, str) and encrypted.startswith(MARK):
            blob = untagged(encrypted, ENCRYPTED)
            if not readable(blob, upstream, ENCRYPTED) or not blob.data:
                return None
            item["encrypted_content"] = unsealed(blob.data)[1]
        elif not encrypted and id_and_owner(str(item.get("id")))[1] not in ("", upstream.provider):
            return None  # a reference to what is kept elsewhere
    return _raw(_disowned(item))


def _disowned(value: Any, is_id: bool = False) -> Any:
    """The same with every id without its owner."""
    if isinstance(value, str):
        return id_and_owner(value)[0] if is_id else value
    if isinstance(value, list):
        return [_disowned(inner, is_id) for inner in value]
    if isinstance(value, dict):
        return {
            key: _disowned(inner, key in _ID_KEYS or key in _ID_LISTS or key == "comparison_response_id")
            for key, inner in value.items()
        }
    return value


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


# -- out to the client


def owned_response(body: bytes, provider: str) -> bytes:
    """ValueError where it is no response."""
    try:
        fields = _fields.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"the response is not JSON: {wrong}") from None
    _own_response(fields, provider)
    return _encode(fields)


def _own_response(fields: Fields, provider: str) -> None:
    for name in ("id", "previous_response_id"):
        if bytes(raw := fields.get(name, ABSENT))[:1] == b'"':
            fields[name] = _raw(owned_id(_decoded(raw), provider))
    conversation = fields.get("conversation", ABSENT)
    if bytes(conversation)[:1] == b"{":
        value = _decoded(conversation)
        if isinstance(value.get("id"), str):
            fields["conversation"] = _raw({**value, "id": owned_id(value["id"], provider)})
    output = fields.get("output", ABSENT)
    if bytes(output)[:1] == b"[" and any(kind.encode() in bytes(output) for kind in _SEALED):
        fields["output"] = _raw([_owned_item(raw, provider) for raw in _raws(output)])


def _owned_item(raw: msgspec.Raw, provider: str) -> msgspec.Raw:
    """Reasoning is bound to its account by what it holds, and by its id where it holds nothing."""
    if not any(kind.encode() in bytes(raw) for kind in _SEALED):
        return raw
    item = _decoded(raw)
    if not isinstance(item, dict) or item.get("type") not in _SEALED:
        return raw
    if isinstance(item.get("id"), str):
        item["id"] = owned_id(item["id"], provider)
    encrypted = item.get("encrypted_content")
    if isinstance(encrypted, str) and encrypted:
        item["encrypted_content"] = tagged(Blob(provider, ENCRYPTED, encrypted))
    return _raw(item)


class OwnedStream:
    """Bytes of a stream in, the same with the account's name out. Events that hold nothing of the account
    pass byte for byte; any split of the bytes gives the same."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        text = self._held + chunk
        # A CR at the very end may be half of a line's end.
        known = len(text) - text.endswith(b"\r")
        out, start = [], 0
        while (end := _EVENT_END.search(text, start, known)) is not None:
            out.append(self._event(text[start : end.end()]))
            start = end.end()
        self._held = text[start:]
        return b"".join(out)

    def end(self) -> bytes:
        rest, self._held = self._held, b""
        return self._event(rest)

    def _event(self, event: bytes) -> bytes:
        if not (b'"response"' in event or b"reasoning" in event or b'"compaction"' in event):
            return event
        found = _DATA.findall(event)
        if len(found) != 1:
            return event
        try:
            fields = _fields.decode(found[0])
            changed = self._change(fields)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return event
        return event.replace(found[0], _encode(fields)) if changed else event

    def _change(self, fields: Fields) -> bool:
        """Is there something of the account in this event? Then it has the account's name now."""
        if "response" in fields:
            response = _fields.decode(fields["response"])
            _own_response(response, self._provider)
            fields["response"] = _raw(response)
            return True
        if "item" in fields:
            item = fields["item"]
            fields["item"] = _owned_item(item, self._provider)
            return fields["item"] is not item
        kind, part = bytes(fields.get("type", ABSENT)), bytes(fields.get("part", ABSENT))
        if "item_id" in fields and (b'"response.reasoning_' in kind or b'"reasoning_text"' in part):
            fields["item_id"] = _raw(owned_id(_decoded(fields["item_id"]), self._provider))
            return True
        return False
