"""Entries of the outer and the member listeners, in any order, into one record a call. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..core.outcomes import outcome_of
from ..core.record import CANCELLED, CLIENT_GONE, Attempt, Eligible, Record
from ..core.usage import EXACT, NOTHING

# Envoy sends each listener's entries on its own, every _FLUSH of `listeners.py`: later than that is lost.
WAIT_S = 5.0
# An attempt whose call never ends is a call that was cut with its Envoy.
FORGET_S = 3_600.0
MAX_WAITING = 100_000
_CLOCK_S = 0.0005  # Envoy's clock of days and the one of durations are two


@dataclass(slots=True)
class _Waiting:
    since_s: float
    eligible: tuple[Eligible, ...] = ()
    record: Record | None = None
    attempts: list[Attempt] = field(default_factory=list)


class Joiner:
    """`outer` and `attempt` take entries, `due` gives the records that waited long enough."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}  # the oldest first
        self._hedges: dict[str, tuple[float, int]] = {}  # when, and with how many attempts; the oldest first
        self.forgotten = 0  # calls whose outer entry never came

    def outer(self, record: Record, now_s: float) -> Record | None:
        """A call has ended; its record if nothing is missing."""
        if record.attempts_made == 0:
            record.usage_state = NOTHING
            return _complete(record, [])
        waiting = self._wait(record.request_id, now_s)
        waiting.record, waiting.since_s = record, now_s
        return self._finish(record.request_id, waiting)

    def handed_back(self, record: Record, now_s: float) -> None:
        """A call goes on behind this; its first entry says who could have served it."""
        if record.eligible:
            self._wait(record.request_id, now_s).eligible = record.eligible

    def attempt(self, request_id: str, attempt: Attempt, now_s: float) -> Record | None:
        """An attempt has ended; the call's record if that was all that it waited for."""
        waiting = self._wait(request_id, now_s)
        waiting.attempts.append(attempt)
        return self._finish(request_id, waiting)

    def hedge(self, request_id: str, attempts: int, now_s: float) -> Record | None:
        """A call that might be hedged has passed there, with so many attempts."""
        self._hedges[request_id] = (now_s, attempts)
        waiting = self._waiting.get(request_id)
        return self._finish(request_id, waiting) if waiting is not None else None

    def take(self, request_id: str) -> list[Attempt]:
        """The attempts of a call whose own end is not waited for any more."""
        waiting = self._waiting.pop(request_id, None)
        return waiting.attempts if waiting is not None and waiting.record is None else []

    def due(self, now_s: float) -> list[Record]:
        """Records that miss an attempt and wait no longer."""
        while self._hedges and now_s - (oldest := next(iter(self._hedges.items())))[1][0] >= 2 * WAIT_S:
            del self._hedges[oldest[0]]  # of a call that went on from there
        records = []
        for request_id, waiting in list(self._waiting.items()):
            age_s = now_s - waiting.since_s
            if waiting.record is not None and age_s >= WAIT_S:
                records.append(_complete(waiting.record, waiting.attempts, waiting.eligible))
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
        if record is None:
            return None
        if record.hedged:  # the outer listener saw one attempt, to the hedge's
            if (passed := self._hedges.pop(request_id, None)) is None:
                return None
            record.attempts_made, record.hedged = passed[1], False
        if len(waiting.attempts) < record.attempts_made:
            return None
        del self._waiting[request_id]
        return _complete(record, waiting.attempts, waiting.eligible)

    def _forget(self, request_id: str) -> None:
        del self._waiting[request_id]
        self.forgotten += 1


def in_order(attempts: list[Attempt]) -> None:
    """Sorted by their beginning, with the hedges among them marked."""
    if len(attempts) > 1:  # they came in the order in which they ended
        attempts.sort(key=lambda attempt: attempt.started_s)
        ended_s = 0.0
        for attempt in attempts:  # what follows a failure begins behind its end
            attempt.hedge = attempt.started_s < ended_s - _CLOCK_S
            ended_s = max(ended_s, attempt.started_s + attempt.duration_ms / 1000)


def _complete(record: Record, attempts: list[Attempt], eligible: tuple[Eligible, ...] = ()) -> Record:
    """The record with its attempts, and with who could have had the first. A call that failed has the code of
    the attempt that the client saw."""
    in_order(attempts)
    record.eligible = record.eligible or eligible
    record.attempts = tuple(attempts)
    if record.hedged:  # how many there were was never told
        record.attempts_made = len(attempts)
    record.hedged = any(attempt.hedge for attempt in attempts)
    if (answer := _answer(record, attempts)) is not None:
        record.usage, record.usage_state = answer.usage, answer.usage_state
        if record.code == CLIENT_GONE and record.stream and not answer.code and answer.usage_state == EXACT:
            record.code = ""  # it left behind the last word of its stream
    if not record.code:
        codes = [a.code for a in attempts if (a.member, a.status) == (record.member, record.status)]
        code = codes[-1] if codes else ""
        if code == CANCELLED:  # who went away told only the member's listener
            record.code = CLIENT_GONE
        elif code:  # of an error, or of a reply that broke off behind a good status
            record.code = code
    record.added_ms = _added_ms(record, attempts, answer)
    record.outcome, record.error_source = outcome_of(record.status, record.code, record.attempts_made)
    return record


def _added_ms(record: Record, attempts: Sequence[Attempt], answer: Attempt | None) -> float | None:
    """What of the time until the client had its reply was no member's, and no wait for one. (Of a broken-off
    attempt beside the answer it is not known when it was let go: it counts to its end.)"""
    if answer is None or not record.member or record.first_byte_ms is None:
        return None
    is_stream = answer.first_event_ms is not None
    began_s = record.started_s + (record.upload_ms or 0.0) / 1000
    until_s = record.started_s + (record.first_byte_ms if is_stream else record.duration_ms) / 1000
    busy_s, free_s = 0.0, began_s
    for attempt in attempts:  # in the order in which they began
        lasted_ms = attempt.duration_ms
        if attempt is answer and answer.first_event_ms is not None:
            lasted_ms = answer.first_event_ms
        end_s = min(until_s, attempt.started_s + lasted_ms / 1000)
        busy_s += max(0.0, end_s - max(free_s, attempt.started_s))
        free_s = max(free_s, end_s)
    return max(0.0, round((until_s - began_s - busy_s) * 1000 - record.queue_ms, 3))


def _answer(record: Record, attempts: Sequence[Attempt]) -> Attempt | None:
    """The attempt whose reply the client got; the last one where the client got none."""
    if len(attempts) == 1:  # nearly always
        return attempts[0]
    theirs = [attempt for attempt in attempts if attempt.member == record.member]
    good = [attempt for attempt in theirs if attempt.status == record.status]
    return next(iter((*good[-1:], *theirs[-1:], *attempts[-1:])), None)


def winner(attempts: Sequence[Attempt]) -> str:
    """Which attempt of a hedged call gave the answer: `first`, `second`, a `later` one, or `none`."""
    good = [number for number, attempt in enumerate(attempts) if not attempt.code]
    return ("first", "second", "later")[min(good[0], 2)] if good else "none"
