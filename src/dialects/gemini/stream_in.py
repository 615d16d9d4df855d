"""streamGenerateContent's bytes → canonical events.

Asked with `alt=sse` it answers with server-sent events, else (and some gateways always) with one JSON array,
written as it grows. Either way the stream has no last event of its own: it was whole if its bytes are over
and every candidate has said why it ended.
"""

from __future__ import annotations

import re

from ..base import decode_json
from ..conversation import Upstream
from ..replies import ReplyEvent
from ..sse import SseSplitter
from .replies_in import ReplyReader

_SAYS_NOTHING = (b"", b"[DONE]")  # not Google's, but what gateways put into streams
_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_OUTSIDE = re.compile(rb'["{}]')
_INSIDE = re.compile(rb'["\\]')


class StreamReader:
    """A StreamDecoder."""

    def __init__(self, upstream: Upstream) -> None:
        self._reader = ReplyReader(upstream)
        self._head = b""  # until the first byte that tells what this is
        self._events: SseSplitter | None = None
        self._objects: ObjectSplitter | None = None

    def feed(self, chunk: bytes) -> list[ReplyEvent]:
        if self._events is None and self._objects is None:
            chunk = self._begin(chunk)
        found: list[ReplyEvent] = []
        if self._events is not None:
            for event in self._events.feed(chunk):
                if event.data not in _SAYS_NOTHING:
                    found += self._reader.read(event.data)
        elif self._objects is not None:
            for response in self._objects.feed(chunk):
                found += self._reader.read(response)
        return found

    def end(self) -> list[ReplyEvent]:
        found: list[ReplyEvent] = []
        # The last event may lack the blank line behind it; what is no JSON was cut.
        for event in self._events.feed(b"\n\n") if self._events is not None else ():
            if decode_json(event.data) is None:
                return found
            found += self._reader.read(event.data)
        return [*found, *self._reader.finish()]

    def _begin(self, chunk: bytes) -> bytes:
        head = self._head + chunk
        first = head.removeprefix(_BOM).lstrip(_BLANK)[:1]
        if not first or (len(head) < len(_BOM) and _BOM.startswith(head)):
            self._head = head
            return b""
        self._head = b""
        if first in (b"[", b"{"):
            self._objects = ObjectSplitter()
        else:
            self._events = SseSplitter()
        return head


class ObjectSplitter:
    """Bytes in, the outermost JSON objects out, whatever stands between them."""

    def __init__(self) -> None:
        self._held = bytearray()  # from the beginning of the object in hand
        self._at = 0  # up to where `_held` is read
        self._depth = 0
        self._in_string = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The objects that `chunk` completes."""
        self._held += chunk
        found: list[bytes] = []
        while (at := self._next()) >= 0:
            what = self._held[at]
            self._at = at + 1
            if what == 0x22:  # a quote
                self._in_string = not self._in_string
            elif what == 0x5C:  # a backslash: the character behind it says nothing
                self._at = at + 2
            elif what == 0x7B:  # an opening brace
                if not self._depth:
                    del self._held[:at]
                    self._at = 1
                self._depth += 1
            else:
                self._depth = max(self._depth - 1, 0)
                if not self._depth:
                    found.append(bytes(self._held[: self._at]))
                    del self._held[: self._at]
                    self._at = 0
        if self._depth == 0 and not self._in_string:
            self._held.clear()
            self._at = 0
        return found

    def _next(self) -> int:
        """Where the next byte stands that says something; -1: not here yet."""
        pattern = _INSIDE if self._in_string else _OUTSIDE
        match = pattern.search(self._held, self._at)
        if match is not None:
            return match.start()
        self._at = max(self._at, len(self._held))
        return -1
