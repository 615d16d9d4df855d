"""The record of a call whose end nobody told: made of what was written before it was answered."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.ids import unix_ms_of
from ..core.opened import Opened
from ..core.outcomes import LOST, outcome_of
from ..core.record import Attempt, Record
from ..core.usage import NOTHING, UNKNOWN
from .facts import eligible_of, tell_asked, tell_replay, tell_trace
from .join import in_order
from .savings import saved_in

# Facts that a record has under the same name.
_NAMED = (
    "caller",
    "agent",
    "user",
    "team",
    "customer",
    "feature",
    "tier",
    "dialect",
    "model",
    "rule",
    "pool",
    "revision",
    "degraded_from",
    "budget",
    "cache",
    "cache_reason",
    "cached_request_id",
    "purpose",
    "rollout",
    "arm",
    "stage",
    "shadow_of",
)


def tell(record: Record, facts: Mapping[str, str]) -> None:
    """Give the record what the facts name."""
    for name in _NAMED:
        setattr(record, name, facts.get(name, ""))
    record.eligible = eligible_of(facts.get("eligible", ""))
    record.queue_ms = float(facts.get("queue_ms", "0"))
    tell_asked(record, facts.get("asks", ""))
    tell_replay(record, facts.get("replay", ""))
    tell_trace(record, facts.get("trace", ""))


def go_on_from(record: Record, opened: Opened) -> None:
    """A call that ended before anything was decided about a further attempt: what is known of those before is
    what was written ahead."""
    tell(record, opened.facts)
    record.attempts_made = max(record.attempts_made, _made(opened))


def _made(opened: Opened) -> int:
    """Attempts that it was sent to."""
    begun = int(opened.facts.get("attempt", "1"))
    return begun - 1 if opened.status else begun


def lost_record(opened: Opened, attempts: list[Attempt]) -> Record:
    """`attempts`: those of which Envoy told before it went silent. A call that the broker answered itself is
    what it was, though nobody knows whether the answer arrived; of any other the provider may have worked."""
    facts = opened.facts
    in_order(attempts)
    made = max(len(attempts), _made(opened))
    record = Record(
        request_id=opened.request_id,
        started_s=(unix_ms_of(opened.request_id) or 0) / 1000,
        duration_ms=0.0,
        first_byte_ms=None,
        status=opened.status,
        method="POST",
        path="",
        stream=facts.get("stream") == "1",
        code=opened.code,
        attempts_made=made,
        hedged=any(attempt.hedge for attempt in attempts),
        attempts=tuple(attempts),
        usage_state=UNKNOWN,
    )
    tell(record, facts)
    record.saved = saved_in(facts) if record.cached_request_id else None
    if opened.status:
        record.outcome, record.error_source = outcome_of(opened.status, opened.code, made)
    else:
        record.outcome, record.error_source = LOST, "broker"
    if not made:
        record.usage_state = NOTHING
    elif len(attempts) == made:
        record.usage, record.usage_state = attempts[-1].usage, attempts[-1].usage_state
    return record
