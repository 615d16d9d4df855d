"""`reprice` and `export`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..core.errors import Misconfigured
from ..core.prices import dollars
from ..ledger.export import export
from ..ledger.questions import Question
from ..ledger.reprice import Change, Repriced, models_in, reprice
from .ledger_access import Progress, opened
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
        progress.end()
    _print_table(result, options.dry_run)
    return 0


def _print_table(result: Repriced, dry_run: bool) -> None:
    head = ("MEMBER", "ATTEMPTS", "CHANGED", "BEFORE", "AFTER", "CHANGE", "NOW KNOWN", "NOW UNKNOWN", "KEPT")
    rows = [head, *(_row(member, change) for member, change in sorted(result.members.items()))]
    print("\n".join(aligned(rows, right=1)))
    done = "would be reckoned again" if dry_run else "are reckoned again"
    print(f"\n{result.calls} calls {done} by the price book {result.revision}; the others were already.")
    if kept := sum(change.kept for change in result.members.values()):
        print(f"{kept} attempts keep their cost: no price of theirs is known today.")


def _row(member: str, change: Change) -> tuple[str, ...]:
    difference = change.after - change.before
    sign = "-" if difference < 0 else "+" if difference else ""
    return (
        member,
        str(change.attempts),
        str(change.changed),
        dollars(change.before),
        dollars(change.after),
        f"{sign}{dollars(abs(difference))}",
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
    with opened(options.config, options.state_dir) as found, _written(options.out) as file:
        count = export(found.ledger, options.table, options.question, options.format, file, progress)
        progress.end()
    print(f"{count} rows of {options.table} are in {options.out}", file=sys.stderr)
    return 0


@contextlib.contextmanager
def _written(out: str) -> Iterator[IO[bytes]]:
    """The file is there when it is whole."""
    if out == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(out)
    fresh = path.with_name(f".{path.name}.part")
    try:
        with fresh.open("wb") as file:
            yield file
        fresh.replace(path)
    except OSError as error:
        raise Misconfigured(500, "no_export", f"{out} can't be written: {error.strerror}") from None
    finally:
        fresh.unlink(missing_ok=True)
