"""One keep-alive HTTP/1.1 connection of the load generator: one call at a time, and little Python."""

from __future__ import annotations

import asyncio
import re
import time
from typing import cast

from traffic import FIRST_WORD, PATH, STREAM_END

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_SHOWN = 200


def request_bytes(host: str, body: bytes, key: str, fresh: bool = False) -> bytes:
    """The whole request, as an SDK would send it, but for compression: that is not what is measured.
    `fresh`: no answer from a cache is wanted."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
        "accept: application/json\r\naccept-encoding: identity\r\nuser-agent: OpenAI/Python 3.52.0\r\n"
        "x-stainless-lang: python\r\nx-stainless-retry-count: 0\r\ncontent-type: application/json\r\n"
        f"{'cache-control: no-cache' + chr(13) + chr(10) if fresh else ''}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _text(data: bytes | bytearray) -> str:
    """For people: whatever is not plain text is shown as dots."""
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)


class Outcome:
    """How a call ended; times of `perf_counter`, 0 where there is none."""

    __slots__ = ("ended", "error", "first_word")

    def __init__(self, ended: float, error: str = "", first_word: float = 0.0) -> None:
        self.ended = ended
        self.error = error
        self.first_word = first_word


class Connection(asyncio.Protocol):
    """`stream`: what is asked for is a stream, and ends with its last event and chunk."""

    def __init__(self, stream: bool) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[Outcome] | None = None
        self._data = bytearray()
        self._need = 0  # the reply's length with its headers; 0: not known yet
        self._is_chunked = False
        self._first_word = 0.0
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._end(f"connection lost: {exc or 'closed by the other side'}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def call(self, request: bytes) -> asyncio.Future[Outcome]:
        done: asyncio.Future[Outcome] = self._loop.create_future()
        self._done = done
        self._data.clear()
        self._need = 0
        self._is_chunked = False
        self._first_word = 0.0
        if self._transport is None or self.is_closed:
            self._end("the connection is closed")
        else:
            self._transport.write(request)
        return done

    def data_received(self, chunk: bytes) -> None:
        data = self._data
        data += chunk
        if not self._need and not self._is_chunked and not self._read_head():
            return
        if self._stream and not self._first_word and FIRST_WORD in data:
            self._first_word = time.perf_counter()
        if self._is_chunked:
            if data.endswith(_LAST_CHUNK):
                self._finish()
        elif len(data) >= self._need:
            self._finish()

    def _read_head(self) -> bool:
        end = self._data.find(_HEAD_END)
        if end < 0:
            return False
        match = _LENGTH.search(self._data, 0, end)
        if match is None:
            self._is_chunked = True
        else:
            self._need = end + 4 + int(match[1])
        return True

    def _finish(self) -> None:
        data = self._data
        if data[9:12] != b"200":
            self._end(f"status {_text(data[9:12])}: {_text(data.partition(_HEAD_END)[2][:_SHOWN])}")
        elif self._stream and not (self._first_word and STREAM_END in data[-_SHOWN:]):
            self._end("the stream has no words, or no end")
        elif not self._stream and b'"choices"' not in data:
            self._end(f"no chat completion: {_text(data[-_SHOWN:])}")
        else:
            self._end("")

    def _end(self, error: str) -> None:
        done, self._done = self._done, None
        if done is not None and not done.done():
            done.set_result(Outcome(time.perf_counter(), error, self._first_word))
