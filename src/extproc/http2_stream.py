"""One gRPC stream on an HTTP/2 connection: message framing, flow control, and the broker's `Wire`.

Sources: RFC 9113 sections 5.1, 5.2 and 6.9; gRPC's PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from . import http2_frames as h2
from .http2_line import Line
from .wire import Opener, Stream

log = logging.getLogger("modelbroker.extproc")

_MESSAGE_HEAD = h2.MESSAGE_HEAD.pack
_PREFIX = h2.PREFIX.unpack_from


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server. Sizes are bytes."""

    message: int = 128 << 20
    stream_window: int = 64 << 20
    connection_window: int = 1 << 30
    frame: int = 1 << 20
    header_list: int = 64 << 10
    streams: int = 100_000
    # A stream that has this much to send is given no more window until its client has taken some of it.
    unsent: int = 4 << 20
    # What may wait in the transport while its writing is paused: answers to PINGs, resets and the like.
    paused_writes: int = 16 << 20
    preface_s: float = 10.0
    linger_s: float = 1.0


class GrpcStream:
    """The `Wire` of one stream.

    It is open until either side ends it; after that nothing reaches the broker's side, and what was queued
    is still sent, then the trailers.
    """

    __slots__ = (
        "_handler",
        "_limits",
        "_line",
        "_partial",
        "_prefix",
        "_receive_window",
        "_size",
        "_started",
        "_timers",
        "_trailers",
        "_unsent",
        "_unsent_size",
        "id",
        "is_open",
        "queued",
        "remote_ended",
        "send_window",
    )

    def __init__(self, line: Line, stream_id: int, limits: Limits) -> None:
        self.id = stream_id
        self.is_open = True
        self.remote_ended = False
        self.send_window = line.peer_window
        self.queued = False  # in the connection's round of streams that have DATA to send
        self._line = line
        self._limits = limits
        self._handler: Stream | None = None
        self._receive_window = limits.stream_window
        self._prefix = b""  # of a message, where a frame ended inside it
        self._partial: bytearray | None = None  # of a message of `_size` bytes
        self._size = 0
        self._started = False
        self._trailers: bytes | None = None
        self._unsent: deque[memoryview] | None = None
        self._unsent_size = 0
        self._timers: list[tuple[float, asyncio.Handle]] | None = None  # when, by the loop's clock

    # The broker's side: `Wire`.

    def send(self, message: bytes) -> None:
        if not self.is_open:
            return
        line = self._line
        size = len(message) + h2.PREFIX_SIZE
        if not self._started:
            self._started = True
            line.out.append(h2.frame(h2.HEADERS, h2.END_HEADERS, self.id, h2.RESPONSE_HEADERS))
        if (
            self._unsent_size
            or size > self.send_window
            or size > line.send_window
            or size > line.peer_frame
            or line.paused
        ):
            self._queue(message)
        else:
            self.send_window -= size
            line.send_window -= size
            head = _MESSAGE_HEAD(size >> 8, size & 0xFF, h2.DATA, 0, self.id, 0, size - h2.PREFIX_SIZE)
            line.out.append(head)
            line.out.append(message)
        line.wake()

    def close(self) -> None:
        if self.is_open:
            self._finish(h2.TRAILERS_OK)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        if not self.is_open:
            return

        loop = self._line.loop
        now_s = loop.time()
        # uvloop's handle of what is due at once does not know when.
        timers = self._timers = [timer for timer in self._timers or () if timer[0] > now_s]
        timers.append((now_s + delay_s, loop.call_later(delay_s, self._guard, callback)))

    # The connection's side: what came in.

    def open(self, metadata: Mapping[str, str], open_stream: Opener) -> None:
        try:
            handler = open_stream(metadata, self)
        except ValueError as error:
            log.warning("refused an ext_proc stream: %s", error)
            self.fail(h2.Status.INVALID_ARGUMENT, str(error))
        except Exception as error:
            self._defect(error)
        else:
            if self.is_open:
                self._handler = handler

    def data(self, data: bytes, start: int, end: int, counted: int) -> None:
        """DATA, without its padding; `counted` is what flow control counts (section 6.9.1)."""
        self._receive_window -= counted
        if self._receive_window < self._limits.stream_window >> 1:
            if self._receive_window < 0:
                self.reset(h2.Code.FLOW_CONTROL_ERROR)
                return
            self._grant()
        while start < end and self.is_open:
            if self._partial is not None:
                stop = min(end, start + self._size - len(self._partial))
                self._partial += data[start:stop]
                start = stop
                if len(self._partial) < self._size:
                    return
                message = bytes(self._partial)
                self._partial = None
            else:
                if self._prefix or end - start < h2.PREFIX_SIZE:
                    stop = min(end, start + h2.PREFIX_SIZE - len(self._prefix))
                    self._prefix += data[start:stop]
                    start = stop
                    if len(self._prefix) < h2.PREFIX_SIZE:
                        return
                    compressed, size = _PREFIX(self._prefix)
                    self._prefix = b""
                else:
                    compressed, size = _PREFIX(data, start)
                    start += h2.PREFIX_SIZE
                if compressed or size > self._limits.message:
                    self._refuse(compressed, size)
                    return
                if size > end - start:
                    self._partial = bytearray()
                    self._size = size
                    continue
                message = data[start : start + size]
                start += size
            self._deliver(message)

    def end(self) -> None:
        """The client's END_STREAM: half-closed (section 5.1)."""
        self.remote_ended = True
        if self.is_open and (self._prefix or self._partial is not None):
            self.fail(h2.Status.INTERNAL, "the stream ended inside a message")
        else:
            self.close()

    def fail(self, status: h2.Status, message: str) -> None:
        if self.is_open:
            self._finish(h2.trailers(status, message))

    def reset(self, code: h2.Code) -> None:
        """A stream error (section 5.4.2)."""
        self._line.out.append(h2.reset(self.id, code))
        self.abandon()
        self._line.forget(self.id, self.remote_ended)

    def abandon(self) -> None:
        """Reset by the client, or the connection is lost: nothing goes in or out any more."""
        self.is_open = False
        self._unsent = None
        self._unsent_size = 0
        self._release()

    # The connection's side: what goes out.

    def has_unsent(self) -> bool:
        return self._unsent_size > 0

    def pump(self, room: int) -> int:
        """Put one DATA frame on the line, at most `room` bytes; what it took."""
        if self._unsent is None:
            return 0
        size = left = min(room, self.send_window, self._unsent_size)
        if size <= 0:
            return 0
        out = self._line.out
        out.append(h2.HEAD.pack(size >> 8, size & 0xFF, h2.DATA, 0, self.id))
        while left:
            piece = self._unsent[0]
            if len(piece) <= left:
                out.append(self._unsent.popleft())
            else:
                out.append(piece[:left])
                self._unsent[0] = piece[left:]
                piece = piece[:left]
            left -= len(piece)
        self.send_window -= size
        self._unsent_size -= size
        if self._receive_window < self._limits.stream_window >> 1:
            self._grant()  # it may have been withheld
        if not self._unsent_size and self._trailers is not None:
            self._end(self._trailers)
        return size

    # Inside.

    def _queue(self, message: bytes) -> None:
        if self._unsent is None:
            self._unsent = deque()
        self._unsent.append(memoryview(h2.PREFIX.pack(0, len(message))))
        if message:
            self._unsent.append(memoryview(message))
        self._unsent_size += len(message) + h2.PREFIX_SIZE
        self._line.enqueue(self)

    def _grant(self) -> None:
        """Section 6.9: give back what was consumed. Messages are consumed as they come, so this only waits
        for a client that sends without reading."""
        if self._unsent_size > self._limits.unsent or self.remote_ended:
            return
        self._line.out.append(h2.window_update(self.id, self._limits.stream_window - self._receive_window))
        self._receive_window = self._limits.stream_window

    def _deliver(self, message: bytes) -> None:
        handler = self._handler
        if handler is None:
            return
        try:
            handler.receive(message)
        except DecodeError as error:
            self._line.report(error)
            self.fail(h2.Status.INTERNAL, "the message is no ProcessingRequest")
        except Exception as error:
            self._defect(error)

    def _guard(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:
            self._defect(error)

    def _defect(self, error: Exception) -> None:
        """A bug of ours is one stream's error, never the process's."""
        self._line.report(error)
        self.fail(h2.Status.INTERNAL, f"the broker failed on this stream ({type(error).__name__})")

    def _refuse(self, compressed: int, size: int) -> None:
        if compressed > 1:
            self.fail(h2.Status.INTERNAL, "the message has no valid head")
        elif compressed:
            self.fail(h2.Status.UNIMPLEMENTED, "compressed messages are not taken here")
        else:
            limit = self._limits.message
            self.fail(h2.Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes; the limit is {limit}")

    def _finish(self, block: bytes) -> None:
        self.is_open = False
        self._trailers = block
        self._release()
        if not self._unsent_size:
            self._end(block)
        self._line.wake()

    def _end(self, block: bytes) -> None:
        """Trailers, in one frame with the headers where nothing was sent (gRPC's Trailers-Only)."""
        if not self._started:
            block = h2.RESPONSE_HEADERS + block
        out = self._line.out
        out.append(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, self.id, block))
        if not self.remote_ended:
            # Section 8.1: the answer is complete, the rest of the request is not wanted.
            out.append(h2.reset(self.id, h2.Code.NO_ERROR))
        self._line.forget(self.id, self.remote_ended)

    def _release(self) -> None:
        # The broker's side holds this wire: dropping it here frees both without the garbage collector.
        self._handler = None
        self._partial = None
        self._prefix = b""
        if self._timers:
            for _, timer in self._timers:
                timer.cancel()
            self._timers = None
