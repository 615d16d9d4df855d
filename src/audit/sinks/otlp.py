"""OpenTelemetry logs, by HTTP (protobuf) or gRPC. Needs the extra `otlp`.

Source: OpenTelemetry Protocol specification 1.9 ("Failures", "Partial Success"), Logs Data Model (severity).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from ... import __version__
from ...core.away import why_no_grpc
from ..sink import Sent, SinkAway, SinkSettings
from .batches import Ends, Unwanted, send_in_parts
from .http import judge
from .web import ANSWER_S, NO_HTTP, Web, headers_of

_PATH = "/v1/logs"
# OCSF's severity_id → (SeverityNumber, its text).
_SEVERITIES = {
    0: (0, "Unknown"),
    1: (9, "Informational"),
    2: (10, "Low"),
    3: (13, "Medium"),
    4: (17, "High"),
    5: (21, "Critical"),
    6: (24, "Fatal"),
    99: (0, "Other"),
}
_CODES = {
    grpc.StatusCode.UNAVAILABLE: "it can't be reached or trusted, or takes nothing for now",
    grpc.StatusCode.DEADLINE_EXCEEDED: "it does not answer in time",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "it takes no more for now",
    grpc.StatusCode.UNAUTHENTICATED: "it does not take the credential",
    grpc.StatusCode.PERMISSION_DENIED: "it does not allow this credential to write",
    grpc.StatusCode.UNIMPLEMENTED: "it takes no logs at this address",
}


class _Way(Protocol):
    def ask(self, request: ExportLogsServiceRequest) -> ExportLogsPartialSuccess:
        """Raises SinkAway or Unwanted."""

    def close(self) -> None: ...


class ByHttp:
    def __init__(self, settings: SinkSettings) -> None:
        options = settings.options
        address = options["address"]
        # As with OTEL_EXPORTER_OTLP_ENDPOINT: a base, to which the signal's path is added.
        self._path = "" if address.endswith(_PATH) else _PATH
        self._headers = {"content-type": "application/x-protobuf", **headers_of(options, settings.secrets)}
        self._zips = options.get("gzip", "true") == "true"
        self._web = Web(address, options)

    def ask(self, request: ExportLogsServiceRequest) -> ExportLogsPartialSuccess:
        body = request.SerializeToString()
        try:
            answer = self._web.send("POST", self._path, body, self._headers, zipped=self._zips)
        except SinkAway as error:
            if str(error) == NO_HTTP:
                raise SinkAway(f"{error}: gRPC's port wants `protocol: grpc`") from None
            raise
        judge(answer)
        try:
            return ExportLogsServiceResponse.FromString(answer.body).partial_success
        except DecodeError:
            raise SinkAway("its answer is not that of an OTLP receiver") from None

    def close(self) -> None:
        self._web.close()


class ByGrpc:
    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        headers = headers_of(settings.options, settings.secrets)
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())
        is_zipped = settings.options.get("gzip", "true") == "true"
        self._compression = grpc.Compression.Gzip if is_zipped else grpc.Compression.NoCompression
        self._channel: grpc.Channel | None = None

    def ask(self, request: ExportLogsServiceRequest) -> ExportLogsPartialSuccess:
        self._channel = self._channel or self._opened()
        try:
            stub = LogsServiceStub(self._channel)  # type: ignore[no-untyped-call]
            reply = stub.Export(
                request, timeout=ANSWER_S, metadata=self._metadata, compression=self._compression
            )
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.INVALID_ARGUMENT:
                raise Unwanted("it refuses the request (INVALID_ARGUMENT)") from None
            self.close()  # files that were replaced are read again
            if why := why_no_grpc(error.details() or ""):
                raise SinkAway(why) from None
            raise SinkAway(f"{_CODES.get(code, 'it answers')} ({code.name})") from None
        except ValueError:
            raise SinkAway("a header's value is none that a header can hold") from None
        found: ExportLogsPartialSuccess = reply.partial_success
        return found

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _opened(self) -> grpc.Channel:
        options = self._settings.options
        parts = urlsplit(options["address"])
        is_tls = parts.scheme == "https"
        place = f"{parts.hostname}:{parts.port or 4317}"
        settings = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),  # the whole batch comes again
            ("grpc.primary_user_agent", "modelbroker"),
        ]
        if not is_tls:
            return grpc.insecure_channel(place, settings)
        ca, cert, key = (_read(options, name) for name in ("ca_file", "cert_file", "key_file"))
        return grpc.secure_channel(place, grpc.ssl_channel_credentials(ca, key or cert, cert), settings)


class Otlp:
    """A log record for each event, whose body is the event's JSON."""

    most_events = 500
    most_bytes = 1 << 20  # receivers take 4 MiB by gRPC
    again_s = 0.0

    def __init__(self, settings: SinkSettings) -> None:
        is_grpc = settings.options.get("protocol") == "grpc"
        self._way: _Way = ByGrpc(settings) if is_grpc else ByHttp(settings)
        self._form = settings.form
        self._resource = Resource(
            attributes=[
                _text("service.name", settings.options.get("service_name", "modelbroker")),
                _text("service.version", __version__),
                _text("host.name", socket.gethostname()),
            ]
        )
        self._ends = Ends()

    def send(self, events: Sequence[Sent]) -> None:
        send_in_parts(events, self._ask, self._ends)

    def close(self) -> None:
        self._way.close()

    def _ask(self, events: Sequence[Sent]) -> None:
        scope = InstrumentationScope(name="modelbroker.audit", version=__version__)
        logs = ScopeLogs(scope=scope, log_records=[self._record(event) for event in events])
        part = self._way.ask(
            ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=self._resource, scope_logs=[logs])])
        )
        for event in events[: part.rejected_log_records]:
            # Which ones it does not say, and a request that had a part of success is not to be made again.
            self._ends.refuse(
                event, f"it rejects {part.rejected_log_records} of {len(events)}, not these maybe"
            )

    def _record(self, event: Sent) -> LogRecord:
        number, text = _SEVERITIES.get(event.severity, _SEVERITIES[99])
        return LogRecord(
            time_unix_nano=event.at_ms * 1_000_000,
            observed_time_unix_nano=event.at_ms * 1_000_000,
            severity_number=number,  # type: ignore[arg-type]
            severity_text=text,
            event_name="modelbroker.audit",
            body=AnyValue(string_value=event.line.decode()),
            attributes=[
                _text("log.record.uid", event.id),
                _text("modelbroker.audit.form", self._form),
                KeyValue(key="modelbroker.audit.seq", value=AnyValue(int_value=event.seq)),
            ],
        )

    def __repr__(self) -> str:  # a traceback must not show headers
        return "Otlp(…)"


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _read(options: Mapping[str, str], name: str) -> bytes | None:
    if not (path := options.get(name)):
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SinkAway(f"{name} {path} can't be read: {error.strerror}") from None


def open_sink(settings: SinkSettings) -> Otlp:
    return Otlp(settings)
