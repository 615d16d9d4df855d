"""Live decisions: the newest calls of the ledger, by what they were, and a page for each (`call`)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlencode

from ..core.outcomes import ERROR, LOST, OK, REFUSED
from ..core.record import CLIENT_GONE
from ..ledger.calls import Call, Cursor, page_of
from ..ledger.questions import FILTERS, Question
from . import call
from .asked import Asked, Missing, Page
from .sources import Away, Sources
from .story import Outcome, call_href, notes_of, outcome_of

ROOT = "/console/calls"
A_PAGE = 50
EVERY_S = 3
_TIMES = 20  # as long as it took
SPANS_S: Mapping[str, int] = MappingProxyType(
    {"1h": 3_600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400, "all": 0}
)
SPAN_WORDS: Mapping[str, str] = MappingProxyType(
    {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days", "all": "all that is kept"}
)
_FILTERED = "24h"  # how far back is looked for what few calls have, unless it is said
OUTCOMES = (OK, REFUSED, ERROR, CLIENT_GONE, LOST)
# In the form; the others come by a click or by the URL.
IN_FORM = ("pool", "member", "team", "customer", "caller", "code")


@dataclass(frozen=True, slots=True)
class Filters:
    """What a view is of: `where` has one value a dimension. `until`: as a form sends it (UTC), "": now."""

    where: Mapping[str, str]
    span: str = ""
    until: str = ""
    until_ms: int = 0

    @property
    def spans(self) -> str:
        """The span that holds: a filter is not looked for in all that there is unless that is asked for."""
        return self.span or (_FILTERED if self.where else "all")

    @property
    def is_any(self) -> bool:
        return bool(self.where or self.span or self.until)

    def href(self, before: Cursor | None = None) -> str:
        words = {**self.where, "span": self.span, "until": self.until}
        if before is not None:
            words["before"] = f"{before.at_ms}.{before.request_id}"
        said = urlencode({name: value for name, value in words.items() if value})
        return f"{ROOT}?{said}" if said else ROOT

    def having(self, name: str, value: str) -> str:
        """The URL of the calls of these that have this value, too."""
        return replace(self, where={**self.where, name: value}).href()

    def without(self, name: str) -> str:
        kept = {other: value for other, value in self.where.items() if other != name}
        gone = {"span": ""} if name == "span" else {"until": "", "until_ms": 0} if name == "until" else {}
        return replace(self, where=kept, **gone).href()

    def within(self, span: str) -> str:
        return replace(self, span=span).href()

    def question(self, now_s: float) -> Question:
        until_ms = self.until_ms or 1 << 62
        since_s = SPANS_S[self.spans]
        at_ms = self.until_ms or int(now_s * 1000)
        since_ms = at_ms - since_s * 1000 if since_s else 0
        where = {name: (value,) for name, value in self.where.items()}
        return Question(since_ms=since_ms, until_ms=until_ms, where=where)


def filters_of(query: Mapping[str, str]) -> Filters:
    """Missing where a word of it is none."""
    where = {name: query[name] for name in FILTERS if query.get(name)}
    span, until = query.get("span", ""), query.get("until", "")
    if span and span not in SPANS_S:
        raise Missing(f"There is no span {span[:40]}: there are {', '.join(SPANS_S)}.")
    try:
        at = datetime.fromisoformat(until) if until else None
    except ValueError:
        raise Missing(f"{until[:40]} is no time: give e.g. 2026-11-30T14:00.") from None
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return Filters(where, span, until, int(at.timestamp() * 1000) if at is not None else 0)


def cursor_of(query: Mapping[str, str]) -> Cursor | None:
    """Missing where it is none."""
    if not (said := query.get("before", "")):
        return None
    at_ms, _, request_id = said.partition(".")
    if not (at_ms.isascii() and at_ms.isdecimal() and len(at_ms) < 16 and request_id):
        raise Missing("There is no such page of calls.")
    return Cursor(int(at_ms), request_id)


class Failed(NamedTuple):
    """An attempt in vain: where, and why."""

    member: str
    cause: str


class Row(NamedTuple):
    """A call in the table. `unknown`: 1 where its cost is not known whole, for words.money."""

    fields: Mapping[str, Any]
    href: str
    outcome: Outcome
    failed: tuple[Failed, ...]
    read: int | None
    written: int | None
    cost: int | None
    unknown: int
    notes: tuple[str, ...]


def row_of(seen: Call) -> Row:
    fields = seen.fields
    is_known = fields["usage_state"] != "unknown" or not fields["attempts_made"] or bool(fields["output"])
    read = fields["input"] + fields["cache_read"] + fields["cache_write_5m"] + fields["cache_write_1h"]
    total = fields["cost_total"]
    return Row(
        fields,
        call_href(fields["request_id"]),
        outcome_of(fields),
        failed_of(seen.attempts),
        read if is_known else None,
        fields["output"] if is_known else None,
        total if total is not None else fields["cost_known"],
        int(total is None),
        tuple(notes_of(fields)),
    )


def failed_of(attempts: Sequence[Mapping[str, Any]]) -> tuple[Failed, ...]:
    """Those that came to nothing, hedges that were too slow aside."""
    return tuple(
        Failed(one["member"] or "unknown", one["cause"] or one["code"])
        for one in attempts
        if one["cause"] or (one["code"] and one["code"] != "cancelled")
    )


def show(asked: Asked, sources: Sources) -> Page:
    _, _, request_id = asked.path.strip("/").partition("/")
    if request_id:
        return call.show(request_id, sources)
    filters, before = filters_of(asked.query), cursor_of(asked.query)
    began_s = time.monotonic()
    found = page_of(sources.ledger(), filters.question(asked.now_s), before, A_PAGE + 1)
    shown = [row_of(one) for one in found[:A_PAGE]]
    pools, members = _known(sources)
    data = {
        "title": "Calls",
        "rows": shown,
        "filters": filters,
        "before": before,
        "older": filters.href(found[A_PAGE - 1].cursor) if len(found) > A_PAGE else "",
        "wider": _wider(filters),
        "spans": SPAN_WORDS,
        "outcomes": OUTCOMES,
        "in_form": IN_FORM,
        "known": {"pool": pools, "member": members},
    }
    # What takes long is not asked for as often.
    every_s = max(EVERY_S, math.ceil(_TIMES * (time.monotonic() - began_s)))
    is_live = before is None and not filters.until
    return Page("calls.html", data, every_s=every_s if is_live else 0)


def _wider(filters: Filters) -> str:
    """The next longer span; "": there is none."""
    spans = list(SPANS_S)
    at = spans.index(filters.spans) + 1
    return spans[at] if at < len(spans) else ""


def _known(sources: Sources) -> tuple[list[str], list[str]]:
    """The pools and members of the configuration, which the form offers."""
    try:
        pools = sources.status()["pools"]
    except Away:
        return [], []
    members = {member["id"] for pool in pools for member in pool["members"]}
    return sorted(pool["name"] for pool in pools), sorted(members)
