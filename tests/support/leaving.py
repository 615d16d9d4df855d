"""Clients that go away, with their connection in hand: HTTP/1.1 ends it, HTTP/2 resets the call alone (some
say CANCEL, some NO_ERROR) or ends it, too."""

from __future__ import annotations

import json
import socket
import time
from typing import Literal
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events

from .broker import KEY
from .calls import PATHS, Ask

Way = Literal["http/1.1", "http/2", "http/2-no-error", "http/2-closed"]
WAYS: tuple[Way, ...] = ("http/1.1", "http/2", "http/2-no-error", "http/2-closed")
_CODES = {"http/2": h2.errors.ErrorCodes.CANCEL, "http/2-no-error": h2.errors.ErrorCodes.NO_ERROR}


class Client:
    """One call on a connection of its own. `send()` sends all of it, `send(0.5)` half of its body."""

    def __init__(self, url: str, ask: Ask, way: Way) -> None:
        where = urlsplit(url)
        self.ask = ask
        self._way = way
        self._host = where.netloc
        self._body = json.dumps(ask.body).encode()
        self._socket = socket.create_connection((where.hostname or "", where.port or 80), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._http2: h2.connection.H2Connection | None = None
        self._stream = 0
        self.left_s = 0.0  # unix time

    def send(self, share: float = 1.0) -> None:
        size = int(len(self._body) * share)
        headers = [
            ("authorization", f"Bearer {KEY}"),
            ("content-type", "application/json"),
            ("content-length", str(len(self._body))),
            ("anthropic-version", "2023-06-01"),
        ]
        path = PATHS[self.ask.dialect]
        if self._way == "http/1.1":
            lines = [f"POST {path} HTTP/1.1", f"host: {self._host}", *(f"{n}: {v}" for n, v in headers)]
            self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + self._body[:size])
            return
        http2 = self._http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        http2.initiate_connection()
        self._stream = http2.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", self._host), (":path", path)]
        http2.send_headers(self._stream, [*pseudo, *headers])
        http2.send_data(self._stream, self._body[:size], end_stream=share == 1.0)
        self._socket.sendall(http2.data_to_send())

    def read(self) -> bytes:
        """What comes next: of HTTP/1.1 all bytes, of HTTP/2 those of the body. b"" at the end."""
        while data := self._socket.recv(65536):
            if self._http2 is None:
                return data
            got = b""
            for event in self._http2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    got += event.data or b""
                    self._http2.acknowledge_received_data(event.flow_controlled_length or 0, self._stream)
            self._socket.sendall(self._http2.data_to_send())
            if got:
                return got
        return b""

    def leave(self) -> None:
        self.left_s = time.time()
        code = _CODES.get(self._way)
        if self._http2 is not None and code is not None:
            self._http2.reset_stream(self._stream, code)
            self._socket.sendall(self._http2.data_to_send())
        else:
            self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
