"""A reply in another dialect than its client's: whole, or piece by piece behind the commit point."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ..core.causes import CODES
from ..core.keys import LOCAL_REPLY_HEADER
from ..dialects import ClientDialect, Context, ProviderDialect, Upstream, Used, used_text
from ..dialects.conversation import ToolCall
from ..dialects.replies import (
    BlobGiven,
    Cause,
    Delta,
    Ended,
    Failed,
    Fault,
    PartStarted,
    ProviderFailed,
    ReplyEvent,
    Started,
    Stopped,
    UsageGiven,
)
from ..dialects.streaming import explode
from .member import ANY_ZLIB, INFLATED, MOST_HELD_BYTES, Move, late, tells_limits

_REQUEST_ID_HEADERS = ("request-id", "x-request-id", "x-amzn-requestid", "apim-request-id")
# What describes the provider's bytes and not ours, or speaks of its own dialect.
_PROVIDERS_OWN = ("content-length", "content-encoding", "transfer-encoding", "etag", "x-amzn-errortype")
_STREAM_TYPES = ("text/event-stream", "application/vnd.amazon.eventstream")

Headers = tuple[tuple[str, str], ...]


class Told(msgspec.Struct, frozen=True):
    """Of a failure: `cause` None where it is the broker's own."""

    code: str = ""
    cause: Cause | None = None


NOTHING_TOLD = Told()


class Answer(msgspec.Struct, frozen=True):
    """What the client gets: `remove` are the provider's headers that it does not get."""

    status: int
    headers: Headers
    remove: tuple[str, ...]
    body: bytes
    code: str = ""
    cause: Cause | None = None  # of a failure
    used: str = ""  # the usage that a good reply told, as `used_text` writes it


class Head:
    """A provider's reply headers: names in lower case, the first of equal names."""

    __slots__ = ("status", "values")

    def __init__(self, headers: Sequence[tuple[str, str]]) -> None:
        self.values = dict(reversed(headers))
        status = self.values.get(":status", "")
        self.status = int(status) if status.isdecimal() else 0

    def is_good(self) -> bool:
        return 200 <= self.status < 300

    def is_local(self) -> bool:
        """It is the words of Envoy, not of the provider: the client's dialect already."""
        return LOCAL_REPLY_HEADER in self.values

    def is_stream(self) -> bool:
        return self.values.get("content-type", "").strip().lower().startswith(_STREAM_TYPES)

    def removed(self, kept: frozenset[str]) -> tuple[str, ...]:
        """Those of the provider's headers that the client must not get."""
        return tuple(
            n
            for n in self.values
            if n not in kept and (n in _PROVIDERS_OWN or n.startswith("x-broker-") or n == "www-authenticate")
        )

    def request_id(self) -> str:
        return next((self.values[name] for name in _REQUEST_ID_HEADERS if name in self.values), "")


class Inflater:
    """Providers are asked for plain text; one that compresses all the same is read where that can be done."""

    def __init__(self, encoding: str) -> None:
        encoding = encoding.strip().lower()
        self.is_readable = encoding in INFLATED or encoding in ("", "identity")
        self._inflate = zlib.decompressobj(ANY_ZLIB) if encoding in INFLATED else None

    def feed(self, chunk: bytes) -> bytes:
        """zlib.error where the bytes are not compressed as the header says."""
        return self._inflate.decompress(chunk) if self._inflate else chunk


def _garbage(message: str) -> Fault:
    return Fault(Cause.GARBAGE, 502, message, "upstream_garbage")


def cut() -> Fault:
    """Of a stream that ended early, though cleanly, behind its commit point."""
    return Fault(Cause.CUT, 502, "the provider's stream ended before its end", "upstream_truncated")


def rendered(client: ClientDialect, fault: Fault, context: Context, head: Head | None = None) -> Answer:
    """A provider's failure as the client is told of it."""
    status, body = client.encode_fault(fault, context)
    headers: list[tuple[str, str]] = [("content-type", "application/json")]
    if fault.retry_after:
        headers.append(("retry-after", fault.retry_after))
    if request_id := fault.request_id or (head.request_id() if head else ""):
        headers.append((client.request_id_header, request_id))
    if head is not None:
        said = frozenset(name for name, _ in headers)
        headers += [(n, v) for n, v in head.values.items() if n not in said and _is_kept(n)]
    # The record's; the client's own error has its dialect's words.
    code = fault.code if fault.code.startswith(("upstream_", "broker_")) else CODES[fault.cause]
    removed = head.removed(frozenset(name for name, _ in headers)) if head else ()
    if status < 400:  # an error reply whose fault has no status of an error
        status = 502
    return Answer(status, tuple(headers), removed, body, code, fault.cause)


def _is_kept(header: str) -> bool:
    return header == "retry-after-ms" or tells_limits(header)


class Translated(msgspec.Struct, frozen=True):
    """A good whole reply for its client. `used`: as an Answer has it."""

    body: bytes
    used: str = ""


