"""The simulator as a server: listening sockets, the script in force, the connections."""

import asyncio
import contextlib
import random
import socket
import ssl as tls
import time
from types import TracebackType
from typing import Self

from .connection import Connection, reset_socket
from .journal import Journal
from .memory import Memory
from .provider import Provider
from .script import Dialect, Script

_BACKLOG = 4096
_ACCEPTS = 64  # at one go, so that a rush of connections does not starve those there are


class Simulator:
    """A simulated model provider on its own port; many can live in one event loop.

    Use as an async context manager, or `start` and `close`. `journal` is what it received.
    """

    def __init__(
        self,
        name: str = "mock",
        dialect: Dialect | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        script: Script | None = None,
        ssl: tls.SSLContext | None = None,
        control_port: int | None = None,
    ) -> None:
        """Raises ScriptError when the script's recordings cannot be used.

        Port 0 takes a free one. `control_port` opens one more port (0: a free one) for the control surface
        alone: it stays reachable while the script refuses connections, and knows no TLS.
        """
        self.name, self.dialect, self.host, self.port = name, dialect, host, port
        self.control_port = control_port
        self._ssl = ssl
        self._ids = random.Random(f"ids:{name}")
        self._script = script or Script()
        self._memory = Memory()
        self.provider = Provider(name, dialect, self._script, self._ids, self._memory)
        self.journal = Journal(self._script.journal)
        self._listener: socket.socket | None = None
        self._listening = False
        self._control: socket.socket | None = None
        self._reopen: asyncio.TimerHandle | None = None
        self._connections: set[Connection] = set()
        self._handshakes: dict[asyncio.Task[None], socket.socket] = {}

    async def start(self) -> Self:
        """Listens. Raises OSError when the port cannot be had."""
        self._listener = _bind(self.host, self.port)
        self.port = self._listener.getsockname()[1]
        if self.control_port is not None:
            try:
                control = _bind(self.host, self.control_port)
            except OSError:
                self._listener.close()
                raise
            self.control_port = control.getsockname()[1]
            control.listen(16)
            self._control = control
            self._watch(control, True)
        self._apply()
        return self

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops listening and ends every connection, those under way too."""
        if self._reopen is not None:
            self._reopen.cancel()
        for sock in (self._listener, self._control):
            if sock is not None:
                asyncio.get_running_loop().remove_reader(sock)
                sock.close()
        for task in tuple(self._handshakes):
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        for connection in tuple(self._connections):
            connection.close()
        # A polite close may wait for a peer that reads no more: after a while there is no more waiting.
        for _ in range(100):
            if not self._connections:
                break
            await asyncio.sleep(0.005)
        self._listener = self._control = None
        self._listening = False

    @property
    def base_url(self) -> str:
        """`http(s)://HOST:PORT`, no path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._ssl else 'http'}://{host}:{self.port}"

    @property
    def script(self) -> Script:
        """The script in force."""
        return self._script

    @property
    def refusing(self) -> bool:
        """Whether connections are refused at present."""
        return self._listener is not None and not self._listening

    @property
    def connection_count(self) -> int:
        """Open connections at present."""
        return len(self._connections)

    def set_script(self, script: Script) -> None:
        """Puts another script in force, counters anew. Raises ScriptError and then changes nothing.

        Answers under way go on by the script they began with.
        """
        self.provider = Provider(self.name, self.dialect, script, self._ids, self._memory)
        self._script = script
        self.journal.limit(script.journal)
        if self._listener is not None:
            self._apply()

    async def settled(self, timeout_s: float = 5.0) -> bool:
        """Waits until no answer is under way; whether that came within the time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while any(not connection.idle for connection in self._connections):
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.002)
        return True

    # connections call these

    def opened(self, connection: Connection) -> None:
        """Notes a connection."""
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """Forgets a connection."""
        self._connections.discard(connection)

    # listening

    def _apply(self) -> None:
        """Listens or refuses, as the script says."""
        if self._reopen is not None:
            self._reopen.cancel()
            self._reopen = None
        if not self._script.refuse:
            self._listen()
            return
        self._refuse()
        if self._script.refuse_for_s is not None:
            loop = asyncio.get_running_loop()
            self._reopen = loop.call_later(self._script.refuse_for_s, self._listen)

    def _listen(self) -> None:
        if self._listening or self._listener is None:
            return
        self._listener.listen(_BACKLOG)
        self._listening = True
        self._watch(self._listener, False)

    def _refuse(self) -> None:
        if self._listening and self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            # Bound but not listening: the kernel refuses, and nobody else can take the port meanwhile.
            self._listener = _bind(self.host, self.port)
            self._listening = False
        for connection in tuple(self._connections):
            if connection.idle and not connection.control_only:
                connection.close()

    def _watch(self, listener: socket.socket, control_only: bool) -> None:
        if listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener, control_only)

    def _accept(self, listener: socket.socket, control_only: bool) -> None:
        """Takes the connections that wait; called by the loop when there are any."""
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTS):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # out of descriptors: some may come free
                loop.remove_reader(listener)
                loop.call_later(0.05, self._watch, listener, control_only)
                return
            fault = None if control_only else self.provider.accept()
            if fault is not None:
                entry = self.journal.open(time.time(), "", "", b"", b"")
                entry.fault = fault.label
                entry.finish(fault.label, entry.time)
                reset_socket(sock)
                continue
            task = loop.create_task(self._adopt(sock, control_only))
            self._handshakes[task] = sock
            task.add_done_callback(self._adopted)

    async def _adopt(self, sock: socket.socket, control_only: bool) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = None if control_only else self._ssl
        loop = asyncio.get_running_loop()
        # A handshake that fails is the client's affair.
        with contextlib.suppress(OSError, tls.SSLError):
            await loop.connect_accepted_socket(lambda: Connection(self, control_only), sock, ssl=context)

    def _adopted(self, task: asyncio.Task[None]) -> None:
        sock = self._handshakes.pop(task)
        if task.cancelled():
            sock.close()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
