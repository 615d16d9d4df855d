"""Addresses and the life of a server, over real sockets."""

import asyncio
import socket

import pytest
import uvloop
from modelbroker.extproc import http2_frames as h2
from modelbroker.extproc.http2 import serve_http2

LOOPS = [uvloop.new_event_loop, asyncio.new_event_loop]


def connect(address):
    if address.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.connect(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        client = socket.create_connection((host.strip("[]"), int(port)))
    client.settimeout(10)
    return client


def read_all(client):
    out = bytearray()
    while chunk := client.recv(65_536):
        out += chunk
    return bytes(out)


@pytest.mark.parametrize("factory", LOOPS)
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_garbage_is_answered_and_the_connection_ends(serve, folder, kind, factory):
    served = serve(f"unix:{folder}/s" if kind == "unix" else "127.0.0.1:0", factory=factory)
    for said in (b"GET / HTTP/1.1\r\n\r\n", h2.PREFACE + b"\xff" * 100_000):
        with connect(served.address) as client:
            client.sendall(said)
            assert h2.goaway(0, h2.Code.PROTOCOL_ERROR)[9:17] in read_all(client) or said[0] == 80
    with connect(served.address) as client:
        client.sendall(h2.PREFACE + h2.settings({}) + h2.frame(h2.PING, 0, 0, b"01234567"))
        heard = b""
        while h2.frame(h2.PING, h2.ACK, 0, b"01234567") not in heard:
            heard += client.recv(65_536)
    assert served.opener.errors == []


@pytest.mark.parametrize("factory", LOOPS)
def test_a_reader_that_stops_holds_the_server_up_for_itself_only(serve, tools, factory):
    served = serve(factory=factory)
    wide = h2.settings({h2.INITIAL_WINDOW_SIZE: 1 << 30}) + h2.window_update(0, 1 << 30)
    block = b"\x83\x86" + b"".join(
        b"\x00" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode()
        for n, v in tools.REQUEST.items()
        if n not in (":method", ":scheme")
    )
    headers = h2.frame(h2.HEADERS, h2.END_HEADERS, 1, block)
    messages = tools.data(1, tools.message(bytes(100_000))) * 300
    with connect(served.address) as slow, connect(served.address) as quick:
        slow.sendall(h2.PREFACE + wide + headers + messages)
        quick.sendall(h2.PREFACE + wide + headers + tools.data(1, tools.message(b"hello")))
        heard = b""
        while b"hello" not in heard:
            heard += quick.recv(65_536)
        got = 0
        while got < 300 * 100_005:
            got += len(slow.recv(1 << 20))

    async def buffered():
        return [c._transport.get_write_buffer_size() for c in served.server._connections]

    assert all(size < 2 << 20 for size in served.run(buffered()))


def test_addresses(folder):
    def opener(metadata, wire):
        raise AssertionError

    async def run():
        with pytest.raises(ValueError, match="neither"):
            await serve_http2(opener, "nowhere")
        with pytest.raises(OSError):
            await serve_http2(opener, f"unix:{folder}/no/such/folder")
        for address in (f"unix:{folder}/s", "127.0.0.1:0", "localhost:0"):
            server = await serve_http2(opener, address)
            if "unix" in address:
                reader, writer = await asyncio.open_unix_connection(f"{folder}/s")
            else:
                reader, writer = await asyncio.open_connection(*server.address.split(":"))
            await reader.readexactly(h2.HEAD_SIZE)
            # A client that said nothing is not waited for.
            closing = asyncio.ensure_future(server.close(100))
            await reader.read()
            writer.close()
            await closing
            await server.close(100)
        assert not (folder / "s").exists()

    asyncio.run(run())
    uvloop.run(run())
