"""What each broker of the fleet serves, who is behind, and how long it took all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ..revisions.fleet import Drift, Told, drift
from ..revisions.fleet_words import agreement_words, standing_words
from .asked import Asked, Page
from .sources import Sources
from .words import lasting


class Row(NamedTuple):
    """`state` in words, `kind` good, warn or bad. `for_s`: since when it serves that, in seconds."""

    told: Told
    is_this: bool
    state: str
    error: str
    kind: str
    for_s: float


def show(asked: Asked, sources: Sources) -> Page:
    return Page("fleet.html", {"title": "Fleet", **shown(sources.tree("/fleet"))}, every_s=2)


def shown(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Pure: of what `GET /fleet` says."""
    fleet = msgspec.convert(tree["brokers"], list[Told])
    now_s = next((one.at_s for one in fleet if one.broker == tree["broker"]), 0.0)
    seen = drift(fleet, now_s)
    rows = [_row(one, one.broker == tree["broker"], seen, now_s) for one in fleet]
    return {
        "shared": bool(tree["shared"]),
        "error": tree["error"] or "",
        "rows": rows,
        "newest": seen.newest,
        "here": len(fleet) - len(seen.away),
        "behind": len(seen.behind),
        "away": len(seen.away),
        "took_s": seen.took_s,
        "words": agreement_words(len(fleet), seen),
        "served": _served([row for row in rows if row.told not in seen.away]),
    }


def _row(one: Told, is_this: bool, seen: Drift, now_s: float) -> Row:
    away = one in seen.away
    state = standing_words(one, seen, now_s, lasting)
    kind = "bad" if away or one.error else "good" if one not in seen.behind else "warn"
    if one.is_rolled_back and kind == "good":
        kind = "warn"
    return Row(one, is_this, state, one.error, kind, max(one.at_s - one.serving_s, 0.0))


def _served(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """(revision, by how many), the most first."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.told.serving:
            counts[row.told.serving] = counts.get(row.told.serving, 0) + 1
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))
