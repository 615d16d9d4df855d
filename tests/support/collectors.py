"""A collector that takes OTLP over gRPC and HTTP, keeps what it gets, and can be away, slow or unwilling."""

from __future__ import annotations

import gzip
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import trustme
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

_STATUSES = {"away": 503, "refusing": 403, "bad": 400}
_CODES = {
    "away": grpc.StatusCode.UNAVAILABLE,
    "refusing": grpc.StatusCode.PERMISSION_DENIED,
    "bad": grpc.StatusCode.INVALID_ARGUMENT,
}


@dataclass(frozen=True, slots=True)
class Got:
    """A span or a log record, in plain values. `what`: its name or body."""

    what: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    kind: int = 0
    start_ns: int = 0
    end_ns: int = 0
    error: str = ""  # a span's status, where it is one of an error
    severity: str = ""
    event: str = ""  # a log record's name of its event
    attributes: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.attributes.get(name)


class Collector:
    """`state`: `up`, `away`, `refusing` (by 403), `bad` (by 400: what it will never take), `hangs`,
    `spans-only` (and away for logs). With `refuses`, a text, requests that hold it are bad. `says`: in its
    errors; `rejects`: so many of each request; `retry_after_s`: with its errors over HTTP."""

    def __init__(self, certificate: trustme.LeafCert | None = None) -> None:
        """With a `certificate` it speaks TLS alone."""
        self.state = "up"
        self.refuses = b""
        self.says = ""
        self.rejects = self.retry_after_s = 0
        self.spans: list[Got] = []
        self.logs: list[Got] = []
        self.headers: list[dict[str, str]] = []
        self.raw = bytearray()  # all that it took
        self.largest = 0  # request, in bytes
        self.asked = 0  # requests, also those that it did not take
        self._let_go = threading.Event()
        self._lock = threading.Lock()
        self._grpc = grpc.server(ThreadPoolExecutor(4))
        traces_grpc.add_TraceServiceServicer_to_server(_Traces(self), self._grpc)
        logs_grpc.add_LogsServiceServicer_to_server(_Logs(self), self._grpc)
        scheme, where = "https" if certificate else "http", "127.0.0.1:0"
        if certificate is None:
            port = self._grpc.add_insecure_port(where)
        else:
            pair = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
            port = self._grpc.add_secure_port(where, grpc.ssl_server_credentials([pair]))
        self.grpc_url = f"{scheme}://127.0.0.1:{port}"
        self._grpc.start()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.http_url = f"{scheme}://127.0.0.1:{self._http.server_address[1]}/base"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go.set()
        self._grpc.stop(0).wait()
        self._http.shutdown()
        self._http.server_close()

    def spans_of(self, trace_id: str) -> list[Got]:
        """The call's first, then its attempts as they began."""
        found = [span for span in list(self.spans) if span.trace_id == trace_id]
        return sorted(found, key=lambda span: (span.start_ns, span.span_id))

    @property
    def events(self) -> list[Got]:
        """Texts of calls: log records that are an event of the conventions'."""
        return [one for one in list(self.logs) if one.event.startswith("gen_ai.")]

    def take(self, message: Any, headers: dict[str, str]) -> str:
        """The state in which it was asked; where it was up, it has it."""
        self.asked += 1
        raw = message.SerializeToString()
        self.largest = max(self.largest, len(raw))
        state = "bad" if self.refuses and self.refuses in raw else self.state
        if state == "spans-only":
            state = "up" if isinstance(message, traces.ExportTraceServiceRequest) else "away"
        if state == "hangs":
            while self.state == "hangs" and not self._let_go.wait(0.02):
                pass
            return "away"
        if state == "up":
            with self._lock:
                self.raw += raw
                self.headers.append(headers)
                if isinstance(message, traces.ExportTraceServiceRequest):
                    self.spans += _spans_in(message)
                else:
                    self.logs += _logs_in(message)
        return state


def _spans_in(message: Any) -> list[Got]:
    return [
        Got(
            one.name,
            one.trace_id.hex(),
            one.span_id.hex(),
            one.parent_span_id.hex(),
            one.kind,
            one.start_time_unix_nano,
            one.end_time_unix_nano,
            (one.status.message or "?") if one.status.code == one.status.STATUS_CODE_ERROR else "",
            attributes=plain(one.attributes),
            resource=plain(of.resource.attributes),
        )
        for of in message.resource_spans
        for scope in of.scope_spans
        for one in scope.spans
    ]


def _logs_in(message: Any) -> list[Got]:
    return [
        Got(
            one.body.string_value,
            one.trace_id.hex(),
            one.span_id.hex(),
            start_ns=one.time_unix_nano,
            severity=one.severity_text,
            event=one.event_name,
            attributes=plain(one.attributes),
            resource=plain(of.resource.attributes),
        )
        for of in message.resource_logs
        for scope in of.scope_logs
        for one in scope.log_records
    ]


def plain(attributes: Any) -> dict[str, Any]:
    """OTLP's attributes, as deep as they are."""
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return plain(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _answer(collector: Collector, request: Any, context: Any, reply: Any) -> Any:
    headers = {str(key): str(value) for key, value in context.invocation_metadata()}
    state = collector.take(request, headers)
    if state != "up":
        context.abort(_CODES[state], collector.says or f"it is {state}")
    return _partly(collector, reply)


def _partly(collector: Collector, reply: Any) -> Any:
    if collector.rejects:
        field = (
            "rejected_spans"
            if isinstance(reply, traces.ExportTraceServiceResponse)
            else "rejected_log_records"
        )
        setattr(reply.partial_success, field, collector.rejects)
        reply.partial_success.error_message = collector.says
    return reply


class _Traces(traces_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(self, request: Any, context: Any) -> Any:
        return _answer(self._collector, request, context, traces.ExportTraceServiceResponse())


class _Logs(logs_grpc.LogsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def Export(self, request: Any, context: Any) -> Any:
        return _answer(self._collector, request, context, logs.ExportLogsServiceResponse())


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    kinds = {
        "/base/v1/traces": traces.ExportTraceServiceRequest,
        "/base/v1/logs": logs.ExportLogsServiceRequest,
    }

    replies = {
        "/base/v1/traces": traces.ExportTraceServiceResponse,
        "/base/v1/logs": logs.ExportLogsServiceResponse,
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kind = kinds.get(self.path)
            status, content = 404, b""
            if kind is not None and self.headers["content-type"] == "application/x-protobuf":
                if self.headers["content-encoding"] == "gzip":
                    body = gzip.decompress(body)
                headers = {key.lower(): value for key, value in self.headers.items()}
                state = collector.take(kind.FromString(body), headers)
                status = _STATUSES.get(state, 200)
                content = collector.says.encode()
                if status == 200:
                    content = _partly(collector, replies[self.path]()).SerializeToString()
            self.send_response(status)
            if status != 200 and collector.retry_after_s:
                self.send_header("retry-after", str(collector.retry_after_s))
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler
