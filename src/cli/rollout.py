"""`modelbroker rollout`: where a running broker's rollouts are, and commands to them."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from ..audit.acts import os_user
from ..core.errors import Misconfigured
from ..core.trials import CANDIDATE, STABLE
from ..policy.rollout_words import behind_words, figure, number, score_words, why_words
from .status_table import aligned, fetch, post

_HEAD = ("ROLLOUT", "PHASE", "STAGE", "SINCE", "CALLS", "STABLE")
_GATES = ("  GATE", "VERDICT", "CANDIDATE", "STABLE", "ALLOWED")


def print_rollouts(admin_url: str, names: Sequence[str], how: str) -> int:
    """0. Misconfigured where no broker answers, or one is named that is not there."""
    rows = fetch(admin_url, "/rollouts")["rollouts"]
    known = [row["rollout"] for row in rows]
    for name in names:
        if name not in known:
            from ..settings.problems import listing, show  # slow to load

            there = f"there are {listing(known)}" if known else "none are configured"
            raise Misconfigured(404, "no_such_rollout", f"there is no rollout {show(name)}; {there}")
    rows = [row for row in rows if not names or row["rollout"] in names]
    if how == "json":
        print(json.dumps({"rollouts": rows}, indent=2))
    elif not rows:
        print("no rollouts are configured")
    else:
        for row in rows:
            print("\n".join(lines(row, time.time())))
    return 0


def say(admin_url: str, name: str, word: str, token: str) -> int:
    """A command. Misconfigured where it can't be done."""
    query = urllib.parse.urlencode({"rollout": name, "do": word, "by": os_user()})
    print("\n".join(lines(post(admin_url, f"/rollouts?{query}", token), time.time())))
    return 0


def lines(row: Mapping[str, Any], now_s: float) -> list[str]:
    """One rollout, for people."""
    if row["phase"] == "waiting":
        return [f"{row['rollout']}: has not begun yet", *_behind(row)]
    calls = row["calls"]
    cells = (
        row["rollout"],
        row["phase"],
        " → ".join(f"[{name}]" if name == row["stage"] else name for name in row["stages"]),
        _ago(now_s - row["since_s"]),
        f"{calls[CANDIDATE]} of {row['min_calls']}",
        str(calls[STABLE]),
    )
    told = [*aligned([_HEAD, cells]), *_behind(row)]
    if why := why_words(row):
        told.append(f"  {why}")
    gates = [
        (
            f"  {gate['gate']}",
            gate["verdict"],
            figure(gate, CANDIDATE),
            figure(gate, STABLE),
            number(gate["gate"], gate["allowed"]),
        )
        for gate in row["gates"]
    ]
    return [*told, *(aligned([_GATES, *gates]) if gates else []), *_scores(row.get("scores"))]


def _behind(row: Mapping[str, Any]) -> list[str]:
    told = behind_words(row)
    return [f"  {told}"] if told else []


def _scores(said: Mapping[str, Any] | None) -> list[str]:
    """What became of the answers that this broker was to score."""
    told = score_words(said)
    return [f"  {'; '.join(told)}"] if told else []


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
