"""Sums for programs: counts as they are, money in nano-dollars and in dollars, as text that is exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.prices import dollars
from .spend import Sums


def fields_of(sums: Sums, *, failovers: bool = False) -> dict[str, Any]:
    """`failovers`: also what was in vain."""
    counts = ("calls", "input", "cache_read", "cache_write", "output")
    told: dict[str, Any] = {name: getattr(sums, name) for name in counts}
    told |= amounts("cost", sums.cost + sums.at_least, sums.unknown) | {"unknown": sums.unknown}
    told["cache_hits"] = sums.cache_hits
    told |= amounts("saved", sums.saved, sums.saved_unknown) | {"saved_unknown": sums.saved_unknown}
    if failovers:
        told["vain"] = sums.vain
        told |= amounts("vain_cost", sums.vain_cost, sums.vain_unknown) | {"vain_unknown": sums.vain_unknown}
        told["hedges"] = sums.hedges
        told |= amounts("hedge_cost", sums.hedge_cost, sums.hedge_unknown)
        told["hedge_unknown"] = sums.hedge_unknown
    return told


def amounts(name: str, known: int, unknown: int) -> dict[str, Any]:
    """An amount, null where a part of it is unknown, and what of it is known."""
    return amount(name, None if unknown else known) | amount(f"{name}_known", known)


def amount(name: str, nano: int | None) -> dict[str, Any]:
    if nano is None:
        return {f"{name}_nano": None, f"{name}_usd": None}
    return {f"{name}_nano": nano, f"{name}_usd": dollars(nano) if nano >= 0 else f"-{dollars(-nano)}"}


def dearest(groups: Mapping[tuple[str, ...], Sums]) -> list[tuple[str, ...]]:
    """The dearest first, and by name."""
    return sorted(groups, key=lambda key: (-groups[key].cost, -groups[key].unknown, key))
