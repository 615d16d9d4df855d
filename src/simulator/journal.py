"""The journal: what a simulator received and how it ended, bounded in entries and in memory."""

import base64
import hashlib
from collections import deque
from collections.abc import Iterator
from typing import Any

from .script import JournalLimits


class Entry:
    """One request; `body` is its beginning, `raw_headers` the header lines as received."""

    __slots__ = (
        "aborted_after_ms",
        "body",
        "body_bytes",
        "end",
        "fault",
        "method",
        "model",
        "n",
        "outcome",
        "path",
        "raw_headers",
        "sha256",
        "status",
        "stream",
        "surface",
        "time",
    )

    def __init__(self, n: int, time: float, method: str, path: str, raw_headers: bytes) -> None:
        self.n = n
        self.time = time  # unix seconds
        self.method = method
        self.path = path  # with its query
        self.raw_headers = raw_headers
        self.body: bytes | None = b""  # None once dropped for memory
        self.body_bytes = 0
        self.sha256 = ""
        self.surface: str | None = None
        self.model: str | None = None
        self.stream = False
        self.status: int | None = None  # the status line sent, if any was
        self.fault: str | None = None
        self.outcome: str | None = None  # None while the answer is under way
        self.end: float | None = None
        self.aborted_after_ms: float | None = None

    def finish(self, outcome: str, now: float) -> None:
        """Closes the entry, once: later calls change nothing."""
        if self.outcome is None:
            self.outcome, self.end = outcome, now
            if outcome == "client-gone":
                self.aborted_after_ms = round((now - self.time) * 1000, 3)

    def headers(self) -> list[tuple[str, str]]:
        """Header pairs as received, in order and in their original case."""
        lines = self.raw_headers.decode("latin-1").split("\n")
        pairs = [line.partition(":") for line in lines if line]
        return [(name, value) for name, _, value in pairs]

    def shown(self) -> dict[str, Any]:
        """The entry as the control surface shows it."""
        out = {
            "n": self.n,
            "time": self.time,
            "method": self.method,
            "path": self.path,
            "headers": self.headers(),
            "body_sha256": self.sha256,
            "body_bytes": self.body_bytes,
            "body_truncated": self.body is None or len(self.body) < self.body_bytes,
            "surface": self.surface,
            "model": self.model,
            "stream": self.stream,
            "status": self.status,
            "fault": self.fault,
            "outcome": self.outcome,
            "aborted_after_ms": self.aborted_after_ms,
            "end": self.end,
        }
        if self.body is None:
            return {**out, "body": None}
        try:
            return {**out, "body": self.body.decode("utf-8")}
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data" and len(self.body) < self.body_bytes:
                # Truncated inside a character: the text before it is still text.
                return {**out, "body": self.body[: error.start].decode("utf-8")}
            return {**out, "body_base64": base64.b64encode(self.body).decode()}


class Journal:
    """Entries in the order received; numbers go on from 1 and are never used again."""

    def __init__(self, limits: JournalLimits) -> None:
        self._limits = limits
        self._entries: deque[Entry] = deque()
        self._with_body: deque[Entry] = deque()
        self._held = 0
        self._next = 1

    def limit(self, limits: JournalLimits) -> None:
        """Puts other bounds in force; what is over them goes now."""
        self._limits = limits
        self._trim()

    def open(self, now: float, method: str, path: str, raw_headers: bytes, body: bytes) -> Entry:
        """A new entry, not yet finished: the body's sum and size, and its beginning as the bounds allow."""
        entry = Entry(self._next, now, method, path, raw_headers)
        self._next += 1
        self._entries.append(entry)
        entry.body_bytes = len(body)
        entry.sha256 = hashlib.sha256(body).hexdigest()
        kept = body[: self._limits.body_bytes]
        entry.body = kept
        if kept:
            self._with_body.append(entry)
            self._held += len(kept)
        self._trim()
        return entry

    def _trim(self) -> None:
        while len(self._entries) > self._limits.entries:
            oldest = self._entries.popleft()
            if self._with_body and self._with_body[0] is oldest:
                self._drop_body()
        while self._held > self._limits.total_body_bytes and self._with_body:
            self._drop_body()

    def _drop_body(self) -> None:
        entry = self._with_body.popleft()
        self._held -= len(entry.body or b"")
        entry.body = None

    def clear(self) -> None:
        """Forgets every entry; numbering goes on."""
        self._entries.clear()
        self._with_body.clear()
        self._held = 0

    def since(self, n: int) -> Iterator[Entry]:
        """The entries numbered above `n`, in order."""
        return (entry for entry in self._entries if entry.n > n)

    def __len__(self) -> int:
        return len(self._entries)
