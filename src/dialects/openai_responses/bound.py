"""Calls that stay in the dialect, where bytes can't simply pass: ids and encrypted reasoning are one's own.

On the way out they get their issuer's name, and lose it on the way back; what others issued is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ...core.errors import BadRequest
from ..base import ABSENT, decode_request
from ..blobs import MARK, id_and_owner, owned_id, readable, tagged, untagged
from ..conversation import Blob, Upstream
from ..event_filter import EventFilter
from .places import ID_KEYS, renamed
from .wire import ENCRYPTED, unsealed

Fields = dict[str, msgspec.Raw]

_MARK = MARK.encode()
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_SEALED = frozenset(("reasoning", "compaction"))
# Items that say all there is to say of them: without an id they are whole.
_WHOLE = frozenset(
    ("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output")
)
# Fields of an item that say what it is, and never hold ids of other things.
_ITSELF = frozenset(("id", "type", "role", "encrypted_content", "arguments", "call_id", "name"))


def _decoded(raw: bytes | msgspec.Raw) -> Any:
    return msgspec.json.decode(raw)


def _disowned_id(ident: str) -> str:
    return id_and_owner(ident)[0]


def _may_be_owned(raw: bytes) -> bool:
    """Can there be an owner's name in it? Some clients write what they like as an escape."""
    return b"@" in raw or _MARK in raw or b"\\u00" in raw


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
    for name, change in _FIELDS.items():
        raw = fields.get(name, ABSENT)
        if _may_be_owned(bytes(raw)):
            fields[name] = _raw(change(_decoded(raw), upstream.provider))
    items = bytes(fields.get("input", ABSENT))
    if items[:1] == b"[" and _may_be_owned(items):
        kept = [item for raw in _raws(items) if (item := _item_for(raw, upstream)) is not None]
        fields["input"] = _raw(kept)


def _disowned(value: Any, provider: str) -> Any:
    return renamed(value, _disowned_id)


def _disowned_holder(value: Any, provider: str) -> Any:
    """An id, or an object with one and with what else may hold ids (a prompt's variables)."""
    if isinstance(value, str):
        return _disowned_id(value)
    if isinstance(value, dict):
        value = renamed(value, _disowned_id)
        if isinstance(value.get("id"), str):
            value["id"] = _disowned_id(value["id"])
    return value


def _compared(value: Any, provider: str) -> Any:
    """What another account answered can't be compared with here."""
    if isinstance(value, dict) and isinstance(ident := value.get("comparison_response_id"), str):
        own, owner = id_and_owner(ident)
        value["comparison_response_id"] = own if owner in ("", provider) else None
    return value


_FIELDS = {
    "previous_response_id": _disowned_holder,
    "conversation": _disowned_holder,
    "prompt": _disowned_holder,
    "prompt_cache_options": _compared,
    "tools": _disowned,
}


def _item_for(raw: msgspec.Raw, upstream: Upstream) -> msgspec.Raw | None:
    """The item as this provider gets it; None where it is another's reasoning."""
    if not _may_be_owned(bytes(raw)):
        return raw
    if bytes(raw)[:1] != b"{":
        return raw
    item = _fields.decode(raw)
    kind = _text(item, "type")
    own, owner = id_and_owner(_text(item, "id"))
    if kind in _SEALED:
        encrypted = _text(item, "encrypted_content")
        if encrypted.startswith(MARK):
            blob = untagged(encrypted, ENCRYPTED)
            if not readable(blob, upstream, ENCRYPTED) or not blob.data:
                return None
            item["encrypted_content"] = _raw(unsealed(blob.data)[1])
        elif not encrypted and owner not in ("", upstream.provider):
            return None  # a reference to what is kept elsewhere
    if owner:
        item["id"] = _raw(own)
        # The same id may mean something else here, or ask for company that was left out.
        if owner != upstream.provider and (kind in _WHOLE or (not kind and "role" in item)):
            del item["id"]
    _rename_within(item, _disowned_id, _may_be_owned)
    return _raw(item)


