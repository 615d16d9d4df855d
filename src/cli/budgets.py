"""`modelbroker budgets`: where a running broker's budgets and rate limits stand."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..core.errors import Misconfigured
from ..exchange.budgeting import shown, utc_text
from ..policy.budgets import window_named
from ..settings.problems import listing, show
from .status_table import fetch

Row = Mapping[str, Any]
_HEAD = ("BUDGET", "SCOPE", "LIMIT", "WINDOW", "SPENT", "RESERVED", "USED", "RESETS")


def print_budgets(admin_url: str, names: Sequence[str], how: str) -> int:
    """0. Misconfigured where no broker answers, or one is named that is not there."""
    answer = fetch(admin_url, "/budgets")
    known = sorted({row["budget"] for row in answer["budgets"]})
    for name in names:
        if name not in known:
            there = f"there are {listing(known)}" if known else "none are configured"
            raise Misconfigured(
                404, "no_such_budget", f"there is no budget or rate limit {show(name)}; {there}"
            )
    rows = [row for row in answer["budgets"] if not names or row["budget"] in names]
    if how == "json":
        print(json.dumps({**answer, "budgets": rows}, indent=2))
    else:
        print("\n".join(lines(answer, rows)))
    return 0


def lines(answer: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    kept = {"here": "this broker alone", "redis": "all brokers, by Redis"}.get(
        answer["kept"], "this broker alone: Redis is away"
    )
    if not rows:
        return ["no budgets and no rate limits are configured"]
    table = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_HEAD))]
    return [
        f"figures of {kept}",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            for cells in table
        ),
        *_denied(answer["denied"], {row["budget"] for row in rows}),
    ]


def _denied(counts: Mapping[str, int], names: Collection[str]) -> list[str]:
    told = [f"{name} {count}" for name, count in counts.items() if count and name in names]
    return [f"calls denied since this broker began: {', '.join(told)}"] if told else []


def _cells(row: Row) -> tuple[str, ...]:
    unit = row["unit"]
    used = row["spent"] + row["reserved"]
    return (
        row["budget"],
        "-" if row["scope"] is None else row["scope"] or "all",
        shown(row["limit"], unit),
        _window(row),
        shown(row["spent"], unit),
        shown(row["reserved"], unit),
        f"{100 * used / row['limit']:.1f}%",
        utc_text(row["resets_s"]) if row["resets_s"] else "-",
    )


def _window(row: Row) -> str:
    """As YAML has it."""
    window = window_named(row["window"])
    if window.unit:
        return f"{window.unit}, {window.time_zone}"
    if not window.length_ms:
        return "at a time"
    return window.written_rate if row["kind"] == "rate_limit" else window.written
