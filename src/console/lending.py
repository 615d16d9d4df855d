"""Budgets that borrow: one that is used up denies nothing while its lender has room. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def is_spent(row: Row) -> bool:
    """Has its own account reached the part at which calls are denied?"""
    denies_at = row["denies_at"]
    return denies_at is not None and bool(row["spent"] + row["reserved"] >= denies_at)


def lender_of(row: Row, rows: Sequence[Row]) -> str:
    """The budget from whose rest it borrows now; "": there is none, or no rest. Which account of a lender
    that has several it would be is not known here: one with room is enough."""
    seen: set[str] = set()
    name = row.get("borrows_from") or ""
    while name and name not in seen:
        seen.add(name)
        accounts = [one for one in rows if one["budget"] == name]
        if any(not is_spent(one) for one in accounts):
            return str(name)
        name = next((one["borrows_from"] for one in accounts if one.get("borrows_from")), "")
    return ""
