"""Server-sent events, split as they arrive.

Source: WHATWG HTML, "Server-sent events", section "Interpreting an event stream".
"""

from __future__ import annotations

import msgspec

# A comment, which every reader passes over: in a stream whose dialect has no ping of its own it tells
# clients, and proxies that give up on silence, that the provider works.
PING = b": ping\n\n"


class SseEvent(msgspec.Struct, frozen=True):
    """One event: its `event` name ("" where none was given) and its `data` lines joined by newlines."""

    name: str
    data: bytes


class SseSplitter:
    """Bytes in, events out. Any split of the same bytes gives the same events: inside a UTF-8
    character, between the CR and the LF of one line end, in the middle of a field name."""

    def __init__(self) -> None:
        self._tail = bytearray()  # the beginning of a line
        self._name = ""
        self._data: list[bytes] = []
        self._has_bytes = False

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes."""
        tail = self._tail
        if self._has_bytes and b"\n" not in chunk and b"\r" not in chunk and not tail.endswith(b"\r"):
            tail += chunk  # a large event comes in many pieces: none of them is gone through twice
            return []
        text = bytes(tail) + chunk if tail else chunk
        if not self._has_bytes and text:
            if b"\xef\xbb\xbf".startswith(text[:3]) and len(text) < 3:
                self._tail = bytearray(text)
                return []
            text = text.removeprefix(b"\xef\xbb\xbf")
            self._has_bytes = True
        held = b""
        if b"\r" in text:
            # A CR at the very end may be half of a CRLF: it waits for the next byte.
            held = b"\r" if text.endswith(b"\r") else b""
            text = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = text.split(b"\n")
        self._tail = bytearray(lines.pop() + held)
        events: list[SseEvent] = []
        for line in lines:
            if line.startswith(b"data: "):  # every event has one, and nearly all have no more
                self._data.append(line[6:])
            elif line:
                self._field(line)
            elif (event := self._dispatch()) is not None:
                events.append(event)
        return events

    def end(self) -> list[SseEvent]:
        """The stream is over, and a CR at its end a whole line's. An event without its blank line is none."""
        return self.feed(b"\n") if self._tail.endswith(b"\r") else []

    def _field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")

    def _dispatch(self) -> SseEvent | None:
        if not self._data:
            self._name = ""
            return None
        name, data = self._name, b"\n".join(self._data)
        self._name, self._data = "", []
        # One without a word is a way to keep a connection alive, and says nothing in any dialect.
        return SseEvent(name, data) if data.strip() else None
