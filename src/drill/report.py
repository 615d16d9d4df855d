"""A drill's result as a table for people, as Markdown, and as JSON. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

from .judge import PROMISES, Broken, Row

_HEADS = (
    "pool",
    "fault",
    "struck",
    "calls",
    "errors",
    "not foreseen",
    "added p50 ms",
    "added p99 ms",
    "attempts avg",
    "most",
    "back after s",
    "promises",
)
_NUMBERS = range(3, 11)
_SCOPES = {"one": "one of", "provider": "one provider of", "pair": "two providers of", "all": "all"}


@dataclass(frozen=True, slots=True)
class Result:
    """A whole drill. `attempts_average`: over all scenarios that leave a healthy member."""

    rows: Sequence[Row]
    broken: Sequence[Broken]
    findings: Sequence[str]
    notes: Sequence[str]
    calls: int
    seconds: float
    calls_per_second: float
    baseline_p50_ms: float
    baseline_p99_ms: float
    attempts_average: float
    complete: bool = True  # False: it was ended before all scenarios were done

    @property
    def passed(self) -> bool:
        return self.complete and not self.broken


def as_json(result: Result) -> str:
    tree = dataclasses.asdict(result)
    tree["promises"] = {str(number): text for number, text in PROMISES.items()}
    tree["passed"] = result.passed
    return json.dumps(tree, indent=2)


def as_table(result: Result) -> str:
    cells = [list(_HEADS), *(_cells(row) for row in together(result.rows))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADS))]
    lines = [
        "  ".join(
            cell.rjust(widths[n]) if n in _NUMBERS else cell.ljust(widths[n]) for n, cell in enumerate(line)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([*lines, "", *_words(result)])


def as_markdown(result: Result) -> str:
    cells = [_cells(row) for row in together(result.rows)]
    ruler = ["--:" if n in _NUMBERS else "---" for n in range(len(_HEADS))]
    lines = ["| " + " | ".join(line) + " |" for line in [list(_HEADS), ruler, *cells]]
    return "\n".join([*lines, "", *_words(result)])


def together(rows: Sequence[Row]) -> list[Row]:
    """One row for each pool, fault and scope: calls and errors add up, times and attempts are the worst
    (the average is of all)."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.pool, row.fault, row.scope), []).append(row)
    return [_joined(group) for group in groups.values()]


def _joined(group: list[Row]) -> Row:
    first = group[0]
    if len(group) == 1:
        return first
    calls = sum(row.calls for row in group)
    tried = sum(row.attempts_average * row.calls for row in group)
    back = [row.recovered_s for row in group]
    return Row(
        first.pool,
        first.fault,
        first.scope,
        tuple(sorted({member for row in group for member in row.struck})),
        calls,
        sum(row.errors for row in group),
        sum(row.unforeseen for row in group),
        max(row.added_p50_ms for row in group),
        max(row.added_p99_ms for row in group),
        tried / calls if calls else 0.0,
        max(row.attempts_most for row in group),
        None if None in back else max(second for second in back if second is not None),
        tuple(sorted({promise for row in group for promise in row.broken})),
    )


def _cells(row: Row) -> list[str]:
    return [
        row.pool,
        row.fault,
        f"{_SCOPES[row.scope]} {', '.join(row.struck)}" if len(row.struck) > 1 else row.struck[0],
        str(row.calls),
        str(row.errors),
        str(row.unforeseen),
        f"{row.added_p50_ms:.1f}",
        f"{row.added_p99_ms:.1f}",
        f"{row.attempts_average:.2f}",
        str(row.attempts_most),
        "" if row.recovered_s is None else f"{row.recovered_s:.1f}",
        f"BROKEN {', '.join(map(str, row.broken))}" if row.broken else "kept",
    ]


def _words(result: Result) -> list[str]:
    lines = [
        f"{result.calls} calls in {result.seconds:.0f} s at {result.calls_per_second:g} a second; without a "
        f"fault p50 {result.baseline_p50_ms:.1f} ms, p99 {result.baseline_p99_ms:.1f} ms; "
        f"{result.attempts_average:.3f} attempts a call where a healthy member was left.",
    ]
    lines += [f"note: {note}" for note in result.notes]
    lines += [f"finding: {finding}" for finding in result.findings]
    lines += [str(broken) for broken in result.broken]
    if not result.broken:
        return [*lines, "All promises were kept:", *(f"  {n}. {text}" for n, text in PROMISES.items())]
    numbers = sorted({broken.promise for broken in result.broken})
    return [*lines, "Broken:", *(f"  {number}. {PROMISES[number]}" for number in numbers)]
