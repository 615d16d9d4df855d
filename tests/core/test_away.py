"""Why somebody can't be talked to: in words of ours, whatever libraries say."""

from __future__ import annotations

import socket
import ssl

import pytest
from modelbroker.core.away import why_away, why_no_grpc

_FAILED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:4317: "
_TLS = _FAILED + "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:"


@pytest.mark.parametrize(
    "details, why",
    [
        (_FAILED + "Failed to connect to remote host: Connection refused", "it refuses the connection"),
        (
            _TLS + "OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired: OK",
            "its certificate is not trusted: certificate has expired",
        ),
        (
            _TLS + "OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: self-signed certificate",
            "its certificate is not trusted: self-signed certificate",
        ),
        (
            _TLS + "OPENSSL_internal:WRONG_VERSION_NUMBER: Invalid certificate verification context: OK",
            "it speaks no TLS at this port",
        ),
        (
            _FAILED + "Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame, got frame type 79)",
            "it speaks no gRPC at this port: HTTP's port wants `protocol: http`",
        ),
        (
            _FAILED + "Cannot check peer: missing selected ALPN property.",
            "it speaks no gRPC at this port: HTTP's port wants `protocol: http`",
        ),
        (_FAILED + "Socket closed", "it closed the connection"),
        (_FAILED + "recvmsg:Connection reset by peer (104)", "it closed the connection"),
        (
            "errors resolving siem.internal:4317: [field:hostname lookup error:address lookup failed]",
            "its name is not known",
        ),
        ("upstream connect error: Connection refused", ""),
        ("the key abc is not valid", ""),
        ("", ""),
    ],
)
def test_what_grpc_says_of_a_connection(details: str, why: str) -> None:
    assert why_no_grpc(details) == why


def test_what_the_system_says_of_a_connection() -> None:
    assert why_away(ConnectionRefusedError(111, "Connection refused")) == "it refuses the connection"
    assert why_away(ConnectionResetError()) == "it closed the connection"
    assert why_away(TimeoutError()) == "it does not answer in time"
    unknown = socket.gaierror(-2, "Name or service not known")
    assert why_away(unknown) == "it can't be reached: Name or service not known"
    plain = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
    plain.reason = "WRONG_VERSION_NUMBER"
    assert why_away(plain) == "it speaks no TLS at this port"
    mismatch = ssl.SSLCertVerificationError(1, "certificate verify failed")
    mismatch.verify_message = "IP address mismatch, certificate is not valid for '127.0.0.1'."
    told = "its certificate is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'"
    assert why_away(mismatch) == told
