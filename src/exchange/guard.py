"""What watches a stream of the client's own dialect to its end: one that ends early must not look whole."""

from __future__ import annotations

from collections.abc import Sequence

from ..dialects import Dialect, SseEvent, SseSplitter

# As much of one event as is kept until the rest of it is here. One that is larger goes on as it comes.
MOST_OF_AN_EVENT_BYTES = 32 * 1024 * 1024
_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
_LONGEST_END = 3


class Guard:
    """Bytes of a stream in, the same bytes out, event by event: what is cut inside an event can then be left
    out, as every reader of such streams leaves it out, and does not stand in the way of an error event."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._splitter = SseSplitter()
        self._held = bytearray()  # the beginning of an event
        self._is_over = False
        self._is_inside = False  # an event that is too large to be kept has gone on in part

    def feed(self, chunk: bytes) -> bytes:
        """What can go on now: whole events."""
        if not self._held and chunk.endswith(_ENDS):  # nearly always
            self._is_inside = False
            return self._see(chunk)
        held = self._held
        start = max(0, len(held) - _LONGEST_END)
        held += chunk
        behind = max((at + len(end) for end in _ENDS if (at := held.rfind(end, start)) >= 0), default=0)
        if behind:
            self._is_inside = False
        elif self._is_inside or len(held) > MOST_OF_AN_EVENT_BYTES:
            self._is_inside, behind = True, len(held)
        out = bytes(held[:behind])
        del held[:behind]
        return self._see(out) if out else out

    def end(self) -> bytes | None:
        """The stream is over: the rest of a whole one; None: it ended before its dialect's last event."""
        rest = self._see(bytes(self._held))
        self._note(self._splitter.end())
        return rest if self._is_over else None

    @property
    def gap(self) -> bytes:
        """What has to stand between what went on and a further event."""
        return b"\n\n" if self._is_inside else b""

    def _see(self, text: bytes) -> bytes:
        self._note(self._splitter.feed(text))
        return text

    def _note(self, events: Sequence[SseEvent]) -> None:
        for event in events:
            last = self._dialect.is_last(event)
            if last is not None:
                self._is_over = last
