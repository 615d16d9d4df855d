"""The `console` section of a configuration → the catalog's."""

from __future__ import annotations

from ..core.console import DEFAULT_CONSOLE, Console, ConsoleUser
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
    seen: set[str] = set()
    for number, user in enumerate(said.users):
        if user.name in seen:
            path = ("console", "users", number, "name")
            merged.wrong(path, f"{show(user.name)} stands twice", "give each user one entry")
        seen.add(user.name)
    if said.networks and not said.users and said.enabled:
        wrong = "others than this machine would come with one token for all, that nobody has a name by"
        merged.wrong(("console", "networks"), wrong, "add users: [{name: ana, token: {env: NAME}}]")
    users = tuple(ConsoleUser(user.name, user.token) for user in said.users)
    return Console(said.enabled, users, tuple(said.networks), said.session // 1000)
