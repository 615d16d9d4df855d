"""What is said of a collector that can't be talked to: what is wrong, whole, and no bytes of a stranger's."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from modelbroker.telemetry.reports import Collector as Place
from modelbroker.telemetry.sending import Unsent, sender_of
from support.collectors import Collector


def why(endpoint: str, protocol: str, *, ca_file: str = "", kind: str = "logs", quotes: bool = True) -> str:
    place = Place(
        endpoint=endpoint,
        protocol=protocol,
        headers={},
        ca_file=ca_file,
        ca_digest="",
        compression="none",
        timeout_s=10.0,
        resource={},
    )
    sender = sender_of(place, quotes=quotes)
    try:
        with pytest.raises(Unsent) as unsent:
            sender.send(kind, b"")
    finally:
        sender.close()
    return str(unsent.value)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


def test_the_port_of_the_other_protocol(collector: Collector) -> None:
    host = collector.http_url.removesuffix("/base")
    told = "UNAVAILABLE: it speaks no gRPC at this port: HTTP's port wants `protocol: http`"
    assert why(host, "grpc") == told
    assert why(collector.grpc_url, "http") == (
        "its answer is no HTTP, or not whole: gRPC's port wants `protocol: grpc`"
    )


@pytest.mark.parametrize("quotes", [True, False])
def test_a_certificate_that_is_not_trusted(authority: trustme.CA, tmp_path: Path, quotes: bool) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with Collector(authority.issue_cert("127.0.0.1")) as collector:
        untrusted = "its certificate is not trusted: "
        told = why(collector.grpc_url, "grpc", ca_file=str(other), quotes=quotes)
        assert told.startswith(f"UNAVAILABLE: {untrusted}") and "OPENSSL" not in told
        told = why(collector.http_url, "http", ca_file=str(other), quotes=quotes)
        assert told.startswith(untrusted) and "_ssl.c" not in told


def test_tls_where_there_is_none(collector: Collector) -> None:
    endpoint = collector.grpc_url.replace("http:", "https:")
    assert why(endpoint, "grpc") == "UNAVAILABLE: it speaks no TLS at this port"


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert why(endpoint, "grpc") == "UNAVAILABLE: it refuses the connection"
        assert why(endpoint, "http") == "it refuses the connection"


def test_somebody_who_closes_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_all() -> None:
            try:
                while True:
                    server.accept()[0].close()
            except OSError:
                return

        threading.Thread(target=close_all, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert why(endpoint, "http") == "it closed the connection"
        server.shutdown(socket.SHUT_RDWR)


def test_an_address_that_has_nothing_says_what_was_asked_there(collector: Collector) -> None:
    told = why(f"{collector.http_url}/v1/logs", "http")
    assert told == "the collector answered 404 Not Found at /base/v1/logs/v1/logs"
