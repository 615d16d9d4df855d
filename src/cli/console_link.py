"""`modelbroker console`: where the console is, and the token that logs in to it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..core.errors import Misconfigured
from ..dialects import BUILT, DEVIATIONS, KNOWN
from ..settings import compile_texts
from .console_door import ADDRESS_FILE, ROOT, TOKEN_FILE
from .sources import read_texts
from .state import state_folder_of
from .state_tokens import kept_token


def link(admin: str, token: str = "") -> str:
    """`token` stands behind `#`, which no browser sends: it is in no log of a server."""
    return f"{admin.rstrip('/')}{ROOT}" + (f"/login#{token}" if token else "")


def link_of(folder: Path, admin: str) -> str:
    """With the token in this state folder, where there is one."""
    try:
        return link(admin, kept_token(folder / TOKEN_FILE))
    except (OSError, ValueError):
        return link(admin)


def _address(folder: Path) -> str:
    """Of the admin port of the broker that has this state folder, or had it last."""
    with contextlib.suppress(OSError, ValueError):
        return (folder / ADDRESS_FILE).read_text(encoding="ascii").strip()
    return "http://127.0.0.1:8081"


def print_link(config: Path | str, state_dir: Path | None, admin: str | None) -> int:
    """0. Misconfigured where there is no console, or no broker has been here yet. Without `admin` it is where
    the broker of the state folder was last."""
    catalog = compile_texts(read_texts(config), dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog
    if not catalog.console.enabled:
        raise Misconfigured(
            500, "no_console", "the configuration says `console: {enabled: false}`: there is none"
        )
    folder = state_folder_of(state_dir, config)
    admin = admin or _address(folder)
    if catalog.console.users:
        names = ", ".join(user.name for user in catalog.console.users)
        print(f"{link(admin)}\nlog in with the token of one of {names}: `console.users` says where it is")
        return 0
    print(link(admin, _token(folder)))
    return 0


def _token(folder: Path) -> str:
    path = folder / TOKEN_FILE
    where = "it is there once a broker with this state folder runs; give its --state-dir where it has one"
    try:
        if token := kept_token(path):
            return token
        told = f"{path} is empty: {where}"
    except OSError as error:
        told = f"{path} can't be read ({error.strerror}): {where}"
    except ValueError as error:
        told = f"{path} is no token: {error}"
    raise Misconfigured(500, "no_console_token", told)
