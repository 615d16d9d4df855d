"""AWS's binary event stream: messages of headers and a payload, guarded by two CRC-32s.

https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import binascii
import struct
from collections.abc import Iterable
from typing import Any

from .sse import encode

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7  # the type of a header whose value is text


def message(headers: Iterable[tuple[str, str]], payload: bytes) -> bytes:
    """One message: prelude (total and header length, CRC), headers, payload, CRC; numbers are big-endian."""
    block = b"".join(_header(name, value) for name, value in headers)
    prelude = struct.pack(">II", 12 + len(block) + len(payload) + 4, len(block))
    body = b"%b%b%b%b" % (prelude, struct.pack(">I", binascii.crc32(prelude)), block, payload)
    return body + struct.pack(">I", binascii.crc32(body))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack(f">B{len(key)}sBH", len(key), key, _STRING, len(text)) + text


def event(kind: str, value: Any) -> bytes:
    """An event of that type, with a JSON payload."""
    return _json(":event-type", kind, "event", value)


def exception(kind: str, value: Any) -> bytes:
    """An exception that a service declares, with a JSON payload; it ends the stream."""
    return _json(":exception-type", kind, "exception", value)


def _json(type_name: str, kind: str, message_type: str, value: Any) -> bytes:
    headers = ((type_name, kind), (":content-type", "application/json"), (":message-type", message_type))
    return message(headers, encode(value))


# Says nothing: where the real service pings not, this keeps a connection busy all the same.
PING = event("initial-response", {})


def split(stream: bytes) -> list[bytes]:
    """The messages of a stream: joined they are the same bytes again, whatever is wrong with them."""
    out, start = [], 0
    while start + 4 <= len(stream):
        (size,) = struct.unpack_from(">I", stream, start)
        if size < 16 or start + size > len(stream):
            break
        out.append(stream[start : start + size])
        start += size
    if start < len(stream):
        out.append(stream[start:])
    return out
