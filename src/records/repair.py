"""A protobuf message with text in it that is not UTF-8, made readable.

Envoy puts a request's bytes (path, headers) into string fields as they came, and Python's protobuf
refuses the whole message for one bad byte: without this, any client could cost others their records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_BYTES = 2  # the wire type of what has a length


def repaired(data: bytes, descriptor: Any) -> bytes:
    """`data` with what is no UTF-8 in its strings replaced. ValueError where it is no such message."""
    out = bytearray()
    for tag, value in _fields(data):
        field = descriptor.fields_by_number.get(tag >> 3)
        if tag & 7 == _BYTES:
            if field is not None and field.message_type is not None:
                value = repaired(value, field.message_type)
            elif field is not None and field.type == field.TYPE_STRING:
                value = value.decode("utf-8", "replace").encode()
            value = _varint(len(value)) + value
        out += _varint(tag) + value
    return bytes(out)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, the value's bytes: of a varint as it stands, of what has a length without that)."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        start = at
        match tag & 7:
            case 0:
                _, at = _read_varint(data, at)
            case 1:
                at += 8
            case 5:
                at += 4
            case 2:
                length, start = _read_varint(data, at)
                at = start + length
            case other:
                raise ValueError(f"wire type {other}")
        if at > len(data):
            raise ValueError("the message is cut")
        yield tag, data[start:at]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("the message is cut")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError("a number is too long")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
