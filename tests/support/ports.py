"""Ports for servers that start later, which nobody else takes meanwhile: below those that the system gives to
connections and to servers that ask for any, and claimed among the workers of a test run by locks on files."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

_CLAIMS: list[IO[str]] = []  # held until this process ends
_MOST = 8_000


def claimed_port() -> int:
    """Nobody listens there, and no other test of this machine's user is given it."""
    folder = Path(tempfile.gettempdir()) / f"modelbroker-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    top = _first_of_the_system()
    for port in random.sample(range(top - _MOST, top), _MOST):
        claim = (folder / str(port)).open("w")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("0.0.0.0", port))
        except OSError as error:
            claim.close()
            assert error.errno in (errno.EADDRINUSE, errno.EAGAIN, errno.EACCES), error
            continue
        _CLAIMS.append(claim)
        return port
    raise AssertionError("there is no free port")


def _first_of_the_system() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768
