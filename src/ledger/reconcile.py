"""Our ledger against a provider's invoice, by day and model, with what explains the differences."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, func, literal_column, select

from ..core.outcomes import LOST
from .database import Ledger
from .invoices import Invoice
from .spend import Heard
from .tables import ATTEMPTS, CALLS, COUNTS

_QUARTER_MS = 900_000  # time zones are apart by quarters of an hour
_QUARTER: ColumnElement[int] = literal_column(str(_QUARTER_MS))
_WORD = re.compile(r"[a-z]+|[0-9]+")
_NOISE = (
    re.compile(r"\(.*\)"),
    re.compile(r"[-@]?(20\d{2})-?(\d{2})-?(\d{2})"),  # the date of a version
    re.compile(r"-v\d+(:\d+)*$"),
    re.compile(r"^([a-z]+\.)?(anthropic|amazon|meta|mistral|openai|cohere)\."),
    re.compile(r"-latest$"),
)
_SAME = 0.005  # of the price: less is rounding


def model_key(name: str) -> tuple[str, ...]:
    """What names of one model have in common: `Claude Opus 4.6`, `claude-opus-4-6`, `Claude4.6Opus`,
    `eu.anthropic.claude-opus-4-6-20260115-v1:0`."""
    text = name.lower()
    for noise in _NOISE:
        text = noise.sub("", text)
    return tuple(sorted(_WORD.findall(text)))


@dataclass(slots=True)
class Side:
    """One side's sums for a day and model. `cost` in nano-dollars; None: nobody tells. `states`: of ours, how
    many attempts of unknown cost by what is known of their usage."""

    tokens: dict[str, int] | None = None
    cost: int | None = None
    attempts: int = 0
    unknown: int = 0
    states: dict[str, int] = field(default_factory=dict)

    def add(self, tokens: Mapping[str, int] | None, cost: int | None) -> None:
        if tokens is not None:
            before = self.tokens or dict.fromkeys(COUNTS, 0)
            self.tokens = {name: before[name] + tokens.get(name, 0) for name in COUNTS}
        if cost is not None:
            self.cost = (self.cost or 0) + cost


@dataclass(slots=True)
class Entry:
    day: str
    model: str
    ours: Side
    theirs: Side
    why: list[str] = field(default_factory=list)

    @property
    def difference(self) -> int | None:
        """Theirs less ours; None where one side tells no cost."""
        if self.theirs.cost is None or self.ours.cost is None:
            return None
        return self.theirs.cost - self.ours.cost

    def missing(self) -> dict[str, int]:
        """Tokens that they have and we have not, by bucket; negative: the other way round. {} where one side
        tells none."""
        if self.theirs.tokens is None or self.ours.tokens is None:
            return {}
        theirs, ours = self.theirs.tokens, self.ours.tokens
        return {name: theirs[name] - ours[name] for name in COUNTS if theirs[name] != ours[name]}


@dataclass(slots=True)
class Reconciled:
    """`others`: lines that are no usage of a model, by what they are: nano-dollars. `lost`: calls of which
    nobody knows the end, by day, whatever their model."""

    form: str
    entries: list[Entry] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def reconcile(
    ledger: Ledger,
    invoice: Invoice,
    provider: str,
    *,
    own_names: Mapping[str, str],
    renamed: Mapping[str, str],
    zone: tzinfo,
    heard: Heard | None = None,
) -> Reconciled:
    """`own_names`: model as members name it → the provider's own name; `renamed`: a name on the invoice → as
    members name it. `zone`: that of the invoice's days."""
    result = Reconciled(invoice.form)
    theirs = _theirs(invoice, renamed, result)
    days = sorted({line.day for line in invoice.lines})
    if not days:
        result.notes.append("the invoice has no lines")
        return result
    ours, result.lost = _ours(ledger, provider, (days[0], days[-1]), zone, heard)
    known = {
        key: model for model in ours for key in (model_key(model), model_key(own_names.get(model, model)))
    }
    entries: dict[tuple[str, str], Entry] = {}
    for (day, name), side in theirs.items():
        model = known.get(model_key(name), name)
        entry = entries.setdefault((day, model), Entry(day, model, Side(), Side()))
        entry.theirs.add(side.tokens, side.cost)
    for model, by_day in ours.items():
        for day, side in by_day.items():
            entries.setdefault((day, model), Entry(day, model, Side(), Side())).ours = side
    result.entries = [entries[key] for key in sorted(entries)]
    _explain(result, tells_cost=any(line.cost is not None for line in invoice.lines))
    return result


def _theirs(invoice: Invoice, renamed: Mapping[str, str], result: Reconciled) -> dict[tuple[str, str], Side]:
    found: dict[tuple[str, str], Side] = {}
    for line in invoice.lines:
        if line.what:
            result.others[line.what] = result.others.get(line.what, 0) + (line.cost or 0)
            continue
        name = renamed.get(line.model, line.model)
        found.setdefault((line.day, name), Side()).add(line.tokens, line.cost)
    return found


