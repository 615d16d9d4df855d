"""Entries of the outer and the member listeners, in any order, into one record a call. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.record import CANCELLED, CLIENT_GONE, Attempt, Record

# Envoy sends each listener's entries on its own, every _FLUSH of `listeners.py`: later than that is lost.
WAIT_S = 5.0
# An attempt whose call never ends is a call that was cut with its Envoy.
FORGET_S = 3_600.0
MAX_WAITING = 100_000


@dataclass(slots=True)
class _Waiting:
    since_s: float
    record: Record | None = None
    attempts: list[Attempt] = field(default_factory=list)


class Joiner:
    """`outer` and `attempt` take entries, `due` gives the records that waited long enough."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}  # the oldest first
        self.forgotten = 0  # calls whose outer entry never came

    def outer(self, record: Record, now_s: float) -> Record | None:
        """A call has ended; its record if nothing is missing."""
        if record.attempts_made == 0:
            return record
        waiting = self._wait(record.request_id, now_s)
        waiting.record, waiting.since_s = record, now_s
        return self._finish(record.request_id, waiting)

    def attempt(self, request_id: str, attempt: Attempt, now_s: float) -> Record | None:
        """An attempt has ended; the call's record if that was all that it waited for."""
        waiting = self._wait(request_id, now_s)
        waiting.attempts.append(attempt)
        return self._finish(request_id, waiting)

    def due(self, now_s: float) -> list[Record]:
        """Records that miss an attempt and wait no longer."""
        records = []
        for request_id, waiting in list(self._waiting.items()):
            age_s = now_s - waiting.since_s
            if waiting.record is not None and age_s >= WAIT_S:
                records.append(_complete(waiting.record, waiting.attempts))
                del self._waiting[request_id]
            elif waiting.record is None and age_s >= FORGET_S:
                self._forget(request_id)
        return records

    def _wait(self, request_id: str, now_s: float) -> _Waiting:
        if (waiting := self._waiting.get(request_id)) is None:
            waiting = self._waiting[request_id] = _Waiting(now_s)
            if len(self._waiting) > MAX_WAITING:
                self._forget(next(iter(self._waiting)))
        return waiting

    def _finish(self, request_id: str, waiting: _Waiting) -> Record | None:
        record = waiting.record
        if record is None or len(waiting.attempts) < record.attempts_made:
            return None
        del self._waiting[request_id]
        return _complete(record, waiting.attempts)

    def _forget(self, request_id: str) -> None:
        del self._waiting[request_id]
        self.forgotten += 1


def _complete(record: Record, attempts: list[Attempt]) -> Record:
    """The record with its attempts. A call that failed has the code of the attempt that the client saw."""
    record.attempts = tuple(attempts)
    if not record.code:
        codes = [a.code for a in attempts if (a.member, a.status) == (record.member, record.status)]
        code = codes[-1] if codes else ""
        if code == CANCELLED:  # who went away told only the member's listener
            record.code = CLIENT_GONE
        elif code:  # of an error, or of a reply that broke off behind a good status
            record.code = code
    return record
