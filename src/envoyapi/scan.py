"""Find the serialized `FileDescriptorProto`s in a binary: a pure function over its bytes."""

from __future__ import annotations

import mmap
import re

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

# FileDescriptorProto starts with field 1, `name`: a length-delimited string that ends in `.proto`.
_START = re.compile(
    rb"\x0a([\x07-\x7f]|[\x80-\xff]\x01)([a-zA-Z0-9_][a-zA-Z0-9_./-]*?\.proto)(?=[\x12\x1a\x22\x2a\x3a\x42])"
)

# descriptor.proto: the fields of FileDescriptorProto and their wire types.
_LENGTH_DELIMITED = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12}
_VARINT = {10, 11, 14, 15}


def file_descriptors(binary: bytes | mmap.mmap) -> dict[str, bytes]:
    """Every embedded file descriptor: file name (`envoy/config/…/x.proto`) to its serialized bytes."""
    found: dict[str, bytes] = {}
    for match in _START.finditer(binary):
        name_bytes = match.group(2)
        if _varint(match.group(1), 0)[0] != len(name_bytes):
            continue
        name = name_bytes.decode("ascii")
        if name in found:
            continue
        serialized = binary[match.start() : _end_of_message(binary, match.start())]
        try:
            parsed = descriptor_pb2.FileDescriptorProto.FromString(serialized)
        except DecodeError:
            continue
        if parsed.name == name:
            found[name] = serialized
    return found


def _end_of_message(binary: bytes | mmap.mmap, start: int) -> int:
    """Walk field by field until something that can't be a next field of FileDescriptorProto.

    Serialized fields come in ascending order, which tells where this message ends even when the
    bytes behind it happen to look like another field.
    """
    position, last_field = start, 0
    while position < len(binary):
        try:
            tag, after_tag = _varint(binary, position)
            field, wire_type = tag >> 3, tag & 7
            repeats = field == last_field and field in (3, 4, 5, 6, 7, 10, 11, 15)
            if field < last_field or (field == last_field and not repeats):
                break
            if wire_type == 2 and field in _LENGTH_DELIMITED:
                length, body = _varint(binary, after_tag)
                if body + length > len(binary):
                    break
                position = body + length
            elif wire_type == 0 and field in _VARINT:
                _, position = _varint(binary, after_tag)
            else:
                break
        except ValueError:
            break
        last_field = field
    return position


def _varint(data: bytes | mmap.mmap, position: int) -> tuple[int, int]:
    """The varint at `position` and the position after it; ValueError where there is none."""
    value = shift = 0
    while True:
        if position >= len(data) or shift > 35:
            raise ValueError("no varint here")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if not byte & 0x80:
            return value, position
        shift += 7
