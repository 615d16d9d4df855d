"""`modelbroker history` and `rollback`: the revisions that were live, and the way back to one of them."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from ..console.telling import rolled_back_words, utc_text
from ..core.errors import Misconfigured
from ..revisions.kept import WHY_WORDS, by_of
from .status_table import aligned, fetch, post

_HEAD = ("#", "REVISION", "SINCE", "WHY", "COMMIT", "WHO", "")
_POLL_S = 0.05


def print_history(admin_url: str, how: str, most: int) -> int:
    """0. Misconfigured where no broker answers."""
    told = fetch(admin_url, "/history")
    if how == "json":
        print(json.dumps(told, indent=2))
        return 0
    rows = told["revisions"]
    if not rows:
        print("no configuration was live here yet")
        return 0
    print("\n".join(aligned([_HEAD, *(_row(row) for row in rows[:most])])))
    if len(rows) > most:
        print(f"{len(rows) - most} older ones: --limit {len(rows)}")
    if (rollback := told["rollback"]) is not None:
        print(f"rolled back {rolled_back_words(rollback)}")
    return 0


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    origin = row["origin"]
    return (
        str(row["number"]),
        row["revision"],
        utc_text(row["since_s"]),
        WHY_WORDS.get(row["why"], row["why"]),
        origin["commit"][:12] or "-",
        str(by_of(row["why"], row.get("actor", ""), row["by"]) or origin["who"] or "-"),
        origin["subject"],
    )


def roll_back(admin_url: str, to: str, *, holds: bool, by: str, token: str, within_s: float) -> int:
    """0: it is in effect; 1: not within `within_s` seconds. Misconfigured where that can't be done."""
    query = urllib.parse.urlencode({"to": to, "by": by, **({"hold": "1"} if holds else {})})
    return _wait(admin_url, post(admin_url, f"/rollback?{query}", token), within_s)


def release(admin_url: str, *, by: str, token: str, within_s: float) -> int:
    """The same of what the source says."""
    return _wait(
        admin_url, post(admin_url, f"/rollback/release?{urllib.parse.urlencode({'by': by})}", token), within_s
    )


def _wait(admin_url: str, told: Mapping[str, Any], within_s: float) -> int:
    revision, began_s = told["revision"], time.monotonic()
    while (took_s := time.monotonic() - began_s) < within_s:
        status = fetch(admin_url, "/status")
        if status["serving"] == revision and status["in_effect"]:
            print(f"{revision} is in effect after {took_s:.1f} s (was {told['was']})")
            return 0
        if (refused := status["refused_by_envoy"]) is not None and refused["revision"] == revision:
            why = f"Envoy refuses {revision}: {refused['error']}"
            end = "; `modelbroker rollback --release` ends the rollback" if status["rollback"] else ""
            raise Misconfigured(409, "refused", f"{why}\n{status['serving']} goes on{end}")
        time.sleep(_POLL_S)
    print(f"{revision} is served, and no Envoy has it after {within_s:g} s: see `modelbroker status`")
    return 1
