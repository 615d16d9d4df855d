"""Options that several commands have."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.admin import COMMANDS, LOCAL
from ..core.errors import Misconfigured
from .following import Following

if TYPE_CHECKING:
    from ..core.catalog import SecretRef

_ADMIN = "http://127.0.0.1:8081"
_REFERENCE = "env:NAME|file:PATH"
_TOKEN = "MODELBROKER_ADMIN_TOKEN"  # noqa: S105 - a variable's name


def admin_url(command: argparse.ArgumentParser) -> None:
    """Where a running broker is asked."""
    command.add_argument("--admin", default=_ADMIN, metavar="URL", help=f"default: {_ADMIN}")


def commanded(command: argparse.ArgumentParser) -> None:
    """Where a running broker is commanded, and by whom."""
    admin_url(command)
    command.add_argument(
        "--token",
        type=_reference,
        metavar=_REFERENCE,
        help="where the token is that a command needs from another machine, or wherever the broker wants "
        f"one; default: env:{_TOKEN} where that is set",
    )


def admin_commands(command: argparse.ArgumentParser) -> None:
    """Who commands a broker whose configuration does not say it."""
    command.add_argument(
        "--admin-commands",
        choices=COMMANDS,
        default=LOCAL,
        help="who may command the broker by its admin port, where `admin` in the configuration does not say "
        "it; local: anybody on this machine, and from elsewhere with a token; token: nobody without one; "
        "default: local",
    )


def token_of(options: argparse.Namespace) -> str:
    """ "": there is none. Misconfigured where it can't be had."""
    from ..secrets.given import Unusable, given, reference_of

    ref = options.token or (reference_of(f"env:{_TOKEN}") if os.environ.get(_TOKEN) else None)
    if ref is None:
        return ""
    try:
        return given("--token", ref)
    except Unusable as error:
        raise Misconfigured(500, "no_token", str(error)) from None


def admin_urls(command: argparse.ArgumentParser) -> None:
    """The same of several brokers."""
    command.add_argument(
        "--admin",
        action="append",
        metavar="URL",
        help=f"default: {_ADMIN}; with --fleet it may be given often, for brokers that share no Redis",
    )


def asked_urls(options: argparse.Namespace) -> list[str]:
    return options.admin or [_ADMIN]


def config_place(text: str) -> Path | str:
    """Where a configuration is: a path, or `git+URL@REF#subdirectory=FOLDER`, which stays a text."""
    from ..revisions.place import place_of

    try:
        return text if place_of(text) is not None else Path(text)
    except Misconfigured as error:
        raise argparse.ArgumentTypeError(error.message) from None


def config_source(command: argparse.ArgumentParser) -> None:
    """Of a broker that runs: where its configuration is, and how a repository is followed."""
    config(command)
    command.add_argument(
        "--git-every",
        type=_every,
        default=10.0,
        metavar="S",
        help="how often the repository is looked at, where the configuration is in git; default: 10",
    )
    command.add_argument(
        "--git-signers",
        type=Path,
        metavar="FILE",
        help="take only commits that are signed by one of these: a file of allowed signers (ssh-keygen), or "
        "of OpenPGP public keys; default: all commits",
    )
    command.add_argument(
        "--git-credential",
        type=_reference,
        metavar=_REFERENCE,
        help="where the token or the password is that the repository's https server wants, read anew at each "
        "look; its user is the URL's, or x-access-token; default: git's own helpers and .netrc",
    )


def following_of(options: argparse.Namespace) -> Following:
    return Following(options.git_every, options.git_signers, options.git_credential)


def _reference(text: str) -> SecretRef:
    from ..secrets.given import reference_of

    try:
        return reference_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=config_place,
        required=True,
        metavar="PATH",
        help="a YAML file, a folder of them, or git+URL@REF#subdirectory=FOLDER",
    )


def _every(text: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give seconds, e.g. 10")
    return value
