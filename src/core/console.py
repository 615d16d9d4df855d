"""The section `console`, compiled: who may look at the pages of the admin port, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalog import SecretRef

LEAST_TOKEN = 16  # characters


@dataclass(frozen=True, slots=True)
class ConsoleUser:
    """`token` is what it logs in with."""

    name: str
    token: SecretRef


@dataclass(frozen=True, slots=True)
class Console:
    """Without `users` there is one token, in the state folder. `networks`: from where it is reached besides
    this machine, as CIDR; `session_s`: how long a login lasts."""

    enabled: bool = True
    users: tuple[ConsoleUser, ...] = ()
    networks: tuple[str, ...] = ()
    session_s: int = 12 * 3600


DEFAULT_CONSOLE = Console()
