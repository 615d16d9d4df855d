"""What the process of the console is given."""

from __future__ import annotations

import msgspec

USER_HEADER = "x-console-user"  # who looks, percent-encoded


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`admin`: `host:port` of the admin port as this machine reaches it; `ledger`: its URL; "": there is
    none, and `ledger_why` says why. `socket_fd`: the open socket that it listens on. `folder`: of the
    state."""

    folder: str
    admin: str
    ledger: str = ""
    ledger_why: str = ""
    socket_fd: int = -1
