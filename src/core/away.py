"""Why somebody can't be talked to, in words without secrets: those that libraries have for a connection hold
none, and what the other side says is never repeated."""

from __future__ import annotations

import re
import ssl

# How gRPC begins where there is no connection: all that follows is its own. Source: grpc v1.8x, as it runs.
_NO_CONNECTION = ("failed to connect to all addresses", "errors resolving ", "DNS resolution failed")
_GRPC_WORDS = (
    (re.compile(r"CERTIFICATE_VERIFY_FAILED: ([^:;]+)"), "its certificate is not trusted: {}"),
    (
        re.compile(r"Hostname Verification|not in peer certificate"),
        "its certificate is not trusted: it is of another name",
    ),
    (re.compile("WRONG_VERSION_NUMBER"), "it speaks no TLS at this port"),
    (
        re.compile(r"Failed parsing HTTP/2|http1\.x server|missing selected ALPN"),
        "it speaks no gRPC at this port: HTTP's port wants `protocol: http`",
    ),
    (re.compile("Connection refused"), "it refuses the connection"),
    (re.compile(r"Socket closed|Connection reset|Broken pipe"), "it closed the connection"),
    (re.compile(r"^errors resolving|DNS resolution failed"), "its name is not known"),
)


def why_away(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message.rstrip('.')}"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "RECORD_LAYER_FAILURE"):
            return "it speaks no TLS at this port"
        case ssl.SSLError():
            return f"TLS fails: {tls_reason(error)}"
        case TimeoutError():
            return "it does not answer in time"
        case ConnectionRefusedError():
            return "it refuses the connection"
        case ConnectionError():
            return "it closed the connection"
    return f"it can't be reached: {error.strerror or type(error).__name__}"


def tls_reason(error: ssl.SSLError) -> str:
    return (error.reason or "unknown").lower().replace("_", " ")


def why_no_grpc(details: str) -> str:
    """Of a call by gRPC that failed; "" where it is not known that these are words of gRPC's own."""
    if not details.startswith(_NO_CONNECTION):
        return ""
    for pattern, words in _GRPC_WORDS:
        if found := pattern.search(details):
            return words.format(*(text.strip() for text in found.groups()))
    return ""
