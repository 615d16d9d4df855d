"""A peer without sockets that drives one connection, and servers in threads of their own."""

import asyncio
import itertools
import shutil
import struct
import tempfile
import threading
from collections import namedtuple
from pathlib import Path

import hpack
import pytest
import uvloop
from google.protobuf.message import DecodeError
from modelbroker.extproc import http2_frames as h2
from modelbroker.extproc.http2 import serve_http2
from modelbroker.extproc.http2_connection import Connection
from modelbroker.extproc.http2_stream import Limits

Frame = namedtuple("Frame", "kind flags stream payload")
PATH = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
REQUEST = {":method": "POST", ":scheme": "http", ":path": PATH, "content-type": "application/grpc"}


class Echo:
    """Sends back what it receives; a message that starts with `!` is a command."""

    def __init__(self, metadata, wire):
        self.metadata, self.wire, self.received = dict(metadata), wire, []
        if "x-refuse" in metadata:
            raise ValueError("not one of ours: 100 % sure")
        if "x-bug" in metadata:
            raise KeyError("secret")

    def receive(self, message):
        self.received.append(message)
        match message:
            case b"!garbled":
                raise DecodeError("bad")
            case b"!bug":
                raise RuntimeError("secret")
            case b"!late bug":
                self.wire.call_later(0, lambda: 1 / 0)
            case b"!close":
                self.wire.send(b"last")
                self.wire.close()
                self.wire.send(b"never")
            case b"!later":
                self.wire.call_later(0.001, lambda: self.wire.send(b"later"))
            case b"!at once twice":
                self.wire.call_later(0, lambda: None)
                self.wire.call_later(0, lambda: self.wire.send(b"later"))
            case b"!metadata":
                self.wire.send(repr(sorted(self.metadata.items())).encode())
            case b"!keep":
                pass
            case _:
                self.wire.send(message)


class Opener:
    """Opens echoes, and keeps them to be looked at."""

    def __init__(self):
        self.streams, self.errors = [], []

    def __call__(self, metadata, wire):
        stream = Echo(metadata, wire)
        self.streams.append(stream)
        return stream


class Pipe(asyncio.Transport):
    """Keeps what is written. `room`: how much it takes before it asks for a pause."""

    def __init__(self, connection, room=None):
        super().__init__()
        self.connection, self.room = connection, room
        self.written, self.writes, self.eof, self.aborted = bytearray(), 0, False, False
        self.held = 0

    def write(self, data):
        self.written += data
        self.writes += 1
        self.held += len(data)
        if self.room is not None and self.held > self.room and not self.connection.paused:
            self.connection.pause_writing()

    def relieve(self):
        self.held = 0
        if self.connection.paused:
            self.connection.resume_writing()

    def is_closing(self):
        return self.aborted

    def get_write_buffer_size(self):
        return self.held

    def write_eof(self):
        self.eof = True

    def abort(self):
        self.aborted = True


class Peer:
    """The client's end of one connection, in frames. `say` returns the frames that answer."""

    def __init__(self, limits=None, room=None, preface=True):
        self.opener = Opener()
        self.loop = asyncio.get_running_loop()
        self.lost = []
        self.connection = Connection(
            self.opener, limits or Limits(), self.opener.errors.append, lambda _: None, self.lost.append
        )
        self.pipe = Pipe(self.connection, room)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self._ids = itertools.count(1, 2)
        self.connection.connection_made(self.pipe)
        if preface:
            self.say(h2.PREFACE, h2.settings({}), drop=True)

    def say(self, *parts, drop=False):
        self.connection.data_received(b"".join(parts))
        return [] if drop and self.pipe.written.clear() is None else self.heard()

    def heard(self):
        frames, data, at = [], bytes(self.pipe.written), 0
        self.pipe.written.clear()
        while at < len(data):
            high, low, kind, flags, stream = h2.HEAD.unpack_from(data, at)
            size = high << 8 | low
            frames.append(Frame(kind, flags, stream, data[at + 9 : at + 9 + size]))
            at += 9 + size
        assert at == len(data), "a frame is cut"
        return frames

    def headers(self, stream, flags=h2.END_HEADERS, **extra):
        fields = {**REQUEST, **{name.replace("_", "-"): value for name, value in extra.items()}}
        return h2.frame(h2.HEADERS, flags, stream, self.encoder.encode(fields.items()))

    def open(self, **extra):
        stream = next(self._ids)
        return stream, self.headers(stream, **extra)

    def gone(self):
        """Why the connection ended, or None."""
        for frame in self.heard():
            if frame.kind == h2.GOAWAY:
                assert self.pipe.eof or self.pipe.aborted
                return h2.Code(struct.unpack(">II", frame.payload[:8])[1])
        return None

    def answers(self, frames, stream):
        """(messages, trailers or None, reset code or None) of one stream; trailers include the headers."""
        body, headers, ended, reset = b"", {}, False, None
        for frame in frames:
            if frame.kind == h2.HEADERS:
                block = dict(self.decoder.decode(frame.payload))
                if frame.stream == stream:
                    headers |= block
                    ended = bool(frame.flags & h2.END_STREAM)
            elif frame.stream != stream:
                continue
            elif frame.kind == h2.DATA:
                body += frame.payload
            elif frame.kind == h2.RST_STREAM:
                reset = h2.Code(int.from_bytes(frame.payload, "big"))
        return list(unframe(body)), headers if ended else None, reset


def unframe(body):
    at = 0
    while at < len(body):
        compressed, size = struct.unpack_from(">BI", body, at)
        assert compressed == 0 and at + 5 + size <= len(body)
        yield body[at + 5 : at + 5 + size]
        at += 5 + size


def grpc_message(message):
    return struct.pack(">BI", 0, len(message)) + message


def data_frame(stream, payload, flags=0):
    return h2.frame(h2.DATA, flags, stream, payload)


def drive(test):
    """Run the coroutine function `test` to its end in a loop of its own."""
    asyncio.run(test())


async def wait_until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - it takes turns of the loop, not time
            await asyncio.sleep(0)


class Tools:
    Peer, Opener, Echo, Frame, PATH, REQUEST = Peer, Opener, Echo, Frame, PATH, REQUEST
    wait_until = staticmethod(wait_until)
    message, data, unframe, drive = (
        *(staticmethod(grpc_message), staticmethod(data_frame)),
        *(staticmethod(unframe), staticmethod(drive)),
    )


@pytest.fixture(scope="session")
def tools():
    return Tools


class Served:
    """A server in a thread's loop."""

    def __init__(self, address, limits, factory, opener):
        self.opener = opener or Opener()
        self.loop = factory()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.server = self.run(
            serve_http2(self.opener, address, on_error=self.opener.errors.append, limits=limits)
        )
        self.address = self.server.address

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def stop(self):
        self.run(self.server.close(0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)


@pytest.fixture
def folder():
    """Short enough for the path of a socket."""
    path = Path(tempfile.mkdtemp(prefix="mb"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def serve():
    servers = []

    def start(address="127.0.0.1:0", limits=None, factory=uvloop.new_event_loop, opener=None):
        servers.append(Served(address, limits, factory, opener))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
