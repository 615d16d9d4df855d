"""How questions reach the console's process: each has a connection of its own, one end of which is handed
over. No name in a folder is needed for that: so none can be too long, be cleared away with other temporary
files, or be left behind."""

from __future__ import annotations

import contextlib
import os
import socket
from array import array
from threading import Lock

_MARK = b"c"  # what stands beside a handle: alone it would not be sent
_FOR_US_ALONE = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Handover:
    """The control plane's side; from any thread. Who asks while there is no process waits for the next one,
    for this outlives them. OSError where no more files can be opened."""

    def __init__(self) -> None:
        self._here, self.there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._here.setblocking(False)  # a process that takes nothing holds up nobody
        self._lock = Lock()

    def connect(self) -> socket.socket:
        """A connection to whatever process has the other side. OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with theirs, self._lock:
                socket.send_fds(self._here, [_MARK], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        return ours

    def drop(self) -> None:
        """Who waits, and was taken by no process yet, waits no longer."""
        with contextlib.suppress(OSError):
            while True:
                handle = _next(self.there, socket.MSG_DONTWAIT)
                if handle is None:
                    return
                os.close(handle)

    def close(self) -> None:
        with self._lock:
            self._here.close()
        self.there.close()


def taken(there: socket.socket) -> socket.socket:
    """The next connection, in the process. EOFError where there will be no more; OSError where it can't be
    had."""
    handle = _next(there)
    if handle is None:
        raise EOFError
    return socket.socket(fileno=handle)


def _next(there: socket.socket, flags: int = 0) -> int | None:
    """None: there will be no more. `socket.recv_fds` minds no flags."""
    room = socket.CMSG_LEN(array("i").itemsize)
    said, more, _, _ = there.recvmsg(len(_MARK), room, flags | _FOR_US_ALONE)
    if not said:
        return None
    handles = array("i")
    for _, _, data in more:
        handles.frombytes(data[: len(data) - len(data) % handles.itemsize])
    if not handles:
        raise OSError("a connection came without its handle")
    return handles[0]
