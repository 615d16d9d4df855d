"""Server-sent events as bytes, and streams of them taken apart.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from typing import Any

import msgspec

DONE = b"data: [DONE]\n\n"
_END = re.compile(rb"(?:\r\n|\n|\r)(?:\r\n|\n|\r)+")


def encode(value: Any) -> bytes:
    """Compact JSON; lone surrogates, which UTF-8 cannot hold, become question marks."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_clean(value))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def event(value: Any, name: str | None = None) -> bytes:
    """One event holding `value` as JSON, named when the dialect names its events."""
    head = f"event: {name}\n".encode() if name else b""
    return b"%sdata: %s\n\n" % (head, encode(value))


def split(stream: bytes) -> list[bytes]:
    """The events of a stream, blank lines included: joined they are the same bytes again."""
    out, start = [], 0
    for match in _END.finditer(stream):
        out.append(stream[start : match.end()])
        start = match.end()
    if start < len(stream):
        out.append(stream[start:])
    return out
