"""The admin port, met by who breaks off and by who asks for what fails."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest
from modelbroker.cli import admin
from modelbroker.cli.admin import AdminServer


class Alive:
    def beats(self, within_s: float) -> bool:
        return True


def failing_status(asks_envoy: bool = False) -> dict[str, Any]:
    raise ZeroDivisionError


def no_stats(query: str) -> tuple[int, str, bytes]:
    return 404, "text/plain", b"none"


@pytest.fixture
def server() -> Iterator[AdminServer]:
    server = AdminServer("127.0.0.1:0", failing_status, list, Alive(), dict, no_stats)  # type: ignore[arg-type]
    server.start()
    yield server
    server.stop()


def connected(server: AdminServer) -> socket.socket:
    host, port = server.address.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_who_breaks_off_leaves_no_trace(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = threading.Event()
    handle = admin._Server.handle_error

    def handled(self: admin._Server, request: Any, client_address: Any) -> None:
        handle(self, request, client_address)
        seen.set()

    monkeypatch.setattr(admin._Server, "handle_error", handled)
    connection = connected(server)
    connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()  # with a reset
    assert seen.wait(10)
    assert capfd.readouterr() == ("", "")
    assert urlopen(f"http://{server.address}/healthz", timeout=10).read() == b"ok\n"


def test_a_defect_of_ours_is_in_the_log(server: AdminServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), connected(server) as connection:
        connection.sendall(b"GET /status HTTP/1.1\r\n\r\n")
        assert connection.recv(1000) == b""
    assert "a question to the admin port failed" in caplog.text and "ZeroDivisionError" in caplog.text
