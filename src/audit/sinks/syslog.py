"""Syslog over TCP and TLS.

Source: RFC 5424 (messages), RFC 6587 section 3.4.1 (octet counting), RFC 5425 (TLS).

The protocol acknowledges nothing. So a batch counts as taken when the other side's kernel has all of it, and
what was sent shortly before a connection broke is sent again on the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import socket
import ssl
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from ...core.away import why_away
from ..sink import Sent, SinkAway, SinkSettings
from .trust import tls_context

CONNECT_S = 10.0
SEND_S = 30.0
_END_S = 2.0
# A proxy whose server is away, or a server that does not take our certificate, closes a new connection a
# moment after it has taken what was sent on it.
_PROVE_S = 1.0
_LOOK_S = 0.005
# What a server may not have read yet when it ends: as much as it has room for, and not for ever.
_UNSURE_S = 60.0
_UNSURE_BYTES = 4 << 20

FACILITIES = {
    **{"user": 1, "daemon": 3, "auth": 4, "syslog": 5, "authpriv": 10, "audit": 13},
    **{f"local{number}": 16 + number for number in range(8)},
}
# OCSF's severity_id → syslog's. Syslog's 0 (the system is unusable) is shouted to all terminals.
_SEVERITIES = {0: 6, 1: 6, 2: 5, 3: 4, 4: 3, 5: 2, 6: 1, 99: 5}
_NOTICE = 5
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


class Frames:
    """Events as RFC 5424 has them, framed."""

    def __init__(self, settings: SinkSettings, host: str, process: int) -> None:
        options = settings.options
        self._facility = FACILITIES[options.get("facility", "audit")]
        app = options.get("app_name", "modelbroker")
        self._head = (
            f"{_printable(options.get('hostname') or host, 255)} {_printable(app, 48)} {process} audit"
        )
        self._sd_id = options.get("sd_id", "modelbroker@32473")

    def of(self, event: Sent) -> bytes:
        priority = self._facility * 8 + _SEVERITIES.get(event.severity, _NOTICE)
        at = datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        data = f'[{self._sd_id} id="{_escaped(event.id)}" seq="{event.seq}"]'
        head = f"<{priority}>1 {at.replace('+00:00', 'Z')} {self._head} {data} "
        message = head.encode() + ascii_json(event.line)
        return b"%d %s" % (len(message), message)


def ascii_json(line: bytes) -> bytes:
    r"""The same JSON in ASCII (`\u00e9`). Text beyond ASCII would have to begin with a byte order mark (RFC
    5424, 6.4), over which readers of JSON stumble."""
    if line.isascii():
        return line

    def spell(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be")
        return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))

    return _BEYOND_ASCII.sub(spell, line.decode()).encode()


def _printable(text: str, most: int) -> str:
    """PRINTUSASCII without spaces, or nil."""
    return re.sub(r"[^\x21-\x7e]", "", text)[:most] or "-"


def _escaped(text: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", text)


class Syslog:
    """`address`: `tcp://host:port` or `tls://host:port`."""

    most_events = 500
    most_bytes = 256 << 10
    again_s = _UNSURE_S

    def __init__(
        self,
        settings: SinkSettings,
        clock: Callable[[], float] = time.monotonic,
        prove_s: float = _PROVE_S,
    ) -> None:
        self._options = settings.options
        self._prove_s = prove_s
        parts = urlsplit(settings.options["address"])
        self._is_tls = parts.scheme == "tls"
        self._host, self._port = parts.hostname or "", parts.port or (6514 if self._is_tls else 601)
        self._frames = Frames(settings, socket.gethostname(), os.getpid())
        self._clock = clock
        self._socket: socket.socket | None = None
        self._unsure: deque[tuple[float, bytes]] = deque()  # (when, what), the oldest first
        self._unsure_bytes = 0

    def send(self, events: Sequence[Sent]) -> None:
        data = b"".join(self._frames.of(event) for event in events)
        try:
            self._drop_if_closed()
            if self._socket is None:
                self._begin(data)
            else:
                self._put(self._socket, data)
                self._drop_if_closed()
                if self._socket is None:
                    raise ConnectionResetError
        except (OSError, UnicodeError) as error:
            self._drop()
            why = why_away(error) if isinstance(error, OSError) else "its name is none that can be looked up"
            raise SinkAway(why) from None
        except SinkAway:
            self._drop()
            raise
        self._unsure.append((self._clock(), data))
        self._unsure_bytes += len(data)
        self._forget()

    def close(self) -> None:
        """Let the other side read all that there is: it closes too when it has."""
        if (made := self._socket) is None:
            return
        with contextlib.suppress(OSError, ValueError):
            made.settimeout(_END_S)
            if isinstance(made, ssl.SSLSocket):
                made.unwrap()  # sends close_notify, and waits for the other's
            else:
                made.shutdown(socket.SHUT_WR)
                while made.recv(4096):
                    pass
        self._drop()

    def _begin(self, data: bytes) -> None:
        """A connection, with all that may not have been read on the one before."""
        made = self._connected()
        try:
            self._put(made, b"".join(sent for _, sent in self._unsure) + data)
            self._prove(made)
        except BaseException:  # it is none: what is unsure gets no older by it
            made.close()
            raise
        self._socket = made
        now_s = self._clock()
        self._unsure = deque((now_s, sent) for _, sent in self._unsure)

    def _prove(self, made: socket.socket) -> None:
        """It is still open after a while, or TLS says that the server is content. OSError where it is not."""
        if isinstance(made, ssl.SSLSocket) and made.version() == "TLSv1.2":
            return  # which ends its handshake behind all checks
        until_s = time.monotonic() + self._prove_s
        poll = select.poll()
        poll.register(made, select.POLLIN)
        made.settimeout(0)
        while poll.poll(max(0.0, until_s - time.monotonic()) * 1000):
            try:
                if not made.recv(4096):
                    raise ConnectionResetError
            except ssl.SSLWantReadError:  # a ticket: that is sent behind all checks
                break
            except BlockingIOError:
                continue
        made.settimeout(SEND_S)

    def _drop_if_closed(self) -> None:
        """A server has nothing to say in this protocol: what can be read is the end, or nothing of
        interest."""
        if (made := self._socket) is None:
            return
        try:
            made.settimeout(0)
            while made.recv(4096):
                pass
        except (BlockingIOError, ssl.SSLWantReadError):  # nothing, or what TLS says to itself
            made.settimeout(SEND_S)
        except OSError:
            self._drop()
        else:
            self._drop()

    def _connected(self) -> socket.socket:
        plain = socket.create_connection((self._host, self._port), CONNECT_S)
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made = plain
            if self._is_tls:
                name = self._options.get("server_name") or self._host
                made = tls_context(self._options).wrap_socket(plain, server_hostname=name)
            made.settimeout(SEND_S)
        except BaseException:
            plain.close()
            raise
        return made

    def _put(self, made: socket.socket, data: bytes) -> None:
        """And wait until the other side's kernel has acknowledged it: what no one has is not lost with a
        connection then."""
        made.sendall(data)
        until_s = time.monotonic() + SEND_S
        while _unacknowledged(made):
            if time.monotonic() > until_s:
                raise TimeoutError
            # It closes, or resets, while this waits: there is an answer at once then.
            poll = select.poll()
            poll.register(made, 0)
            if poll.poll(_LOOK_S * 1000):
                raise ConnectionResetError

    def _forget(self) -> None:
        """What a connection that lived on has certainly delivered. While there is none nothing gets older."""
        now_s = self._clock()
        while self._unsure and (
            now_s - self._unsure[0][0] > _UNSURE_S
            or (self._unsure_bytes > _UNSURE_BYTES and len(self._unsure) > 1)
        ):
            self._unsure_bytes -= len(self._unsure.popleft()[1])

    def _drop(self) -> None:
        if self._socket is not None:
            self._forget()
            self._socket.close()
            self._socket = None


def _unacknowledged(made: socket.socket) -> int:
    """Bytes in the kernel's queue that the other side has not acknowledged. 0 where no kernel says."""
    room = bytearray(4)
    try:
        fcntl.ioctl(made.fileno(), termios.TIOCOUTQ, room)
    except OSError:
        return 0
    return int(struct.unpack("i", room)[0])


def open_sink(settings: SinkSettings) -> Syslog:
    return Syslog(settings)