def _ours(
    ledger: Ledger, provider: str, days: tuple[str, str], zone: tzinfo, heard: Heard | None
) -> tuple[dict[str, dict[str, Side]], dict[str, int]]:
    """(model → day → side, day → lost calls), of these days, the last included."""
    first, last = (datetime.fromisoformat(day).replace(tzinfo=zone) for day in days)
    since_ms, until_ms = (int(at.timestamp() * 1000) for at in (first, last + timedelta(days=1)))
    a = ATTEMPTS.c
    quarter = (a.at_ms - a.at_ms % _QUARTER).label("quarter")
    counts = [func.sum(a[name]) for name in COUNTS]
    known = (func.count(), func.sum(a.cost_total), func.sum(a.cost_known), func.count(a.cost_total))
    query = select(quarter, a.member_model, a.usage_state, *known, *counts)
    query = query.where(a.provider == provider, a.at_ms >= since_ms, a.at_ms < until_ms)
    query = query.where(a.usage_state != "none").group_by(quarter, a.member_model, a.usage_state)
    found: dict[str, dict[str, Side]] = {}
    lost: dict[str, int] = {}
    with ledger.reading() as connection:
        for at_ms, model, state, attempts, _, cost, priced, *sums in connection.execute(query):
            side = found.setdefault(model, {}).setdefault(_day_in(int(at_ms), zone), Side())
            side.add(dict(zip(COUNTS, (int(value) for value in sums), strict=True)), int(cost))
            side.attempts += attempts
            if attempts > priced:
                side.unknown += attempts - priced
                side.states[state] = side.states.get(state, 0) + attempts - priced
        if heard is not None:
            heard(1, 2)
        at = (CALLS.c.at_ms - CALLS.c.at_ms % _QUARTER).label("quarter")
        query_lost = select(at, func.count()).where(
            CALLS.c.outcome == LOST, CALLS.c.at_ms >= since_ms, CALLS.c.at_ms < until_ms
        )
        for at_ms, count in connection.execute(query_lost.group_by(at)):
            day = _day_in(int(at_ms), zone)
            lost[day] = lost.get(day, 0) + count
    if heard is not None:
        heard(2, 2)
    return found, lost


def _day_in(at_ms: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at_ms / 1000, zone).strftime("%Y-%m-%d")


# -- what explains a difference


def _explain(result: Reconciled, *, tells_cost: bool) -> None:
    by_model: dict[str, list[Entry]] = {}
    for entry in result.entries:
        by_model.setdefault(entry.model, []).append(entry)
        _explain_one(entry, result.lost.get(entry.day, 0))
    for entries in by_model.values():
        _explain_boundaries(entries)
    if not tells_cost:
        result.notes.append("the invoice tells tokens and no cost")
    if all(entry.theirs.tokens is None for entry in result.entries):
        result.notes.append("the invoice tells cost and no tokens: prices can't be told from missing calls")


def _explain_one(entry: Entry, lost: int) -> None:
    ours, theirs, why = entry.ours, entry.theirs, entry.why
    missing, difference = entry.missing(), entry.difference
    if not ours.attempts:
        why.append("none of it is in the ledger: calls past the broker, or another name of the model")
        return
    if theirs.cost is None and theirs.tokens is None:
        why.append("not on the invoice: another account, or it is not complete yet")
        return
    if not missing and not difference and not ours.unknown:
        return
    if ours.unknown:
        states = ", ".join(f"{count} of {state} usage" for state, count in sorted(ours.states.items()))
        why.append(f"{ours.unknown} attempts of unknown cost ({states})")
    if missing:
        shown = ", ".join(f"{count:+d} {name}" for name, count in missing.items())
        why.append(f"tokens there: {shown}")
        if all(count > 0 for count in missing.values()) and not ours.unknown:
            why.append("calls that are not in the ledger")
    if lost and (missing or (difference or 0) > 0):
        why.append(f"{lost} calls of that day are lost: their usage is not known")
    if difference and ours.cost and not missing and not ours.unknown:
        share = difference / ours.cost
        if entry.theirs.tokens is not None:
            why.append(
                f"the price differs: the same tokens cost {share:+.1%} there"
                if abs(share) > _SAME
                else "rounding"
            )
        elif abs(share) <= _SAME:
            why.append("rounding")


def _explain_boundaries(entries: Iterable[Entry]) -> None:
    """Calls that began before midnight and ended behind it are another day's there, or days are cut in
    another time zone."""
    listed = list(entries)
    for one, other in itertools.pairwise(listed):
        here, there = one.missing(), other.missing()
        if here and {name: -count for name, count in here.items()} == there:
            one.why.append(f"day boundary: the next day has it the other way round ({other.day})")
            other.why.append(f"day boundary: with {one.day} together they agree")
    total: dict[str, int] = {}
    for entry in listed:
        for name, count in entry.missing().items():
            total[name] = total.get(name, 0) + count
    differ = [entry for entry in listed if entry.missing()]
    if len(differ) > 2 and not any(total.values()):
        for entry in differ:
            entry.why.append("over all days they agree: another time zone? (--time-zone)")


def summed(entries: Iterable[Entry]) -> dict[str, Any]:
    """Of all entries: costs that are told, and attempts of unknown cost."""
    listed = list(entries)
    return {
        "ours": sum(entry.ours.cost or 0 for entry in listed),
        "theirs": sum(entry.theirs.cost or 0 for entry in listed),
        "unknown": sum(entry.ours.unknown for entry in listed),
    }
