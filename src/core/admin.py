"""The section `admin`, compiled: who may command a broker by its admin port."""

from __future__ import annotations

from dataclasses import dataclass

from .console import TokenUser

# From this machine anybody commands, from elsewhere whoever has a token; or nobody without one.
LOCAL, TOKEN = "local", "token"
COMMANDS = (LOCAL, TOKEN)


@dataclass(frozen=True, slots=True)
class Admin:
    """`commands` out of COMMANDS; "": as the broker was started. Without `users` there is one token, in the
    state folder, and that one is good beside theirs."""

    commands: str = ""
    users: tuple[TokenUser, ...] = ()


DEFAULT_ADMIN = Admin()
