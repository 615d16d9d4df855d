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
from modelbroker.cli.admin import AdminServer, Served
from modelbroker.cli.commanders import Refused
from modelbroker.core.acts import By
from modelbroker.core.errors import Misconfigured


class Alive:
    def beats(self, within_s: float) -> bool:
        return True


def failing_status(asks_envoy: bool = False) -> dict[str, Any]:
    raise ZeroDivisionError


def forget(names: list[str], by: By) -> list[str]:
    return names


def no_stats(query: str) -> tuple[int, str, bytes]:
    return 404, "text/plain", b"none"


@pytest.fixture
def server() -> Iterator[AdminServer]:
    server = AdminServer("127.0.0.1:0", Served(failing_status, forget, Alive(), dict, no_stats))  # type: ignore[arg-type]
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


def said(server: AdminServer, request: bytes) -> bytes:
    """All that is answered, until the other side ends it."""
    with connected(server) as connection:
        connection.sendall(request)
        heard = b""
        while piece := connection.recv(65536):
            heard += piece
        return heard


SMUGGLED = b"GET /healthz HTTP/1.1\r\n\r\n"
CHUNKED = b"1a\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "body", "status", "word"),
    [
        (b"transfer-encoding: chunked", CHUNKED, b"411", b"content-length"),
        (b"Transfer-Encoding:\tgzip, Chunked", CHUNKED, b"411", b"content-length"),
        (b"transfer-encoding: identity", SMUGGLED, b"411", b"content-length"),
        (b"transfer-encoding: chunked\r\ncontent-length: 5", CHUNKED, b"400", b"both"),
        (b"content-length: many", SMUGGLED, b"400", b"'many'"),
        (b"content-length: -1", SMUGGLED, b"400", b"'-1'"),
        (b"content-length: 1_0", SMUGGLED, b"400", b"'1_0'"),
        (b"content-length: +3", SMUGGLED, b"400", b"'+3'"),
        (b"content-length: 3, 3", SMUGGLED, b"400", b"'3, 3'"),
        (b"content-length:", SMUGGLED, b"400", b"''"),
        (b"content-length: \xb2", SMUGGLED, b"400", b"number of bytes"),
        (b"content-length: 99999999999999999999", SMUGGLED, b"400", b"number of bytes"),
        (b"content-length: 3\r\ncontent-length: 3", SMUGGLED, b"400", b"more than once"),
        (b"content-length: 0\r\ncontent-length: 30", SMUGGLED, b"400", b"more than once"),
        (b"content-length : 30", SMUGGLED, b"400", b"name: value"),
        (b"content-length: 17000000", b"x" * 2_000_000, b"404", b"nothing to post to"),
    ],
)
@pytest.mark.parametrize(
    "first", [b"POST /nowhere", b"POST /console/login", b"POST /forget", b"GET /healthz"]
)
def test_where_a_request_ends_is_sure_or_it_is_the_last(
    server: AdminServer, first: bytes, head: bytes, body: bytes, status: bytes, word: bytes
) -> None:
    heard = said(server, first + b" HTTP/1.1\r\nhost: h\r\n" + head + b"\r\n\r\n" + body)
    assert heard.count(b"HTTP/1.1 ") == 1 and b"connection: close" in heard.lower()
    if status != b"404":
        assert heard.startswith(b"HTTP/1.1 " + status) and word in heard.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("first", [b"GET /healthz", b"POST /forget?member=a", b"POST /nowhere", b"PUT /x"])
def test_a_body_that_nobody_reads_is_no_next_request(server: AdminServer, first: bytes) -> None:
    head = b" HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(SMUGGLED)
    assert said(server, first + head + SMUGGLED).count(b"HTTP/1.1 ") == 1


