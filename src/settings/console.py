"""The `console` section of a configuration → the catalog's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.catalog import SecretRef
from ..core.console import DEFAULT_CONSOLE, Console, TokenUser
from .console_schema import ConsoleIn
from .explain import read_one
from .merge import Merged
from .problems import show


def read_console(merged: Merged) -> Console:
    """What is wrong is noted."""
    raw = merged.mappings["console"]
    said = read_one(merged, ("console",), ConsoleIn, raw) if raw else None
    if said is None:
        return DEFAULT_CONSOLE
    if said.networks and not said.users and said.enabled:
        wrong = "others than this machine would come with one token for all, that nobody has a name by"
        merged.wrong(("console", "networks"), wrong, "add users: [{name: ana, token: {env: NAME}}]")
    users = token_users(merged, "console", said.users)
    return Console(said.enabled, users, tuple(said.networks), said.session // 1000)


class _UserIn(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def token(self) -> SecretRef: ...


def token_users(merged: Merged, section: str, users: Sequence[_UserIn]) -> tuple[TokenUser, ...]:
    """Those of a section, each of them once."""
    seen: set[str] = set()
    for number, user in enumerate(users):
        if user.name in seen:
            path = (section, "users", number, "name")
            merged.wrong(path, f"{show(user.name)} stands twice", "give each user one entry")
        seen.add(user.name)
    return tuple(TokenUser(user.name, user.token) for user in users)
