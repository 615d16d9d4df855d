"""The provider that is never the bottleneck: constant answers over keep-alive HTTP/1.1.

A process of its own; prints its port on one line. It answers as OpenAI, and as Anthropic where it is asked
for a message. It reads no more of HTTP than Envoy and HTTP clients send here: bodies with a content-length.
Anything else gets 411, which the load generator shows loudly.
"""

from __future__ import annotations

import asyncio
import re
from typing import cast

import uvloop
from traffic import SPACED_MARK, SPACING_MS, message_events, message_reply, stream_events, whole_reply

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')
_MESSAGES_PATH = b"POST /v1/messages "
_NO_LENGTH = b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"


class Answers:
    """What is said in one dialect, as bytes on the wire."""

    def __init__(self, whole: bytes, events: list[bytes]) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.whole = head % len(whole) + whole
        self.chunks = [b"%x\r\n%s\r\n" % (len(event), event) for event in events]
        # All behind the first word at once: a stream that costs this process next to nothing.
        self.burst = b"".join(self.chunks[2:]) + _LAST_CHUNK


_CHAT = Answers(whole_reply(), stream_events())
_MESSAGES = Answers(message_reply(), message_events())


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._need = 0  # bytes of the request under way; 0: its headers are not complete yet
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while buffer:
            if not self._need and not self._measure():
                return
            if len(buffer) < self._need:
                return
            request = bytes(buffer[: self._need])
            del buffer[: self._need]
            self._need = 0
            self._answer(request)

    def _measure(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        match = _LENGTH.search(self._buffer, 0, end + 2)
        if match is None:
            self._write(_NO_LENGTH)
            if self._transport is not None:
                self._transport.close()
            return False
        self._need = end + 4 + int(match[1])
        return True

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _answer(self, request: bytes) -> None:
        answers = _MESSAGES if request.startswith(_MESSAGES_PATH) else _CHAT
        if not _STREAM.search(request):
            self._write(answers.whole)
            return
        self._write(_STREAM_HEAD + answers.chunks[0])
        if SPACED_MARK.encode() in request:
            # The first word comes without a timer, whose millisecond would be all that is measured.
            self._loop.call_soon(self._next, answers, 1)
        else:
            self._loop.call_soon(self._burst, answers)

    def _burst(self, answers: Answers) -> None:
        self._write(answers.chunks[1])
        self._loop.call_soon(self._write, answers.burst)

    def _next(self, answers: Answers, number: int) -> None:
        self._write(answers.chunks[number])
        if number + 1 < len(answers.chunks):
            self._loop.call_later(SPACING_MS / 1000, self._next, answers, number + 1)
        else:
            self._write(_LAST_CHUNK)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
