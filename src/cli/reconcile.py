"""`reconcile`: the ledger against a provider's invoice, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

from ..core.errors import Misconfigured
from ..core.prices import dollars
from ..ledger.differences import Entry, Side
from ..ledger.invoices import Invoice, read
from ..ledger.reconcile import Reconciled, reconcile
from ..ledger.told import amount, amounts
from .ledger_access import Progress, opened
from .spend import money
from .status_table import aligned


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """`renamed`: a model on the invoice → as members name it. `columns`: for a form of one's own."""

    config: Path
    state_dir: Path | None
    provider: str
    invoice: Path
    zone: tzinfo
    columns: Mapping[str, str] | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    format: str = "table"


def print_reconciled(options: ReconcileOptions) -> int:
    """1: there is a difference that nothing explains."""
    invoice = _read(options)
    progress = Progress()
    with opened(options.config, options.state_dir) as found:
        provider = found.catalog.providers.get(options.provider)
        if provider is None:
            known = ", ".join(sorted(found.catalog.providers))
            message = f"there is no provider {options.provider!r}; there are {known}"
            raise Misconfigured(500, "no_such_provider", message)
        result = reconcile(
            found.ledger,
            invoice,
            options.provider,
            own_names=provider.models,
            renamed=options.renamed,
            zone=options.zone,
            prices=found.book,
            heard=progress,
        )
        progress.end()
    {"table": _print_table, "csv": _print_csv, "json": _print_json}[options.format](result)
    return 1 if any(entry.is_open for entry in result.entries) else 0


def _read(options: ReconcileOptions) -> Invoice:
    path = options.invoice
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return read(str(path), file, options.columns)
    except OSError as error:
        raise Misconfigured(500, "bad_invoice", f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misconfigured(500, "bad_invoice", f"{path} is not UTF-8 text: give the export as CSV") from None
    except csv.Error as error:
        raise Misconfigured(500, "bad_invoice", f"{path} is no CSV: {error}") from None


def _print_table(result: Reconciled) -> None:
    head = ("DAY", "MODEL", "TOKENS", "THEIRS", "COST", "THEIRS", "DIFFERENCE")
    rows = [head, *(_row(entry) for entry in result.entries)]
    lines = list(aligned(rows, right=2))
    print(f"{lines[0]}  WHY")
    for line, entry in zip(lines[1:], result.entries, strict=True):
        why = "; ".join(["NOT EXPLAINED", *entry.why] if entry.is_open else entry.why)
        print(f"{line}  {why}".rstrip())
    ours, count, theirs = _summed(result.entries)
    unknown = f" + {count} attempts of unknown cost" if count else ""
    print(f"\nOurs ${dollars(ours)}{unknown}, theirs ${_signed(theirs)} ({result.form}).")
    for what, nano in sorted(result.others.items()):
        print(f"Not in this table: {what}, ${_signed(nano)}.")
    for day, count in sorted(result.lost.items()):
        print(f"{day}: {count} calls of unknown end, whatever their model.")
    for note in result.notes:
        print(f"Note: {note}.")


def _row(entry: Entry) -> tuple[str, ...]:
    ours, theirs = entry.ours, entry.theirs
    priced = money(ours.cost or 0, ours.unknown, ours.attempts) if ours.attempts else "-"
    cost = "-" if theirs.cost is None else _signed(theirs.cost)
    difference = entry.difference
    shown = "-" if difference is None else f"{'+' if difference > 0 else ''}{_signed(difference)}"
    return entry.day, entry.model or "-", _tokens(ours), _tokens(theirs), priced, cost, shown


def _tokens(side: Side) -> str:
    return "-" if side.tokens is None else str(sum(side.tokens.values()))


def _signed(nano: int) -> str:
    return f"-{dollars(-nano)}" if nano < 0 else dollars(nano)


def _summed(entries: Iterable[Entry]) -> tuple[int, int, int]:
    """What is known of our cost, attempts of unknown cost, and what is known of theirs."""
    listed = list(entries)
    return (
        sum(entry.ours.cost or 0 for entry in listed),
        sum(entry.ours.unknown for entry in listed),
        sum(entry.theirs.cost or 0 for entry in listed),
    )


# -- for programs

_PARTS = ("tokens", "unpriced", "price")


def _amounts_of(entry: Entry) -> dict[str, Any]:
    """Money in nano-dollars and dollars; null where nobody tells, or a part is unknown."""
    ours = entry.ours
    known = amount("ours", None) | amount("ours_known", None)
    told = known if ours.cost is None else amounts("ours", ours.cost, ours.unknown)
    told |= {"unknown": ours.unknown}
    told |= amount("theirs", entry.theirs.cost) | amount("difference", entry.difference)
    for name in _PARTS:
        told |= amount(f"by_{name}", getattr(entry.parts, name) if entry.parts else None)
    return told


def _tree(entry: Entry) -> dict[str, Any]:
    tree: dict[str, Any] = {"day": entry.day, "model": entry.model} | _amounts_of(entry)
    for name, side in (("ours", entry.ours), ("theirs", entry.theirs)):
        tree |= {f"{name}_{bucket}": count for bucket, count in (side.tokens or {}).items()}
    tree |= {"attempts": entry.ours.attempts, "missing": entry.missing()}
    return tree | {"explained": not entry.is_open, "why": entry.why}


def _print_json(result: Reconciled) -> None:
    ours, unknown, theirs = _summed(result.entries)
    tree = {
        "form": result.form,
        "entries": [_tree(entry) for entry in result.entries],
        "others_nano": result.others,
        "lost": result.lost,
        "notes": result.notes,
        "total": amounts("ours", ours, unknown) | {"unknown": unknown} | amount("theirs", theirs),
    }
    print(json.dumps(tree, indent=2))


def _print_csv(result: Reconciled) -> None:
    """The same, but for the counts of tokens."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = list(_amounts_of(Entry("", "", Side(), Side())))
    writer.writerow(["day", "model", *names, "explained", "why"])
    for entry in result.entries:
        explained = "no" if entry.is_open else "yes"
        why = "; ".join(entry.why)
        writer.writerow([entry.day, entry.model, *_amounts_of(entry).values(), explained, why])
