"""`spend`: what calls cost, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.errors import Misconfigured
from ..core.prices import PriceBook, dollars
from ..ledger.elsewhere import Compared, Elsewhere, elsewhere
from ..ledger.questions import OF_TIME, Question
from ..ledger.spend import Spend, Sums, spend
from ..ledger.told import amount, amounts, dearest, fields_of
from .ledger_access import Opened, Progress, moment, nothing_matches, opened
from .status_table import aligned


@dataclass(frozen=True, slots=True)
class SpendOptions:
    config: Path
    state_dir: Path | None
    question: Question
    failovers: bool = False
    as_member: str = ""
    format: str = "table"


def print_spend(options: SpendOptions) -> int:
    """Of clients' calls, where nothing is asked of what calls were for: what else there is has its own
    line."""
    progress = Progress()
    asked = options.question
    if asked.is_of_all:
        options = replace(options, question=asked.of_clients())
    with opened(options.config, options.state_dir) as found:
        if options.as_member:
            book = _book_of(options.as_member, found)
            there = elsewhere(found.ledger, options.question, options.as_member, book, progress)
        else:
            there = None
        sums = spend(found.ledger, options.question, failovers=options.failovers, heard=progress)
        besides = _besides(found, asked) if asked.is_of_all else {}
        nothing = "" if sums.total.calls or besides else nothing_matches(found.ledger, asked)
        progress.end()
    if nothing:
        is_table = options.format == "table"
        print(nothing, file=sys.stdout if is_table else sys.stderr)
        if is_table:
            return 0
    shown = Shown(sums, there, options.failovers, besides)
    {"table": _print_table, "csv": _print_csv, "json": _print_json}[options.format](shown)
    return 0


def _besides(found: Opened, asked: Question) -> dict[str, Sums]:
    """What was no client's: by what it was for."""
    groups = spend(found.ledger, replace(asked, by=("purpose",))).groups
    return {key[0]: sums for key, sums in sorted(groups.items()) if key[0]}


def _book_of(member: str, found: Opened) -> PriceBook:
    """With the member's prices. Misconfigured where it is none, or has none."""
    provider, separator, model = member.partition("/")
    if not separator or not model or provider not in found.catalog.providers:
        known = ", ".join(sorted(found.catalog.providers))
        message = f"there is no member {member!r}: give PROVIDER/MODEL; providers are {known}"
        raise Misconfigured(500, "no_such_member", message)
    book = found.book([(provider, model)])
    if (provider, model) not in book.prices:
        message = f"{member} has no price: is the model's name right? If so, add its price to `prices`"
        raise Misconfigured(500, "no_such_member", message)
    return book


@dataclass(frozen=True, slots=True)
class Shown:
    spend: Spend
    there: Elsewhere | None
    failovers: bool
    besides: Mapping[str, Sums] = field(default_factory=dict)

    def order(self) -> list[tuple[str, ...]]:
        """By time where time is asked for first; else the dearest first, and by name."""
        groups = self.spend.groups
        if self.spend.question.by[:1] and self.spend.question.by[0] in OF_TIME:
            return sorted(groups)
        return dearest(groups)


def _print_table(shown: Shown) -> None:
    by = shown.spend.question.by
    columns = _columns(shown)
    head = (*(name.upper() for name in by), *(name for name, _ in columns))
    rows = [head]
    rows += [(*(word or "-" for word in key), *_cells(columns, shown, key)) for key in shown.order()]
    if by:
        rows.append((*("ALL", *[""] * (len(by) - 1)), *_cells(columns, shown, None)))
    elif len(rows) == 1:
        rows.append(tuple(_cells(columns, shown, None)))
    print("\n".join(aligned(rows, right=len(by))))
    if shown.spend.total.unknown:
        print("\nDollars. ?: more, which is not known; UNKNOWN counts what it is.")
    for purpose, sums in shown.besides.items():
        cost = money(sums.cost + sums.at_least, sums.unknown, sums.calls)
        print(f"\nBesides these, {sums.calls} calls were for {purpose}: {cost} (--by purpose).")


_Column = tuple[str, Callable[[Sums, Compared], str]]


