"""The admin port: /status, /budgets, /healthz, /metrics (and Envoy's) and /forget, for people, probes and
Prometheus; and the console, for those who would rather look."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, disable_created_metrics, generate_latest

from ..core.errors import Misconfigured
from ..metrics import texts
from .console_door import Answer, Came, is_console

log = logging.getLogger("modelbroker.admin")

# Series of when each counter began, which Prometheus takes for metrics of their own.
disable_created_metrics()  # type: ignore[no-untyped-call]

Query = Mapping[str, list[str]]
# (method, path) → what is answered, as JSON, to a query and a body. LookupError is a 404, ValueError a 400.
Routes = Mapping[tuple[str, str], Callable[[Query, bytes], Any]]
NO_ROUTES: Routes = MappingProxyType({})
# Query → status, content type, text.
Stats = Callable[[str], tuple[int, str, bytes]]
_MOST_BODY = 16 << 20
_PATHS = "/console, /status, /budgets, /healthz, /ready, /metrics, /metrics/envoy"
_MOST_FORM = 64 << 10
Console = Callable[[Came], Answer]
_PULSE_S = 1.5  # shorter than a question of the supervisor's, longer than any turn of the loop should take


def named_user(query: Query) -> str:
    """Who asks, as it says itself: `by=USER`."""
    said = next(iter(query.get("by", [])), "")
    return "".join(one for one in said if one.isprintable())[:64]


class Pulse:
    """Tells any thread whether the event loop, which serves calls, turns."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def beats(self, within_s: float) -> bool:
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # it is closed
            return False
        return turned.wait(within_s)


class AdminServer:
    """HTTP on `address` (`host:port`; port 0: any free one), in a thread of its own. `forget` takes members'
    ids and who asks, and gives those that were kept from their whole share; LookupError where there is no
    such member. `budgets` says where they stand, `envoy_stats` what Envoy
    counts; `more` is what else there is."""

    def __init__(
        self,
        address: str,
        status: Callable[..., dict[str, Any]],
        forget: Callable[[list[str], str], list[str]],
        pulse: Pulse,
        budgets: Callable[[], dict[str, Any]],
        envoy_stats: Stats,
        more: Routes = NO_ROUTES,
        console: Console | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = _Server(
                (host.strip("[]"), int(port)),
                _handler(status, forget, pulse, budgets, envoy_stats, more, console),
            )
        except OSError as error:
            message = f"the admin port {address} can't be opened: {error.strerror}"
            raise Misconfigured(500, "address_in_use", message) from None
        self.address = f"{host}:{self._server.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Probes and scrapers that break off are no errors of ours."""
        if not isinstance(sys.exception(), OSError):
            log.exception("a question to the admin port failed")


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "modelbroker", ""  # which Python is nobody's business
    timeout = 30

    def _route(self, more: Routes, path: str, query: str, body: bytes) -> None:
        try:
            answer = more[self.command, path](parse_qs(query), body)
        except (LookupError, ValueError, OSError) as error:
            code = 404 if isinstance(error, LookupError) else 503 if isinstance(error, OSError) else 400
            self._answer(code, "text/plain", f"{error.args[0] if error.args else error}\n".encode())
            return
        text = msgspec.json.format(msgspec.json.encode(answer), indent=2)
        self._answer(200, "application/json", text + b"\n")

    def _answer(self, code: int, content_type: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _is_for(self, console: Console | None, path: str) -> bool:
        """Was this a matter of the console's? Then it is answered."""
        if console is None or not is_console(path):
            return False
        self._to_console(console)
        return True

    def _to_console(self, console: Console) -> None:
        size = self._size()
        if size > _MOST_FORM:
            self.close_connection = True  # what is not read is no next request
            self._answer(413, "text/plain", b"this is more than a form of the console's holds\n")
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        came = Came(self.command, self.path, self.client_address[0], headers, self.rfile.read(size))
        answer = console(came)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _size(self) -> int:
        """Of the body: 0 where nothing that can be read says it."""
        said = self.headers.get("content-length") or "0"
        if said.isascii() and said.isdecimal():
            return int(said)
        self.close_connection = True  # what is not read is no next request
        return 0

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _handler(
    status: Callable[..., dict[str, Any]],
    forget: Callable[[list[str], str], list[str]],
    pulse: Pulse,
    budgets: Callable[[], dict[str, Any]],
    envoy_stats: Stats,
    more: Routes,
    console: Console | None,
) -> type[BaseHTTPRequestHandler]:
    class Handler(_Answering):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if self._is_for(console, path):
                return
            match path:
                case "/status":
                    # A large configuration's status is asked for while calls are served: json takes 50 ms.
                    shown = status(asks_envoy=query == "envoy")
                    text = msgspec.json.format(msgspec.json.encode(shown), indent=2)
                    self._answer(200, "application/json", text + b"\n")
                case "/budgets":
                    text = msgspec.json.format(msgspec.json.encode(budgets()), indent=2)
                    self._answer(200, "application/json", text + b"\n")
                case "/healthz":
                    # This thread answers whatever becomes of calls: they are served by the event loop.
                    if pulse.beats(_PULSE_S):
                        self._answer(200, "text/plain", b"ok\n")
                    else:
                        late = f"the event loop has not turned for {_PULSE_S:g} s: calls hang\n"
                        self._answer(503, "text/plain", late.encode())
                case "/ready":
                    in_effect = status()["in_effect"]
                    text = b"ready\n" if in_effect else b"no Envoy has the configuration yet\n"
                    self._answer(200 if in_effect else 503, "text/plain", text)
                case "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, texts().encode() + generate_latest())
                case "/metrics/envoy":
                    self._answer(*envoy_stats(query))
                case path if ("GET", path) in more:
                    self._route(more, path, query, b"")
                case path:
                    paths = [each for method, each in more if method == "GET"]
                    known = ", ".join([_PATHS, *paths])
                    self._answer(404, "text/plain", f"no {path[:200]} here; there are {known}\n".encode())

        def do_POST(self) -> None:
            path, _, query = self.path.partition("?")
            if self._is_for(console, path):
                return
            if self.headers.get("origin"):  # any page that an operator has open could send it
                self._answer(403, "text/plain", b"commands are not taken from web pages\n")
                return
            if ("POST", path) in more:
                self._route(more, path, query, self.rfile.read(min(self._size(), _MOST_BODY)))
                return
            if path != "/forget":
                known = ", ".join(["/forget", *(each for method, each in more if method == "POST")])
                self._answer(404, "text/plain", f"there is nothing to post to but {known}\n".encode())
                return
            try:
                asked = parse_qs(query)
                forgotten = forget(asked.get("member", []), named_user(asked))
            except LookupError as error:
                self._answer(404, "text/plain", f"{error.args[0]}\n".encode())
                return
            self._answer(200, "application/json", msgspec.json.encode({"forgotten": forgotten}) + b"\n")

    return Handler
