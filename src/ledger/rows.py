"""A record, as it stands in the journal, as rows of the tables. Pure.

What a record holds that has no column goes into `more`: a ledger whose schema is older than the broker that
writes the journal loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ..core.ids import unix_ms_of
from ..core.outcomes import LOST
from ..core.usage import UNKNOWN
from .tables import ATTEMPTS, CALLS, COUNTS, PARTS

Row = dict[str, Any]
DAY_MS = 86_400_000
_MOST_MS = 4_102_444_800_000  # 2100: a time behind that is none
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_USAGE = (*COUNTS, *PARTS)
_UNTOLD: Row = {"total": None, "buckets": {}, "unknown": ["usage"]}
_NO_USAGE: Row = {**dict.fromkeys(COUNTS, 0), **dict.fromkeys(PARTS)}

# Empty in most calls' records, and null here.
_RARE = (
    *("cache", "cache_reason", "cached_request_id", "degraded_from", "budget"),
    *("same_dialect", "unowned_ids", "conversation", "fingerprint"),
    *("purpose", "captured", "rollout", "arm", "stage", "shadow_of"),
)
# Likewise, as JSON.
_RARE_TREES = ("budgets", "owners", "headers")
# Columns that are the record's own fields, with what is there where a line of an older broker has none.
_OF_CALL: Row = {
    **dict.fromkeys(("method", "path", "caller", "agent", "user", "team", "customer", "feature"), ""),
    **dict.fromkeys(("tier", "dialect", "model", "rule", "pool", "member", "revision", "outcome"), ""),
    **dict.fromkeys(("error_source", "code", "details", "usage_state", "price_revision"), ""),
    **dict.fromkeys(("status", "request_bytes", "response_bytes", "attempts_made"), 0),
    **dict.fromkeys(("stream", "hedged"), False),
    **dict.fromkeys(("duration_ms", "started_s", "queue_ms"), 0.0),
    **dict.fromkeys(("first_byte_ms", "upload_ms", "added_ms", "context_tokens", "max_output_tokens")),
    "choices": 1,
    **dict.fromkeys(_RARE),
    "cost_estimate": None,
}
_OF_ATTEMPT: Row = {
    **dict.fromkeys(("details", "code", "cause", "usage_state", "service_tier"), ""),
    **dict.fromkeys(("status", "provider_status"), 0),
    **dict.fromkeys(("duration_ms", "started_s"), 0.0),
    "hedge": False,
    **dict.fromkeys(("first_byte_ms", "first_event_ms")),
}
_LISTS_OF_CALL, _LISTS_OF_ATTEMPT = ("flags", "eligible", "holds"), ("flags", "dropped")
# Fields that are told otherwise.
_TOLD_OTHERWISE = ("request_id", "usage", "cost", "attempts", "saved", *_RARE_TREES)
_OF_TRACED = frozenset((*_OF_CALL, *_LISTS_OF_CALL, *_TOLD_OTHERWISE))
_OF_TRACED_ATTEMPT = frozenset((*_OF_ATTEMPT, *_LISTS_OF_ATTEMPT, "member", "usage", "cost"))
# Ids of traces are kept in `more`, where there are any.
_TAKEN_OF_CALL = _OF_TRACED | {"trace_id", "span_id", "parent_span_id", "sampled"}
_TAKEN_OF_ATTEMPT = _OF_TRACED_ATTEMPT | {"span_id"}
_json = msgspec.json.Encoder()
_days: dict[int, str] = {}


@dataclass(slots=True)
class Rows:
    """Of a batch of records: no call in it twice."""

    calls: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)

    def real(self) -> list[Row]:
        """The calls whose end is told."""
        return [row for row in self.calls if row["outcome"] != LOST]


def rows_of(records: Iterable[Mapping[str, Any]], source: str) -> Rows:
    """Of each call once: a real record goes before one that says `lost`, and else the first one does.
    ValueError, TypeError or KeyError for what is no record."""
    chosen: dict[tuple[int, str], Mapping[str, Any]] = {}
    for record in records:
        key = at_ms_of(record), record["request_id"]
        before = chosen.get(key)
        if before is None or (before.get("outcome") == LOST != record.get("outcome")):
            chosen[key] = record
    rows = Rows()
    for (at_ms, _), record in chosen.items():
        attempts = [
            _attempt_row(attempt, record["request_id"], at_ms, number)
            for number, attempt in enumerate(record.get("attempts") or (), 1)
        ]
        _mark_answer(record, attempts)
        if attempts and _hides_more(record, attempts):
            untold = {"member": "", "usage_state": UNKNOWN, "cost": _UNTOLD}
            attempts.append(_attempt_row(untold, record["request_id"], at_ms, len(attempts) + 1))
        rows.attempts += attempts
        rows.calls.append(_call_row(record, at_ms, attempts, source))
    return rows


def at_ms_of(record: Mapping[str, Any]) -> int:
    """When a call was, in ms: as its id tells, so that two records of one call meet; else when it started."""
    at_ms = unix_ms_of(record["request_id"])
    if at_ms is None or at_ms >= _MOST_MS:
        at_ms = int(record.get("started_s", 0) * 1000)
    return min(max(at_ms, 0), _MOST_MS - 1)


def day_of(at_ms: int) -> str:
    """`2026-11-29`, UTC."""
    number = at_ms // DAY_MS
    if (day := _days.get(number)) is None:
        if len(_days) > 10_000:
            _days.clear()
        day = _days[number] = (_EPOCH + timedelta(days=number)).strftime("%Y-%m-%d")
    return day


def _hides_more(record: Mapping[str, Any], attempts: list[Row]) -> bool:
    """Its cost is unknown though that of each attempt is not: there was another, of which nobody told. It
    gets a row, or sums over attempts would know more than sums over calls."""
    cost = record.get("cost")
    is_unknown = cost is None or cost["total"] is None
    return is_unknown and all(row["cost_total"] is not None for row in attempts)


def _call_row(record: Mapping[str, Any], at_ms: int, attempts: list[Row], source: str) -> Row:
    row = {
        name: value if (value := record.get(name)) is not None else empty for name, empty in _OF_CALL.items()
    }
    for name in _RARE:
        row[name] = row[name] or None
    for name in _RARE_TREES:
        row[name] = _text(tree) if (tree := record.get(name)) else None
    row |= {"request_id": record["request_id"], "at_ms": at_ms, "day": day_of(at_ms), "source": source}
    for name in _LISTS_OF_CALL:
        row[name] = _text(record.get(name) or ())
    row |= _sum_of(attempts)
    row |= cost_columns(record.get("cost"))
    saved = record.get("saved")
    row["saved"] = _text(saved) if saved else None
    row["saved_nano"] = saved["cost"]["total"] if saved and saved.get("cost") else None
    row["more"] = _rest(record, _OF_TRACED if record.get("trace_id") else _TAKEN_OF_CALL)
    return row


def _attempt_row(attempt: Mapping[str, Any], request_id: str, at_ms: int, number: int) -> Row:
    row = {
        name: value if (value := attempt.get(name)) is not None else empty
        for name, empty in _OF_ATTEMPT.items()
    }
    member = attempt["member"]
    provider, _, model = member.partition("/")
    row |= {"request_id": request_id, "at_ms": at_ms, "number": number, "answered": False}
    row |= {"member": member, "provider": provider, "member_model": model}
    for name in _LISTS_OF_ATTEMPT:
        row[name] = _text(attempt.get(name) or ())
    usage = attempt.get("usage")
    row |= {name: usage.get(name) for name in _USAGE} if usage else _NO_USAGE
    row["usage"] = _text(usage) if usage else None
    row |= cost_columns(attempt.get("cost"))
    row["more"] = _rest(attempt, _OF_TRACED_ATTEMPT if attempt.get("span_id") else _TAKEN_OF_ATTEMPT)
    return row


def cost_columns(cost: Mapping[str, Any] | None) -> Row:
    """No cost at all: no price book was there."""
    if cost is None:
        return {"cost_total": None, "cost_known": 0, "cost_buckets": "{}", "cost_unknown": '["price"]'}
    buckets = cost["buckets"]
    return {
        "cost_total": cost["total"],
        "cost_known": sum(buckets.values()),
        "cost_buckets": _text(buckets),
        "cost_unknown": _text(cost["unknown"]),
    }


def _sum_of(attempts: list[Row]) -> Row:
    """Tokens of all attempts. A part that nobody tells is unknown; one that some tell is what they tell."""
    if len(attempts) == 1:  # nearly always
        (attempt,) = attempts
        return {name: attempt[name] for name in _USAGE}
    total = dict(_NO_USAGE)
    for attempt in attempts:
        for name in _USAGE:
            if (value := attempt[name]) is not None:
                total[name] = (total[name] or 0) + value
    return total


def _mark_answer(record: Mapping[str, Any], attempts: list[Row]) -> None:
    """The attempt whose reply the client got; the last one where the client got none (as `records.join`)."""
    if not attempts:
        return
    theirs = [row for row in attempts if row["member"] == record.get("member")]
    good = [row for row in theirs if row["status"] == record.get("status")]
    for found in (good, theirs, attempts):
        if found:
            found[-1]["answered"] = True
            return


def _rest(fields: Mapping[str, Any], taken: frozenset[str]) -> str:
    if fields.keys() <= taken:
        return "{}"
    rest = {name: value for name, value in fields.items() if name not in taken and value is not None}
    return _text(rest)


def _text(value: Any) -> str:
    return _json.encode(value).decode() if value else ("{}" if isinstance(value, dict) else "[]")


# A column that nothing fills would be found by the first insertion; this finds it at the first import.
_FILLED_CALL = {
    *_OF_CALL,
    *_USAGE,
    *cost_columns(None),
    *_LISTS_OF_CALL,
    "request_id",
    "at_ms",
    "day",
    "source",
}
if {column.name for column in CALLS.c} != _FILLED_CALL | {"saved", "saved_nano", *_RARE_TREES, "more"}:
    raise AssertionError("rows and tables disagree about calls")
_FILLED_ATTEMPT = {*_OF_ATTEMPT, *_USAGE, *cost_columns(None), *_LISTS_OF_ATTEMPT, "request_id", "at_ms"}
if {column.name for column in ATTEMPTS.c} != _FILLED_ATTEMPT | {
    *("number", "member", "provider", "member_model", "answered", "usage", "more")
}:
    raise AssertionError("rows and tables disagree about attempts")
