"""`reprice` and `export`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ..core.acts import LEDGER_REPRICED, Detail
from ..ledger.export import export
from ..ledger.questions import Question
from ..ledger.reprice import Change, Repriced, models_in, reprice
from .ledger_access import Progress, nothing_matches, opened, window
from .outputs import tell_of, written
from .spend import money, signed
from .status_table import aligned


@dataclass(frozen=True, slots=True)
class RepriceOptions:
    config: Path
    state_dir: Path | None
    question: Question
    dry_run: bool


def print_repriced(options: RepriceOptions) -> int:
    progress = Progress()
    with opened(options.config, options.state_dir) as found:
        book = found.book(models_in(found.ledger, options.question))
        result = reprice(found.ledger, options.question, book, writes=not options.dry_run, heard=progress)
        nothing = "" if result.calls else nothing_matches(found.ledger, options.question)
        progress.end()
        if not options.dry_run:
            details: dict[str, Detail] = {"name": result.revision, "calls": result.calls}
            tell_of(found.catalog, options.config, options.state_dir, LEDGER_REPRICED, details)
    if nothing:
        print(nothing)
    else:
        _print_table(result, options.dry_run)
    return 0


def _print_table(result: Repriced, dry_run: bool) -> None:
    head = ("MEMBER", "ATTEMPTS", "CHANGED", "BEFORE", "AFTER", "CHANGE", "NOW KNOWN", "NOW UNKNOWN", "KEPT")
    total = Change()
    for change in result.members.values():
        total.add(change)
    rows = [head, *(_row(member, change) for member, change in sorted(result.members.items()))]
    if result.members:
        print("\n".join(aligned([*rows, _row("ALL", total)], right=1)) + "\n")
    would = "would be" if dry_run else "are"
    print(f"{result.calls} calls {would} reckoned again by the price book {result.revision}; the others were")
    print(
        f"already, or used nothing. Of their {total.attempts} attempts {total.changed} cost otherwise by it."
    )
    if total.kept:
        print(f"{total.kept} attempts keep their cost: no price of theirs is known today.")
    if total.unknown or total.still_unknown:
        print("Dollars. ?: more, which is not known; CHANGE is over what is known before and after.")


def _row(member: str, change: Change) -> tuple[str, ...]:
    difference = signed(change.difference) if change.difference else "0"
    if change.both < change.attempts:
        difference = f"{difference} + ?" if change.both else "?"
    return (
        member,
        str(change.attempts),
        str(change.changed),
        money(change.before, change.unknown, change.attempts),
        money(change.after, change.still_unknown, change.attempts),
        difference,
        str(change.now_known),
        str(change.now_unknown),
        str(change.kept),
    )


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """`out`: a file, or `-` for standard output."""

    config: Path
    state_dir: Path | None
    question: Question
    table: str
    format: str
    out: str


def run_export(options: ExportOptions) -> int:
    progress = Progress()
    with opened(options.config, options.state_dir) as found, written(options.out) as file:
        count = export(found.ledger, options.table, options.question, options.format, file, progress)
        nothing = "" if count else nothing_matches(found.ledger, options.question)
        progress.end()
    place = "written to standard output" if options.out == "-" else f"in {options.out}"
    print(f"{count} rows of {options.table} are {place}: {window(options.question)}", file=sys.stderr)
    if nothing:
        print(nothing, file=sys.stderr)
    return 0
