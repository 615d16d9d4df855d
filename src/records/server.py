"""The access-log service: entries in, records out to whoever wants them (a file, metrics)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from prometheus_client import Counter, Histogram

from ..core.record import Record
from ..envoyapi import AnyMessage, EnvoyApi
from .entries import MEMBER_LOG, OUTER_LOG, attempt_of, record_of
from .join import Joiner
from .repair import repaired

log = logging.getLogger("modelbroker.records")

_SERVICE = "envoy.service.accesslog.v3.AccessLogService"
_CALLS = Counter("modelbroker_calls", "Calls that ended", ["pool", "status"])
_ATTEMPTS = Counter("modelbroker_attempts", "Attempts that ended", ["member", "status"])
_SECONDS = Histogram(
    "modelbroker_call_seconds",
    "From the first byte of a request to the last of its reply",
    ["pool"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
_INCOMPLETE = Counter("modelbroker_records_incomplete", "Records that miss an attempt's entry")


class AccessLogServer:
    """`sinks` get each record once, on the event loop: they must be quick and must not raise."""

    def __init__(self, api: EnvoyApi, *sinks: Callable[[Record], None]) -> None:
        self._api = api
        self._sinks = sinks
        self._joiner = Joiner()

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
        while True:
            await asyncio.sleep(1)
            for record in self._joiner.due(time.monotonic()):
                _INCOMPLETE.inc()
                self._give(record)

    async def _stream(
        self, requests: AsyncIterator[AnyMessage], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AnyMessage:
        name = ""
        async for message in requests:
            name = message.identifier.log_name or name  # only the first message of a stream has it
            for entry in message.http_logs.log_entry:
                try:
                    self._take(name, entry)
                except Exception:  # one odd entry must not end the stream for all
                    log.exception("an access-log entry could not be read")
        return self._api.message_class("envoy.service.accesslog.v3.StreamAccessLogsResponse")()

    def _take(self, name: str, entry: AnyMessage) -> None:
        now_s = time.monotonic()
        if name == OUTER_LOG:
            done = self._joiner.outer(record_of(entry), now_s)
        elif name == MEMBER_LOG:
            request_id, attempt = attempt_of(entry)
            _ATTEMPTS.labels(attempt.member, attempt.status).inc()
            done = self._joiner.attempt(request_id, attempt, now_s)
        else:
            return
        if done is not None:
            self._give(done)

    def _give(self, record: Record) -> None:
        _CALLS.labels(record.pool, record.status).inc()
        if record.pool:
            _SECONDS.labels(record.pool).observe(record.duration_ms / 1000)
        for sink in self._sinks:
            sink(record)


def _read(message_class: Any, data: bytes) -> AnyMessage:
    try:
        return message_class.FromString(data)
    except DecodeError:
        return message_class.FromString(repaired(data, message_class.DESCRIPTOR))
