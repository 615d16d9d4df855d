"""What a SIEM is told of: one event a call and one an act, in the broker's own words. Pure.

How they are called elsewhere is in `ocsf` and `ecs`. A field that is empty is left out, but for what a call
cost: null is unknown there, and never 0.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..core.acts import (
    BROKER,
    CONFIG_NACKED,
    CONFIG_REFUSED,
    CONFIG_ROLLED_BACK,
    FAILED,
    ROLLOUT_ROLLED_BACK,
    Act,
    Detail,
)
from ..core.outcomes import ERROR, LOST, REFUSED

CALL, ACT = "call", "act"
# As OCSF counts them: informational, low, medium, high.
INFORMATIONAL, LOW, MEDIUM, HIGH = 1, 2, 3, 4
# Who calls with these is not known: somebody tries keys, or one has just gone.
_UNKNOWN_CALLERS = frozenset(
    [
        "identity_not_allowed",
        "invalid_api_key",
        "missing_api_key",
        "token_audience",
        "token_expired",
        "token_invalid",
        "token_issuer",
    ]
)
_ACT_SEVERITIES = {
    CONFIG_REFUSED: MEDIUM,
    CONFIG_NACKED: HIGH,
    CONFIG_ROLLED_BACK: HIGH,
    ROLLOUT_ROLLED_BACK: MEDIUM,
}


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call's fields are its record's (docs/records.md), but for those that say otherwise: `provider` and
    `model` are the member's that answered, `asked` is what the client asked for, `eligible` who could serve
    it, `attempts` how many there were. Tokens are those of the attempt that answered, `cost_nano` what all
    attempts cost in nano-dollars (null: unknown; what of it is known is `cost_known_nano`). An act's are as
    core.acts has them. `severity` is OCSF's."""

    kind: str
    id: str
    at_ms: int
    severity: int
    revision: str = ""
    user: str = ""
    # of a call
    request_id: str = ""
    duration_ms: float = 0.0
    caller: str = ""
    agent: str = ""
    team: str = ""
    customer: str = ""
    feature: str = ""
    tier: str = ""
    dialect: str = ""
    method: str = ""
    path: str = ""
    asked: str = ""
    stream: bool = False
    rule: str = ""
    pool: str = ""
    member: str = ""
    provider: str = ""
    model: str = ""
    eligible: tuple[str, ...] = ()
    degraded_from: str = ""
    budget: str = ""
    outcome: str = ""
    error_source: str = ""
    code: str = ""
    status: int = 0
    attempts: int = 0
    hedged: bool = False
    cache: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
    usage_state: str = ""
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_nano: int | msgspec.UnsetType | None = msgspec.UNSET
    cost_known_nano: int | None = None
    cost_unknown: tuple[str, ...] = ()
    price_revision: str = ""
    purpose: str = ""
    shadow_of: str = ""
    rollout: str = ""
    arm: str = ""
    stage: str = ""
    captured: str = ""
    trace_id: str = ""
    span_id: str = ""
    # of an act
    act: str = ""
    actor: str = ""
    result: str = ""
    details: dict[str, Detail] = {}


class _Usage(msgspec.Struct):
    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int | None = None


class _Cost(msgspec.Struct):
    total: int | None = None
    buckets: dict[str, int] = {}
    unknown: tuple[str, ...] = ()


class _Eligible(msgspec.Struct):
    member: str = ""


class CallLine(msgspec.Struct):
    """What of a record's line is told. Lines of other versions of the broker may lack some of it."""

    request_id: str
    started_s: float
    duration_ms: float = 0.0
    status: int = 0
    method: str = ""
    path: str = ""
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
    request_bytes: int = 0
    response_bytes: int = 0
    attempts_made: int = 0
    hedged: bool = False
    usage: _Usage | None = None
    usage_state: str = ""
    cost: _Cost | None = None
    price_revision: str = ""
    eligible: tuple[_Eligible, ...] = ()
    degraded_from: str = ""
    budget: str = ""
    cache: str = ""
    purpose: str = ""
    captured: str = ""
    rollout: str = ""
    arm: str = ""
    stage: str = ""
    shadow_of: str = ""
    trace_id: str = ""
    span_id: str = ""


class ActLine(msgspec.Struct):
    """A line of acts.jsonl."""

    id: str
    at_ms: int
    act: str
    actor: str = BROKER
    user: str = ""
    result: str = ""
    revision: str = ""
    details: dict[str, Detail] = {}


_SAME = (
    *("request_id", "duration_ms", "caller", "agent", "user", "team", "customer", "feature", "tier"),
    *("dialect", "method", "path", "stream", "rule", "pool", "member", "revision", "outcome"),
    *("error_source", "code", "status", "hedged", "request_bytes", "response_bytes", "usage_state"),
    *("price_revision", "degraded_from", "budget", "cache", "purpose", "captured", "rollout", "arm"),
    *("stage", "shadow_of", "trace_id", "span_id"),
)


def of_call(line: CallLine) -> Event:
    """A call that is lost and is told of later after all leaves two events: the first one's id says so."""
    provider, _, model = line.member.partition("/")
    same: dict[str, Any] = {name: getattr(line, name) for name in _SAME}
    return Event(
        kind=CALL,
        id=f"{line.request_id}-lost" if line.outcome == LOST else line.request_id,
        at_ms=round(line.started_s * 1000),
        severity=_severity(line),
        provider=provider,
        model=model,
        asked=line.model,
        eligible=tuple(one.member for one in line.eligible),
        attempts=line.attempts_made,
        **_used(line.usage),
        **_cost(line.cost),
        **same,
    )


def _severity(line: CallLine) -> int:
    if line.code in _UNKNOWN_CALLERS:
        return MEDIUM
    return LOW if line.outcome in (REFUSED, ERROR, LOST) else INFORMATIONAL


def _used(usage: _Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    return {
        "input_tokens": usage.input,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "output_tokens": usage.output,
        "reasoning_tokens": usage.reasoning,
    }


def _cost(cost: _Cost | None) -> dict[str, Any]:
    if cost is None:
        return {"cost_nano": None}
    if cost.total is not None:
        return {"cost_nano": cost.total}
    return {"cost_nano": None, "cost_known_nano": sum(cost.buckets.values()), "cost_unknown": cost.unknown}


def of_act(line: ActLine | Act) -> Event:
    severity = _ACT_SEVERITIES.get(line.act, MEDIUM if line.result == FAILED else INFORMATIONAL)
    return Event(
        kind=ACT,
        id=line.id,
        at_ms=line.at_ms,
        severity=severity,
        revision=line.revision,
        user=line.user,
        act=line.act,
        actor=line.actor,
        result=line.result,
        details=dict(line.details),
    )
