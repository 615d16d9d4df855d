"""What a request's header block asks for: RFC 9113 section 8 and gRPC's PROTOCOL-HTTP2.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from . import http2_frames as h2
from .hpack_tables import Header

PATH = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

# Section 8.2.1, and RFC 9110 section 5.6.2 without the upper case.
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]$")
# Section 8.2.2.
_OF_CONNECTIONS = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_GRPC = re.compile(r"application/grpc(?:[+;].*)?", re.DOTALL)


class Request:
    """One way to open a stream. Kept and shared by all streams that open with the same bytes.

    `refusal`: the block that answers it instead of a stream, when there is one.
    """

    __slots__ = ("malformed", "metadata", "refusal")

    def __init__(self, metadata: Mapping[str, str], *, malformed: bool = False, refusal: bytes = b"") -> None:
        self.metadata = MappingProxyType(metadata)
        self.malformed = malformed
        self.refusal = refusal


TOO_LARGE = Request({}, refusal=h2.http_error(431))  # RFC 9113 section 10.5.1


def read_request(headers: tuple[Header, ...]) -> Request:
    if not well_formed(headers, _PSEUDO):
        return Request({}, malformed=True)
    metadata: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        # gRPC: values of repeated names are joined; binary headers as well.
        metadata[name] = f"{metadata[name]},{value}" if name in metadata else value
    if not metadata.get(":method") or not metadata.get(":scheme") or not metadata.get(":path"):
        return Request({}, malformed=True)  # section 8.3.1
    return Request(metadata, refusal=_refusal(metadata))


def _refusal(metadata: Mapping[str, str]) -> bytes:
    if metadata[":method"] != "POST":
        return h2.http_error(405)
    if not _GRPC.fullmatch(metadata.get("content-type", "")):
        return h2.http_error(415)
    if metadata[":path"] != PATH:
        message = f"there is no {metadata[':path'][:200]} here, only {PATH}"
        return h2.RESPONSE_HEADERS + h2.trailers(h2.Status.UNIMPLEMENTED, message)
    return b""


def well_formed(headers: tuple[Header, ...], pseudo: frozenset[bytes] = frozenset()) -> bool:
    """Sections 8.2 and 8.3. Trailers have no pseudo-headers."""
    left = set(pseudo)
    for name, value in headers:
        if name.startswith(b":"):
            if name not in left:  # unknown, repeated, or after a regular field
                return False
            left.discard(name)
        else:
            left.clear()
            if not _NAME.fullmatch(name) or name in _OF_CONNECTIONS:
                return False
            if name == b"te" and value != b"trailers":
                return False
        if _BAD_VALUE.search(value):
            return False
    return True