def _columns(shown: Shown) -> list[_Column]:
    columns: list[_Column] = [
        ("CALLS", lambda s, _: str(s.calls)),
        ("INPUT", lambda s, _: str(s.input)),
        ("CACHE READ", lambda s, _: str(s.cache_read)),
        ("CACHE WRITE", lambda s, _: str(s.cache_write)),
        ("OUTPUT", lambda s, _: str(s.output)),
        ("COST", lambda s, _: money(s.cost + s.at_least, s.unknown, s.calls)),
        ("UNKNOWN", lambda s, _: str(s.unknown) if s.unknown else ""),
    ]
    if shown.spend.total.cache_hits:
        columns.append(("CACHE HITS", lambda s, _: str(s.cache_hits)))
        columns.append(("SAVED", lambda s, _: money(s.saved, s.saved_unknown, s.cache_hits)))
    if shown.failovers:
        columns.append(("IN VAIN", lambda s, _: str(s.vain)))
        columns.append(("COST IN VAIN", lambda s, _: money(s.vain_cost, s.vain_unknown, s.vain)))
        columns.append(("HEDGES IN VAIN", lambda s, _: str(s.hedges)))
        columns.append(("COST OF HEDGES", lambda s, _: money(s.hedge_cost, s.hedge_unknown, s.hedges)))
    if shown.there is not None:
        columns.append((f"AT {shown.there.member}", lambda _, c: money(c.cost, c.unknown, c.calls)))
        columns.append(("DIFFERENCE", lambda _, c: _difference(c)))
    return columns


def _cells(columns: Iterable[_Column], shown: Shown, key: tuple[str, ...] | None) -> list[str]:
    """Of a group, or of all."""
    sums = shown.spend.total if key is None else shown.spend.groups[key]
    compared = Compared()
    if shown.there is not None:
        compared = shown.there.total if key is None else shown.there.groups.get(key, compared)
    return [show(sums, compared) for _, show in columns]


def money(known: int, unknown: int, of: int) -> str:
    """Never zero for what nobody knows."""
    if unknown and not known:
        return "?" if unknown >= of else "0 + ?"
    return f"{dollars(known)} + ?" if unknown else dollars(known)


def _difference(compared: Compared) -> str:
    """Over the calls that are known in both places."""
    if not compared.both:
        return "?" if compared.calls else ""
    shown = signed(compared.there - compared.here)
    return shown if compared.both == compared.calls else f"{shown} + ?"


def signed(nano: int) -> str:
    return f"-{dollars(-nano)}" if nano < 0 else f"+{dollars(nano)}"


# -- for programs


def _fields_of(sums: Sums, compared: Compared | None, failovers: bool) -> dict[str, Any]:
    told = fields_of(sums, failovers=failovers)
    if compared is not None:
        told |= amounts("as_cost", compared.cost, compared.unknown) | {"as_unknown": compared.unknown}
        told["as_both"] = compared.both
        none = bool(compared.calls and not compared.both)
        for name, nano in (("here", compared.here), ("there", compared.there)):
            told |= amount(f"as_{name}", None if none else nano)
    return told


def _lines(shown: Shown) -> Iterable[tuple[Sequence[str], Mapping[str, Any]]]:
    for key in shown.order():
        compared = shown.there.groups.get(key, Compared()) if shown.there else None
        yield key, _fields_of(shown.spend.groups[key], compared, shown.failovers)


def _print_csv(shown: Shown) -> None:
    there = Compared() if shown.there else None
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*shown.spend.question.by, *_fields_of(Sums(), there, shown.failovers)])
    for key, told in _lines(shown):
        writer.writerow([*key, *told.values()])


def _print_json(shown: Shown) -> None:
    question = shown.spend.question
    there = shown.there.total if shown.there else None
    groups = [{**dict(zip(question.by, key, strict=True)), **told} for key, told in _lines(shown)]
    tree = {
        "since": moment(question.since_ms),
        "until": moment(question.until_ms),
        "by": question.by,
        "as": shown.there.member if shown.there else None,
        "groups": groups,
        "total": _fields_of(shown.spend.total, there, shown.failovers),
        "besides": {name: _fields_of(sums, None, False) for name, sums in shown.besides.items()},
    }
    print(json.dumps(tree, indent=2))
