"""A stream of server-sent events in which some events change: all else passes byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

# An event's end: an empty line. A CR before an LF ends nothing yet.
_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
_EVENT_END = re.compile(_LINE_END + _LINE_END)
_DATA = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|[\r\n])data:[ ]?([^\r\n]*)")
_LONGEST_END = 4


class EventFilter:
    """A Filter. `change` gets the data of the events that hold one of `words`, and says what stands there
    instead; None: the same. An event that it can't read passes as it is. Any split of the bytes gives the
    same."""

    def __init__(self, change: Callable[[bytes], bytes | None], words: tuple[bytes, ...]) -> None:
        self._change = change
        self._words = words
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        text = self._held + chunk
        # A CR at the very end may be half of a line's end.
        known = len(text) - text.endswith(b"\r")
        # What is held has no event's end in it, but perhaps the beginning of one.
        out, start, at = [], 0, max(0, len(self._held) - _LONGEST_END)
        while (end := _EVENT_END.search(text, at, known)) is not None:
            out.append(self._event(text[start : end.end()]))
            start = at = end.end()
        self._held = text[start:]
        return b"".join(out)

    def end(self) -> bytes:
        rest, self._held = self._held, b""
        return self._event(rest)

    def _event(self, event: bytes) -> bytes:
        if not any(word in event for word in self._words):
            return event
        lines = list(_DATA.finditer(event))
        if not lines:
            return event
        try:
            changed = self._change(b"\n".join(line[1] for line in lines))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return event
        if changed is None:
            return event
        for line in reversed(lines[1:]):  # several lines are one text: it all stands in the first one now
            event = event[: line.start()] + event[line.end() :]
        first = lines[0]
        return event[: first.start(1)] + changed + event[first.end(1) :]
