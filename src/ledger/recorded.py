"""Calls out of the ledger, as a simulation takes them: in the order of time, in bounded memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from sqlalchemy import and_, select

from ..core.usage import Usage
from ..simulation.recorded import NO_HEADERS, Amount, Chance, Kept, Recorded, Tried
from .database import Ledger
from .questions import behind
from .tables import ATTEMPTS, CALLS

_AT_ONCE = 5_000
_usage = msgspec.json.Decoder(Usage).decode
_kept = msgspec.json.Decoder(Kept).decode
_headers = msgspec.json.Decoder(dict[str, str]).decode
_made: Callable[..., Recorded] = Recorded
_more = msgspec.json.Decoder(dict[str, Any]).decode

# Those of a Recorded that are columns of the same name, in its order; then what has to be read.
_PLAIN = (
    *("request_id", "started_s", "duration_ms", "first_byte_ms", "status", "path"),
    *("caller", "agent", "user", "team", "customer", "feature", "tier", "dialect", "model", "stream"),
    *("rule", "pool", "member", "revision", "outcome", "code"),
    *("request_bytes", "response_bytes", "attempts_made"),
)
_READ = (
    *("cost_total", "eligible", "context_tokens", "max_output_tokens", "choices", "holds"),
    *("degraded_from", "budget", "cache", "cache_reason", "saved", "same_dialect", "owners", "unowned_ids"),
    *("headers", "conversation", "fingerprint", "cost_estimate", "more", "at_ms"),
)
_OF_TRIALS = ("purpose", "shadow_of", "rollout", "arm", "stage")
_OF_ATTEMPT = (
    *("member", "status", "duration_ms", "started_s", "hedge", "usage", "usage_state", "service_tier"),
    *("cost_total", "code", "request_id", "at_ms", "number"),
)


@functools.lru_cache(maxsize=65_536)
def _chances(text: str) -> tuple[Chance, ...]:
    return msgspec.json.decode(text, type=tuple[Chance, ...])


@functools.lru_cache(maxsize=4_096)
def _words(text: str | None) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...]) if text else ()


def recorded(ledger: Ledger, since_ms: int, until_ms: int) -> Iterator[Recorded]:
    """All calls of that time."""
    c = CALLS.c
    # What has its own column by now may stand in `more` of older rows; both are read.
    own = [c[name] for name in _OF_TRIALS]
    query = (
        select(*(c[name] for name in (*_PLAIN, *_READ)), *own)
        .where(c.at_ms >= since_ms, c.at_ms < until_ms)
        .order_by(c.at_ms, c.request_id)
        .limit(_AT_ONCE)
    )
    names = [column.name for column in own]
    after: tuple[Any, ...] | None = None
    at = len(_PLAIN) + len(_READ) - 1
    while True:
        with ledger.reading() as connection:
            more = query if after is None else query.where(*behind([c.at_ms, c.request_id], after))
            rows = connection.execute(more).all()
            if not rows:
                return
            first, after = rows[0][at], (rows[-1][at], rows[-1][0])
            attempts = _attempts(connection, first, after[0])
        for row in rows:
            yield _call(tuple(row), attempts.get((row[at], row[0]), ()), names)


def _attempts(connection: Any, first_ms: int, last_ms: int) -> dict[tuple[int, str], tuple[Tried, ...]]:
    a = ATTEMPTS.c
    query = (
        select(*(a[name] for name in _OF_ATTEMPT))
        .where(and_(a.at_ms >= first_ms, a.at_ms <= last_ms))
        .order_by(a.at_ms, a.request_id, a.number)
    )
    found: dict[tuple[int, str], tuple[Tried, ...]] = {}
    for row in connection.execute(query):
        member, status, duration, started, hedge, usage, state, tier, cost, code, request_id, at_ms, _ = row
        if not member:
            continue
        read = _usage(usage) if usage else None
        tried = Tried(member, status, duration, started, bool(hedge), read, state, tier, Amount(cost), code)
        key = (at_ms, request_id)
        found[key] = (*found.get(key, ()), tried)
    return found


def _call(row: tuple[Any, ...], attempts: tuple[Tried, ...], own: list[str]) -> Recorded:
    plain = len(_PLAIN)
    cost, eligible, context, most, choices, holds, degraded, budget, cache, reason, saved = row[
        plain : plain + 11
    ]
    same, owners, unowned, headers, conversation, fingerprint, estimate, more = row[plain + 11 : plain + 19]
    call = _made(
        *row[:plain],
        Amount(cost),
        _chances(eligible),
        context,
        most,
        choices,
        _words(holds),
        degraded or "",
        budget or "",
        cache or "",
        reason or "",
        _kept(saved) if saved else None,
        same or "",
        _words(owners),
        unowned or "",
        _headers(headers) if headers else NO_HEADERS,
        conversation or "",
        fingerprint or "",
        estimate,
        attempts=attempts,
    )
    if more != "{}":
        rest = _more(more)
        for name in own:
            setattr(call, name, rest.get(name) or "")
    tried = row[plain + len(_READ) :]
    if any(tried):
        for name, value in zip(own, tried, strict=True):
            setattr(call, name, value or getattr(call, name))
    return call
