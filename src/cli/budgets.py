"""`modelbroker budgets`: where a running broker's budgets and rate limits stand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..exchange.budgeting import shown, utc_text
from .status_table import fetch

Row = Mapping[str, Any]
_HEAD = ("BUDGET", "SCOPE", "LIMIT", "WINDOW", "SPENT", "RESERVED", "USED", "RESETS")


def print_budgets(admin_url: str, names: Sequence[str], how: str) -> int:
    """0; 1 where one is named that has no account. Misconfigured where no broker answers."""
    answer = fetch(admin_url, "/budgets")
    rows = [row for row in answer["budgets"] if not names or row["budget"] in names]
    if how == "json":
        print(json.dumps({**answer, "budgets": rows}, indent=2))
    else:
        print("\n".join(lines(answer, rows)))
    return 1 if names and not rows else 0


def lines(answer: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    kept = {"here": "this broker alone", "redis": "all brokers, by Redis"}.get(
        answer["kept"], "this broker alone: Redis is away"
    )
    if not rows:
        return [f"no account has been used ({kept})"]
    table = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEAD))]
    return [
        f"figures of {kept}",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            for cells in table
        ),
    ]


def _cells(row: Row) -> tuple[str, ...]:
    unit = row["unit"]
    used = row["spent"] + row["reserved"]
    return (
        row["budget"],
        row["scope"] or "all",
        shown(row["limit"], unit),
        _window(row["window"]),
        shown(row["spent"], unit),
        shown(row["reserved"], unit),
        f"{100 * used / row['limit']:.1f}%",
        utc_text(row["resets_s"]) if row["resets_s"] else "-",
    )


def _window(text: str) -> str:
    unit, _, rest = text.partition("@")
    if unit == "rolling":
        return f"last {int(rest) // 1000} s"
    return f"{unit}, {rest}" if rest else "at a time"
