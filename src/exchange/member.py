"""A member's reply up to the commit point: nothing of a stream reaches the client before its first real
event, so that whatever fails until then can still be answered by another member."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ..core.causes import Cause
from ..core.errors import Unavailable
from ..dialects import Dialect, SseSplitter, Stage, UpstreamFault

# A preamble without an answer is held this long: errors that come at all come right behind it, and a
# model that thinks in silence for minutes must not look like one that gave no sign of life.
PREAMBLE_HOLD_MS = 1_000
MOST_HELD_BYTES = 256 * 1024
# Providers are asked for plain text; one that compresses all the same is looked into where that can be done.
INFLATED = frozenset(("gzip", "x-gzip", "deflate"))
# What of a provider's reply headers an error in the place of its stream keeps.
_KEPT = frozenset(("request-id", "x-request-id", "apim-request-id", "retry-after", "retry-after-ms"))
ANY_ZLIB = 32 + zlib.MAX_WBITS  # zlib's own header or gzip's


def late(provider: str) -> str:
    """What is told of a first event that did not come in time."""
    return f"the stream of the provider {provider} began, and its first event did not come in the pool's time"


def tells_limits(header: str) -> bool:
    """It says how much of the account's limits is left: the health book reads it from the access log."""
    return header.startswith(("x-ratelimit-", "anthropic-ratelimit-", "ratelimit"))


class Move(Enum):
    HOLD = "hold"  # answer nothing yet
    HOLD_BRIEFLY = "hold briefly"  # as HOLD; call `on_hold_over` after PREAMBLE_HOLD_MS
    COMMIT = "commit"  # let everything through and leave the path
    FAIL = "fail"  # answer with `failure()` instead
    OPEN = (
        "open"  # let the headers through, with `reply_headers()`, and what `take()` gives; stay in the path
    )
    FLOW = "flow"  # behind OPEN: `take()` gives what goes on in the place of this piece


@dataclass(slots=True)
class MemberStream:
    """Events: `on_headers`, `on_body` …; each says what to do next. After COMMIT or FAIL it is over."""

    dialect: Dialect
    # Causes for which even an answer about the request itself is not the last word; a pool's `on` says it.
    handback: str = ""
    provider: str = ""  # its name
    kept: tuple[tuple[str, str], ...] = ()  # reply headers to go with `failure()`
    # Of what failed. Behind COMMIT it is that of the first real event: an error about this very request.
    cause: Cause | None = None
    _splitter: SseSplitter = field(default_factory=SseSplitter)
    _held_bytes: int = 0
    _alive: bool = False
    _fault: UpstreamFault | None = None
    _inflate: Callable[[bytes, int], bytes] | None = None

    def on_headers(self, headers: Sequence[tuple[str, str]], ends: bool) -> Move:
        """Only a successful event stream is held; anything else is judged by its status alone."""
        values = dict(headers)
        self.kept = tuple(pair for pair in headers if pair[0] in _KEPT or tells_limits(pair[0]))
        is_stream = values.get("content-type", "").lower().startswith("text/event-stream")
        if values.get(":status", "") != "200" or not is_stream:
            return Move.COMMIT
        encoding = values.get("content-encoding", "identity").strip().lower()
        if encoding in INFLATED:
            self._inflate = zlib.decompressobj(ANY_ZLIB).decompress
        elif encoding != "identity":
            return Move.COMMIT  # what can't be read can't be judged
        return self._fail(Cause.CUT, "upstream_cut", "the provider's stream is empty") if ends else Move.HOLD

    def on_body(self, chunk: bytes, ends: bool) -> Move:
        try:
            plain = self._inflate(chunk, MOST_HELD_BYTES) if self._inflate else chunk
        except zlib.error as wrong:
            message = f"the provider's stream is not compressed as it says: {wrong}"
            return self._fail(Cause.GARBAGE, "upstream_garbage", message)
        self._held_bytes += max(len(chunk), len(plain))
        alive_before = self._alive
        for event in self._splitter.feed(plain):
            start = self.dialect.judge(event)
            self.cause = start.cause
            if start.stage is Stage.REAL:
                is_handed_back = start.cause is not None and start.cause.value in self.handback
                return Move.FAIL if is_handed_back else Move.COMMIT
            if start.fault is not None:
                self._fault = start.fault
                return Move.FAIL
            self._alive = True
        if ends:
            return self._fail(
                Cause.CUT, "upstream_cut", "the provider's stream ended before its first real event"
            )
        if self._held_bytes > MOST_HELD_BYTES:
            return Move.COMMIT
        return Move.HOLD_BRIEFLY if self._alive and not alive_before else Move.HOLD

    def on_hold_over(self) -> Move:
        """The preamble stands alone for PREAMBLE_HOLD_MS: the provider lives, and thinks."""
        return Move.COMMIT

    def on_late(self) -> Move:
        """The time for the first event is over."""
        return self._fail(Cause.FIRST_EVENT, "upstream_timeout", late(self.provider), 504)

    def failure(
        self, request_id: str = "", told: Callable[[str], str] | None = None
    ) -> tuple[int, str, bytes]:
        """(status, code, body in the dialect) to answer with after FAIL; a status that Envoy retries on.
        `told`: the message as the client is to read it."""
        fault = self._fault or UpstreamFault(
            502, "upstream_error", "the provider's stream failed", Cause.SERVER
        )
        error = Unavailable(fault.status, fault.code, told(fault.message) if told else fault.message)
        return fault.status, fault.code, self.dialect.error_body(error, request_id)

    def _fail(self, cause: Cause, code: str, message: str, status: int = 502) -> Move:
        self.cause = cause
        self._fault = UpstreamFault(status, code, message, cause)
        return Move.FAIL
