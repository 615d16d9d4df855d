"""What a translated call costs in our own code: every client's dialect at every provider's but its own.

`dialects`: decoder and encoder alone. `exchange`: the state machines around them. `extproc`: from Envoy's
messages to Envoy's messages, all but the transport. Streams come one event a message.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import conversations
import msgspec
from conversations import CLIENTS, MODELS, THOUGHT
from messages import Envoys, NoWire
from modelbroker.dialects import SURFACES, Context, Upstream, client_dialect, provider_dialect
from modelbroker.envoyapi import api
from modelbroker.exchange import Spoken, TranslatedStream
from modelbroker.extproc.messages import Messages
from modelbroker.extproc.streams import Streams
from modelbroker.policy import Book
from modelbroker.policy.hedging import HedgeTally
from stopwatch import timed

# What a translated call is allowed, in µs of CPU: the project's own limits.
LARGE_BYTES, LARGE_US = 100 * 1024, 1_000
EVENT_US = 30
_IMAGE_BYTES = 1 << 20
_CONTEXT = Context("0" * 32, 1_700_000_000, "model")


@dataclass(frozen=True, slots=True)
class Column:
    """`limit_us` of one figure, 0 where there is none. `per_event`: figures are of one event of a stream."""

    name: str
    limit_us: float = 0
    per_event: bool = False


COLUMNS = (
    Column("100 KB as JSON alone"),
    Column("100 KB, dialects", LARGE_US),
    Column("extproc"),
    Column("1 MB image, dialects"),
    Column("reply 6 KB, dialects"),
    Column("extproc"),
    Column("event of text, dialects", EVENT_US, True),
    Column("of calls, dialects", EVENT_US, True),
    Column("exchange", EVENT_US, True),
    Column("extproc", EVENT_US, True),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A pair of dialects, and a figure for each of COLUMNS in µs of CPU."""

    client: str
    provider: str
    us: tuple[float, ...]

    def cells(self) -> list[str]:
        shown = (f"{us:,.1f}" if us < 100 else f"{us:,.0f}" for us in self.us)
        marked = zip(shown, self.us, COLUMNS, strict=True)
        return [self.client, self.provider, *(f"{text}{_mark(us, column)}" for text, us, column in marked)]


def _mark(us: float, column: Column) -> str:
    """`!` where a limit does not hold."""
    return "!" if column.limit_us and us > column.limit_us else ""


