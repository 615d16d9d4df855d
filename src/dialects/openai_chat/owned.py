"""Ids in replies that only their own account knows: of audio that a model spoke; the next turn may name it.

Where a pool has several accounts of this dialect, the id has to say whose it is (blobs.owned_id).
Source: OpenAI API reference, "The chat completion object", `message.audio`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..base import decode_json
from ..blobs import owned_id
from ..event_filter import EventFilter


def owned_reply(body: bytes, provider: str) -> bytes:
    """A whole reply; ValueError where it is none."""
    value = decode_json(body)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return msgspec.json.encode(value) if _own(value, "message", provider) else body


def _own(value: dict[str, Any], holder: str, provider: str) -> bool:
    """Names the owner of each audio's id. Was there one?"""
    found = False
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        said = choice.get(holder) if isinstance(choice, dict) else None
        audio = said.get("audio") if isinstance(said, dict) else None
        if isinstance(audio, dict) and isinstance(ident := audio.get("id"), str) and ident:
            audio["id"] = owned_id(ident, provider)
            found = True
    return found


def owned_stream(provider: str) -> EventFilter:
    """A stream whose events pass as they are, but for those that hold an audio's id."""

    def owned(data: bytes) -> bytes | None:
        value = decode_json(data)
        if not isinstance(value, dict) or not _own(value, "delta", provider):
            return None
        return msgspec.json.encode(value)

    return EventFilter(owned, (b'"audio"',))
