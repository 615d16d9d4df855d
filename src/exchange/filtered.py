"""A stream of the client's own dialect that can't pass byte for byte: it comes in another framing, or ids in
it have to name their account."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from ..dialects import ClientDialect, Context
from ..dialects.replies import Cause, Failed, Fault
from ..dialects.translation import Filter
from .member import MemberStream, Move
from .translated import Answer, Flowing, Head, Headers, Inflater, rendered

_INNER = [(":status", "200"), ("content-type", "text/event-stream")]


class FilteredStream(Flowing):
    """Events: `on_headers`, `on_body` …, `on_hold_over`, as a TranslatedStream has them. What is no good
    stream passes as it is: then it says COMMIT, and is over."""

    def __init__(self, client: ClientDialect, filter: Filter, context: Context) -> None:
        super().__init__()
        self._client = client
        self._filter = filter
        self._context = context
        self._judge = MemberStream(client)
        self._judge.on_headers(_INNER, ends=False)
        self._head = Head(())
        self._inflater = Inflater("")

    def on_headers(self, headers: Sequence[tuple[str, str]], ends: bool) -> Move:
        head = self._head = Head(headers)
        self._inflater = Inflater(head.values.get("content-encoding", ""))
        if head.status != 200 or not head.is_stream():
            return Move.COMMIT
        if not self._inflater.is_readable:
            return self._broken("the provider's stream is compressed in a way that nobody asked for")
        return self.on_body(b"", True) if ends else Move.HOLD

    def on_body(self, chunk: bytes, ends: bool) -> Move:
        if self._over:
            return Move.FLOW
        try:
            out = self._filter.feed(self._inflater.feed(chunk))
            if ends:
                out += self._filter.end()
        except (ValueError, zlib.error) as wrong:
            return self._broken(f"the provider's stream is not valid: {wrong}")
        self._out.append(out)
        if self._open:
            return Move.FLOW
        move = self._judge.on_body(out, ends)
        if move is Move.FAIL:
            status, code, body = self._judge.failure(self._context.request_id)
            self._failure = Answer(status, (("content-type", "application/json"),), (), body, code)
        return self._opened() if move is Move.COMMIT else move

    def reply_headers(self) -> tuple[Headers, tuple[str, ...]]:
        headers = (("content-type", "text/event-stream; charset=utf-8"),)
        return headers, self._head.removed(frozenset(("content-type",)))

    def break_off(self, message: str) -> Move:
        return self._broken(message)

    def _broken(self, message: str) -> Move:
        fault = Fault(Cause.SERVER, 502, message, "upstream_garbage")
        self._over = True
        if self._open:
            self._out.append(self._client.stream_encoder(self._context).encode([Failed(fault)]))
            return Move.FLOW
        self._failure = rendered(self._client, fault, self._context, self._head)
        return Move.FAIL
