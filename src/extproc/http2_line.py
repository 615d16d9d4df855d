"""What an HTTP/2 connection's streams see of it: the way out, with its windows and its back-pressure.

RFC 9113 sections 5.2 and 6.9. Everything that one turn of the event loop causes is written with one write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import http2_frames as h2

if TYPE_CHECKING:
    from .http2_stream import GrpcStream, Limits

# DATA goes to the transport in writes of about this size, so that its back-pressure is felt in between.
_BATCH = 256 << 10
# Of a frame of ours, however large the client takes them: what waits in the transport grows by whole frames,
# and one of 16 MiB would look like a client that reads nothing.
MOST_FRAME = _BATCH
# Streams that we ended first: frames of theirs may still be on the way.
_REMEMBERED = 16_384


class Line:
    """`out` takes frames in the order in which they leave; `wake` sees to it that they do."""

    def __init__(self, limits: Limits, on_error: Callable[[BaseException], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.out: list[bytes | memoryview] = []
        self.send_window = h2.DEFAULT_WINDOW
        self.peer_window = h2.DEFAULT_WINDOW  # what new streams start with
        self.peer_frame = h2.DEFAULT_FRAME
        self.paused = False  # the transport holds as much as it should
        self.report = on_error
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, GrpcStream] = {}
        self._round: deque[GrpcStream] = deque()  # those with DATA to send and window to send it
        self._ended_here: dict[int, None] = {}
        self._in_turn = False
        self._turn_due = False
        self._last_round = False  # no stream will be opened any more
        self._over = False
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """There may be something to write: at the end of this turn of the loop, once."""
        if not self._in_turn and not self._turn_due and not self._over:
            self._turn_due = True
            self.loop.call_soon(self._due)

    def enqueue(self, stream: GrpcStream) -> None:
        """The stream has DATA to send; without window it waits to be asked again."""
        if not stream.queued and stream.send_window > 0:
            stream.queued = True
            self._round.append(stream)

    def forget(self, stream_id: int, remote_ended: bool) -> None:
        """The stream is closed on our side."""
        self._streams.pop(stream_id, None)
        if not remote_ended:
            if len(self._ended_here) >= _REMEMBERED:
                del self._ended_here[next(iter(self._ended_here))]
            self._ended_here[stream_id] = None

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._stop()
        if self._transport is not None:
            self._transport.abort()

    # asyncio's protocol, the writing half of it.

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.wake()

    # Inside.

    def _due(self) -> None:
        self._turn_due = False
        self._turn()

    def _turn(self) -> None:
        if self._over:
            return
        if self._round:
            self._pump()
        if self.out:
            self._flush()
        if self._last_round and not self._streams:
            self._finish()

    def _pump(self) -> None:
        """One frame of each stream in turn, as far as windows and the transport let it."""
        batch = 0
        while self._round and self.send_window > 0 and not self.paused:
            stream = self._round.popleft()
            stream.queued = False
            sent = stream.pump(min(self.peer_frame, self.send_window))
            self.send_window -= sent
            batch += sent
            if stream.has_unsent():
                self.enqueue(stream)
            if batch >= _BATCH:
                batch = 0
                self._flush()  # may call pause_writing

    def _flush(self) -> None:
        data = b"".join(self.out)
        self.out.clear()
        # Between a client's close and `connection_lost` there is a transport that takes nothing.
        if self._transport is None or self._over or self._transport.is_closing():
            return
        self._transport.write(data)
        if self.paused and self._transport.get_write_buffer_size() > self._limits.paused_writes:
            self.abort()  # a client that asks and asks, and reads no answer

    def _finish(self) -> None:
        """Close our half, and let the client read what was written before it sees the rest closed."""
        transport = self._transport
        if self._over or transport is None:
            return
        self._stop()
        self._timer = self.loop.call_later(self._limits.linger_s, transport.abort)
        try:
            transport.write_eof()
        except (OSError, RuntimeError):  # the client was faster
            transport.abort()

    def _stop(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for stream in self._streams.values():
            stream.abandon()
        self._streams.clear()
        self._round.clear()
        self.out.clear()
