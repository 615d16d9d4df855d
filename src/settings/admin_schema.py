"""What YAML may say of the admin port."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import PlainValidator

from ..core.catalog import SecretRef
from ..core.console import LEAST_TOKEN
from .console_schema import RIGHT_TOKEN, UserName, token_ref
from .fields import Model, field


class AdminUserIn(Model):
    """Somebody who may command the broker."""

    name: UserName = field("Who it is, in audit events.", "name", "give letters, digits, . _ @ and -")
    token: Annotated[SecretRef, PlainValidator(token_ref)] = field(
        f"What a command shows, {LEAST_TOKEN} characters or more. One that is replaced in a store or a file "
        "is good for a while beside the new one.",
        "reference to a secret",
        RIGHT_TOKEN,
    )


class AdminIn(Model):
    """Who may command the broker by its admin port (`rollback`, `rollout`, `forget`): docs/deploy.md. What
    the port only says needs no token."""

    commands: Literal["", "local", "token"] = field(
        "`local`: anybody on this machine, and from elsewhere whoever shows a token. `token`: nobody without "
        "one. Left out: as `serve --admin-commands` says, and `local` without that.",
        "`local` or `token`",
        "give local or token",
        "",
    )
    users: list[AdminUserIn] = field(
        "Whose tokens are good besides the one in the state folder (`admin-token`).",
        "list of users",
        "give e.g. [{name: ana, token: {env: ADMIN_TOKEN_OF_ANA}}]",
        list,
    )
