"""The same dialect on both sides: what has to change in a request for one very provider, and in a reply whose
ids only its own account can use again.

A reply holds such an id where the client asked for audio: the next turn may speak of it by its id.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .. import base
from ..blobs import MARK, id_and_owner, readable, untagged
from ..conversation import Upstream
from ..translation import Rebound
from . import reasoning
from .deviations import deviations_of
from .mending import mend

_decoder = msgspec.json.Decoder(dict[str, Any])


def rebind(body: bytes, upstream: Upstream) -> Rebound:
    """The request for this very provider: its model, no tags, nothing that others issued, and what its
    deviations want otherwise."""
    request = base.decode_request(_decoder, body)
    said = deviations_of(upstream)
    request["model"] = upstream.model
    options = request.get("stream_options")
    if request.get("stream") is True and said.stream_usage and (options is None or isinstance(options, dict)):
        # For the record, as in calls that pass: the client gets the usage event only where it asked, or where
        # its pool says so.
        request["stream_options"] = {**(options or {}), "include_usage": True}
    messages = request.get("messages")
    for n, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, dict):
            _message(message, upstream, f"messages[{n}]")
    dropped = mend(request, said, upstream.reasons) if upstream.deviations else ()
    return Rebound(msgspec.json.encode(request), dropped)


def _message(message: dict[str, Any], upstream: Upstream, field: str) -> None:
    details = message.get("reasoning_details")
    if isinstance(details, list):
        _reasoning(message, details, upstream, field)
    calls = message.get("tool_calls")
    for call in (message, *(calls if isinstance(calls, list) else ())):
        if isinstance(call, dict):
            _thought(call, upstream)
    audio = message.get("audio")
    if isinstance(audio, dict) and isinstance(audio.get("id"), str):
        audio["id"] = id_and_owner(audio["id"])[0]
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        file = part.get("file") if isinstance(part, dict) else None
        if isinstance(file, dict) and isinstance(file.get("file_id"), str):
            file["file_id"] = id_and_owner(file["file_id"])[0]


def _reasoning(message: dict[str, Any], details: list[Any], upstream: Upstream, field: str) -> None:
    """Untagged entries stay as they are. Where any is tagged, the message was a translated reply: its plain
    text goes too, but for the one that its provider wants back."""
    if not any(isinstance(entry, dict) and _is_tagged(entry) for entry in details):
        return
    kept: list[Any] = []
    words: list[str] = []
    for part in reasoning.read({"reasoning_details": details}, field):
        if part.blob is None:
            continue
        if readable(part.blob, upstream, reasoning.DETAILS):
            if (entry := reasoning.joined(part, part.blob)) is not None:
                kept.append(entry)
        elif readable(part.blob, upstream, reasoning.ECHO):
            words.append(part.text)
    for name in ("reasoning_details", "reasoning_content", "reasoning"):
        message.pop(name, None)
    if kept:
        message["reasoning_details"] = kept
    echo = deviations_of(upstream).reasoning_field
    if words and echo:
        message[echo] = "".join(words)


def _is_tagged(entry: dict[str, Any]) -> bool:
    return any(str(entry.get(name) or "").startswith(MARK) for name in ("data", "signature"))


def _thought(holder: dict[str, Any], upstream: Upstream) -> None:
    extra = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    if not isinstance(google, dict) or not isinstance(signature, str):
        return
    blob = untagged(signature, reasoning.THOUGHT)
    if readable(blob, upstream, reasoning.THOUGHT):
        google["thought_signature"] = blob.data
    else:
        del holder["extra_content"]
