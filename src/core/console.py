"""The section `console`, compiled: who may look at the pages of the admin port, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalog import SecretRef

LEAST_TOKEN = 16  # characters


@dataclass(frozen=True, slots=True)
class TokenUser:
    """Somebody at the admin port. `token` is what it logs in with, or shows with a command."""

    name: str
    token: SecretRef


@dataclass(frozen=True, slots=True)
class Console:
    """Without `users` there is one token, in the state folder. `networks`: from where it is reached besides
    this machine, as CIDR; `session_s`: how long a login lasts."""

    enabled: bool = True
    users: tuple[TokenUser, ...] = ()
    networks: tuple[str, ...] = ()
    session_s: int = 12 * 3600


DEFAULT_CONSOLE = Console()
