"""AWS's binary event stream, split into messages as its bytes arrive.

Source: Smithy, "Amazon Event Stream Specification" (`application/vnd.amazon.eventstream`). All numbers are
big-endian. A message is: its whole length in bytes (4), the length of its headers (4), the CRC-32 of these
eight bytes (4), headers, payload, the CRC-32 of all that stands before it (4).
"""

from __future__ import annotations

import base64
import binascii
import functools
import struct
from collections.abc import Callable, Mapping

import msgspec

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_SHORT = struct.Struct(">H")
_FRAME_BYTES = _PRELUDE.size + _CRC.size
# What the AWS SDKs take at the most (botocore's eventstream.py).
_MAX_HEADERS_BYTES = 128 * 1024
_MAX_PAYLOAD_BYTES = 24 * 1024 * 1024

_BYTES, _STRING = 6, 7


def _number(layout: str) -> Callable[[bytes], str]:
    unpack = struct.Struct(layout).unpack
    return lambda value: str(unpack(value)[0])


# Header types of a fixed size: (bytes, how they are spelled as text). 8 is a time in ms, 9 a UUID.
_FIXED: dict[int, tuple[int, Callable[[bytes], str]]] = {
    0: (0, lambda _: "true"),
    1: (0, lambda _: "false"),
    2: (1, _number(">b")),
    3: (2, _number(">h")),
    4: (4, _number(">i")),
    5: (8, _number(">q")),
    8: (8, _number(">q")),
    9: (16, bytes.hex),
}


class EventStreamMessage(msgspec.Struct, frozen=True):
    """One message. Header values that are no strings are spelled as text: `true`, decimal numbers, base64
    for bytes, hex digits for a UUID."""

    headers: Mapping[str, str]
    payload: bytes


class BadEventStream(ValueError):
    """The bytes are no event stream. `before`: the messages that the same chunk completed in front of the
    fault, so that what a reader gets does not depend on how the bytes were split."""

    def __init__(self, why: str, before: list[EventStreamMessage]) -> None:
        super().__init__(why)
        self.before = before


class EventStreamSplitter:
    """Bytes in, messages out. Any split of the same bytes gives the same messages and the same fault."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = _PRELUDE.size  # so many bytes tell more than is known already
        self._fault = ""

    @property
    def holds_part(self) -> bool:
        """Did a message begin that is not complete? At the end of a stream: it was cut."""
        return bool(self._held)

    def feed(self, chunk: bytes) -> list[EventStreamMessage]:
        """The messages that `chunk` completes. BadEventStream, now and ever after, where a checksum does
        not fit, a length can't be, or headers can't be read."""
        messages: list[EventStreamMessage] = []
        if self._fault:
            raise BadEventStream(self._fault, messages)
        held = self._held
        held += chunk
        if len(held) < self._wanted:
            return messages
        at = 0
        try:
            while len(held) - at >= _PRELUDE.size:
                length, headers_length = _prelude(held, at)
                if len(held) - at < length:
                    self._wanted = length
                    break
                messages.append(_message(bytes(held[at : at + length]), headers_length))
                at += length
            else:
                self._wanted = _PRELUDE.size
        except ValueError as wrong:
            self._fault = str(wrong)
            held.clear()
            raise BadEventStream(self._fault, messages) from None
        del held[:at]
        return messages


def _prelude(held: bytearray, at: int) -> tuple[int, int]:
    """(bytes of the whole message, bytes of its headers); ValueError in words."""
    length, headers_length, crc = _PRELUDE.unpack_from(held, at)
    if crc != binascii.crc32(held[at : at + 8]):
        raise ValueError("the event stream is damaged: the checksum of a message's length does not fit")
    if headers_length > _MAX_HEADERS_BYTES:
        raise ValueError(f"the event stream has a message with {headers_length} bytes of headers")
    payload_length = length - headers_length - _FRAME_BYTES
    if not 0 <= payload_length <= _MAX_PAYLOAD_BYTES:
        raise ValueError(f"the event stream has a message of {length} bytes: that can't be")
    return length, headers_length


def _message(frame: bytes, headers_length: int) -> EventStreamMessage:
    behind = len(frame) - _CRC.size
    if _CRC.unpack_from(frame, behind)[0] != binascii.crc32(memoryview(frame)[:behind]):
        raise ValueError("the event stream is damaged: the checksum of a message does not fit")
    first = _PRELUDE.size + headers_length
    return EventStreamMessage(_headers(frame[_PRELUDE.size : first]), frame[first:behind])


@functools.lru_cache(maxsize=64)  # a stream's messages have one of a few
def _headers(block: bytes) -> Mapping[str, str]:
    """Each header: name's length (1), name, type (1), value."""
    headers: dict[str, str] = {}
    at, behind = 0, len(block)
    try:
        while at < behind:
            value_at = at + 1 + block[at] + 1
            kind = block[value_at - 1]
            name = block[at + 1 : value_at - 1].decode()
            if kind in (_STRING, _BYTES):
                (size,) = _SHORT.unpack_from(block, value_at)
                value_at += _SHORT.size
                raw = block[value_at : value_at + size]
                value = raw.decode() if kind == _STRING else base64.b64encode(raw).decode()
            else:
                size, spell = _FIXED[kind]
                value = spell(block[value_at : value_at + size])
            at = value_at + size
            if at > behind:
                break
            if name in headers:
                raise ValueError(f"the event stream has a message with two headers {name!r}")
            headers[name] = value
    except (KeyError, IndexError, struct.error, UnicodeDecodeError):
        raise ValueError("the event stream has a message whose headers can't be read") from None
    if at != behind:
        raise ValueError("the event stream has a message whose headers are longer than they say")
    return headers
