"""Of which calls the bodies are captured, what of them is never written, and where they are kept: the section
`capture`, compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalog import Condition, SecretRef

# The built-in patterns of redaction, by their names in YAML.
PATTERNS = ("email", "phone", "card", "iban", "keys", "bearer")
PPM = 1_000_000
Step = str | int  # of a path in JSON: a key, an item's number, `*` (any) or `**` (any number of steps)


@dataclass(frozen=True, slots=True)
class CaptureRule:
    """Calls for which all `conditions` hold, and that are for one of `pools` (names or globs): so many parts
    of a million of them are captured, by a lot over the call's id; `request`, `reply`: which of the
    bodies."""

    name: str
    conditions: tuple[Condition, ...]
    pools: tuple[str, ...] = ("*",)
    share_ppm: int = PPM
    request: bool = True
    reply: bool = True


@dataclass(frozen=True, slots=True)
class Capture:
    """The first rule that matches counts; calls of `exempt` callers (names or globs) are never captured.

    `patterns` are names out of PATTERNS, `custom` (name, regular expression), `drop` paths in JSON.
    `url`, `secret`: as a LedgerPlace has them. `keep_s` 0: for ever. `store_bytes` 0: no bound.
    `key` None: bodies are not encrypted; `old_keys` are still read. A body of more than `body_bytes` is not
    kept; what waits to be written takes at most `queue_bytes`."""

    rules: tuple[CaptureRule, ...] = ()
    exempt: tuple[str, ...] = ()
    patterns: tuple[str, ...] = PATTERNS
    custom: tuple[tuple[str, str], ...] = ()
    drop: tuple[tuple[Step, ...], ...] = ()
    drops_media: bool = True
    url: str = ""
    secret: SecretRef | None = None
    keep_s: int = 14 * 86_400
    body_bytes: int = 1 << 20
    store_bytes: int = 10 << 30
    queue_bytes: int = 64 << 20
    key: SecretRef | None = None
    old_keys: tuple[SecretRef, ...] = ()
    is_set: bool = False  # there is such a section

    @property
    def sees_replies(self) -> bool:
        return any(rule.reply for rule in self.rules)


NO_CAPTURE = Capture()
