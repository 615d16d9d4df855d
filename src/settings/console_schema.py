"""What YAML may say of the console."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, StringConstraints

from ..core.catalog import SecretRef
from ..core.console import DEFAULT_CONSOLE, LEAST_TOKEN
from . import values
from .fields import Flag, Model, field
from .problems import refuse, show

_MINUTE_MS = 60_000
RIGHT_TOKEN = (
    f"give {{env: NAME}}, {{file: PATH}} or {{STORE: PATH}}: {LEAST_TOKEN} characters or more, "
    "by openssl rand -hex 32"
)
_RIGHT_NETWORK = "give e.g. 10.20.0.0/16"
UserName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


def token_ref(value: Any) -> SecretRef:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        refuse("holds a token in plain text", f"never write a token itself here: {RIGHT_TOKEN}")
    return values.stored(value, ("env", "file"), RIGHT_TOKEN)


def network(value: Any) -> str:
    if not isinstance(value, str):
        refuse(f"{show(value)} is no network", _RIGHT_NETWORK)
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        whole = str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        refuse(f"{show(value)} is no network", _RIGHT_NETWORK)
    refuse(f"{show(value)} is an address within a network", f"give {whole}, or {value.partition('/')[0]}")


class ConsoleUserIn(Model):
    """Somebody who may look at the console."""

    name: UserName = field("Who it is, in audit events.", "name", "give letters, digits, . _ @ and -")
    token: Annotated[SecretRef, PlainValidator(token_ref)] = field(
        f"What it logs in with, {LEAST_TOKEN} characters or more. One that is replaced in a store or a "
        "file is good for a while beside the new one.",
        "reference to a secret",
        RIGHT_TOKEN,
    )


class ConsoleIn(Model):
    """The pages of the admin port, for people who would rather look: docs/console.md. Without this section
    there is one token, in the state folder, and this machine alone reaches them."""

    enabled: Flag = field("Whether there are such pages.", "true or false", "give true or false", True)
    users: list[ConsoleUserIn] = field(
        "Who may log in. Left out: whoever has the token in the state folder (`modelbroker console`).",
        "list of users",
        "give e.g. [{name: ana, token: {env: CONSOLE_TOKEN_OF_ANA}}]",
        list,
    )
    networks: list[Annotated[str, PlainValidator(network)]] = field(
        "From where else than this machine the pages are reached. Tokens and pages go over such a network as "
        "they are: put something that speaks TLS in front.",
        "list of networks",
        "give e.g. [10.20.0.0/16]",
        list,
    )
    session: Annotated[int, BeforeValidator(values.duration(_MINUTE_MS, 30 * 24 * 60 * _MINUTE_MS))] = field(
        "How long a login lasts.", "duration", "give e.g. 12h", DEFAULT_CONSOLE.session_s * 1000
    )
