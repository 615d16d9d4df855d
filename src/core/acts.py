"""Acts on the broker: what was done to it, by whom, and what came of it. docs/audit.md tells of each word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

STARTED = "broker.started"
STOPPED = "broker.stopped"
CONFIG_LOADED = "config.loaded"
CONFIG_REFUSED = "config.refused"
CONFIG_NACKED = "config.nacked"
CONFIG_ROLLED_BACK = "config.rolled-back"
SECRET_ROTATED = "secret.rotated"  # noqa: S105
SECRET_OVERLAP_OVER = "secret.overlap-over"  # noqa: S105
CALLER_KEY_ROTATED = "caller.key-rotated"
ROLLOUT_BEGAN = "rollout.began"
ROLLOUT_PROMOTED = "rollout.promoted"
ROLLOUT_ROLLED_BACK = "rollout.rolled-back"
ROLLOUT_PAUSED = "rollout.paused"
ROLLOUT_RESUMED = "rollout.resumed"
ROLLOUT_DONE = "rollout.done"
MEMBERS_FORGOTTEN = "members.forgotten"
LEDGER_REPRICED = "ledger.repriced"
TRAFFIC_EXPORTED = "traffic.exported"
TRAFFIC_IMPORTED = "traffic.imported"
COMMAND_REFUSED = "command.refused"
CONSOLE_LOGIN = "console.login"
CONSOLE_LOGOUT = "console.logout"
AUDIT_CHECKPOINT = "audit.checkpoint"
AUDIT_EXPIRED = "audit.expired"

WORDS: Mapping[str, str] = MappingProxyType(
    {
        STARTED: "the control plane serves",
        STOPPED: "the control plane ended, and was asked to",
        CONFIG_LOADED: "a configuration was taken: at the start, or after an edit",
        CONFIG_REFUSED: "an edit was refused, because it is wrong; what was served before goes on",
        CONFIG_NACKED: "an Envoy refused a configuration",
        CONFIG_ROLLED_BACK: "a configuration that was live before took the place of another one",
        SECRET_ROTATED: "another value of a secret is used: its name and, where it has one, its version",
        SECRET_OVERLAP_OVER: "the value that was replaced is no longer good beside the new one",
        CALLER_KEY_ROTATED: "a caller is known by another key",
        ROLLOUT_BEGAN: "a rollout began",
        ROLLOUT_PROMOTED: "a rollout went to its next stage",
        ROLLOUT_ROLLED_BACK: "a rollout was rolled back",
        ROLLOUT_PAUSED: "a rollout was paused",
        ROLLOUT_RESUMED: "a rollout goes on",
        ROLLOUT_DONE: "a rollout's candidate has all calls",
        MEMBERS_FORGOTTEN: "what members said counts no longer",
        LEDGER_REPRICED: "calls in the ledger were reckoned again",
        TRAFFIC_EXPORTED: "captured calls were written to a file",
        TRAFFIC_IMPORTED: "captured calls were taken from a file",
        COMMAND_REFUSED: "a command to the admin port lacked the token that it needs, or had a wrong one",
        CONSOLE_LOGIN: "somebody logged in to the console, or tried to with a token that is none: `failed`",
        CONSOLE_LOGOUT: "somebody logged out of the console",
        AUDIT_CHECKPOINT: "the chain was signed",
        AUDIT_EXPIRED: "events left the chain, for they were older than `keep` or there was no room",
    }
)

BROKER, EDIT, COMMAND, CONSOLE = "broker", "edit", "command", "console"
TOKEN = "token"  # noqa: S105
ACTORS: Mapping[str, str] = MappingProxyType(
    {
        BROKER: "the broker itself",
        EDIT: "who edited the configuration: `user` is the owner of its newest file",
        COMMAND: "a command: `user` is the operating system's user that ran it, as the command says",
        TOKEN: "a command: `user` is whose token it showed, out of `admin.users`",
        CONSOLE: "somebody at the console: `user` is whose token it is, out of `console.users`",
    }
)
DONE, FAILED = "ok", "failed"
Detail = str | int | float | bool | None
NO_DETAILS: Mapping[str, Detail] = MappingProxyType({})


class By(NamedTuple):
    """Who did something: `actor` out of ACTORS, `user` "" where it is not known."""

    actor: str = BROKER
    user: str = ""

    def __str__(self) -> str:
        """`ana (token)`. The actor comes last: whatever a command calls its user, its own word is told."""
        return f"{self.user} ({self.actor})" if self.user else self.actor


ITSELF = By()


@dataclass(frozen=True, slots=True)
class Act:
    """`id` is a UUID of version 7, as request ids are, `at_ms` unix time in milliseconds; `act` out of WORDS,
    `actor` out of ACTORS, `user` "" where it is not known. `revision`: the configuration's that was served
    then. `details` are flat, and hold no secret and nothing of a prompt."""

    id: str
    at_ms: int
    act: str
    actor: str = BROKER
    user: str = ""
    result: str = DONE
    revision: str = ""
    details: Mapping[str, Detail] = field(default_factory=lambda: NO_DETAILS)
