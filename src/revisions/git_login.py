"""How git shows who it is to a server that asks: by its environment, which only its own user may read. What
stands on a command line is everybody's on the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from ..core.catalog import SecretRef
from ..secrets.given import Unusable, given

# The user of a token that has none: GitHub has it so, and GitLab, Gitea and Azure DevOps take any.
TOKEN_USER = "x-access-token"  # noqa: S105 - a user's name
_USER, _PASSWORD = "MODELBROKER_GIT_USER", "MODELBROKER_GIT_PASSWORD"
# As gitcredentials(7) has them: run by a shell, whose printf is no process of its own.
_HELPER = (
    f'!f() {{ test "$1" = get && printf \'username=%s\\npassword=%s\\n\' "${_USER}" "${_PASSWORD}"; }}; f'
)
# A line break would begin a word of git's protocol with its helpers.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Login(NamedTuple):
    """What one fetch says. `password` "": git's own helpers are asked for that of `user`."""

    user: str = ""
    password: str = ""


def login_of(url: str, credential: SecretRef | None, environ: Mapping[str, str] = os.environ) -> Login:
    """As the URL of an http(s) repository has it, and `credential`, which is read anew each time: a token or
    a password, of the URL's user. Unusable."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return Login()
    user, password = (unquote(said or "") for said in (parts.username, parts.password))
    if credential is not None:
        password = given("--git-credential", credential, environ)
    if password:
        user = user or TOKEN_USER
    if _CONTROL.search(user + password):
        raise Unusable("the user or the password of the repository holds control characters")
    return Login(user, password)


def asked_url(url: str) -> str:
    """The URL as a command line has it: without a password, and without a user where that may be a token."""
    parts = urlsplit(url)
    user = parts.username if parts.scheme == "ssh" else None
    return urlunsplit(parts._replace(netloc=f"{user}@{_host(parts)}" if user else _host(parts)))


def environ_of(url: str, login: Login, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What git's environment has to have for it, beside what it has already."""
    if not login.user and not login.password:
        return {}
    parts = urlsplit(url)
    section = f"credential.{parts.scheme}://{_host(parts)}"
    settings = [(f"{section}.username", login.user)]
    found = {}
    if login.password:
        # The empty one forgets those that were named before: what was given here is what counts.
        settings = [(f"{section}.helper", ""), (f"{section}.helper", _HELPER)]
        found = {_USER: login.user, _PASSWORD: login.password}
    first = _count(environ)
    for number, (name, value) in enumerate(settings, first):
        found[f"GIT_CONFIG_KEY_{number}"], found[f"GIT_CONFIG_VALUE_{number}"] = name, value
    return {**found, "GIT_CONFIG_COUNT": str(first + len(settings))}


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _count(environ: Mapping[str, str]) -> int:
    said = environ.get("GIT_CONFIG_COUNT", "")
    return int(said) if said.isascii() and said.isdecimal() else 0
