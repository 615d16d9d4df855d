"""What the broker's own functions cost, without a process, a socket or an Envoy around them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import targets
import yaml
from messages import Envoys, NoWire
from modelbroker.budgets import Keeper
from modelbroker.cli.runtime import Overrides, prepare
from modelbroker.core.call import Caller, Facts
from modelbroker.core.opened import Opened
from modelbroker.core.prices import Cost
from modelbroker.core.record import Attempt, Record
from modelbroker.core.usage import EXACT, Usage
from modelbroker.dialects import dialect_named, surface_for_path
from modelbroker.envoyapi import api
from modelbroker.exchange import Forward, Inbound, Moment, OuterCall, View
from modelbroker.extproc.asking import NO_DESK, Desk
from modelbroker.extproc.cache import CacheDesk
from modelbroker.extproc.messages import Messages
from modelbroker.extproc.streams import Streams
from modelbroker.policy import Book, decide
from modelbroker.policy.hedging import HedgeTally
from modelbroker.records.metrics import CallCounts
from modelbroker.records.opens import OpenCalls
from modelbroker.records.pricing import price
from modelbroker.records.write_ahead import Mark, Segments
from stopwatch import timed
from traffic import MODEL, PATH, request_body, stream_events, whole_reply

_DIALECT = "openai-chat"
_CLOSED_TOGETHER = 50  # calls at a tenth of a second, which is how often records are written


def measure(seconds: float, rounds: int) -> list[tuple[str, float]]:
    """(function, µs of CPU a call)."""
    named = works()
    return list(zip(named, timed(list(named.values()), seconds, rounds), strict=True))


def view() -> View:
    """The configuration of the measured broker."""
    texts = {"broker.yaml": yaml.safe_dump(targets.broker_config(1))}
    return prepare(texts, Overrides(), {"KEY_OF_PROVIDERS": "sk-provider-secret"}).view


def with_budgets(count: int) -> View:
    """The same with so many budgets that each call falls into, and above two with rate limits."""
    more = targets.budgets(count, limits=count > 2)
    texts = {"broker.yaml": yaml.safe_dump({**targets.broker_config(1), **more})}
    return prepare(texts, Overrides(), {"KEY_OF_PROVIDERS": "sk-provider-secret"}).view


def works() -> dict[str, Callable[[], Any]]:
    seen = view()
    small, large = request_body(1024), request_body(100 * 1024)
    dialect = dialect_named(_DIALECT)
    surface = surface_for_path(PATH)
    assert surface is not None
    facts = Facts(caller=Caller(), surface=surface, model=MODEL)
    inbound = Inbound(_headers())

    def outer_call(body: bytes) -> Forward:
        call = OuterCall(seen, "0" * 32)
        assert call.on_headers(inbound, ends=False) is None
        forward = call.on_body(body, Moment(0.0, 0))
        assert isinstance(forward, Forward)
        return forward

    def budgeted(paid: View) -> Callable[[], None]:
        keeper = Keeper()
        keeper.configured(paid.catalog.budgets)
        cost = Cost(1000, {"output": 1000})
        attempt = Attempt("a/m", 200, 1.0, usage=Usage(10, output=10), usage_state=EXACT, cost=cost)
        record = Record("0" * 32, 0.0, 1.0, 1.0, 200, "POST", PATH, attempts=(attempt,), attempts_made=1)

        def work() -> None:
            call = OuterCall(paid, "0" * 32, funds=keeper)
            call.on_headers(inbound, ends=False)
            call.on_body(small, Moment(1_800_000_000.0, 0))
            keeper.settle(record)

        return work

    traced = traced_call(small)
    wire = _Wire(seen)
    forward = outer_call(small)
    return {
        "read the facts of a 1 KB body": lambda: dialect.read(small),
        "read the facts of a 100 KB body": lambda: dialect.read(large),
        "decide": lambda: decide(facts, seen.catalog, seen.state),
        "OuterCall, headers and 1 KB body to Forward": lambda: outer_call(small),
        "... traced, in an agent's trace": traced,
        "... with one budget, and settled": budgeted(with_budgets(1)),
        "... with two budgets and three rate limits, and settled": budgeted(with_budgets(3)),
        "OuterCall, headers and 100 KB body to Forward": lambda: outer_call(large),
        "decode the request headers' message": lambda: wire.messages.decode(wire.request_headers),
        "... and list its headers": lambda: wire.list_headers(),
        "decode the message of a 100 KB body": lambda: wire.messages.decode(wire.body_message(large)),
        "encode Forward": lambda: wire.messages.forward(forward),
        "outer stream, 1 KB: all but the transport": wire.outer(small),
        "outer stream, 100 KB: all but the transport": wire.outer(large),
        "member stream up to the commit point": wire.member(),
        "... with its open entry, one budget and a cache": paid_work(small, 1, to_end=False),
        "... and to its end: settled and priced": paid_work(small, 1),
        "... the same with two budgets and three rate limits": paid_work(small, 3),
        "count a call and its attempt in the metrics, by three labels, too": counted_call(),
        **cached_works(small),
    }


def traced_call(body: bytes) -> Callable[[], None]:
    """The call of an agent that has a trace, to Forward."""
    config = {**targets.broker_config(1), "telemetry": {"traces": "on"}}
    seen = prepare(
        {"broker.yaml": yaml.safe_dump(config)}, Overrides(), {"KEY_OF_PROVIDERS": "sk-provider-secret"}
    ).view
    inbound = Inbound([*_headers(), ("traceparent", f"00-{'4b' * 16}-{'00f0' * 4}-01")])

    def work() -> None:
        call = OuterCall(seen, "0190a5d3c4b27cde8f0123456789abcd")
        call.on_headers(inbound, ends=False)
        call.on_body(body, Moment(0.0, 0))

    return work


def paid_work(body: bytes, budgets: int, to_end: bool = True) -> Callable[[], None]:
    """On the call's own way: an open entry, budgets (above two with rate limits), and a cache that has no
    answer. `to_end`: also what follows when it has ended, the price of its record and what it is charged.
    Open entries are closed together, as they are where records are written."""
    more = targets.budgets(budgets, limits=budgets > 2)
    config = targets.broker_config(1, cache={"max_context_tokens": "100k"}) | more
    seen = prepare(
        {"broker.yaml": yaml.safe_dump(config)}, Overrides(), {"KEY_OF_PROVIDERS": "sk-provider-secret"}
    )
    keeper = Keeper()
    keeper.configured(seen.catalog.budgets)
    folder = tempfile.mkdtemp(prefix="bench-")
    opens = OpenCalls(Segments(Path(folder)), lambda mark: frozenset())
    opened: list[str] = []
    ended: list[str] = []

    def open_call(call: Opened) -> None:
        opens.open(call)
        opened.append(call.request_id)

    wire = _Wire(seen.view, keeper, open_call)
    begins = wire.outer(body)
    usage = Usage(10, output=10)
    attempt = Attempt("bench/m", 200, 1.0, usage=usage, usage_state=EXACT, started_s=1_800_000_000.0)
    record = Record("", 0.0, 1.0, 1.0, 200, "POST", PATH, attempts=(attempt,), attempts_made=1)

    def work() -> None:
        begins()
        record.request_id = request_id = opened.pop()
        wire.desk.replies.land(request_id)
        if to_end:
            price(record, seen.prices)
            keeper.settle(record)
        else:
            keeper.accounts.held.clear()
        ended.append(request_id)
        if len(ended) == _CLOSED_TOGETHER:
            opens.closed(ended, Mark(1, 2))
            ended.clear()

    for _ in range(_CLOSED_TOGETHER):
        work()
    assert not keeper.accounts.held and not len(opens)
    return work


def counted_call() -> Callable[[], None]:
    """Behind the call: what Prometheus gets of its record."""
    config = {**targets.broker_config(1), "metrics": {"labels": ["team", "customer", "feature"]}}
    catalog = prepare(
        {"broker.yaml": yaml.safe_dump(config)}, Overrides(), {"KEY_OF_PROVIDERS": "sk-provider-secret"}
    ).view.catalog
    counts = CallCounts()
    counts.configured(catalog)
    member = next(iter(catalog.pools[MODEL].members)).id
    attempt = Attempt(member, 200, 812.4, 410.2, 411.0, usage=Usage(10, output=10), usage_state=EXACT)
    attempt.cost = Cost(1000, {"output": 1000})
    record = Record("0" * 32, 0.0, 815.1, 412.9, 200, "POST", PATH, attempts=(attempt,), attempts_made=1)
    record.pool = record.model = MODEL
    record.member, record.dialect, record.outcome, record.added_ms = member, _DIALECT, "ok", 1.0
    record.team, record.customer, record.feature = "search", "acme", "chat"

    def work() -> None:
        counts.ended(attempt)
        counts.count(record)

    return work


def cached_works(body: bytes) -> dict[str, Callable[[], Any]]:
    """The same call where the pool has a cache."""
    config = targets.broker_config(1, cache={"max_context_tokens": "100k"})
    seen = prepare(
        {"broker.yaml": yaml.safe_dump(config)}, Overrides(), {"KEY_OF_PROVIDERS": "sk-provider-secret"}
    ).view
    streamed = b"{" + b'"stream":true,' + body[1:]
    whole_head = [(":status", "200"), ("content-type", "application/json")]
    stream_head = [(":status", "200"), ("content-type", "text/event-stream")]
    return {
        "... where the reply is kept, 1 KB whole": _Wire(seen).kept(body, whole_head, [whole_reply()]),
        "... where the reply is kept, 53 events": _Wire(seen).kept(streamed, stream_head, stream_events()),
        "... where a kept reply answers": _Wire(seen).hit(body, whole_head, [whole_reply()]),
        "... where a kept stream answers": _Wire(seen).hit(streamed, stream_head, stream_events()),
    }


class _Wire:
    """Messages as Envoy sends them, and the broker's side of the streams."""

    def __init__(
        self,
        seen: View,
        funds: Desk = NO_DESK,
        opened: Callable[[Opened], None] = lambda opened: None,
    ) -> None:
        envoy = api()
        self.messages = Messages(envoy)
        self._envoys = Envoys(envoy)
        self.desk = CacheDesk(1 << 26)
        self._streams = Streams(
            self.messages, b"bench", Book(), HedgeTally(), opened=opened, funds=funds, desk=self.desk
        )
        self._streams.set_views(seen, {})
        self._generation = seen.generation
        self.request_headers = self._envoys.headers("request_headers", _headers())
        self._decoded = self.messages.decode(self.request_headers).request_headers

    def body_message(self, body: bytes) -> bytes:
        return self._envoys.body(body)

    def list_headers(self) -> Any:
        return self.messages.headers(self._decoded)

    def outer(self, body: bytes) -> Callable[[], None]:
        message = self._envoys.body(body)
        metadata = {"x-broker-role": "outer", "x-broker-generation": self._generation}

        def work() -> None:
            stream = self._streams.open(metadata, NoWire())
            stream.receive(self.request_headers)
            stream.receive(message)

        return work

    def kept(self, body: bytes, head: list[tuple[str, str]], pieces: list[bytes]) -> Callable[[], None]:
        """A call that wants a fresh answer, and its reply."""
        asks = [*_headers(), ("cache-control", "no-cache")]
        serialized = [
            self._envoys.headers("request_headers", asks),
            self._envoys.body(body),
            self._envoys.headers("response_headers", head),
            *(self._envoys.body(piece, "response_body", ends=piece is pieces[-1]) for piece in pieces),
        ]
        metadata = {"x-broker-role": "outer", "x-broker-generation": self._generation}

        def work() -> None:
            stream = self._streams.open(metadata, NoWire())
            for message in serialized:
                stream.receive(message)

        work()
        assert len(self.desk.replies.memory) == 1
        return work

    def hit(self, body: bytes, head: list[tuple[str, str]], pieces: list[bytes]) -> Callable[[], None]:
        self.kept(body, head, pieces)
        return self.outer(body)

    def member(self) -> Callable[[], None]:
        """The reply's headers, the preamble, the first word."""
        head = [(":status", "200"), ("content-type", "text/event-stream"), ("cache-control", "no-cache")]
        serialized = [
            self._envoys.headers("response_headers", head),
            *(self._envoys.body(event, "response_body", ends=False) for event in stream_events()[:2]),
        ]
        metadata = {"x-broker-role": "member", "x-broker-dialect": _DIALECT}

        def work() -> None:
            stream = self._streams.open(metadata, NoWire())
            for message in serialized:
                stream.receive(message)

        return work


def _headers() -> list[tuple[str, str]]:
    """What Envoy tells of a call from an OpenAI SDK."""
    return [
        (":authority", "127.0.0.1:8080"),
        (":path", PATH),
        (":method", "POST"),
        (":scheme", "http"),
        ("authorization", f"Bearer {targets.KEY}"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("user-agent", "OpenAI/Python 3.52.0"),
        ("x-stainless-lang", "python"),
        ("x-stainless-retry-count", "0"),
        ("content-type", "application/json"),
        ("content-length", "1024"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-envoy-internal", "true"),
        ("x-request-id", "6a3f9d0e-6f7b-4a55-9d55-0a8f4f1a2b3c"),
    ]
