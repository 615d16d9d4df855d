"""The access-log service: entries in, records out to whoever wants them (a file, metrics)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from prometheus_client import Counter, Gauge

from ..core.logs import FAILURES_LOG, HEDGE_LOG, MEMBER_LOG, OUTER_LOG, is_urgent
from ..core.prices import NO_PRICES, PriceBook
from ..core.record import Attempt, Observed, Record
from ..envoyapi import AnyMessage, EnvoyApi
from .entries import attempt_of, goes_on, hedge_of, id_of, is_handed_back, observed_of, record_of, reserved_of
from .join import Joiner
from .lost import go_on_from, lost_record
from .metrics import CallCounts
from .opens import OpenCalls
from .pricing import price
from .repair import repaired
from .savings import Savings, count_cache
from .undecided import Undecided, UndecidedFile

log = logging.getLogger("modelbroker.records")

_SERVICE = "envoy.service.accesslog.v3.AccessLogService"
_HEALTH_PATH = "/healthz"
_WARN_EVERY_S = 60.0
_LOST = Gauge("modelbroker_records_lost", "Calls with attempts whose own entry never came")
_INCOMPLETE = Counter("modelbroker_records_incomplete", "Records that miss an attempt's entry")


class AccessLogServer:
    """`sinks` get each record once, those that are whole at the same time together, on the event loop: they
    must be quick. `observe` is told of each attempt once, of failed ones at once; `hedged` of each
    call (its id, and whether two attempts ran side by side). `prices`: the book that holds now. `opens`:
    calls that were answered; `undecided`: Envoy's file of those for which no member was asked. `paid` is
    told what calls used whose replies are kept. `reserved` is told what a call's entry says was reserved in
    budgets, `settle` gets each record before the sinks do."""

    def __init__(
        self,
        api: EnvoyApi,
        *sinks: Callable[[Sequence[Record]], None],
        observe: Callable[[Observed], None] | None = None,
        hedged: Callable[[str, bool], None] | None = None,
        prices: Callable[[], PriceBook] = lambda: NO_PRICES,
        opens: OpenCalls | None = None,
        undecided: UndecidedFile | None = None,
        paid: Callable[[str, str], None] = lambda request_id, used: None,
        reserved: Callable[[str, str], None] | None = None,
        settle: Callable[[Record], None] | None = None,
    ) -> None:
        self._api = api
        self._sinks = sinks
        self._observe = observe
        self._hedged = hedged
        self._prices = prices
        self._opens = opens
        self._undecided = Undecided()
        self._undecided_file = undecided
        self._savings = Savings(paid)
        self._reserved = reserved
        self._settle = settle
        self.counts = CallCounts()
        self._joiner = Joiner()
        self._warned_s: dict[str, float] = {}  # member → when

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        request = self._api.message_class("envoy.service.accesslog.v3.StreamAccessLogsMessage")
        response = self._api.message_class("envoy.service.accesslog.v3.StreamAccessLogsResponse")
        method = grpc.stream_unary_rpc_method_handler(
            self._stream,
            request_deserializer=lambda data: _read(request, data),
            response_serializer=response.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"StreamAccessLogs": method})

    async def run(self) -> None:
        """Give out what waited long enough, until cancelled."""
        before_s = time.monotonic()
        while True:
            await asyncio.sleep(1)
            now_s = time.monotonic()
            try:
                self._look(now_s, now_s - before_s)
                self.counts.sweep(now_s)
            except Exception:
                log.exception("records that wait were not given out")
            before_s = now_s

    def _look(self, now_s: float, elapsed_s: float) -> None:
        """For what does not come by itself."""
        late = self._joiner.due(now_s)
        _INCOMPLETE.inc(len(late))
        _LOST.set(self._joiner.forgotten)
        if self._opens is not None:
            late += [lost_record(it, self._joiner.take(it.request_id)) for it in self._opens.tick(elapsed_s)]
        if self._undecided_file is not None:
            self._undecided.take(self._undecided_file.read(), now_s)
            ended = [self._ended(record, now_s) for record in self._undecided.due(now_s)]
            late += [record for record in ended if record is not None]
            if self._undecided.is_idle:
                self._undecided_file.empty()
        self._give(late)
        self._give_out(self._savings.due(now_s))

    def recall(self, written: Callable[[], Collection[str]]) -> None:
        """Read what Envoy wrote before this process began; `written` gives the ids of calls that have their
        records."""
        if self._undecided_file is None or not (records := self._undecided_file.read()):
            return
        known, now_s = written(), time.monotonic()
        self._undecided.take([record for record in records if record.request_id not in known], now_s)

    async def _stream(
        self, requests: AsyncIterator[AnyMessage], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AnyMessage:
        name = ""
        async for message in requests:
            name = message.identifier.log_name or name  # only the first message of a stream has it
            self.take(name, message.http_logs.log_entry)
        return self._api.message_class("envoy.service.accesslog.v3.StreamAccessLogsResponse")()

    def take(self, name: str, entries: Iterable[AnyMessage]) -> None:
        """Entries of the log `name`: the records that they make whole are given out."""
        now_s = time.monotonic()
        records = []
        for entry in entries:
            try:
                record = self._take(name, entry, now_s)
            except Exception:  # one odd entry must not end the stream for all
                log.exception("an access-log entry could not be read")
                continue
            if record is not None:
                records.append(record)
        self._give(records)

    def _take(self, name: str, entry: AnyMessage, now_s: float) -> Record | None:
        if name == OUTER_LOG:
            return self._take_outer(entry, now_s)
        if name == MEMBER_LOG:
            request_id, attempt = attempt_of(entry)
            if not is_urgent(entry.response.response_code.value, attempt.flags):
                self._tell(entry, request_id, attempt)
            self.counts.ended(attempt)
            if attempt.code == "upstream_credential_refused":
                self._warn_of_credential(attempt, now_s)
            return self._joiner.attempt(request_id, attempt, now_s)
        if name == HEDGE_LOG:
            return self._joiner.hedge(*hedge_of(entry), now_s)
        if name == FAILURES_LOG:
            self._tell(entry, *attempt_of(entry))
        return None

    def _take_outer(self, entry: AnyMessage, now_s: float) -> Record | None:
        if goes_on(entry):
            if self._opens is not None:
                self._opens.seen(id_of(entry))
            return None
        record = record_of(entry)
        # A probe is no call.
        if record.path == _HEALTH_PATH:
            return None
        if is_handed_back(record):
            self._joiner.handed_back(record, now_s)
            return None
        if self._undecided_file is not None and not record.pool:
            self._undecided.told(record.request_id, now_s)
        if self._reserved is not None and (reserved := reserved_of(entry)):
            self._reserved(record.request_id, reserved)
        return self._ended(record, now_s)

    def _ended(self, record: Record, now_s: float) -> Record | None:
        """A call has ended; its record if nothing is missing."""
        if self._opens is not None:
            self._opens.ended(record.request_id)
            opened = self._opens.opened(record.request_id)
            if opened is not None and not record.revision:
                go_on_from(record, opened)
        return self._joiner.outer(record, now_s)

    def _tell(self, entry: AnyMessage, request_id: str, attempt: Attempt) -> None:
        if self._observe is None:
            return
        if (seen := observed_of(entry, request_id, attempt, time.time())) is not None:
            self._observe(seen)

    def _warn_of_credential(self, attempt: Attempt, now_s: float) -> None:
        """Others may answer for a member whose key is wrong: nobody would notice."""
        if now_s - self._warned_s.get(attempt.member, -_WARN_EVERY_S) < _WARN_EVERY_S:
            return
        self._warned_s[attempt.member] = now_s
        log.warning(
            "%s: the provider refused the broker's credential with status %d",
            attempt.member,
            attempt.provider_status,
        )

    def _give(self, records: Sequence[Record]) -> None:
        if any(record.cache for record in records):
            records = self._savings.take(records, time.monotonic())
        self._give_out(records)

    def _give_out(self, records: Sequence[Record]) -> None:
        if not records:
            return
        book = self._prices()
        for record in records:
            price(record, book)
            if self._settle is not None:
                self._settle(record)
            self.counts.count(record)
            if record.cache:
                count_cache(record)
            if self._hedged is not None:
                self._hedged(record.request_id, record.hedged)
        for sink in self._sinks:
            try:
                sink(records)
            except Exception:
                log.exception("records were not taken")


def _read(message_class: Any, data: bytes) -> AnyMessage:
    try:
        return message_class.FromString(data)
    except DecodeError:
        return message_class.FromString(repaired(data, message_class.DESCRIPTOR))