def test_a_connection_goes_on_behind_a_body_that_was_read() -> None:
    def told(query: object, body: bytes, by: By) -> str:
        return body.decode()

    more = {("POST", "/told"): told}
    server = AdminServer("127.0.0.1:0", Served(failing_status, forget, Alive(), dict, no_stats, more))  # type: ignore[arg-type]
    server.start()
    try:
        post = b"POST /told HTTP/1.1\r\ncontent-length: 3\r\n%b\r\nabc"
        heard = said(server, post % b"" + post % b"connection: close\r\n" + SMUGGLED)
        assert heard.count(b"HTTP/1.1 200") == 2 and heard.count(b'"abc"') == 2
        large = b"POST /told HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (17 << 20)
        assert said(server, large + SMUGGLED).startswith(b"HTTP/1.1 413")
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("given", "host"), [("[::1]:0", "[::1]"), ("::1:0", "[::1]"), ("127.0.0.1:0", "127.0.0.1")]
)
def test_where_it_listens(given: str, host: str) -> None:
    server = AdminServer(given, Served(failing_status, forget, Alive(), dict, no_stats))  # type: ignore[arg-type]
    server.start()
    try:
        assert server.address.rpartition(":")[0] == host
        assert urlopen(f"http://{server.address}/healthz", timeout=10).read() == b"ok\n"
        with pytest.raises(Misconfigured, match="can't be opened: Address already in use"):
            AdminServer(server.address, Served(failing_status, forget, Alive(), dict, no_stats))  # type: ignore[arg-type]
    finally:
        server.stop()


@pytest.mark.parametrize("given", ["unix:/run/admin.sock", "nowhere.invalid:1"])
def test_where_it_can_not_listen(given: str) -> None:
    with pytest.raises(Misconfigured, match="admin port"):
        AdminServer(given, Served(failing_status, forget, Alive(), dict, no_stats))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "says",
    [
        "by=rob",
        "by=ana&actor=token&user=ana",
        "by=&by=ana",
        "by=ana%20(token)",
        "by=token",
        "actor=token",
        "token=x",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/told", "/forget"])
def test_whose_command_it_is_a_token_alone_can_prove(path: str, says: str) -> None:
    """Whatever the query says, and by whatever name: without a token it is a word, with one it is none."""
    found: list[By] = []

    def told(query: object, body: bytes, by: By) -> None:
        found.append(by)

    def forgets(names: list[str], by: By) -> list[str]:
        found.append(by)
        return names

    def commanding(peer: str, authorization: str | None) -> str:
        return "zoe" if authorization else ""

    more = {("POST", "/told"): told}
    served = Served(failing_status, forgets, Alive(), dict, no_stats, more, commanding=commanding)  # type: ignore[arg-type]
    server = AdminServer("127.0.0.1:0", served)
    server.start()
    try:
        for shown in ("", "authorization: Bearer x\r\n"):
            head = f"POST {path}?{says} HTTP/1.1\r\n{shown}content-length: 0\r\nconnection: close\r\n\r\n"
            assert said(server, head.encode()).startswith(b"HTTP/1.1 200")
    finally:
        server.stop()
    without, proven = found
    assert without.actor == "command" and str(without).endswith("(command)" if without.user else "command")
    assert proven == By("token", "zoe") and str(proven) == "zoe (token)"


def test_a_command_that_is_refused_moves_no_cursor_of_who_reads_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def nobody(peer: str, authorization: str | None) -> str:
        raise Refused("it needs a token")

    served = Served(failing_status, forget, Alive(), dict, no_stats, commanding=nobody)  # type: ignore[arg-type]
    server = AdminServer("127.0.0.1:0", served)
    server.start()
    try:
        with connected(server) as connection:
            connection.sendall(b"POST /\x1b[2J\x07\xc2\x9b HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 401")
    finally:
        server.stop()
    (said,) = [one.getMessage() for one in caplog.records if one.name == "modelbroker.admin"]
    assert said == "/%1B[2J%07%C2%9B from 127.0.0.1 is refused: it needs a token"
