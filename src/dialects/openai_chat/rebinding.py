"""The same dialect on both sides, and tags in the body: only what they concern changes."""

from __future__ import annotations

from typing import Any

import msgspec

from ..base import decode_json
from ..blobs import id_and_owner, readable, untagged
from ..conversation import Upstream
from .replies_in import THOUGHT
from .requests_in import REASONING


def rebind(body: bytes, upstream: Upstream) -> bytes:
    request = decode_json(body)
    if not isinstance(request, dict):
        return body
    request["model"] = upstream.model
    for message in request.get("messages") or ():
        if isinstance(message, dict):
            _message(message, upstream)
    return msgspec.json.encode(request)


def _message(message: dict[str, Any], upstream: Upstream) -> None:
    details = message.get("reasoning_details")
    if isinstance(details, list):
        kept = [each for each in details if isinstance(each, dict) and _own_detail(each, upstream)]
        if kept:
            message["reasoning_details"] = kept
        else:
            del message["reasoning_details"]
            message.pop("reasoning_content", None)
    for call in message.get("tool_calls") or ():
        if isinstance(call, dict):
            _call(call, upstream)
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        file = part.get("file") if isinstance(part, dict) else None
        if isinstance(file, dict) and isinstance(file.get("file_id"), str):
            file["file_id"] = id_and_owner(file["file_id"])[0]


def _own_detail(detail: dict[str, Any], upstream: Upstream) -> bool:
    """Takes the tag off; False where the blob is another one's."""
    for field in ("data", "signature"):
        value = detail.get(field)
        if isinstance(value, str) and value:
            blob = untagged(value, REASONING)
            if not readable(blob, upstream, REASONING):
                return False
            detail[field] = blob.data
    return True


def _call(call: dict[str, Any], upstream: Upstream) -> None:
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    if not isinstance(google, dict) or not isinstance(signature, str):
        return
    blob = untagged(signature, THOUGHT)
    if readable(blob, upstream, THOUGHT):
        google["thought_signature"] = blob.data
    else:
        del call["extra_content"]
