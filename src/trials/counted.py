"""Which calls say something of an arm of a rollout. Pure."""

from __future__ import annotations

from ..core.outcomes import ERROR, LOST, OK
from ..core.record import CLIENT_GONE, Record
from ..core.trials import CANDIDATE, SHADOW, Rollout, beside, is_made


def has_failed(record: Record, rollout: Rollout) -> bool | None:
    """None: the call says nothing of its arm, for nobody was asked, its client left, or a budget sent it to
    another pool."""
    if record.outcome == LOST or record.degraded_from or (record.cache and not record.attempts_made):
        return None
    if record.pool != rollout.target and is_made(record.pool) and beside(record.pool) == rollout.pool:
        return None  # it was decided by the configuration before this one, for the candidate of that
    is_copy = record.purpose == SHADOW
    if record.outcome == CLIENT_GONE:
        return True if is_copy else None  # who sends copies leaves only when their time is over
    if record.arm == CANDIDATE and not is_copy and record.pool != rollout.target:
        return True  # it was answered by others, or by nobody
    if record.outcome == OK:
        return False
    return True if record.outcome == ERROR else None