class WholeReply:
    """Events: `on_headers`, then `on_body` with the whole body. `translate`: a good body, with its headers,
    into the client's; `instead`: what stands in for a whole reply, whatever it is; None: nothing does;
    without a `provider` the dialects are the same, and an error reply passes as it is."""

    def __init__(
        self,
        client: ClientDialect,
        provider: ProviderDialect | None,
        context: Context,
        translate: Callable[[bytes, Mapping[str, str]], Translated],
        instead: Callable[[Head, bytes], Answer | None] | None = None,
    ) -> None:
        self._client = client
        self._provider = provider
        self._context = context
        self._translate = translate
        self._instead = instead
        self._head = Head(())

    def on_headers(self, headers: Sequence[tuple[str, str]], ends: bool) -> Answer | None:
        """None: wait for the body."""
        self._head = Head(headers)
        return self.on_body(b"") if ends and (self._provider or self._instead) else None

    def on_body(self, body: bytes) -> Answer | None:
        """None: let it pass as it is."""
        head = self._head
        if head.is_local():
            return None
        inflater = Inflater(head.values.get("content-encoding", ""))
        try:
            plain = inflater.feed(body)
            if self._instead is not None and (answer := self._instead(head, plain)) is not None:
                return answer
            if self._provider is None and not (head.is_good() and inflater.is_readable):
                return None
            if not inflater.is_readable:
                raise ValueError("it is compressed in a way that nobody asked for")
            if self._provider is not None and not head.is_good():
                fault = self._provider.decode_fault(head.status, head.values, plain)
                return rendered(self._client, fault, self._context, head)
            translated = self._translate(plain, head.values)
        except ProviderFailed as failed:
            return rendered(self._client, failed.fault, self._context, head)
        except (ValueError, zlib.error) as wrong:
            if self._provider is None:
                return None
            fault = _garbage(f"the provider's reply is not valid: {wrong}")
            return rendered(self._client, fault, self._context, head)
        headers = [("content-type", "application/json"), ("content-length", str(len(translated.body)))]
        if self._provider is not None and (request_id := head.request_id()):
            headers.append((self._client.request_id_header, request_id))
        kept = frozenset(name for name, _ in headers)
        removed = head.removed(kept)
        return Answer(head.status, tuple(headers), removed, translated.body, used=translated.used)


def _is_real(event: ReplyEvent) -> bool:
    """A piece of the answer: what stands before it can still be taken back."""
    match event:
        case Delta(_, text):
            return text != ""
        case PartStarted(_, part):
            return isinstance(part, ToolCall)
        case BlobGiven() | Stopped() | Ended():
            return True
    return False


