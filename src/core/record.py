"""What became of a call: the record that it leaves. It holds no prompt text.

Nobody changes a record or an attempt that was given out. They are not frozen all the same: every call makes
them, and frozen they would cost three times as much to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .budgets import Charge
from .causes import Cause
from .prices import Cost
from .usage import UNKNOWN, Usage

CLIENT_GONE = "client_gone"  # a call whose client went away before its end
# What a call had to do with its pool's cache.
HIT = "hit"
JOINED = "joined"
STORED = "stored"
CANCELLED = "cancelled"  # an attempt for which nobody waited any more


@dataclass(slots=True)
class Attempt:
    """One try at one member. `first_byte_ms` is None where nothing came, `first_event_ms` where that was no
    stream's first event; `flags` are Envoy's; `started_s` is
    unix time. `usage_state`: what is known of its usage (core/usage.py); `service_tier` is the provider's own
    name of it, "" where it says none."""

    member: str
    status: int
    duration_ms: float
    first_byte_ms: float | None = None
    first_event_ms: float | None = None
    flags: tuple[str, ...] = ()
    details: str = ""
    code: str = ""  # docs/errors.md; "" where it went well
    provider_status: int = 0  # where the broker answered with another status than the provider did
    cause: str = ""  # why it failed (docs/failures.md); "" where it went well
    dropped: tuple[str, ...] = ()  # knobs of the client's that the provider did not get, by its own names
    started_s: float = 0.0
    hedge: bool = False  # begun while an earlier one was still under way
    usage: Usage | None = None
    usage_state: str = UNKNOWN
    service_tier: str = ""
    cost: Cost | None = None
    span_id: str = ""  # of a call that is traced


@dataclass(slots=True)
class Saved:
    """What a reply from the cache would have cost: the usage of the call that it was for (None: not known),
    its service tier as an Attempt has it, and the price of that at the time of this call."""

    usage: Usage | None = None
    service_tier: str = ""
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What an attempt tells of its member. `cause` is None where it went well; `headers` are those in which
    providers speak of their limits, by lower-case names; `at_s` (unix time) is when the answer came,
    `began_s` when the attempt began;
    `is_stream`: the call asked for one; `is_broken`: it failed behind a good status, which is all that
    Envoy's own count of failures has seen."""

    member: str
    status: int
    cause: Cause | None
    headers: Mapping[str, str]
    at_s: float
    request_id: str = ""
    is_broken: bool = False
    is_stream: bool = False
    began_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Eligible:
    """A member that could serve a call, and how likely it was to have its first attempt: 0 to 1."""

    member: str
    chance: float


@dataclass(slots=True)
class Record:
    """One call. Empty text where a field is not known: a call that was refused has no pool. `outcome` and
    `error_source`: `core.outcomes`.

    `started_s` is unix time in seconds; `attempts` are in the order in which they began, and
    `attempts_made` counts them by the outer route's own word, also those that are not listed. `hedged`: two
    of them ran side by side. `eligible` are those of the first attempt; `queue_ms` is how long the call
    waited for members, `added_ms` what the broker added to what members took; `holds` is what of the facts of
    content is true, by their names. `cache`: what the call had to do with its pool's cache. `budgets` is what
    it was charged where, `degraded_from` the pool that it was for where a budget sent it to another one,
    `budget` that one, or the one that denied it. `same_dialect` to `cost_estimate` are facts that a decision
    depends on, and what tells which calls belong together or are equal. `usage` and
    `usage_state` are those of the attempt that answered, `cost` that of all attempts together. `purpose`:
    what it was for, where it was no client's; a copy is `shadow_of` another call. `arm`: whose it was in a
    `rollout`, at which `stage`. `trace_id` to `sampled`: its span, where it is traced (core/tracing.py).
    """

    request_id: str
    started_s: float
    duration_ms: float
    first_byte_ms: float | None
    status: int
    method: str
    path: str
    caller: str = ""
    agent: str = ""
    user: str = ""
    team: str = ""
    customer: str = ""
    feature: str = ""
    tier: str = ""
    dialect: str = ""
    model: str = ""
    stream: bool = False
    rule: str = ""
    pool: str = ""
    member: str = ""
    revision: str = ""
    outcome: str = ""
    error_source: str = ""
    code: str = ""
    flags: tuple[str, ...] = ()
    details: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
    attempts_made: int = 0
    hedged: bool = False
    usage: Usage | None = None
    usage_state: str = UNKNOWN
    cost: Cost | None = None
    price_revision: str = ""
    eligible: tuple[Eligible, ...] = ()
    upload_ms: float | None = None
    queue_ms: float = 0.0
    added_ms: float | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    choices: int = 1
    holds: tuple[str, ...] = ()
    budgets: tuple[Charge, ...] = ()
    degraded_from: str = ""
    budget: str = ""
    cache: str = ""
    cache_reason: str = ""
    cached_request_id: str = ""
    saved: Saved | None = None
    purpose: str = ""
    captured: str = ""
    rollout: str = ""
    arm: str = ""
    stage: str = ""
    shadow_of: str = ""
    same_dialect: str = ""
    owners: tuple[str, ...] = ()
    unowned_ids: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    conversation: str = ""
    fingerprint: str = ""
    cost_estimate: int | None = None
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    sampled: bool = False
    attempts: tuple[Attempt, ...] = ()
