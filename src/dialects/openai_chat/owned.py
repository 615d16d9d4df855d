"""Ids in replies that only their own account knows: of audio that a model spoke; the next turn may name it.

Where a pool has several accounts of this dialect, the id has to say whose it is (blobs.owned_id).
Source: OpenAI API reference, "The chat completion object", `message.audio`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..base import decode_json
from ..blobs import owned_id

_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DATA = b"data:"


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


class OwnedStream:
    """A Filter: a stream whose events pass as they are, but for those that hold an audio's id."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._tail = b""

    def feed(self, chunk: bytes) -> bytes:
        text = self._tail + chunk
        out: list[bytes] = []
        at = 0
        for blank in _BLANK.finditer(text):
            out.append(self._event(text[at : blank.start()]) + blank.group())
            at = blank.end()
        self._tail = text[at:]
        return b"".join(out)

    def end(self) -> bytes:
        tail, self._tail = self._tail, b""
        return self._event(tail)

    def _event(self, event: bytes) -> bytes:
        if b'"audio"' not in event or not event.startswith(_DATA):
            return event
        value = decode_json(event.removeprefix(_DATA))
        if not isinstance(value, dict) or not _own(value, "delta", self._provider):
            return event
        return b"data: " + msgspec.json.encode(value)
