"""HTTP as all sinks have it: one connection that is kept, bounded waits, no redirects, no proxies.

A redirect is never followed, since a credential would go along; proxies of the environment are ignored,
since an audit goes to the address that its configuration says.
"""

from __future__ import annotations

import gzip
import http.client
import re
import select
import socket
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ...core.away import why_away
from ..sink import SinkAway
from .trust import tls_context

CONNECT_S = 10.0
ANSWER_S = 30.0
_MOST_ANSWER_BYTES = 16 << 20
_HEADER = "header."
NO_HTTP = "its answer is no HTTP, or not whole"
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")
_STATUS_WORDS = {
    401: "it does not take the credential",
    403: "it does not allow this credential to write",
    404: "it has nothing at this address",
    405: "it does not take this method",
    407: "a proxy wants a credential",
    408: "it gave up waiting for the request",
    413: "it takes no request of this size",
    429: "it takes no more for now",
}


class _NoAnswer(http.client.HTTPException):
    """Its text says why."""


_CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)  # and http.client.RemoteDisconnected
_ERRORS = (OSError, http.client.HTTPException, UnicodeError)  # the last for names of hosts that are none


class Answer(NamedTuple):
    """`behind`: the path that came behind the address."""

    status: int
    body: bytes
    behind: str = ""

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    def words(self) -> str:
        """Nothing of the body, which may repeat what was sent."""
        what = _STATUS_WORDS.get(self.status, "")
        if 300 <= self.status < 400:
            what = "it redirects: give the address that it redirects to"
        if self.status == 404 and self.behind:
            what += f" with {self.behind} behind it"
        return f"{what or 'it answers'} (HTTP {self.status})"


class Web:
    """Of one thread. `address`: `http(s)://host[:port][/path]`; `options` are those of TLS."""

    def __init__(self, address: str, options: Mapping[str, str]) -> None:
        parts = urlsplit(address)
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_tls else 80)
        self._base = parts.path.rstrip("/")
        self._options = options
        self._connection: http.client.HTTPConnection | None = None

    def send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], *, zipped: bool = False
    ) -> Answer:
        """`path` begins behind the address's own. SinkAway where there is no whole answer."""
        if bad := [name for name, value in headers.items() if not _VALUE.fullmatch(value)]:
            raise SinkAway(f"the value of the header {bad[0]} is none that a header can hold")
        whole = {"user-agent": "modelbroker", **headers}
        if zipped:
            body, whole["content-encoding"] = gzip.compress(body, 3, mtime=0), "gzip"
        is_kept = self._is_open()
        try:
            return self._ask(method, path, body, whole)
        except _ERRORS as error:
            self.close()
            # Servers close what is idle, at the very moment even in which it is used.
            if not (is_kept and isinstance(error, _CLOSED)):
                raise SinkAway(_why(error)) from None
        try:
            return self._ask(method, path, body, whole)
        except _ERRORS as error:
            self.close()
            raise SinkAway(_why(error)) from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = self._connection or self._connect()
        connection.request(method, self._base + path or "/", body, dict(headers))
        response = connection.getresponse()
        until_s = time.monotonic() + ANSWER_S
        found: list[bytes] = []
        size = 0
        while piece := response.read(1 << 16):
            found.append(piece)
            size += len(piece)
            if size > _MOST_ANSWER_BYTES:
                raise _NoAnswer("its answer has no end")
            if time.monotonic() > until_s:
                raise TimeoutError
        # Of a body that is shorter than its length `read` says nothing.
        if response.length:
            raise http.client.IncompleteRead(b"")
        if response.will_close:
            self.close()
        return Answer(response.status, b"".join(found), path.partition("?")[0])

    def _connect(self) -> http.client.HTTPConnection:
        plain = socket.create_connection((self._host, self._port), CONNECT_S)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made = plain
            if self._is_tls:
                made = tls_context(self._options).wrap_socket(plain, server_hostname=self._host)
            made.settimeout(ANSWER_S)
        except BaseException:
            plain.close()
            raise
        self._connection = http.client.HTTPConnection(self._host, self._port)
        if self._is_tls:  # else the header Host would name the port
            self._connection.default_port = 443
        self._connection.sock = made
        self._connection.auto_open = 0  # it would connect again by itself, and without TLS
        return self._connection

    def _is_open(self) -> bool:
        """One that the other side has closed, or said something on that nobody asked for, is closed."""
        if self._connection is None or self._connection.sock is None:
            self.close()
            return False
        if is_readable(self._connection.sock):
            self.close()
            return False
        return True


def is_readable(connection: socket.socket) -> bool:
    """Without waiting: there is something to read, or the end."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return why_away(error)
    if isinstance(error, _NoAnswer):
        return str(error)
    if isinstance(error, UnicodeError):
        return "its name is none that can be looked up"
    return NO_HTTP


def headers_of(options: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, str]:
    """What stands as `header.NAME` in either."""
    found = {**options, **secrets}
    return {name[len(_HEADER) :]: value for name, value in found.items() if name.startswith(_HEADER)}
