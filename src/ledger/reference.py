"""The part of docs/ledger.md that is made from the tables.

`python -m modelbroker.ledger.reference <page` writes the page with that part made again; `./dev docs` does.
"""

from __future__ import annotations

import sys
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, Text

from ..core.pages import made_again
from .tables import ATTEMPTS, CALLS, SCHEMA_VERSION, SOURCES, TOUCHED, VERSION, since

BEGIN, END = "<!-- tables: made by ./dev docs -->\n", "<!-- end of tables -->\n"
_KINDS = {
    BigInteger: "whole number (64 bits)",
    Integer: "whole number",
    Double: "number",
    Boolean: "true or false",
    Text: "text",
}
_ABOUT = {
    CALLS: "a row for each call",
    ATTEMPTS: "a row for each attempt of a call",
    SOURCES: "how far each broker's journal is taken",
    TOUCHED: "which days are not what they were, for whoever keeps their sums",
    SCHEMA_VERSION: "which versions of the schema this database has had",
}


def tables() -> str:
    parts = [f"\nVersion {VERSION} of the schema.\n"]
    for table, about in _ABOUT.items():
        key = ", ".join(f"`{column.name}`" for column in table.primary_key)
        parts.append(f"\n**`{table.name}`**: {about}. Key: {key}.\n\n")
        parts.append("| column | | what it is |\n|---|---|---|\n")
        parts += [_row(column) for column in table.columns]
    return "".join(parts)


def _row(column: Column[Any]) -> str:
    kind = _KINDS[type(column.type)] + (" or null" if column.nullable else "")
    brought = f" (since version {since(column)})" if since(column) > 1 else ""
    return f"| `{column.name}` | {kind} | {column.comment}{brought} |\n"


def page(text: str) -> str:
    """docs/ledger.md with its tables made again."""
    return made_again(text, BEGIN, END, f"{tables()}\n")


if __name__ == "__main__":
    sys.stdout.write(page(sys.stdin.read()))