def _text(fields: Fields, name: str) -> str:
    """The string in this field; "" where it is none."""
    raw = fields.get(name, ABSENT)
    text = _decoded(raw) if bytes(raw)[:1] == b'"' else ""
    return text if isinstance(text, str) else ""


def _rename_within(item: Fields, change: Callable[[str], str], is_worth_it: Callable[[bytes], bool]) -> None:
    """Changes the ids in an item that are not its own; what has none stays byte for byte."""
    for name, raw in item.items():
        if name not in _ITSELF and (name in ID_KEYS or is_worth_it(bytes(raw))):
            item[name] = _raw(renamed({name: _decoded(raw)}, change)[name])


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


# -- out to the client


def owned_response(body: bytes, provider: str) -> bytes:
    """ValueError where it is no response."""
    try:
        fields = _fields.decode(body)
        _Owner(provider).response(fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise ValueError(f"the response is not JSON: {wrong}") from None
    return _encode(fields)


def _has_id(raw: bytes) -> bool:
    return b"_id" in raw


class _Owner:
    """Puts a provider's name to what is its own."""

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def ident(self, ident: str) -> str:
        return owned_id(ident, self._provider)

    def _string(self, fields: Fields, name: str) -> bool:
        """Names the owner of the id in this field. Is there one?"""
        if bytes(raw := fields.get(name, ABSENT))[:1] != b'"' or len(raw) == 2:
            return False
        fields[name] = _raw(self.ident(_decoded(raw)))
        return True

    def response(self, fields: Fields) -> None:
        for name in ("id", "previous_response_id"):
            self._string(fields, name)
        conversation = fields.get("conversation", ABSENT)
        if bytes(conversation)[:1] == b"{":
            value = _fields.decode(conversation)
            self._string(value, "id")
            fields["conversation"] = _raw(value)
        output = fields.get("output", ABSENT)
        if bytes(output)[:1] == b"[":
            fields["output"] = _raw([self.item(raw) for raw in _raws(output)])

    def item(self, raw: msgspec.Raw) -> msgspec.Raw:
        """Any item can be referred to by its id, where the response is kept; reasoning is bound to its
        account by what it holds."""
        if bytes(raw)[:1] != b"{":
            return raw
        item = _fields.decode(raw)
        self._string(item, "id")
        if _text(item, "type") in _SEALED and (encrypted := _text(item, "encrypted_content")):
            item["encrypted_content"] = _raw(tagged(Blob(self._provider, ENCRYPTED, encrypted)))
        _rename_within(item, self.ident, _has_id)
        return _raw(item)

    def event(self, fields: Fields) -> bool:
        """Is there something of the account in this event? Then it has the account's name now."""
        changed = False
        if bytes(fields.get("response", ABSENT))[:1] == b"{":
            response = _fields.decode(fields["response"])
            self.response(response)
            fields["response"], changed = _raw(response), True
        if bytes(fields.get("item", ABSENT))[:1] == b"{":
            fields["item"], changed = self.item(fields["item"]), True
        for name in ("annotation", "part"):
            if _has_id(bytes(raw := fields.get(name, ABSENT))):
                fields[name], changed = _raw(renamed(_decoded(raw), self.ident)), True
        for name in ("item_id", "response_id"):
            changed = self._string(fields, name) or changed
        return changed


# Without one of these there is nothing of the account in an event.
_WORDS = (b'_id"', b'"response"', b'"item"')


def owned_stream(provider: str) -> EventFilter:
    """Bytes of a stream in, the same with the account's name out."""
    owner = _Owner(provider)

    def owned(data: bytes) -> bytes | None:
        fields = _fields.decode(data)
        return _encode(fields) if owner.event(fields) else None

    return EventFilter(owned, _WORDS)
