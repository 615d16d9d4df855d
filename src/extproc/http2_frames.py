"""HTTP/2 frames as bytes (RFC 9113), and the constant ones ready to send."""

from __future__ import annotations

import struct
from enum import IntEnum

from .hpack import encode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # section 3.4

# Section 4.1: length (as 16 + 8 bits), type, flags, stream. The stream's highest bit is reserved.
HEAD = struct.Struct(">HBBBI")
HEAD_SIZE = 9
STREAM_MASK = 0x7FFF_FFFF
# A DATA frame's head and the head of the one gRPC message that it holds: compressed flag, length.
MESSAGE_HEAD = struct.Struct(">HBBBIBI")
PREFIX = struct.Struct(">BI")
PREFIX_SIZE = 5

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

# Section 6.5.2.
ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 2, 3, 4, 5, 6
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384
LARGEST_FRAME = 0xFF_FFFF
LARGEST_WINDOW = 0x7FFF_FFFF


class Code(IntEnum):
    """Section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class ConnectionFault(Exception):
    """Section 5.4.1: answered with GOAWAY, and the connection ends."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def reset(stream: int, code: Code) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def goaway(last_stream: int, code: Code, reason: str = "") -> bytes:
    return frame(
        GOAWAY, 0, 0, struct.pack(">II", last_stream, code) + reason.encode("utf-8", "replace")[:200]
    )


SETTINGS_ACK = frame(SETTINGS, ACK, 0)

_STATUS_200 = b"\x88"  # entry 8 of the static table
_CONTENT_TYPE = encode([(b"content-type", b"application/grpc")])
RESPONSE_HEADERS = _STATUS_200 + _CONTENT_TYPE
TRAILERS_OK = encode([(b"grpc-status", b"0")])


class Status(IntEnum):
    """gRPC's status codes, the ones that a transport says."""

    INVALID_ARGUMENT = 3
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13


def trailers(status: Status, message: str) -> bytes:
    """A block of trailers; the message is percent-encoded as gRPC's PROTOCOL-HTTP2.md wants it."""
    text = "".join(
        chr(octet) if 0x20 <= octet <= 0x7E and octet != 0x25 else f"%{octet:02X}"
        for octet in message.encode("utf-8", "replace")[:1000]
    )
    headers = [(b"grpc-status", b"%d" % status), (b"grpc-message", text.encode("ascii"))]
    if status is Status.UNIMPLEMENTED:
        headers.append((b"grpc-accept-encoding", b"identity"))
    return encode(headers)


def http_error(status: int) -> bytes:
    """The block of an answer that is not gRPC's."""
    return encode([(b":status", b"%d" % status)])
