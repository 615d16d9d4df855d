"""The admin port: /status, /budgets, /healthz, /metrics (and Envoy's) and /forget, for people, probes and
Prometheus; and the console, for those who would rather look."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from email.errors import MissingHeaderBodySeparatorDefect
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, disable_created_metrics, generate_latest

from ..console.attempts import Sparing
from ..core.acts import COMMAND, TOKEN, By
from ..core.errors import Misconfigured
from ..metrics import texts
from .commanders import Commanding, Refused, anybody, is_ours
from .console_door import Answer, Came, as_ascii, is_console

log = logging.getLogger("modelbroker.admin")

# Series of when each counter began, which Prometheus takes for metrics of their own.
disable_created_metrics()  # type: ignore[no-untyped-call]

Query = Mapping[str, list[str]]
# (method, path) → what is answered, as JSON, to a query, a body, and whose command it is. LookupError is a
# 404, ValueError a 400.
Routes = Mapping[tuple[str, str], Callable[[Query, bytes, By], Any]]
NO_ROUTES: Routes = MappingProxyType({})
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
# Query → status, content type, text.
Stats = Callable[[str], tuple[int, str, bytes]]
_MOST_BODY = 16 << 20
_PATHS = "/console, /status, /budgets, /healthz, /ready, /metrics, /metrics/envoy"
_MOST_FORM = 64 << 10
_LINGER_S = 2.0
# What proxies say of where a request came from: one on this machine brings those of others.
_FROM_ELSEWHERE = (
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    *("x-envoy-external-address", "x-envoy-internal"),
)
Console = Callable[[Came], Answer]
_PULSE_S = 1.5  # shorter than a question of the supervisor's, longer than any turn of the loop should take
_ANYBODY = By(COMMAND)


def _by(user: str, query: Query) -> By:
    """Whose command it is: `user`'s, as a token says; where none does, as it says itself, by `by=USER`."""
    if user:
        return By(TOKEN, user)
    said = next(iter(query.get("by", [])), "")
    return By(COMMAND, "".join(one for one in said if one.isprintable())[:64])


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


def nobody(path: str, peer: str, why: str) -> None:
    """Is told."""


class Served(NamedTuple):
    """What the admin port answers with. `forget` takes members' ids and whose command it is, and gives those
    that were kept from their whole share; LookupError where there is no such member. `budgets` says where
    they stand, `envoy_stats` what Envoy counts; `more` is what else there is; `commanding` says whether a
    command is taken, and `refused` is told of one that is not: path, peer, why."""

    status: Callable[..., dict[str, Any]]
    forget: Callable[[list[str], By], list[str]]
    pulse: Pulse
    budgets: Callable[[], dict[str, Any]]
    envoy_stats: Stats
    more: Routes = NO_ROUTES
    console: Console | None = None
    commanding: Commanding = anybody
    refused: Callable[[str, str, str], None] = nobody


