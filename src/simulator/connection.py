"""One client connection: HTTP/1.1 in through h11, plans out as bytes.

h11 reads requests (https://www.rfc-editor.org/rfc/rfc9112); answers are framed here by hand, for half of
them must be wrong on purpose, which h11 would not allow.
"""

import asyncio
import contextlib
import email.utils
import http
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Protocol, cast

import h11

from . import control
from .journal import Entry
from .plan import Close, Data, End, Head, Raw, Reset, Stall, Step, Wait
from .provider import Provider

MAX_BODY_BYTES = 128 * 1024 * 1024
_MAX_HEAD_BYTES = 256 * 1024
_MAX_AHEAD_BYTES = 1024 * 1024  # of pipelined requests held while one is answered
_FLUSH_TRIES = 250  # milliseconds that sent bytes get to arrive before a reset
_log = logging.getLogger(__name__)
_REASONS = {status.value: status.phrase for status in http.HTTPStatus} | {529: "Overloaded"}


class Host(control.Controlled, Protocol):
    """What a connection needs of its simulator."""

    provider: Provider

    def opened(self, connection: "Connection") -> None: ...

    def closed(self, connection: "Connection") -> None: ...

    @property
    def refusing(self) -> bool: ...


def reset_socket(sock: socket.socket) -> None:
    """Closes a socket such that the peer gets an RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


_date: tuple[int, str] = (0, "")


def _date_line(now: float) -> str:
    global _date
    if _date[0] != int(now):
        _date = (int(now), email.utils.formatdate(now, usegmt=True))
    return _date[1]


class Connection(asyncio.Protocol):
    """A connection, from accept to close; one request is answered at a time."""

    def __init__(self, host: Host, control_only: bool = False) -> None:
        self._host = host
        self.control_only = control_only
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = h11.Connection(h11.SERVER, _MAX_HEAD_BYTES)
        self._request: h11.Request | None = None
        self._began = 0.0
        self._body: list[bytes] = []
        self._size = 0
        self._ahead = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._entry: Entry | None = None
        self._writable: asyncio.Future[None] | None = None
        self._keep = True
        self._chunked = False  # whether the client knows chunked bodies
        self._framed = False  # whether this body is chunked
        self._last = False  # whether the body's end follows at once
        self._more = False  # whether body bytes follow at once
        self._held = b""  # a head not yet written

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the transport; answers leave at once."""
        self._transport = cast(asyncio.Transport, transport)
        self._host.opened(self)

    def data_received(self, data: bytes) -> None:
        """Reads on; while a request is being answered, what follows waits."""
        if self._task is None:
            self._parser.receive_data(data)
            self._pump()
            return
        self._ahead += data
        if len(self._ahead) > _MAX_AHEAD_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client closed its side: it is gone. Half-closed HTTP clients are not served."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends whatever was going on; a request not yet answered has lost its client."""
        now = time.time()
        if (
            self._request is not None
            and self._task is None
            and not control.is_control(_target(self._request))
        ):
            self._entry = self._open_entry(self._request, b"".join(self._body))
        if self._entry is not None:
            self._entry.finish("client-gone", now)
        if self._task is not None:
            self._task.cancel()
        self._transport = None
        self._host.closed(self)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # the simulator calls these

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self._task is None

    def close(self) -> None:
        """Closes the connection, politely when idle."""
        if self._transport is not None:
            if self.idle:
                self._transport.close()
            else:
                self._transport.abort()

    # reading

    def _pump(self) -> None:
        try:
            while self._task is None and self._transport is not None:
                event = self._parser.next_event()
                if isinstance(event, h11.Request):
                    self._request, self._began = event, time.time()
                    self._body, self._size = [], 0
                    if self._parser.they_are_waiting_for_100_continue:
                        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                elif isinstance(event, h11.Data):
                    self._take(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self._start(b"".join(self._body))
                else:
                    return
        except h11.RemoteProtocolError as error:
            self._bad_request(str(error))

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        self._body.append(data)
        if self._size > MAX_BODY_BYTES:
            # Answered without reading on: the connection cannot be used again.
            self._keep = False
            self._start(b"", too_large=True)

    def _bad_request(self, why: str) -> None:
        if self._transport is None:
            return
        body = f"{why}\n".encode()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self._transport.write(head.encode() + body)
        self._request = None
        self._transport.close()

    def _open_entry(self, request: h11.Request, body: bytes) -> Entry:
        raw = b"\n".join([name + b":" + value for name, value in request.headers.raw_items()])
        method = request.method.decode("latin-1")
        return self._host.journal.open(self._began, method, _target(request), raw, body)

    def _start(self, body: bytes, too_large: bool = False) -> None:
        """Answers the request just read."""
        request = self._request
        assert request is not None  # noqa: S101 - h11 gives no end before its request
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in request.headers}
        connection = headers.get("connection", "").lower()
        self._chunked = request.http_version >= b"1.1"
        self._keep = self._keep and self._chunked and "close" not in connection
        if not too_large:
            self._ahead = bytearray(self._parser.trailing_data[0])
        method, target = request.method.decode("latin-1"), _target(request)
        if control.is_control(target) or self.control_only:
            steps = self._control(method, target, body)
            self._task = self._loop.create_task(self._serve(steps, None, "ok"))
            return
        provider = self._host.provider
        entry = self._entry = self._open_entry(request, body)
        try:
            if too_large:
                verdict = provider.refuse_body(method, target, headers)
            else:
                verdict = provider.answer(method, target, headers, body)
        except Exception:
            # A request no rule foresaw must not cost the other connections their simulator.
            _log.exception("the simulator failed at %s %s", method, target)
            steps = [Head(500, [("x-mock-bug", "1")], 0), End()]
            self._task = self._loop.create_task(self._serve(steps, entry, "bug"))
            return
        call = verdict.call
        entry.surface, entry.model, entry.stream = call.surface, call.model, call.stream
        entry.fault = verdict.fault
        self._task = self._loop.create_task(self._serve(verdict.steps, entry, verdict.outcome))

    def _control(self, method: str, target: str, body: bytes) -> list[Step]:
        status, kind, out = control.handle(self._host, method, target, body)
        return [Head(status, [("content-type", kind)], len(out)), Data(out), End()]

    # answering

    async def _serve(self, steps: list[Step], entry: Entry | None, outcome: str) -> None:
        ended = False
        for number, step in enumerate(steps, 1):
            if self._transport is None:
                return
            if isinstance(step, (End, Close, Reset)):
                # Noted before the last bytes go: whoever has read the whole answer finds it in the journal.
                if entry is not None:
                    entry.finish(outcome, time.time())
                ended = isinstance(step, End)
            following = steps[number] if number < len(steps) else None
            self._last, self._more = isinstance(following, End), isinstance(following, Data)
            await self._obey(step, entry)
        if ended and self._keep and not self._host.refusing:
            self._next_request()
        elif self._transport is not None:
            self._transport.close()

    async def _obey(self, step: Step, entry: Entry | None) -> None:
        transport = self._transport
        assert transport is not None  # noqa: S101 - _serve looked
        if isinstance(step, Data):
            if step.data:
                head, self._held = self._held, b""
                frame = b"%b%x\r\n%b\r\n" % (head, len(step.data), step.data) if self._framed else None
                transport.write(frame or head + step.data)
                await self._written()
        elif isinstance(step, Head):
            if entry is not None:
                entry.status = step.status
            head = self._head(step)
            if step.length is not None and self._more:
                self._held = head  # leaves with the body: one packet for a small answer
                return
            transport.write(head)
            await self._written()
        elif isinstance(step, End):
            if self._framed:
                transport.write(b"0\r\n\r\n")
        elif isinstance(step, Raw):
            transport.write(step.data)
        elif isinstance(step, Wait):
            await asyncio.sleep(step.ms / 1000)
        elif isinstance(step, Stall):
            await asyncio.Event().wait()  # until connection_lost cancels the task
        elif isinstance(step, Close):
            transport.close()
        else:
            await self._reset(transport)

    def _head(self, head: Head) -> bytes:
        lines = [f"HTTP/1.1 {head.status} {_REASONS.get(head.status, 'Unknown')}"]
        lines.append(f"date: {_date_line(time.time())}")
        lines += [f"{name}: {value}" for name, value in head.headers]
        self._framed = head.length is None and self._chunked
        if head.length is not None:
            lines.append(f"content-length: {head.length}")
        elif self._framed:
            lines.append("transfer-encoding: chunked")
        else:
            self._keep = False  # HTTP/1.0: the end of the connection is the end of the body
        if not self._keep or self._host.refusing:
            self._keep = False
            lines.append("connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    async def _written(self) -> None:
        if self._writable is not None:
            await self._writable
        elif not self._last:
            # Lets this write leave by itself, and others have their turn.
            await asyncio.sleep(0)

    async def _reset(self, transport: asyncio.Transport) -> None:
        sock = transport.get_extra_info("socket")
        fd = os.dup(sock.fileno())
        with contextlib.closing(socket.socket(fileno=fd)) as twin:
            # An RST throws away what is still unsent: wait until the peer's kernel has it.
            for _ in range(_FLUSH_TRIES):
                if self._transport is None or not (transport.get_write_buffer_size() or _unsent(fd)):
                    break
                await asyncio.sleep(0.001)
            # The option belongs to the open socket, not to the descriptor: it holds for both.
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def _next_request(self) -> None:
        self._task = self._entry = self._request = None
        ahead, self._ahead = self._ahead, bytearray()
        self._parser = h11.Connection(h11.SERVER, _MAX_HEAD_BYTES)
        if self._transport is not None and not self._transport.is_closing():
            if len(ahead) > _MAX_AHEAD_BYTES:
                self._transport.resume_reading()
            if ahead:
                self._parser.receive_data(bytes(ahead))
                self._pump()


def _target(request: h11.Request) -> str:
    return request.target.decode("latin-1")


def _unsent_bytes() -> Callable[[int], int]:
    """How to ask the kernel for the bytes a peer has not acknowledged; without a way the answer is 0."""
    if sys.platform == "win32":
        return lambda fd: 0
    import fcntl
    import termios

    def ask(fd: int) -> int:
        try:
            return cast(int, struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0"))[0])
        except OSError:
            return 0

    return ask


_unsent = _unsent_bytes()
