"""Reasoning on the wire: the array `reasoning_details` of a message, OpenRouter's, which others took over.

An entry is `{"type": "reasoning.text", "text", "signature"}`, `{"type": "reasoning.summary", "summary"}` or
`{"type": "reasoning.encrypted", "data"}`, each with `id`, `format` and `index`. Clients send them back as
they got them, so this is where a blob travels. Source: OpenRouter, "Reasoning tokens", "reasoning_details".

What a provider of this dialect issued is a blob of kind DETAILS: its whole entry but the text, as JSON with
sorted keys, so that the entry goes back as it came. What others issued stands tagged in `signature` or
`data`. A blob that belongs to a summary is an entry of its own behind it, of the same `format`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ..base import decode_json
from ..blobs import MARK, tagged, untagged
from ..conversation import Blob, Reasoning
from .wire import mapping, optional_text

DETAILS = "openai-chat.reasoning_details"
# Reasoning that its provider wants back as plain text in a field of the message: the blob says who wrote it.
ECHO = "openai-chat.reasoning_content"
THOUGHT = "openai-chat.thought_signature"

TEXT, SUMMARY, ENCRYPTED = "reasoning.text", "reasoning.summary", "reasoning.encrypted"
# Where an entry keeps what a person may read, and where what only its issuer can.
_WORDS = {TEXT: "text", SUMMARY: "summary"}
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def split(entry: Mapping[str, Any], issuer: str) -> Reasoning:
    """One entry of a provider's."""
    kind = str(entry.get("type") or "")
    field = _WORDS.get(kind, "")
    words = entry.get(field)
    rest = {name: value for name, value in entry.items() if name != field and value is not None}
    ident = entry.get("id")
    return Reasoning(
        text=words if isinstance(words, str) else "",
        blob=Blob(issuer, DETAILS, _encode_sorted(rest).decode()),
        hidden=not field,
        id=ident if isinstance(ident, str) else "",
        summary=kind == SUMMARY,
    )


def joined(part: Reasoning, blob: Blob) -> dict[str, Any] | None:
    """The entry that `split` took apart; None where the blob is none of ours."""
    entry = decode_json(blob.data.encode())
    if not isinstance(entry, dict):
        return None
    field = _WORDS.get(str(entry.get("type") or ""))
    if field is not None and (part.text or field in entry):
        entry[field] = part.text
    return entry


# -- towards a client


def told(parts: Sequence[Reasoning]) -> list[dict[str, Any]]:
    """All that a message tells of its reasoning."""
    entries: list[dict[str, Any]] = []
    for part in parts:
        at = len(entries)
        if not part.hidden and (part.text or part.blob is not None):
            entries.append(opening(part, part.text, at))
        if part.blob is not None:
            for piece in closing(part, part.blob, at):
                if piece["index"] < len(entries):
                    entries[piece["index"]] |= piece
                else:
                    entries.append(piece)
    return entries


def opening(part: Reasoning, text: str, index: int) -> dict[str, Any]:
    """The first piece of an entry that can be read; `index` is its place in the array."""
    kind = SUMMARY if part.summary else TEXT
    entry: dict[str, Any] = {"type": kind, _WORDS[kind]: text, "index": index}
    if part.id:
        entry["id"] = part.id
    return entry


def more(part: Reasoning, text: str, index: int) -> dict[str, Any]:
    kind = SUMMARY if part.summary else TEXT
    return {"type": kind, _WORDS[kind]: text, "index": index}


def closing(part: Reasoning, blob: Blob, index: int) -> list[dict[str, Any]]:
    """What a blob adds to the part's entry at `index`, or stands there as an entry of its own."""
    data = tagged(blob)
    if not part.hidden and not part.summary:
        return [{"type": TEXT, "signature": data, "format": blob.kind, "index": index}]
    sealed: dict[str, Any] = {"type": ENCRYPTED, "data": data, "format": blob.kind, "index": index}
    if part.id:
        sealed["id"] = part.id
    if part.hidden:
        return [sealed]
    return [{"type": SUMMARY, "format": blob.kind, "index": index}, {**sealed, "index": index + 1}]


# -- back from a client

FIELDS = frozenset(("reasoning_details", "reasoning_content", "reasoning"))


def read(message: Mapping[str, Any], field: str) -> Iterator[Reasoning]:
    """What a client sends back of an assistant's reasoning, in any of the ways in which clients do."""
    entries = message.get("reasoning_details")
    plain = optional_text(message.get("reasoning_content"), f"{field}.reasoning_content")
    plain = plain or optional_text(message.get("reasoning"), f"{field}.reasoning")
    parts: list[Reasoning] = []
    awaited = ""  # the format of a blob that has to follow the last part, a summary
    for n, entry in enumerate(entries if isinstance(entries, list) else ()):
        entry = mapping(entry, f"{field}.reasoning_details[{n}]")
        part = _read_entry(entry, f"{field}.reasoning_details[{n}]")
        kind = entry.get("format")
        if awaited and part.hidden and kind == awaited:
            parts[-1] = msgspec.structs.replace(parts[-1], blob=part.blob)
        else:
            parts.append(part)
        awaited = kind if part.summary and part.blob is None and isinstance(kind, str) else ""
    if plain and not any(part.text for part in parts):
        parts.insert(0, Reasoning(plain))
    yield from parts


def _read_entry(entry: dict[str, Any], field: str) -> Reasoning:
    kind = entry.get("type")
    sealed = optional_text(entry.get("data"), f"{field}.data")
    signature = optional_text(entry.get("signature"), f"{field}.signature")
    data = sealed or signature
    words = _WORDS.get(kind) if isinstance(kind, str) else None
    text = optional_text(entry.get(words), f"{field}.{words}") if words else ""
    ident = optional_text(entry.get("id"), f"{field}.id")
    if data.startswith(MARK):
        return Reasoning(text, untagged(data, DETAILS), words is None, ident, kind == SUMMARY)
    own_format = str(entry.get("format") or "")
    if words and not data and (not own_format or own_format.partition(".")[0] in _OURS):
        return Reasoning(text, None, False, ident, kind == SUMMARY)
    return split(entry, "")


# A blob's kind begins with the dialect that it comes from.
_OURS = frozenset(("openai-chat", "openai-responses", "anthropic-messages", "bedrock-converse", "gemini"))