class Flowing:
    """What streams that stay in the path have in common: what the client is to get, now or instead."""

    def __init__(self) -> None:
        self._out: list[bytes] = []
        self._open = self._over = False
        self._failure: Answer | None = None
        self._told = NOTHING_TOLD
        self._used: Used | None = None

    def take(self) -> bytes:
        """What the client is to get now."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def told(self) -> Told:
        """What is to be recorded with that: how a stream failed that has begun to reach the client."""
        told, self._told = self._told, NOTHING_TOLD
        return told

    def used(self) -> str:
        """What is to be recorded with that: the usage so far, where it is news; else empty."""
        if (used := self._used) is None:  # nearly always
            return ""
        self._used = None
        return used_text(used)

    def failure(self) -> Answer:
        """After FAIL."""
        if self._failure is None:
            raise RuntimeError("nothing has failed")
        return self._failure

    def on_hold_over(self) -> Move:
        """The preamble stands alone for a while: the provider lives, and thinks."""
        return self._opened()

    def _opened(self) -> Move:
        self._open = True
        return Move.OPEN

    def _note(self, fault: Fault, code: str = "") -> None:
        """`code`: what the record is to call it, where it has no code of ours."""
        is_ours = fault.code == "broker_defect"  # no member is to blame for it
        self._told = Told(code or fault.code, None if is_ours else fault.cause)


class TranslatedStream(Flowing):
    """Events: `on_headers`, `on_body` …, `on_hold_over`; each says what to do next. After OPEN the stream
    flows: each piece that comes in is answered with what `take` gives. It never leaves the path."""

    def __init__(
        self, client: ClientDialect, provider: ProviderDialect, upstream: Upstream, context: Context
    ) -> None:
        super().__init__()
        self._client = client
        self._provider = provider
        self._upstream = upstream
        self._context = context
        self._decoder = provider.stream_decoder(upstream)
        self._encoder = client.stream_encoder(context)
        self._head = Head(())
        self._inflater = Inflater("")
        self._collected: list[bytes] | None = None  # of a reply that is no stream
        self._held_bytes = 0
        self._alive = False
        self._last_used: Used | None = None
        self._tier, self._tells_late = "", False

    # -- events

    def on_headers(self, headers: Sequence[tuple[str, str]], ends: bool) -> Move:
        head = self._head = Head(headers)
        if head.is_local():
            return Move.COMMIT
        self._inflater = Inflater(head.values.get("content-encoding", ""))
        if not (head.is_good() and head.is_stream()):
            self._collected = []
        if not self._inflater.is_readable:
            return self._fail(_garbage("the provider's reply is compressed in a way that nobody asked for"))
        return self.on_body(b"", True) if ends else Move.HOLD

    def on_body(self, chunk: bytes, ends: bool) -> Move:
        try:
            plain = self._inflater.feed(chunk)
        except zlib.error as wrong:
            return self._break_off(_garbage(f"the provider's reply is not compressed as it says: {wrong}"))
        if self._collected is not None:
            return self._collect(plain, ends)
        events = self._decoder.feed(plain) if plain else []
        if ends:
            events = [*events, *self._decoder.end()]
        return self._on_events(events, ends, len(plain))

    def on_late(self) -> Move:
        """The time for the first event is over."""
        told = late(self._upstream.provider)
        return self._break_off(Fault(Cause.FIRST_EVENT, 504, told, "upstream_timeout"))

    # -- what to send

    def reply_headers(self) -> tuple[Headers, tuple[str, ...]]:
        """(set, remove) on the reply's headers, at OPEN."""
        headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
        if request_id := self._head.request_id():
            headers.append((self._client.request_id_header, request_id))
        return tuple(headers), self._head.removed(frozenset(name for name, _ in headers))

    def break_off(self, message: str) -> Move:
        """The broker itself can't go on with this reply."""
        return self._break_off(Fault(Cause.SERVER, 500, message, "broker_defect"))

    # -- inside

    def _on_events(self, events: list[ReplyEvent], ends: bool, size: int) -> Move:
        if self._over:
            return Move.FLOW
        if not self._open:
            for event in events:
                if _is_real(event):
                    self._encode(events, ends)
                    return self._opened()
                if isinstance(event, Failed):
                    return self._fail(event.fault)
            if ends:
                return self._fail(Fault(Cause.CUT, 502, "the provider's stream is empty", "upstream_cut"))
        self._encode(events, ends)
        if self._open:
            return Move.FLOW
        return self._held(events, size)

    def _held(self, events: Sequence[ReplyEvent], size: int) -> Move:
        self._held_bytes += size
        if self._held_bytes > MOST_HELD_BYTES:
            return self._opened()
        alive_before, self._alive = self._alive, self._alive or bool(events)
        return Move.HOLD_BRIEFLY if self._alive and not alive_before else Move.HOLD

    def _encode(self, events: list[ReplyEvent], ends: bool) -> None:
        """Into the client's stream, up to its end. One that ends before its own last event was cut: the
        client must not take it for whole."""
        for number, event in enumerate(events):
            if type(event) is Delta:  # nearly always
                continue
            if type(event) is UsageGiven or type(event) is Started:
                self._use(event)
            elif type(event) is Ended or type(event) is Failed:
                self._over = True
                events = events[: number + 1]
                if isinstance(event, Failed):
                    is_garbage = event.fault.cause is Cause.GARBAGE
                    self._note(event.fault, "upstream_garbage" if is_garbage else "upstream_error")
                else:
                    self._settle_usage()
                break
        if ends and not self._over:
            self._over = True
            fault = cut()
            self._note(fault)
            events = [*events, Failed(fault)]
        if events:
            self._out.append(self._encoder.encode(events))

    def _use(self, event: UsageGiven | Started) -> None:
        self._tier = event.service_tier or self._tier
        if event.usage is not None:
            self._used = self._last_used = Used(event.usage, self._tier, is_final=False)
        self._tells_late = isinstance(event, UsageGiven)

    def _settle_usage(self) -> None:
        """The stream is whole: what was told of usage behind its beginning was the last word."""
        if self._last_used is not None and self._tells_late:
            self._used = msgspec.structs.replace(self._last_used, is_final=True)

    def _collect(self, plain: bytes, ends: bool) -> Move:
        """A reply that is no stream: an error, or an answer in one piece."""
        collected = self._collected if self._collected is not None else []
        collected.append(plain)
        self._held_bytes += len(plain)
        if self._held_bytes > 64 * MOST_HELD_BYTES:
            return self._fail(_garbage("the provider's reply is too large"))
        if not ends:
            return Move.HOLD
        body = b"".join(collected)
        if not self._head.is_good():
            return self._fail(self._provider.decode_fault(self._head.status, self._head.values, body))
        try:
            reply = self._provider.decode_reply(body, self._upstream)
        except ProviderFailed as failed:
            return self._fail(failed.fault)
        except ValueError as wrong:
            return self._fail(_garbage(f"the provider's reply is not valid: {wrong}"))
        self._encode(list(explode(reply)), ends=True)
        return self._opened()

    def _break_off(self, fault: Fault) -> Move:
        if not self._open:
            return self._fail(fault)
        if not self._over:
            self._over = True
            self._note(fault)
            self._out.append(self._encoder.encode([Failed(fault)]))
        return Move.FLOW

    def _fail(self, fault: Fault) -> Move:
        self._failure = rendered(self._client, fault, self._context, self._head)
        return Move.FAIL
