"""The ways to a collector: OTLP over gRPC, and protobuf over HTTP."""

from __future__ import annotations

import contextlib
import gzip
import http
import http.client
import ssl
import time
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError

from .. import __version__
from ..core.away import why_away, why_no_grpc
from ..core.telemetry import GRPC, GZIP
from .reports import Collector
from .wire import rejected_in

_METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_PATHS = {"traces": "/v1/traces", "logs": "/v1/logs"}
# What says that it can't read this request, whenever it is sent. All else is somebody's to mend, or passes.
_BAD_STATUSES = frozenset((400, 413, 422))
_BAD_CODES = frozenset((grpc.StatusCode.INVALID_ARGUMENT,))
_TOO_LARGE = "message larger than max"  # as gRPC says it, by a code that has other meanings, too
_PORTS = {"http": 80, "https": 443}
_MOST_REPLY = 1 << 20
_MOST_TEXT = 200
_MOST_WAIT_S = 600.0
_AGENT = f"modelbroker/{__version__}"


class Unsent(Exception):
    """The collector did not take it, and may later. `after_s`: it wants no more for so long."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


class Bad(Exception):
    """The collector will never take this request."""


class Sender(Protocol):
    def send(self, kind: str, request: bytes) -> tuple[int, str]:
        """`kind`: `traces` or `logs`. (how many it did not take, why). Unsent or Bad."""

    def close(self) -> None: ...


def sender_of(settings: Collector, *, quotes: bool = True) -> Sender:
    """Unsent where its authorities can't be read. Unless it `quotes`, no word of the collector's is told: it
    may repeat what it was sent."""
    try:
        authorities = Path(settings.ca_file).read_bytes() if settings.ca_file else None
    except OSError as error:
        raise Unsent(f"the file {settings.ca_file} can't be read ({error.strerror})") from None
    kind = GrpcSender if settings.protocol == GRPC else HttpSender
    return kind(settings, authorities, quotes)


class GrpcSender:
    def __init__(self, settings: Collector, authorities: bytes | None, quotes: bool) -> None:
        self._settings, self._quotes = settings, quotes
        url = urlsplit(settings.endpoint)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        target = f"{host}:{url.port or _PORTS[url.scheme]}"
        compression = (
            grpc.Compression.Gzip if settings.compression == GZIP else grpc.Compression.NoCompression
        )
        options = (("grpc.primary_user_agent", _AGENT),)
        if url.scheme == "https":
            credentials = grpc.ssl_channel_credentials(authorities)
            self._channel = grpc.secure_channel(target, credentials, options, compression)
        else:
            self._channel = grpc.insecure_channel(target, options, compression)
        self._calls = {
            kind: self._channel.unary_unary(method, None, None) for kind, method in _METHODS.items()
        }

    def send(self, kind: str, request: bytes) -> tuple[int, str]:
        settings = self._settings
        try:
            reply = self._calls[kind](
                request, timeout=settings.timeout_s, metadata=tuple(settings.headers.items())
            )
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
            told = why_no_grpc(details) or (_in_short(details, settings) if self._quotes else "")
            if code is grpc.StatusCode.UNIMPLEMENTED:
                told = f"it takes no {kind} at this address"
            why = f"{code.name}: {told}" if told else code.name
            is_bad = code in _BAD_CODES or _TOO_LARGE in details.lower()
            raise (Bad(why) if is_bad else Unsent(why)) from None
        except ValueError as error:  # a header that gRPC does not carry
            raise Unsent(_in_short(str(error), settings)) from None
        return _rejected(kind, reply, self._quotes)

    def close(self) -> None:
        self._channel.close()


class HttpSender:
    """One connection, which is kept."""

    def __init__(self, settings: Collector, authorities: bytes | None, quotes: bool) -> None:
        self._settings, self._quotes = settings, quotes
        self._url = urlsplit(settings.endpoint)
        self._context: ssl.SSLContext | None = None
        if self._url.scheme == "https":
            try:
                self._context = ssl.create_default_context(
                    cadata=authorities.decode() if authorities else None
                )
            except (ValueError, ssl.SSLError):
                raise Unsent(f"the file {settings.ca_file} holds no certificates") from None
        self._connection: http.client.HTTPConnection | None = None

    def send(self, kind: str, request: bytes) -> tuple[int, str]:
        settings = self._settings
        headers = {"content-type": "application/x-protobuf", "user-agent": _AGENT, **settings.headers}
        if settings.compression == GZIP:
            request = gzip.compress(request, 5)
            headers["content-encoding"] = "gzip"
        is_fresh = self._connection is None
        try:
            status, after_s, reply = self._post(_PATHS[kind], request, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:  # also a header that HTTP has not
            self.close()
            if not is_fresh and isinstance(error, (ConnectionError, http.client.RemoteDisconnected)):
                return self.send(kind, _plain(request, settings))  # it had been closed while nothing was said
            raise Unsent(_in_short(_why(error), settings)) from None
        if 200 <= status < 300:
            return _rejected(kind, reply, self._quotes)
        why = f"the collector answered {status} {http.client.responses.get(status, '')}".strip()
        if status == http.HTTPStatus.NOT_FOUND:
            why = f"{why} at {self._url.path}{_PATHS[kind]}"
        if status in _BAD_STATUSES:
            raise Bad(why)
        raise Unsent(why, after_s)

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, float, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", self._url.path + path, body, headers)
        reply = self._connection.getresponse()
        content = reply.read(_MOST_REPLY)
        if not reply.isclosed():  # more than any reply of a collector's
            self.close()
        said = reply.getheader("retry-after") or ""
        return reply.status, float(said) if said.isdecimal() else 0.0, content

    def _connect(self) -> http.client.HTTPConnection:
        host, timeout_s = self._url.hostname or "", self._settings.timeout_s
        port = self._url.port or _PORTS[self._url.scheme]
        if self._context is not None:
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None


def _why(error: Exception) -> str:
    """Without a word of the other side's."""
    if isinstance(error, OSError):
        return why_away(error)
    if isinstance(error, http.client.HTTPException):
        return "its answer is no HTTP, or not whole: gRPC's port wants `protocol: grpc`"
    return "a header's value, or the address, is none that HTTP can carry"


def _plain(request: bytes, settings: Collector) -> bytes:
    return gzip.decompress(request) if settings.compression == GZIP else request


def _rejected(kind: str, reply: bytes, quotes: bool) -> tuple[int, str]:
    try:
        count, why = rejected_in(kind, reply)
        return count, why if quotes else ""
    except DecodeError:  # it took them, and says so in its own way
        return 0, ""


def _in_short(text: str, settings: Collector) -> str:
    """Without keys, whoever repeats them."""
    for value in settings.headers.values():
        text = text.replace(value, "…")
    return " ".join(text.split())[:_MOST_TEXT]


class Patience:
    """Keeps to what a collector said of when it wants more."""

    def __init__(self) -> None:
        self._until_s = 0.0

    def check(self) -> None:
        """Unsent before that."""
        if (left_s := self._until_s - time.monotonic()) > 0:
            raise Unsent(f"the collector wants no more for {left_s:.0f} s")

    def heard(self, error: Unsent) -> None:
        self._until_s = max(self._until_s, time.monotonic() + min(error.after_s, _MOST_WAIT_S))
