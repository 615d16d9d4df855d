"""Who may command the broker by its admin port: by the address that a command comes from, or by a token."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ..console.login import owner_of
from ..core.admin import LOCAL, TOKEN, Admin
from ..core.console import LEAST_TOKEN, TokenUser
from ..secrets.box import SecretBox, secret_place
from .secrets import good_values
from .state_tokens import state_token

log = logging.getLogger("modelbroker.admin")

TOKEN_FILE = "admin-token"  # noqa: S105 - in the state folder
_BEARER = "bearer "
# Not all of loopback: Istio's sidecar brings what others send from 127.0.0.6.
HERE = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """`users`: name → the tokens that are good now. `commands` as Admin has it."""

    commands: str = ""
    users: dict[str, tuple[str, ...]] = {}


NO_RIGHTS = Rights()


class Refused(Exception):
    """A command that is not taken: its text says why, and what would be right."""


def rights_of(
    admin: Admin, environ: Mapping[str, str], box: SecretBox | None = None
) -> tuple[Rights, tuple[str, ...]]:
    """(who may command, warnings)."""
    users, warnings = tokens_of("admin", admin.users, environ, box, "can't command the broker")
    return Rights(commands=admin.commands, users=users), warnings


def tokens_of(
    section: str,
    users: Sequence[TokenUser],
    environ: Mapping[str, str],
    box: SecretBox | None,
    can_not: str,
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """(name → tokens that are good now, warnings). `can_not`: what a user without one is kept from."""
    found: dict[str, tuple[str, ...]] = {}
    warnings: list[str] = []
    for number, user in enumerate(users):
        place = f"{section}.users[{number}].token"
        tokens, why = good_values(user.token, environ, box)
        if why:
            warnings.append(f"{place}: {why}; {user.name} {can_not}")
        elif short := [token for token in tokens if len(token) < LEAST_TOKEN]:
            told = f"{secret_place(user.token)} holds {len(short[0])} characters of at least {LEAST_TOKEN}"
            warnings.append(f"{place}: {told}; {user.name} {can_not} with it")
        found[user.name] = tuple(token for token in tokens if len(token) >= LEAST_TOKEN)
    return found, tuple(warnings)


class Commanders:
    """`user_of` is for any thread. `default`: what holds where the configuration does not say it."""

    def __init__(self, state_dir: Path, default: str = LOCAL) -> None:
        self._path, self._default = state_dir / TOKEN_FILE, default
        self._rights = NO_RIGHTS

    def configured(self, rights: Rights) -> None:
        self._rights = rights
        self._state_token()  # it is there for whoever looks for it

    def user_of(self, peer: str, authorization: str | None) -> str:
        """Who commands; "": somebody of this machine, who says it himself. Refused."""
        rights = self._rights
        if authorization is not None:
            return self._by_token(rights, authorization)
        if (rights.commands or self._default) == TOKEN:
            raise Refused(f"a command needs a token here: {self._right()}")
        if peer not in HERE:
            raise Refused(f"from {peer} a command needs a token: {self._right()}")
        return ""

    def _by_token(self, rights: Rights, authorization: str) -> str:
        kind, said = authorization[: len(_BEARER)], authorization[len(_BEARER) :].strip(" \t")
        if kind.lower() != _BEARER or not said:
            raise Refused("a token is shown as `authorization: Bearer TOKEN`")
        own = self._state_token()
        # It is nobody's by name, and comes last: it wins.
        found = owner_of({**rights.users, "": (own,) if own else ()}, _bytes_of(said))
        if found is None:
            raise Refused(f"there is no such token: {self._right()}")
        return found

    def _state_token(self) -> str:
        """It is read each time: whoever removes it has a new one made. "": it can't be kept."""
        try:
            return state_token(self._path)
        except (OSError, ValueError) as error:
            log.warning("the token for commands can't be kept in %s: %s", self._path, error)
            return ""

    def _right(self) -> str:
        names = ", ".join(self._rights.users)
        users = f", or of one of {names}" if names else ""
        return f"that of its state folder, --token file:{self._path.absolute()}{users}"


def is_ours(peer: str, host: str | None) -> bool:
    """Is it a name of this machine that is asked? A page from elsewhere, whose own name was made to lead to
    this machine (DNS rebinding), reads what its browser reaches; that name has a dot. What comes over a
    network goes by that network's names."""
    if peer not in HERE or not host:
        return True
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return "." not in name or name.endswith(".localhost") or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


Commanding = Callable[[str, str | None], str]


def anybody(peer: str, authorization: str | None) -> str:
    """Whoever it is."""
    return ""


def _bytes_of(header: str) -> bytes:
    """Each byte of a header was read as a character; tokens are UTF-8."""
    try:
        return header.encode("latin-1")
    except UnicodeEncodeError:  # it was read otherwise
        return header.encode("utf-8", "surrogatepass")
