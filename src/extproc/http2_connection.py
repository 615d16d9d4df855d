"""The server's side of one HTTP/2 connection, RFC 9113, as an asyncio protocol.

It serves one gRPC method and its client is Envoy, so what a general server needs beyond that (push,
priorities, a response's own header compression) is not here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from . import http2_frames as h2
from .hpack import BlockCache, Decoder, HeaderListTooLarge, HpackError
from .http2_frames import Code, ConnectionFault
from .http2_line import MOST_FRAME, Line
from .http2_request import TOO_LARGE, Request, read_request, well_formed
from .http2_stream import GrpcStream, Limits
from .wire import Opener

log = logging.getLogger("modelbroker.extproc")

# A header block is not longer than this, encoded, nor in more frames (section 10.5.1; CVE-2024-27316).
_MAX_BLOCK = 256 << 10
_MAX_BLOCK_FRAMES = 64
_DRAIN_PING = b"draining"

Handler = Callable[[int, int, bytes, int, int], None]

_unpack_head = h2.HEAD.unpack_from


class Connection(Line, asyncio.Protocol):
    """Made for each connection that comes in; `on_made` and `on_lost` are told of its life."""

    def __init__(
        self,
        open_stream: Opener,
        limits: Limits,
        on_error: Callable[[BaseException], None],
        on_made: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        super().__init__(limits, on_error)
        self._on_made = on_made
        self._on_lost = on_lost
        self._open_stream = open_stream
        decoder = Decoder(max_list=limits.header_list)
        self._requests: BlockCache[Request] = BlockCache(decoder, read_request)
        self._last_id = 0
        self._receive_window = limits.connection_window
        self._tail = bytearray()  # of a frame that is not whole yet
        self._wanted = len(h2.PREFACE)  # the tail is not looked at before it is this long
        self._prefaced = False
        self._expected = h2.SETTINGS  # the only frame that may come now; -1 for any
        self._block = bytearray()
        self._block_of = (0, 0)  # stream, flags
        self._block_frames = 0
        self._draining = False  # GOAWAY is announced
        self._handlers: tuple[Handler, ...] = (
            *(self._on_data, self._on_headers, self._on_priority, self._on_reset, self._on_settings),
            *(self._on_push, self._on_ping, self._on_goaway, self._on_window_update, self._on_continuation),
        )

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        limits = self._limits
        self.out.append(
            h2.settings(
                {
                    h2.MAX_CONCURRENT_STREAMS: limits.streams,
                    h2.INITIAL_WINDOW_SIZE: limits.stream_window,
                    h2.MAX_FRAME_SIZE: limits.frame,
                    h2.MAX_HEADER_LIST_SIZE: limits.header_list,
                }
            )
        )
        if limits.connection_window > h2.DEFAULT_WINDOW:
            self.out.append(h2.window_update(0, limits.connection_window - h2.DEFAULT_WINDOW))
        self._timer = self.loop.call_later(limits.preface_s, self.abort)
        self._flush()
        self._on_made(self)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._in_turn = True
        try:
            if self._tail:
                self._tail += data
                if len(self._tail) < self._wanted:
                    return
                data = bytes(self._tail)
                self._tail.clear()
            if self._prefaced:
                self._frames(data, 0)
            else:
                self._preface(data)
        except ConnectionFault as fault:
            self._fault(fault.code, str(fault))
        except HpackError as error:
            self._fault(Code.COMPRESSION_ERROR, str(error))
        except Exception as error:  # a bug of ours
            self.report(error)
            self._fault(Code.INTERNAL_ERROR, "the broker failed on this connection")
        finally:
            self._in_turn = False
        self._turn()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._handlers = ()  # they are bound to this connection: a cycle
        self._on_lost(self)

    # The server's side.

    def drain(self) -> None:
        """Section 6.8: announce the end, learn by a PING that the announcement was seen, then mean it."""
        if self._over or self._draining:
            return
        self._draining = True
        if not self._prefaced:
            self._last_round = True
        self.out.append(h2.goaway(h2.LARGEST_WINDOW, Code.NO_ERROR))
        self.out.append(h2.frame(h2.PING, 0, 0, _DRAIN_PING))
        self.wake()

    def _fault(self, code: Code, reason: str) -> None:
        log.warning("an ext_proc connection ends with %s: %s", code.name, reason)
        self.out.append(h2.goaway(self._last_id, code, reason))
        self._flush()
        self._finish()

    # Reading.

    def _preface(self, data: bytes) -> None:
        """Section 3.4."""
        size = len(h2.PREFACE)
        if data[:size] != h2.PREFACE[: len(data)]:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "this is no HTTP/2 client preface")
        if len(data) < size:
            self._tail += data
            self._wanted = 0  # look at once, to answer what is no preface
            return
        self._prefaced = True
        self._frames(data, size)

    def _frames(self, data: bytes, position: int) -> None:
        """Section 4.1. Takes the whole frames in `data` and keeps the rest."""
        size = len(data)
        wanted = h2.HEAD_SIZE
        while size - position >= h2.HEAD_SIZE:
            high, low, kind, flags, stream_id = _unpack_head(data, position)
            length = high << 8 | low
            if length > self._limits.frame:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + h2.HEAD_SIZE
            end = start + length
            if end > size:
                wanted = h2.HEAD_SIZE + length
                break
            if self._expected >= 0 and kind != self._expected:
                raise ConnectionFault(Code.PROTOCOL_ERROR, f"frame type {kind}, not {self._expected}")
            if kind <= h2.CONTINUATION:  # others are ignored (section 5.5)
                self._handlers[kind](flags, stream_id & h2.STREAM_MASK, data, start, end)
            position = end
        if position < size:
            self._tail += data[position:]
            self._wanted = wanted

    def _on_data(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.1."""
        length = end - start
        self._receive_window -= length
        # Given back at once, whatever becomes of the stream: a slow stream must not hold up the others.
        if self._receive_window < self._limits.connection_window >> 1:
            if self._receive_window < 0:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
            self.out.append(h2.window_update(0, self._limits.connection_window - self._receive_window))
            self._receive_window = self._limits.connection_window
        if flags & h2.PADDED:
            start, end = _unpadded(data, start, end)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id, "DATA")
            if stream_id not in self._ended_here:
                self.out.append(h2.reset(stream_id, Code.STREAM_CLOSED))
            elif flags & h2.END_STREAM:
                del self._ended_here[stream_id]
            return
        if stream.remote_ended:
            stream.reset(Code.STREAM_CLOSED)
            return
        stream.data(data, start, end, length)
        # The stream may be closed by now, by its broker's side.
        if flags & h2.END_STREAM:
            if stream_id in self._streams:
                stream.end()
            else:
                self._ended_here.pop(stream_id, None)

    def _on_headers(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.2."""
        if not stream_id & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}")
        if flags & h2.PADDED:
            start, end = _unpadded(data, start, end)
        if flags & h2.PRIORITY_FLAG:  # deprecated (section 5.3.2)
            start += 5
            if start > end:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "HEADERS too short for their priority")
        if flags & h2.END_HEADERS:
            self._on_block(stream_id, data[start:end], flags & h2.END_STREAM)
            return
        self._block += data[start:end]
        self._block_of = (stream_id, flags & h2.END_STREAM)
        self._block_frames = 1
        self._expected = h2.CONTINUATION

    def _on_continuation(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.10."""
        if self._expected != h2.CONTINUATION or stream_id != self._block_of[0]:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"CONTINUATION on stream {stream_id}")
        self._block += data[start:end]
        self._block_frames += 1
        if len(self._block) > _MAX_BLOCK or self._block_frames > _MAX_BLOCK_FRAMES:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "a header block without end")
        if flags & h2.END_HEADERS:
            block = bytes(self._block)
            self._block.clear()
            self._expected = -1
            self._on_block(stream_id, block, self._block_of[1])

    def _on_block(self, stream_id: int, block: bytes, ended: int) -> None:
        if len(block) > _MAX_BLOCK:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "a header block without end")
        if stream_id <= self._last_id:
            self._on_trailers(stream_id, block, ended)
            return
        try:
            request = self._requests.get(block)
        except HeaderListTooLarge:
            request = TOO_LARGE
        self._last_id = stream_id
        if request.malformed:
            self._refuse(h2.reset(stream_id, Code.PROTOCOL_ERROR), stream_id)
        elif len(self._streams) >= self._limits.streams or self._last_round:
            self._refuse(h2.reset(stream_id, Code.REFUSED_STREAM), stream_id)
        elif request.refusal:
            head = h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream_id, request.refusal)
            self._refuse(head if ended else head + h2.reset(stream_id, Code.NO_ERROR), stream_id)
        else:
            stream = self._streams[stream_id] = GrpcStream(self, stream_id, self._limits)
            stream.remote_ended = bool(ended)  # known before an answer can be made
            stream.open(request.metadata, self._open_stream)
            if ended:
                stream.end()

    def _refuse(self, answer: bytes, stream_id: int) -> None:
        self.out.append(answer)
        self.forget(stream_id, remote_ended=False)

    def _on_trailers(self, stream_id: int, block: bytes, ended: int) -> None:
        """Section 8.1: the second block of a stream ends it."""
        # Decoded for a closed stream as well: the table is the connection's (section 4.3).
        try:
            sound = well_formed(self._requests.decode(block))
        except HeaderListTooLarge:
            sound = False
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id not in self._ended_here:
                raise ConnectionFault(Code.STREAM_CLOSED, f"HEADERS on stream {stream_id}")
        elif stream.remote_ended:
            stream.reset(Code.STREAM_CLOSED)
        elif not sound or not ended:
            stream.reset(Code.PROTOCOL_ERROR)
        else:
            stream.end()

    def _on_priority(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.3: deprecated, and checked all the same."""
        if stream_id == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if end - start != 5:
            if stream := self._streams.get(stream_id):
                stream.reset(Code.FRAME_SIZE_ERROR)
            else:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "PRIORITY is five bytes")

    def _on_reset(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.4."""
        if end - start != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "RST_STREAM is four bytes")
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            self._check_known(stream_id, "RST_STREAM")
            self._ended_here.pop(stream_id, None)
        else:
            stream.abandon()

    def _on_settings(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.5."""
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"SETTINGS on stream {stream_id}")
        if flags & h2.ACK:
            if end != start:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "an acknowledgement has no payload")
            if self._expected == h2.SETTINGS:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame is no acknowledgement")
            return
        if (end - start) % 6:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a setting is six bytes")
        if self._timer is not None:  # the client has said what it had to
            self._timer.cancel()
            self._timer = None
        self._expected = -1
        for at in range(start, end, 6):
            self._set(int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 6], "big"))
        self.out.append(h2.SETTINGS_ACK)

    def _set(self, key: int, value: int) -> None:
        """Section 6.5.2. HEADER_TABLE_SIZE does not matter: our blocks use no table."""
        if key == h2.INITIAL_WINDOW_SIZE:
            if value > h2.LARGEST_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, f"a window of {value}")
            change, self.peer_window = value - self.peer_window, value
            for stream in self._streams.values():
                # May go below zero, and the stream then waits (section 6.9.2).
                self._widen(stream, change)
        elif key == h2.MAX_FRAME_SIZE:
            if not h2.DEFAULT_FRAME <= value <= h2.LARGEST_FRAME:
                raise ConnectionFault(Code.PROTOCOL_ERROR, f"frames of {value} bytes")
            self.peer_frame = min(value, MOST_FRAME)
        elif key == h2.ENABLE_PUSH and value > 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")

    def _widen(self, stream: GrpcStream, change: int) -> None:
        stream.send_window += change
        if stream.send_window > h2.LARGEST_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window out of bounds")
        if stream.has_unsent():
            self.enqueue(stream)

    def _on_push(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 8.4: clients do not push."""
        raise ConnectionFault(Code.PROTOCOL_ERROR, "PUSH_PROMISE by a client")

    def _on_ping(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.7."""
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"PING on stream {stream_id}")
        if end - start != 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "PING is eight bytes")
        if not flags & h2.ACK:
            self.out.append(h2.frame(h2.PING, h2.ACK, 0, data[start:end]))
        elif self._draining and not self._last_round and data[start:end] == _DRAIN_PING:
            self._last_round = True
            self.out.append(h2.goaway(self._last_id, Code.NO_ERROR))

    def _on_goaway(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.8. It speaks of streams that we would open, and there are none. Those of the client go
        on, and closing the connection is the client's."""
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"GOAWAY on stream {stream_id}")
        if end - start < 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "GOAWAY is eight bytes or more")

    def _on_window_update(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> None:
        """Section 6.9."""
        if end - start != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE is four bytes")
        increment = int.from_bytes(data[start:end], "big") & h2.STREAM_MASK
        if stream_id == 0:
            self.send_window += increment
            if increment == 0:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            if self.send_window > h2.LARGEST_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window out of bounds")
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id, "WINDOW_UPDATE")
        elif increment == 0:
            stream.reset(Code.PROTOCOL_ERROR)
        elif stream.send_window + increment > h2.LARGEST_WINDOW:
            stream.reset(Code.FLOW_CONTROL_ERROR)
        else:
            self._widen(stream, increment)

    def _check_known(self, stream_id: int, what: str) -> None:
        """Section 5.1: an idle stream takes nothing but HEADERS and PRIORITY."""
        if not stream_id & 1 or stream_id > self._last_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"{what} on stream {stream_id}")


def _unpadded(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Section 6.1: the first octet says how much padding the frame ends in."""
    if start == end or data[start] >= end - start:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "more padding than frame")
    return start + 1, end - data[start]
