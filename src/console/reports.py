"""What the process of the console is given, and what it says."""

from __future__ import annotations

import msgspec

USER_HEADER = "x-console-user"  # who looks, percent-encoded
BEAT, BEAT_EVERY_S = b"here\n", 2.0  # it says that it is there, so often


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`admin`: `host:port` of the admin port as this machine reaches it; `ledger`: its URL; "": there is
    none, and `ledger_why` says why. `socket_fd`: on which connections are handed over to it. `folder`: of
    the state."""

    folder: str
    admin: str
    ledger: str = ""
    ledger_why: str = ""
    socket_fd: int = -1
