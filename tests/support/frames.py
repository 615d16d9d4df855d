"""A receiver of syslog over TCP that reads octet-counted frames, and ends connections at any byte."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections import deque

_ID = re.compile(rb' id="([^"]*)"')


class Receiver:
    """`plan`: (after how many bytes of the next connection, whether by a reset) it ends; behind the plan none
    does. `took`: (connection, id) of each frame that was read as a whole."""

    def __init__(self) -> None:
        self.plan: deque[tuple[int, bool]] = deque()
        self.took: list[tuple[int, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def end_connection(self) -> None:
        """The one that there is."""
        assert self._connection is not None
        self._connection.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            self._connection = connection
            with connection, contextlib.suppress(OSError):
                self._read(number, connection)

    def _read(self, number: int, connection: socket.socket) -> None:
        left, resets = self.plan.popleft() if self.plan else (1 << 40, False)
        data = b""
        while left:
            piece = connection.recv(min(left, 1 << 16))
            if not piece:
                return
            left -= len(piece)
            data += piece
            while found := re.match(rb"(\d+) ", data):
                end = found.end() + int(found[1])
                if len(data) < end:
                    break
                frame, data = data[found.end() : end], data[end:]
                key = _ID.search(frame)
                assert key is not None
                self.took.append((number, key[1].decode()))
        if resets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
