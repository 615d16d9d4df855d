"""Lines on the broker's standard output, from where containers' platforms collect them."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence

from ..sink import Sent, SinkAway, SinkSettings

_WAIT_S = 30.0
# As much as a pipe takes at once when it takes anything: such a write never waits.
_PIECE = select.PIPE_BUF


class Stdout:
    """`fd` is the broker's own standard output, which this process was given beside its own."""

    most_events = 500
    most_bytes = 256 << 10
    again_s = 0.0

    def __init__(self, settings: SinkSettings) -> None:
        self._fd = int(settings.options.get("fd", "1"))
        self._is_mid_line = False

    def send(self, events: Sequence[Sent]) -> None:
        data = b"".join(event.line + b"\n" for event in events)
        if self._is_mid_line:  # a batch that was not taken: its half line is not to spoil one of this
            data = b"\n" + data
        until_s = time.monotonic() + _WAIT_S
        try:
            for start in range(0, len(data), _PIECE):
                self._write(data[start : start + _PIECE], until_s)
        except OSError as error:
            raise SinkAway(f"it can't be written: {error.strerror or type(error).__name__}") from None

    def close(self) -> None: ...

    def _write(self, piece: bytes, until_s: float) -> None:
        while piece:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            left_ms = max(0.0, until_s - time.monotonic()) * 1000
            if not poll.poll(left_ms):
                raise SinkAway("nobody reads it")
            count = os.write(self._fd, piece)
            self._is_mid_line = piece[count - 1 : count] != b"\n" if count else self._is_mid_line
            piece = piece[count:]


def open_sink(settings: SinkSettings) -> Stdout:
    return Stdout(settings)
