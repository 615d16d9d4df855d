"""Writes AWS's binary event streams, as Bedrock does. Checked against botocore's decoder."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping
from typing import Any

# A header's value with its type: (type number of the specification, value).
Header = tuple[int, Any]


def frame(headers: Mapping[str, Header], payload: bytes) -> bytes:
    """One message."""
    block = b"".join(_header(name, *value) for name, value in headers.items())
    prelude = struct.pack(">II", 12 + len(block) + len(payload) + 4, len(block))
    body = prelude + struct.pack(">I", binascii.crc32(prelude)) + block + payload
    return body + struct.pack(">I", binascii.crc32(body))


def _header(name: str, kind: int, value: Any) -> bytes:
    raw = name.encode()
    head = bytes([len(raw)]) + raw + bytes([kind])
    match kind:
        case 0 | 1:
            return head
        case 2 | 3 | 4 | 5 | 8:
            layout = {2: ">b", 3: ">h", 4: ">i", 5: ">q", 8: ">q"}[kind]
            return head + struct.pack(layout, value)
        case 6 | 7:
            data = value.encode() if kind == 7 else value
            return head + struct.pack(">H", len(data)) + data
        case 9:
            return head + value
    raise AssertionError(kind)


def spelled(kind: int, value: Any) -> str:
    """A header's value as `EventStreamMessage` has it."""
    match kind:
        case 0 | 1:
            return "true" if kind == 0 else "false"
        case 6:
            return base64.b64encode(value).decode()
        case 7:
            return str(value)
        case 9:
            return bytes(value).hex()
    return str(value)


def event(name: str, value: Mapping[str, Any]) -> bytes:
    """One event of Bedrock's: what it sends for a member of `ConverseStreamOutput`."""
    return _message(":event-type", name, "event", value)


def exception(name: str, value: Mapping[str, Any]) -> bytes:
    return _message(":exception-type", name, "exception", value)


def _message(key: str, name: str, kind: str, value: Mapping[str, Any]) -> bytes:
    headers = {key: (7, name), ":content-type": (7, "application/json"), ":message-type": (7, kind)}
    return frame(headers, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
