"""Servers that take audit events: each keeps what it took, by connection, and fails as it is told to.

Splunk and Elasticsearch follow their HTTP contracts (docs/audit-sinks.md names the sources); the one for
Elasticsearch is checked by its official client. OTLP's are OpenTelemetry's own generated services. Syslog is
taken by a real rsyslog (tests/support/rsyslog.py).
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import socket
import ssl
import struct
import threading
from collections import deque
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)

Headers = dict[str, str]
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset


class Server:
    """`plan`: what becomes of the next requests. `ok`; a status (`503`); `cut`: the connection ends before
    anything is taken; `taken, then cut`: it ends before the answer; `half`: it ends within the answer;
    `hang`: no answer until the server ends. Behind the plan all is `ok`.

    `took`: (connection, event's id) in order; `bodies`: requests as they came, unzipped.
    """

    def __init__(self, cert: tuple[str, str] | None = None, client_ca: str = "") -> None:
        self.plan: deque[str] = deque()
        self.took: list[tuple[int, str]] = []
        self.bodies: list[bytes] = []
        self.headers: list[Headers] = []
        self.lines: dict[str, Any] = {}  # id → what it took
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._connections = 0
        self._cert, self._client_ca = cert, client_ca
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._cert else ''}://localhost:{self._port}"

    @property
    def ids(self) -> list[str]:
        return [key for _, key in self.took]

    def start(self) -> None:
        """At the same port as before."""
        self._ending.clear()
        self._server = _Listener(("127.0.0.1", self._port), self._handler())
        if self._cert is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._cert)
            if self._client_ca:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self._client_ca)
            self._server.tls = context
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._ending.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.end_connections()
            self._server = None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with server._lock:
                    server._connections += 1
                    self.number = server._connections

            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                fate = server.plan.popleft() if server.plan else "ok"
                if fate == "cut":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    self.close_connection = True
                    return
                body = self.rfile.read(int(headers.get("content-length") or 0))
                if headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if fate == "hang":
                    server._ending.wait()
                    self.close_connection = True
                    return
                if fate.isdecimal():
                    self._answer(int(fate), {"location": "/elsewhere"} if fate[0] == "3" else {}, b"secret")
                    return
                with server._lock:
                    server.bodies.append(body)
                    server.headers.append(headers)
                    status, more, data = server.answer(self.number, self.path, headers, body)
                if fate == "taken, then cut":
                    self.close_connection = True
                elif fate == "half":
                    self.send_response(status)
                    self.send_header("content-length", str(len(data) + 10))
                    self.end_headers()
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                else:
                    self._answer(status, more, data)

            do_PUT = do_POST

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                with server._lock:
                    self._answer(*server.get(self.path, headers))

            def _answer(self, status: int, more: Headers, data: bytes) -> None:
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        return Handler

    def answer(
        self, connection: int, target: str, headers: Headers, body: bytes
    ) -> tuple[int, Headers, bytes]:
        """Under the lock."""
        raise NotImplementedError

    def get(self, target: str, headers: Headers) -> tuple[int, Headers, bytes]:
        return 404, {}, b""

    def take(self, connection: int, key: str, line: Any) -> None:
        self.took.append((connection, key))
        self.lines[key] = line


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self._open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        self._open.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self._open.discard(request)
            request.close()

    def end_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None: ...


class Collector(Server):
    """Whatever takes JSON. `unwanted`: a batch with one of these ids is refused as a whole."""

    def __init__(self, **words: Any) -> None:
        self.unwanted: set[str] = set()
        self.needs: Headers = {}
        super().__init__(**words)

    def answer(
        self, connection: int, target: str, headers: Headers, body: bytes
    ) -> tuple[int, Headers, bytes]:
        if any(headers.get(name) != value for name, value in self.needs.items()):
            return 401, {}, b"who are you"
        is_array = headers["content-type"] == "application/json"
        events = json.loads(body) if is_array else [json.loads(line) for line in body.splitlines()]
        keys = [event["id"] if "id" in event else event["metadata"]["uid"] for event in events]
        if self.unwanted & set(keys):
            return 422, {}, b""
        for key, event in zip(keys, events, strict=True):
            self.take(connection, key, event)
        return 202, {}, b""


class SimulatedSplunk(Server):
    """`acks`: None: the token has no acknowledgment; else `index()` indexes what is there, and only that is
    in `took`. `state`: a code of the collector's that it answers with."""

    token = "11111111-2222-3333-4444-555555555555"

    def __init__(self, **words: Any) -> None:
        self.acks: dict[str, dict[int, bool]] | None = None
        self.indexes_at_once = True
        self.loses = False  # what it took last is never indexed
        self.unwanted: set[str] = set()
        self.indexes = {"main", "audit"}
        self.state = 0
        super().__init__(**words)

    def answer(
        self, connection: int, target: str, headers: Headers, body: bytes
    ) -> tuple[int, Headers, bytes]:
        if "authorization" not in headers:
            return self._say(401, 2)
        if headers["authorization"] != f"Splunk {self.token}":
            return self._say(403, 4)
        if self.state:
            statuses = {1: 403, 8: 500, 9: 503, 23: 503}
            return self._say(statuses.get(self.state, 400), self.state)
        parts = urlsplit(target)
        channel = parse_qs(parts.query).get("channel", [headers.get("x-splunk-request-channel", "")])[0]
        if parts.path.endswith("/ack"):
            return self._acknowledged(channel, json.loads(body)["acks"])
        if parts.path != "/services/collector/event":
            return 404, {}, b""
        if self.acks is not None and not channel:
            return self._say(400, 10)
        text, at, number = body.decode(), 0, 0
        if not text.strip():
            return self._say(400, 5)
        found = []
        while at < len(text):
            try:
                event, at = json.JSONDecoder().raw_decode(text, at)
            except ValueError:
                return self._say(400, 6, number)
            if code := self._wrong(event):
                return self._say(400, code, number)
            found.append(event)
            number += 1
            while at < len(text) and text[at].isspace():
                at += 1
        if self.loses:
            self.loses = False
        else:
            for event in found:
                self.take(connection, event["fields"]["event_id"], event)
        if self.acks is None:
            return self._say(200, 0)
        known = self.acks.setdefault(channel, {})
        known[len(known)] = self.indexes_at_once
        return self._say(200, 0, ack=len(known) - 1)

    def _wrong(self, event: dict[str, Any]) -> int:
        if "event" not in event:
            return 12
        if event["event"] in ("", {}, None):
            return 13
        if event.get("index", "main") not in self.indexes:
            return 7
        if any(isinstance(value, (dict, list)) for value in event.get("fields", {}).values()):
            return 15
        return 6 if event["fields"]["event_id"] in self.unwanted else 0

    def _acknowledged(self, channel: str, asked: list[int]) -> tuple[int, Headers, bytes]:
        if self.acks is None:
            return self._say(400, 14)
        known = self.acks.get(channel, {})
        return 200, {}, json.dumps({"acks": {str(ack): known.get(ack, False) for ack in asked}}).encode()

    def _say(self, status: int, code: int, at: int | None = None, ack: int | None = None) -> Any:
        said: dict[str, Any] = {"text": "words", "code": code}
        if at is not None:
            said["invalid-event-number"] = at
        if ack is not None:
            said["ackId"] = ack
        return status, {"content-type": "application/json"}, json.dumps(said).encode()


class SimulatedElastic(Server):
    """One data stream: documents need `@timestamp`, and are only created. `unwanted`: ids whose documents do
    not fit the mapping; `busy`: ids → how often they are still refused for want of room."""

    api_key, user, password = "encoded-key", "broker", "s3cret"

    def __init__(self, **words: Any) -> None:
        self.unwanted: set[str] = set()
        self.busy: dict[str, int] = {}
        super().__init__(**words)

    def answer(
        self, connection: int, target: str, headers: Headers, body: bytes
    ) -> tuple[int, Headers, bytes]:
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if headers.get("authorization") not in (f"ApiKey {self.api_key}", f"Basic {basic}"):
            return self._json(401, {"error": {"type": "security_exception"}, "status": 401})
        parts = urlsplit(target)
        index = parts.path.strip("/").split("/")[0]
        lines = body.split(b"\n")
        if not parts.path.endswith("/_bulk") or lines.pop() != b"":
            return self._json(400, {"error": {"type": "illegal_argument_exception"}, "status": 400})
        items = []
        for action, document in zip(lines[::2], lines[1::2], strict=True):
            about = json.loads(action)["create"]
            items.append(
                {"create": self._create(connection, about.get("_index", index), about["_id"], document)}
            )
        said = {"took": 1, "errors": any("error" in item["create"] for item in items), "items": items}
        if "filter_path" in parts.query:
            kept = [{"create": _kept(item["create"])} for item in items]
            said = {"errors": said["errors"], "items": kept}
        return self._json(200, said)

    def get(self, target: str, headers: Headers) -> tuple[int, Headers, bytes]:
        return self._json(200, {"version": {"number": "9.5.1"}, "tagline": "You Know, for Search"})

    def _create(self, connection: int, index: str, key: str, document: bytes) -> dict[str, Any]:
        about = {"_index": f".ds-{index}-000001", "_id": key}

        def failed(status: int, kind: str) -> dict[str, Any]:
            return {**about, "status": status, "error": {"type": kind, "reason": f"what it holds: {key}"}}

        if self.busy.get(key, 0) > 0:
            self.busy[key] -= 1
            return failed(429, "es_rejected_execution_exception")
        if key in self.lines:
            self.take(connection, key, self.lines[key])  # a repeat: what counts is that it came
            return failed(409, "version_conflict_engine_exception")
        fields = json.loads(document)
        if "@timestamp" not in fields or key in self.unwanted:
            return failed(400, "document_parsing_exception")
        self.take(connection, key, fields)
        return {**about, "_version": 1, "result": "created", "_seq_no": 1, "_primary_term": 1, "status": 201}

    def _json(self, status: int, said: Any) -> tuple[int, Headers, bytes]:
        kind = "application/vnd.elasticsearch+json;compatible-with=9"
        return status, {"content-type": kind, "x-elastic-product": "Elasticsearch"}, json.dumps(said).encode()


def _kept(item: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {"status": item["status"]}
    if "error" in item:
        kept["error"] = {"type": item["error"]["type"]}
    return kept


class OtlpReceiver(Server):
    """By HTTP. `rejects`: of how many records of the next request it says that they are rejected."""

    def __init__(self, **words: Any) -> None:
        self.rejects = 0
        self.needs: Headers = {}
        super().__init__(**words)

    def answer(
        self, connection: int, target: str, headers: Headers, body: bytes
    ) -> tuple[int, Headers, bytes]:
        if target != "/v1/logs" or headers["content-type"] != "application/x-protobuf":
            return 404, {}, b""
        if any(headers.get(name) != value for name, value in self.needs.items()):
            return 401, {}, b""
        reply = self.export(connection, ExportLogsServiceRequest.FromString(body))
        return 200, {"content-type": "application/x-protobuf"}, reply.SerializeToString()

    def export(self, connection: int, request: ExportLogsServiceRequest) -> ExportLogsServiceResponse:
        records = [
            record
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]
        reply = ExportLogsServiceResponse()
        if self.rejects:
            reply.partial_success.rejected_log_records = self.rejects
            reply.partial_success.error_message = "too old"
        for record in records[self.rejects :]:
            uid = next(one.value.string_value for one in record.attributes if one.key == "log.record.uid")
            self.take(connection, uid, record)
        self.rejects = 0
        return reply


class GrpcReceiver(LogsServiceServicer):  # type: ignore[misc]
    """By gRPC. `plan`: names of status codes, or `ok`; `taken, then …`: it took them all the same."""

    def __init__(self, cert: tuple[bytes, bytes] | None = None) -> None:
        self.plan: deque[str] = deque()
        self.needs: Headers = {}
        self.took: list[tuple[int, str]] = []
        self.lines: dict[str, Any] = {}
        self.compressed: list[str] = []
        self.rejects = 0
        self._cert = cert
        self._port = 0
        self._server: grpc.Server | None = None
        self.start()

    url = property(lambda self: f"http{'s' if self._cert else ''}://localhost:{self._port}")
    ids = property(lambda self: [key for _, key in self.took])
    take = Server.take
    export = OtlpReceiver.export

    def start(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        add_LogsServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        place = f"127.0.0.1:{self._port}"
        if self._cert is None:
            self._port = self._server.add_insecure_port(place)
        else:
            self._port = self._server.add_secure_port(place, grpc.ssl_server_credentials([self._cert]))
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def Export(self, request: ExportLogsServiceRequest, context: Any) -> ExportLogsServiceResponse:
        said = dict(context.invocation_metadata())
        if any(said.get(name) != value for name, value in self.needs.items()):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no: secret")
        fate = self.plan.popleft() if self.plan else "ok"
        if fate not in ("ok", "hang") and not fate.startswith("taken"):
            context.abort(grpc.StatusCode[fate], "secret")
        reply = OtlpReceiver.export(self, 1, request)  # type: ignore[arg-type]
        if fate.startswith("taken"):
            context.abort(grpc.StatusCode[fate.rpartition(" ")[2]], "secret")
        return reply
