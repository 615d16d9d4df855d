"""A stream of the client's own dialect that can't simply pass: it comes in another framing, ids in it have to
name their account, who hosts it has errors of its own, or its pool wants it watched to its end."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from ..dialects import ClientDialect, Context, ProviderDialect
from ..dialects.replies import Cause, Failed, Fault
from ..dialects.translation import Filter
from .alone import Alone
from .guard import Guard
from .member import MOST_HELD_BYTES, MemberStream, Move
from .translated import Answer, Flowing, Head, Headers, Inflater, cut, rendered

_INNER = [(":status", "200"), ("content-type", "text/event-stream")]


class FilteredStream(Flowing):
    """Events: `on_headers`, `on_body` …, `on_hold_over`, as a TranslatedStream has them. What is no stream
    passes as it is, and so does a good stream without `filters` or `guard`: then it says COMMIT, and is over.
    `guard`: one that ends before its dialect's last event ends with the dialect's own error event.
    `errors` reads error replies; where there is none they pass, too. `alone`: nobody else can answer.
    `handback` and `provider` as a MemberStream has them."""

    def __init__(
        self,
        client: ClientDialect,
        errors: ProviderDialect | None,
        filters: Sequence[Filter],
        context: Context,
        alone: Alone | None = None,
        handback: str = "",
        provider: str = "",
        guard: bool = False,
    ) -> None:
        super().__init__()
        self._client = client
        self._errors = errors
        self._alone = alone
        self._filters = filters
        self._guard = Guard(client) if guard else None
        self._context = context
        self._error: list[bytes] | None = None  # the body of an error reply, as far as it is here
        self._judge = MemberStream(client, handback, provider)
        self._judge.on_headers(_INNER, ends=False)
        self._head = Head(())
        self._inflater = Inflater("")

    def on_headers(self, headers: Sequence[tuple[str, str]], ends: bool) -> Move:
        head = self._head = Head(headers)
        self._inflater = Inflater(head.values.get("content-encoding", ""))
        if head.is_local():
            return Move.COMMIT
        if self._takes_error(head):
            self._error = []
        elif head.status != 200 or not head.is_stream():
            return Move.COMMIT
        if not self._inflater.is_readable:
            if not self._filters and self._errors is None:
                return Move.COMMIT  # what can't be read can't be watched
            return self._broken("the provider's stream is compressed in a way that nobody asked for")
        return self.on_body(b"", True) if ends else Move.HOLD

    def on_body(self, chunk: bytes, ends: bool) -> Move:
        if self._over:
            return Move.FLOW
        try:
            plain = self._inflater.feed(chunk)
            if self._error is not None:
                return self._collect(self._error, plain, ends)
            out = self._filtered(plain, ends)
        except (ValueError, zlib.error) as wrong:
            return self._broken(f"the provider's stream is not valid: {wrong}")
        if self._open:
            self._pass_on(out, ends)
            return Move.FLOW
        move = self._judged(self._judge.on_body(out, ends))
        if move is not Move.FAIL:
            self._pass_on(out, ends)
        return self._good() if move is Move.COMMIT else move

    def _pass_on(self, out: bytes, ends: bool) -> None:
        guard = self._guard
        if guard is None:
            self._out.append(out)
            return
        self._out.append(guard.feed(out))
        if ends:
            rest = guard.end()
            if rest is None:
                self._end_with(cut())
            else:
                self._out.append(rest)

    def _end_with(self, fault: Fault) -> None:
        """The client's stream ends with an error of ours."""
        self._over = True
        if self._guard is not None:
            self._out.append(self._guard.gap)
        self._out.append(self._client.stream_encoder(self._context).encode([Failed(fault)]))
        self._note(fault)

    def _judged(self, move: Move) -> Move:
        if move is Move.FAIL:
            told = self._alone.told if self._alone else None
            status, code, body = self._judge.failure(self._context.request_id, told)
            headers = (("content-type", "application/json"), *self._judge.kept)
            self._failure = Answer(status, headers, (), body, code, self._judge.cause)
        return move

    def on_hold_over(self) -> Move:
        return self._good()

    def on_late(self) -> Move:
        self._over = True
        return self._judged(self._judge.on_late())

    def reply_headers(self) -> tuple[Headers, tuple[str, ...]]:
        if not self._filters:
            return (), self._head.removed(frozenset())
        headers = [("content-type", "text/event-stream; charset=utf-8")]
        if request_id := self._head.request_id():
            headers.append((self._client.request_id_header, request_id))
        return tuple(headers), self._head.removed(frozenset(name for name, _ in headers))

    def break_off(self, message: str) -> Move:
        """The broker itself can't go on with this reply."""
        return self._fails(Fault(Cause.SERVER, 500, message, "broker_defect"))

    def _good(self) -> Move:
        return self._opened() if self._filters or self._guard else Move.COMMIT

    def _filtered(self, chunk: bytes, ends: bool) -> bytes:
        for filter in self._filters:
            chunk = filter.feed(chunk) + (filter.end() if ends else b"")
        return chunk

    def _takes_error(self, head: Head) -> bool:
        if self._alone is not None and self._alone.takes(head):
            return True
        return self._errors is not None and not head.is_good()

    def _collect(self, error: list[bytes], plain: bytes, ends: bool) -> Move:
        error.append(plain)
        if not ends and sum(map(len, error)) < MOST_HELD_BYTES:
            return Move.HOLD
        self._over = True
        if self._alone is not None and self._alone.takes(self._head):
            self._failure = self._alone.answer(self._head, b"".join(error))
            return Move.FAIL
        if self._errors is None:
            raise RuntimeError("nobody can read the error")
        fault = self._errors.decode_fault(self._head.status, self._head.values, b"".join(error))
        self._failure = rendered(self._client, fault, self._context, self._head)
        return Move.FAIL

    def _broken(self, message: str) -> Move:
        return self._fails(Fault(Cause.GARBAGE, 502, message, "upstream_garbage"))

    def _fails(self, fault: Fault) -> Move:
        if self._open:
            self._end_with(fault)
            return Move.FLOW
        self._over = True
        self._failure = rendered(self._client, fault, self._context, self._head)
        return Move.FAIL
