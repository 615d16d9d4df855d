"""Our ledger against a provider's invoice, by day and model, with what explains the differences."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any

from sqlalchemy import JSON, BigInteger, ColumnElement, case, cast, func, literal_column, select

from ..core.outcomes import LOST
from ..core.prices import MILLION, NO_PRICES, Price, PriceBook
from ..core.usage import EXACT
from .database import Ledger
from .differences import Entry, Side, explain, explain_boundaries
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
# Buckets of costs, by those of tokens: what costs otherwise is a part of the same tokens.
_BUCKETS = {**{name: (name,) for name in COUNTS}, "input": ("input", "audio_input")}
_BUCKETS["output"] = ("output", "reasoning")


def model_key(name: str) -> tuple[str, ...]:
    """What names of one model have in common: `Claude Opus 4.6`, `claude-opus-4-6`, `Claude4.6Opus`,
    `eu.anthropic.claude-opus-4-6-20260115-v1:0`."""
    text = name.lower()
    for noise in _NOISE:
        text = noise.sub("", text)
    return tuple(sorted(_WORD.findall(text)))


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
    prices: Callable[[list[tuple[str, str]]], PriceBook] = lambda models: NO_PRICES,
    heard: Heard | None = None,
) -> Reconciled:
    """`own_names`: model as members name it → the provider's own name; `renamed`: a name on the invoice → as
    members name it. `zone`: that of the invoice's days. `prices`: the price book of (provider, model)s."""
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
    if all(line.cost is None for line in invoice.lines):
        result.notes.append("the invoice tells tokens and no cost")
    _explain(result, provider, prices, zone)
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
    is_known = a.cost_total.is_not(None)
    counts += [func.sum(case((is_known, a[name]), else_=0)) for name in COUNTS]
    bucket = _bucket_in(ledger)
    for names in _BUCKETS.values():
        paid: ColumnElement[Any] = sum(
            (func.coalesce(bucket(name), 0) for name in names), start=literal_column("0")
        )
        counts.append(func.sum(case((is_known, paid), else_=0)))
    known = (func.count(), func.sum(a.cost_total), func.sum(a.cost_known), func.count(a.cost_total))
    query = select(quarter, a.member_model, a.usage_state, *known, *counts)
    query = query.where(a.provider == provider, a.at_ms >= since_ms, a.at_ms < until_ms)
    query = query.where(a.usage_state != "none").group_by(quarter, a.member_model, a.usage_state)
    found: dict[str, dict[str, Side]] = {}
    lost: dict[str, int] = {}
    with ledger.reading() as connection:
        for at_ms, model, state, attempts, total, cost, priced, *sums in connection.execute(query):
            side = found.setdefault(model, {}).setdefault(_day_in(int(at_ms), zone), Side())
            _add(side, int(cost), int(total or 0), [int(value) for value in sums])
            side.attempts += attempts
            side.uncounted += attempts if state != EXACT else 0
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


def _bucket_in(ledger: Ledger) -> Callable[[str], ColumnElement[Any]]:
    """Of an attempt's cost the part with this name, in nano-dollars; null: none."""
    buckets = ATTEMPTS.c.cost_buckets
    if ledger.is_sqlite:
        return lambda name: func.json_extract(buckets, f"$.{name}")
    return lambda name: cast(func.json_extract_path_text(cast(buckets, JSON), name), BigInteger)


def _add(side: Side, cost: int, total: int, sums: list[int]) -> None:
    """`total`: of the attempts whose cost is known. `sums`: tokens; those of these attempts; what those cost;
    each by bucket."""
    width = len(COUNTS)
    tokens, priced, paid = (sums[n * width : n * width + width] for n in range(3))
    side.add(dict(zip(COUNTS, tokens, strict=True)), cost)
    for name, count, nano in zip(COUNTS, priced, paid, strict=True):
        side.priced[name] = side.priced.get(name, 0) + count
        side.paid[name] = side.paid.get(name, 0) + nano
    side.extra += total - sum(paid)


def _day_in(at_ms: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at_ms / 1000, zone).strftime("%Y-%m-%d")


def _explain(
    result: Reconciled, provider: str, prices: Callable[[list[tuple[str, str]]], PriceBook], zone: tzinfo
) -> None:
    by_model: dict[str, list[Entry]] = {}
    for entry in result.entries:
        by_model.setdefault(entry.model, []).append(entry)
    book = prices([(provider, model) for model in by_model])
    for entry in result.entries:
        noon = datetime.fromisoformat(entry.day).replace(hour=12, tzinfo=zone)
        price = book.find(provider, entry.model, int(noon.timestamp()))
        explain(entry, result.lost.get(entry.day, 0), _listed(price))
    for entries in by_model.values():
        explain_boundaries(entries)
    if all(entry.theirs.tokens is None for entry in result.entries):
        result.notes.append("the invoice tells cost and no tokens: prices can't be told from missing calls")


def _listed(price: Price | None) -> dict[str, Fraction]:
    """Nano-dollars a token, by bucket, as far as they are known."""
    if price is None:
        return {}
    if price.commitment:
        return dict.fromkeys(COUNTS, Fraction(0))
    found = ((name, getattr(price.scale.rates, name)) for name in COUNTS)
    return {name: Fraction(rate, MILLION) for name, rate in found if rate is not None}
