"""What is kept of the bodies of calls: samples of traffic. What else is known of a call (what it used and
cost, its attempts, how long they took) is in its record; `request_id` joins the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .trials import is_one_of

# Purposes: of clients' own calls, of those that repeat one elsewhere, and of evaluations.
CLIENT_CALL, SHADOW, EVAL = "", "shadow", "eval"
# What is missing of a sample.
CUT_BY_SIZE = "size"  # a body that is larger than the bound
CUT_SHORT = "ended"  # the reply has no end: its client left, its provider broke off, or the broker ended


@dataclass(frozen=True, slots=True)
class Sample:
    """One call whose bodies were captured. Empty text where a field is not known.

    `at_s` is unix time, of the call's beginning. `request` is JSON as the client sent it, `reply` JSON or
    server-sent events (`stream`) as the client got it, both behind redaction; None: not captured, or there
    was none. `status` is the reply's (None: none came, or it is not known), `member` who answered. `redacted`
    are the names of the patterns that hit (`drop` among them: a JSON path was left out; `media`: images,
    documents or audio were), `cut` says what is missing: "" (nothing), CUT_BY_SIZE or CUT_SHORT.
    `purpose` and `shadow_of` (the id of the call that this one repeats) are as in the record.
    """

    request_id: str
    at_s: float
    purpose: str = CLIENT_CALL
    shadow_of: str = ""
    dialect: str = ""
    path: str = ""
    model: str = ""
    pool: str = ""
    member: str = ""
    stream: bool = False
    status: int | None = None
    caller: str = ""
    agent: str = ""
    user: str = ""
    team: str = ""
    customer: str = ""
    feature: str = ""
    tier: str = ""
    request: bytes | None = None
    reply: bytes | None = None
    redacted: tuple[str, ...] = ()
    cut: str = ""


# By what samples can be chosen: `where` of a store, names of Sample's fields → values, one of which it has to
# have, as text. `status` (`unknown` where it is not known) and `stream` are compared as text, too. A pool's
# calls are also those of the pools that the broker makes beside it.
FILTERS = (
    *("purpose", "shadow_of", "dialect", "path", "model", "pool", "member", "stream", "status"),
    *("caller", "agent", "user", "team", "customer", "feature", "tier", "cut", "request_id"),
)
Where = Mapping[str, Sequence[str]]
NOT_KNOWN = "unknown"


def is_good(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def told(value: object) -> str:
    """A field's value as `where` writes it."""
    if value is None:
        return NOT_KNOWN
    return str(value).lower() if isinstance(value, bool) else str(value)


def has(name: str, value: object, values: Sequence[str]) -> bool:
    """Is a field's value one of these, as `where` means them?"""
    return is_one_of(str(value), values) if name == "pool" else told(value) in values