class AdminServer:
    """HTTP on `address` (`host:port`; port 0: any free one), in a thread of its own."""

    def __init__(self, address: str, served: Served) -> None:
        host, _, port = address.rpartition(":")
        if not port.isdecimal():
            message = f"{address!r} is no address of the admin port: give HOST:PORT, e.g. 127.0.0.1:8081"
            raise Misconfigured(500, "no_address", message)
        handler = type("Handler", (_Handler,), {"served": served, "sparing": Sparing()})
        try:
            self._server = _Server(host.removeprefix("[").removesuffix("]"), int(port), handler)
        except OSError as error:
            message = f"the admin port {address} can't be opened: {error.strerror}"
            raise Misconfigured(500, "address_in_use", message) from None
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        self.address = f"{host}:{self._server.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        """OSError."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, (at, *_) = found[0]
        super().__init__((str(at), port), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Probes and scrapers that break off are no errors of ours."""
        if not isinstance(sys.exception(), OSError):
            log.exception("a question to the admin port failed")


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "modelbroker", ""  # which Python is nobody's business
    timeout = 30

    _unread = 0  # bytes of the body
    _is_last = False  # as who asks has it

    def parse_request(self) -> bool:
        """Where a request ends has to be sure: what is left of it would be the next one."""
        if not super().parse_request():
            return False
        self._is_last = self.close_connection
        code, wrong = _framing(self.headers)
        self._unread = 0 if wrong else int(self.headers.get("content-length") or 0)
        if wrong or self._unread:
            self.close_connection = True  # unless it is read
        if wrong:
            self._unread = 1
            self._answer(code, "text/plain", f"{wrong}\n".encode())
        return not wrong

    def _body(self, most: int, what: str) -> bytes | None:
        """None: it has more than `most` bytes, which `what` may have, and that is answered."""
        size = self._unread
        if size > most:
            self._answer(413, "text/plain", f"a body here has at most {most:,} bytes: {what}\n".encode())
            return None
        body = self.rfile.read(size)
        self._unread = size - len(body)
        self.close_connection = self._is_last or bool(self._unread)
        return body

    def finish(self) -> None:
        super().finish()
        if not self._unread:
            return
        with contextlib.suppress(OSError):  # an end with something unread would cut off the answer
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_S)
            until_s = time.monotonic() + _LINGER_S
            while time.monotonic() < until_s and self.connection.recv(1 << 16):
                pass

    def _route(self, more: Routes, path: str, query: Query, body: bytes, by: By = _ANYBODY) -> None:
        try:
            answer = more[self.command, path](query, body, by)
        except (LookupError, ValueError, OSError) as error:
            code = 404 if isinstance(error, LookupError) else 503 if isinstance(error, OSError) else 400
            self._answer(code, "text/plain", f"{error.args[0] if error.args else error}\n".encode())
            return
        self._answer_json(answer)

    def _answer_json(self, told: Any) -> None:
        text = msgspec.json.format(msgspec.json.encode(told), indent=2)
        self._answer(200, "application/json", text + b"\n")

    def _answer(
        self, code: int, content_type: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self._end_of_headers()
        self.wfile.write(body)

    def _end_of_headers(self) -> None:
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()

    def _is_from_elsewhere(self) -> bool:
        """Is it asked by a name that leads here, and is none of this machine's? Then it is answered."""
        host = self.headers.get("host")
        if is_ours(self.client_address[0], host):
            return False
        said = f"{as_ascii((host or '')[:100])} is no name of this machine: ask for 127.0.0.1 or localhost"
        self._answer(403, "text/plain", f"{said}\n".encode())
        return True

    def _is_for(self, console: Console | None, path: str) -> bool:
        """Was this a matter of the console's? Then it is answered."""
        if console is None or not is_console(path):
            return False
        self._to_console(console)
        return True

    def _to_console(self, console: Console) -> None:
        body = self._body(_MOST_FORM, "this is more than a form of the console's holds")
        if body is None:
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        came = Came(self.command, self.path, self.client_address[0], headers, body)
        answer = console(came)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self._end_of_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _framing(headers: Message) -> tuple[int, str]:
    """(status, why it can't be said where this request ends); "": it can."""
    lengths, codings = headers.get_all("content-length", []), headers.get_all("transfer-encoding", [])
    if any(isinstance(one, MissingHeaderBodySeparatorDefect) for one in headers.defects):
        return 400, "a line of the header is no `name: value`"
    if lengths and codings:
        return 400, "content-length and transfer-encoding are given both: which one holds is not clear"
    if codings:
        return 411, "a body that comes in chunks is not read here: give its content-length"
    if len(lengths) > 1:
        return 400, "content-length is given more than once"
    if lengths and not (lengths[0].isascii() and lengths[0].isdecimal() and len(lengths[0]) < 16):
        return 400, f"content-length is {lengths[0][:40]!r}: give the number of bytes"
    return 200, ""


class _Handler(_Answering):
    served: Served
    sparing: Sparing

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        served = self.served
        if self._is_for(served.console, path) or self._is_from_elsewhere():
            return
        match path:
            case "/status":
                # A large configuration's status is asked for while calls are served: json takes 50 ms.
                self._answer_json(served.status(asks_envoy=query == "envoy"))
            case "/budgets":
                self._answer_json(served.budgets())
            case "/healthz":
                # This thread answers whatever becomes of calls: they are served by the event loop.
                if served.pulse.beats(_PULSE_S):
                    self._answer(200, "text/plain", b"ok\n")
                else:
                    late = f"the event loop has not turned for {_PULSE_S:g} s: calls hang\n"
                    self._answer(503, "text/plain", late.encode())
            case "/ready":
                in_effect = served.status()["in_effect"]
                text = b"ready\n" if in_effect else b"no Envoy has the configuration yet\n"
                self._answer(200 if in_effect else 503, "text/plain", text)
            case "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, texts().encode() + generate_latest())
            case "/metrics/envoy":
                self._answer(*served.envoy_stats(query))
            case path if ("GET", path) in served.more:
                self._route(served.more, path, parse_qs(query), b"")
            case path:
                known = ", ".join([_PATHS, *_paths(served.more, "GET")])
                self._answer(404, "text/plain", f"no {path[:200]} here; there are {known}\n".encode())

    def do_POST(self) -> None:
        path, _, query = self.path.partition("?")
        served = self.served
        if self._is_for(served.console, path) or self._is_from_elsewhere():
            return
        if self.headers.get("origin"):  # any page that an operator has open could send it
            self._answer(403, "text/plain", b"commands are not taken from web pages\n")
            return
        try:
            asked, by = self._commanded(query)
        except Refused as why:
            self._refuse(path, str(why))
            return
        if ("POST", path) in served.more:
            if (body := self._body(_MOST_BODY, "what this command is given is smaller")) is not None:
                self._route(served.more, path, asked, body, by)
            return
        if path != "/forget":
            known = ", ".join(["/forget", *_paths(served.more, "POST")])
            self._answer(404, "text/plain", f"there is nothing to post to but {known}\n".encode())
            return
        try:
            forgotten = served.forget(list(asked.get("member", [])), by)
        except LookupError as error:
            self._answer(404, "text/plain", f"{error.args[0]}\n".encode())
            return
        self._answer(200, "application/json", msgspec.json.encode({"forgotten": forgotten}) + b"\n")

    def _commanded(self, query: str) -> tuple[Query, By]:
        """What is asked, and by whom. Refused."""
        asked, peer = parse_qs(query), self.client_address[0]
        if proxy := next((name for name in _FROM_ELSEWHERE if name in self.headers), ""):
            peer = f"{peer} for somebody else ({proxy})"
        user = self.served.commanding(peer, self.headers.get("authorization"))
        return asked, _by(user, asked)

    def _refuse(self, path: str, why: str) -> None:
        peer = self.client_address[0]
        if (more := self.sparing.told(peer, time.monotonic())) is not None:
            name = as_ascii(path[:100])
            log.warning("%s from %s is refused: %s%s", name, peer, why, more)
            self.served.refused(name, peer, f"{why.partition(':')[0]}{more}")
        self._answer(401, "text/plain", f"{why}\n".encode(), {"www-authenticate": "Bearer"})


def _paths(more: Routes, method: str) -> list[str]:
    return [path for its, path in more if its == method]
