"""One call: what it was, the story of its decision, each attempt, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.prices import dollars
from ..ledger.calls import Call, call_of, oldest_ms
from .asked import Missing, Page
from .sources import Away, Sources
from .story import came_to, kind_of, notes_of, outcome_of, state_words, story_of, why_unknown, window_words
from .words import lasting, moment, plural

Tree = Mapping[str, Any]
_NANO = "nano_dollars"


class Fact(NamedTuple):
    name: str
    said: str


class Tried(NamedTuple):
    """An attempt. `kind`: good, bad or ""; `cost` and `unknown` as words.money takes them."""

    fields: Tree
    kind: str
    came_to: str
    cost: int | None
    unknown: int


class Charged(NamedTuple):
    budget: str
    scope: str
    window: str
    reserved: str
    charged: str


def show(request_id: str, sources: Sources) -> Page:
    found = call_of(sources.ledger(), request_id)
    if found is None:
        raise Missing(_not_there(request_id, sources))
    return Page("call.html", data_of(found, _revision_href(found.fields, sources)))


def data_of(found: Call, revision_href: str) -> dict[str, Any]:
    """What the template shows."""
    call = found.fields
    tried = [_tried(one) for one in found.attempts]
    total = call["cost_total"]
    return {
        "title": f"Call {call['request_id']}",
        "call": call,
        "outcome": outcome_of(call),
        "notes": notes_of(call),
        "story": story_of(call, found.attempts, revision_href),
        "attempts": tried,
        "charges": [_charged(one) for one in call["budgets"] or ()],
        "cost": total if total is not None else call["cost_known"],
        "unknown": int(total is None),
        "buckets": sorted(call["cost_buckets"].items(), key=lambda one: -one[1]),
        "why_unknown": [why_unknown(reason) for reason in call["cost_unknown"]],
        "vain": sum(one.cost or 0 for one in tried if not one.fields["answered"]),
        "vain_unknown": sum(one.unknown for one in tried if not one.fields["answered"]),
        "facts": list(_facts(call)),
        "usage_state": state_words(call["usage_state"]),
    }


def _not_there(request_id: str, sources: Sources) -> str:
    """What to know of the ledger where a call is not in it."""
    said = f"The ledger has no call {request_id[:100]}. A call is there a moment after its end."
    oldest = oldest_ms(sources.ledger())
    try:
        kept_s = int(sources.status()["ledger"].get("retention_s") or 0)
    except Away:
        return said
    kept = f"for {lasting(kept_s)} (`ledger.retention`)" if kept_s else "for ever"
    since = f"; the oldest that is there is of {moment(oldest / 1000)} UTC" if oldest is not None else ""
    return f"{said} Calls are kept {kept}{since}."


def _revision_href(call: Tree, sources: Sources) -> str:
    """Of the entry of the history by which it was decided; the whole history where that is not known."""
    try:
        history = sources.tree("/history")["revisions"]
    except Away:
        history = []
    return revision_href(history, call["revision"], call["started_s"])


def revision_href(history: Sequence[Tree], revision: str, at_s: float) -> str:
    """A revision may have been live several times: the entry is the one that was at that time."""
    those = [one for one in history if one["revision"] == revision]
    before = [one for one in those if one["since_s"] <= at_s] or those
    newest = max(before, key=lambda one: one["number"], default=None)
    return f"/console/revisions/{newest['number']}" if newest is not None else "/console/revisions"


def _tried(attempt: Tree) -> Tried:
    total = attempt["cost_total"]
    cost = total if total is not None else attempt["cost_known"]
    return Tried(attempt, kind_of(attempt), came_to(attempt), cost, int(total is None))


def _charged(charge: Tree) -> Charged:
    unit = charge["unit"]
    reserved, charged = (_amount(charge[name], unit) for name in ("reserved", "charged"))
    return Charged(
        charge["budget"], charge["scope"] or "all", window_words(charge["window"]), reserved, charged
    )


def _amount(value: int, unit: str) -> str:
    if unit == _NANO:
        return f"${dollars(value)}"
    return plural(value, unit.removesuffix("s"))


def _facts(call: Tree) -> Iterator[Fact]:
    """What else the record says; what it does not say is left out."""
    yield Fact("Id", call["request_id"])
    yield Fact("Began", f"{moment(call['started_s'])} UTC")
    for name, field in (
        ("Trace", "trace_id"),
        ("Span", "span_id"),
        ("Agent's span", "parent_span_id"),
        ("Conversation", "conversation"),
        ("Fingerprint", "fingerprint"),
        ("Price book", "price_revision"),
    ):
        if said := call.get(field):
            yield Fact(name, str(said))
    if call["upload_ms"] is not None:
        yield Fact("Request came in", f"{call['upload_ms']:.1f} ms, {plural(call['request_bytes'], 'byte')}")
    yield Fact("Reply", plural(call["response_bytes"], "byte"))
    for name, said in sorted((call["headers"] or {}).items()):
        yield Fact(f"Header {name}", str(said))
    if call["captured"]:
        yield Fact("Captured", f"{call['captured']}, for `modelbroker traffic`; never shown here")
    if call["cost_estimate"] is not None:
        yield Fact("Cost, as rules saw it", f"${dollars(call['cost_estimate'])}")
    if call["flags"]:
        yield Fact("Envoy's flags", ", ".join(call["flags"]))
    if call["details"]:
        yield Fact("Envoy's details", call["details"])
