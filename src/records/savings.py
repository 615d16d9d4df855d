"""What answers from the cache saved: the usage of the call that each of them was for, which that call's own
record tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..core.record import HIT, JOINED, STORED, Record, Saved
from ..dialects import Used, used_from, used_text
from ..metrics import Counts

_HITS = Counts("modelbroker_cache_hits", "Calls that were answered from the cache", ["pool"])
_MISSES = Counts("modelbroker_cache_misses", "Calls that the cache had no answer for", ["pool"])
_BYPASSES = Counts("modelbroker_cache_bypasses", "Calls that are none to be cached", ["pool", "reason"])
_STORES = Counts("modelbroker_cache_stores", "Calls whose replies were kept", ["pool"])
_SAVED = Counts(
    "modelbroker_cache_saved_nano_dollars",
    "What answers from the cache saved, as far as it is known",
    ["pool"],
)
_SAVED_UNKNOWN = Counts(
    "modelbroker_cache_saved_unknown_calls", "Answers from the cache of which it is not known", ["pool"]
)

# Both records are on their way at about the same time; that of the call itself may wait for its attempts.
WAIT_S = 10.0
NOT_KNOWN = ""
_PENDING = Saved()


def saved_in(facts: Mapping[str, str]) -> Saved:
    """Of an answer from the cache. The very same value for all of which it is not known as yet."""
    if "paid" not in facts:
        return _PENDING
    used = used_from(facts["paid"]) if facts["paid"] != NOT_KNOWN else None
    return Saved(used.usage, used.tier) if used is not None else Saved()


def paid_by(record: Record) -> str:
    """What the reply of this call used, as text; NOT_KNOWN."""
    if record.usage is None:
        return NOT_KNOWN
    answered = (a for a in record.attempts if a.usage is record.usage)
    tier = next((attempt.service_tier for attempt in answered), "")
    return used_text(Used(record.usage, tier))


class Savings:
    """`settle` is told (id, what it used) of each call whose reply was kept. Records of answers that came
    from one whose own record is not there yet are held until it is, but not for long."""

    def __init__(self, settle: Callable[[str, str], None]) -> None:
        self._settle = settle
        self._paid: dict[str, tuple[float, str]] = {}  # of calls not long ago; the oldest first
        self._held: dict[
            str, list[tuple[float, Record]]
        ] = {}  # the call that is waited for → since when, and who

    def take(self, records: Sequence[Record], now_s: float) -> list[Record]:
        """Those that are complete with these."""
        out: list[Record] = []
        for record in records:
            if record.cache == STORED:
                paid = paid_by(record)
                self._paid[record.request_id] = now_s, paid
                self._settle(record.request_id, paid)
                out.append(record)
                out += [_told(held, paid) for _, held in self._held.pop(record.request_id, ())]
            elif record.saved is not _PENDING or record.cache not in (HIT, JOINED):
                out.append(record)
            elif (known := self._paid.get(record.cached_request_id)) is not None:
                out.append(_told(record, known[1]))
            else:
                self._held.setdefault(record.cached_request_id, []).append((now_s, record))
        return out

    def due(self, now_s: float) -> list[Record]:
        """Those that have waited for long enough: what they saved is not known."""
        while self._paid and now_s - (oldest := next(iter(self._paid.items())))[1][0] >= WAIT_S:
            del self._paid[oldest[0]]
        out: list[Record] = []
        for request_id, held in list(self._held.items()):
            if now_s - held[0][0] >= WAIT_S:
                out += [_told(record, NOT_KNOWN) for _, record in self._held.pop(request_id)]
        return out


def _told(record: Record, paid: str) -> Record:
    record.saved = replace(saved_in({"paid": paid}))
    return record


def count_cache(record: Record) -> None:
    """Of a call of a pool with a cache, once it is priced."""
    pool = record.pool
    if record.cache == "bypass":
        _BYPASSES.of(pool, record.cache_reason).inc()
        return
    if record.cache not in (HIT, JOINED):
        _MISSES.of(pool).inc()
        if record.cache == STORED:
            _STORES.of(pool).inc()
        return
    _HITS.of(pool).inc()
    cost = record.saved.cost if record.saved is not None else None
    if cost is not None and cost.total is not None:
        _SAVED.of(pool).inc(cost.total)
    else:
        _SAVED_UNKNOWN.of(pool).inc()