def head() -> tuple[str, ...]:
    return ("client", "provider", *(column.name for column in COLUMNS))


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Whether the limits hold, a line each."""
    told = []
    for limit, what in ((LARGE_US, "a conversation of 100 KB"), (EVENT_US, "a streamed event")):
        figures = [
            (us, row)
            for row in rows
            for us, column in zip(row.us, COLUMNS, strict=True)
            if column.limit_us == limit
        ]
        worst, row = max(figures, key=lambda figure: figure[0])
        holds = "holds" if worst <= limit else "DOES NOT HOLD"
        told.append(
            f"{what} in under {limit:,} µs: {holds}; at the most {worst:,.1f} µs, "
            f"from {row.client} at {row.provider}"
        )
    return told


def measure(seconds: float, rounds: int) -> list[Row]:
    """A row for each pair of dialects."""
    pairs = all_pairs()
    works = [work for pair in pairs for work in pair.works()]
    us = timed([work for work, _ in works], seconds, rounds)
    figures = iter([all_of_it / parts for all_of_it, (_, parts) in zip(us, works, strict=True)])
    return [Row(*pair.names, tuple(itertools.islice(figures, len(COLUMNS)))) for pair in pairs]


def all_pairs() -> list[Pair]:
    return [Pair(client, provider) for client in CLIENTS for provider in MODELS if client != provider]


class Pair:
    def __init__(self, client: str, provider: str) -> None:
        self._client = client_dialect(client)
        self._provider = provider_dialect(provider)
        self._upstream = Upstream("bench", provider, MODELS[provider], region="us-east-1")
        self.names = client, provider
        self._envoys = Envoys(api())
        self._streams = Streams(Messages(api()), b"bench", Book(), HedgeTally())
        spoken = Spoken((provider,), self._upstream)
        self._metadata = {"x-broker-role": "member", "x-broker-member": msgspec.json.encode(spoken).decode()}

    def works(self) -> list[tuple[Callable[[], Any], int]]:
        """(work, how many figures it holds), one for each of COLUMNS."""
        client, name = self.names
        large = conversations.request_of(client, LARGE_BYTES)
        image = conversations.request_of(client, 1024, image_bytes=_IMAGE_BYTES)
        reply = conversations.reply_of(name, 300, 3, THOUGHT)
        content_type, text = conversations.events_of(name, 200)
        _, calls = conversations.events_of(name, 40, 3, THOUGHT)
        return [
            (lambda: msgspec.json.encode(msgspec.json.decode(large)), 1),
            (lambda: self._request(large), 1),
            (self._extproc_request(large), 1),
            (lambda: self._request(image), 1),
            (lambda: self._reply(reply), 1),
            (self._extproc_reply(reply), 1),
            (lambda: self._stream(text), len(text)),
            (lambda: self._stream(calls), len(calls)),
            (lambda: self._exchanged(calls, content_type), len(calls)),
            (self._extproc_stream(calls, content_type), len(calls)),
        ]

    # -- dialects

    def _request(self, body: bytes) -> bytes:
        return self._provider.encode_request(self._client.decode_request(body), self._upstream).body

    def _reply(self, body: bytes) -> bytes:
        return self._client.encode_reply(self._provider.decode_reply(body, self._upstream), _CONTEXT)

    def _stream(self, events: Sequence[bytes]) -> None:
        decoder = self._provider.stream_decoder(self._upstream)
        encoder = self._client.stream_encoder(_CONTEXT)
        for event in events:
            encoder.encode(decoder.feed(event))
        encoder.encode(decoder.end())

    # -- exchange

    def _exchanged(self, events: Sequence[bytes], content_type: str) -> None:
        stream = TranslatedStream(self._client, self._provider, self._upstream, _CONTEXT)
        stream.on_headers([(":status", "200"), ("content-type", content_type)], ends=False)
        for event in events:
            stream.on_body(event, False)
            stream.take()
        stream.on_body(b"", True)
        stream.take()

    # -- extproc

    def _extproc(self, *messages: bytes) -> Callable[[], None]:
        def work() -> None:
            stream = self._streams.open(self._metadata, NoWire())
            for message in messages:
                stream.receive(message)

        return work

    def _request_messages(self, body: bytes, *, stream: bool) -> tuple[bytes, bytes]:
        surface = next(s for s in SURFACES if s.dialect == self.names[0] and s.operation == "chat")
        headers = [
            (":path", surface.path),
            (":method", "POST"),
            ("content-type", "application/json"),
            ("user-agent", "OpenAI/Python 3.52.0"),
            ("x-stainless-lang", "python"),
            ("x-broker-request-id", "0" * 32),
            ("x-broker-surface", surface.name),
            *((("x-broker-stream", surface.dialect),) if stream else ()),
        ]
        return self._envoys.headers("request_headers", headers), self._envoys.body(body)

    def _reply_headers(self, content_type: str) -> bytes:
        headers = [(":status", "200"), ("content-type", content_type), ("x-request-id", "req_0123456789")]
        return self._envoys.headers("response_headers", headers)

    def _extproc_request(self, body: bytes) -> Callable[[], None]:
        return self._extproc(*self._request_messages(body, stream=False))

    def _extproc_reply(self, reply: bytes) -> Callable[[], None]:
        """A small request is in it."""
        return self._extproc(
            *self._request_messages(conversations.short_request_of(self.names[0]), stream=False),
            self._reply_headers("application/json"),
            self._envoys.body(reply, "response_body"),
        )

    def _extproc_stream(self, events: Sequence[bytes], content_type: str) -> Callable[[], None]:
        """The same, shared out to the events."""
        body = conversations.short_request_of(self.names[0], stream=True)
        return self._extproc(
            *self._request_messages(body, stream=True),
            self._reply_headers(content_type),
            *(self._envoys.body(event, "response_body", ends=False) for event in events),
            self._envoys.body(b"", "response_body"),
        )
