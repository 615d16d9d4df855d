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
from .status_table import aligned, fetch, post

_HEAD = ("ROLLOUT", "PHASE", "STAGE", "SINCE", "CALLS", "STABLE")
_GATES = ("  GATE", "VERDICT", "CANDIDATE", "STABLE", "ALLOWED")
_RESULTS = {
    "scored": "scored",
    "failed": "failed",
    "unfit": "unfit",
    "unpaired": "without their copy",
    "dropped": "dropped",
    "late": "too late",
    "paused": "not scored for want of budget",
    "lost": "lost",
}
_WHYS = {
    "judge": "a judge did not answer, or named no verdict",
    "timeout": "it took too long",
    "budget": "the budget of the scores is used up",
    "function": "a scorer's function failed, or can't be had",
    "unfit": "no scorer is for such a call",
}


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


def say(admin_url: str, name: str, word: str) -> int:
    """A command. Misconfigured where it can't be done."""
    query = urllib.parse.urlencode({"rollout": name, "do": word, "by": os_user()})
    print("\n".join(lines(post(admin_url, f"/rollouts?{query}"), time.time())))
    return 0


def lines(row: Mapping[str, Any], now_s: float) -> list[str]:
    """One rollout, for people."""
    if row["phase"] == "waiting":
        return [f"{row['rollout']}: has not begun yet"]
    calls = row["calls"]
    cells = (
        row["rollout"],
        row["phase"],
        " → ".join(f"[{name}]" if name == row["stage"] else name for name in row["stages"]),
        _ago(now_s - row["since_s"]),
        f"{calls[CANDIDATE]} of {row['min_calls']}",
        str(calls[STABLE]),
    )
    told = list(aligned([_HEAD, cells]))
    if row["reason"]:
        told.append(f"  {row['reason']}")
    gates = [
        (
            f"  {gate['gate']}",
            gate["verdict"],
            _figure(gate, CANDIDATE),
            _figure(gate, STABLE),
            _number(gate["gate"], gate["allowed"]),
        )
        for gate in row["gates"]
    ]
    return [*told, *(aligned([_GATES, *gates]) if gates else []), *_scores(row.get("scores"))]


def _scores(said: Mapping[str, Any] | None) -> list[str]:
    """What became of the answers that this broker was to score."""
    if not said:
        return []
    counts = [f"{said[name]} {word}" for name, word in _RESULTS.items() if said.get(name)]
    waiting = said["waiting"] + said["under_way"]
    if waiting:
        counts.append(f"{waiting} waiting")
    told = [f"answers drawn: {', '.join(counts) or 'none so far'}"]
    unscored = said["unscored"]
    if any(unscored.values()):
        # Where it is the candidate's answers that nobody can score, the mean of the others flatters it.
        whose = f"{unscored[CANDIDATE]} of the candidate's, {unscored[STABLE]} of the stable arm's"
        told.append(f"without a score: {whose}")
    if said["last_failure"]:
        told.append(f"the last failure: {_WHYS.get(said['last_failure'], said['last_failure'])}")
    return [f"  {'; '.join(told)}"]


def _figure(gate: Mapping[str, Any], arm: str) -> str:
    """`1.2 % (0.4 % to 2.9 %)`"""
    shown = gate[arm]
    if shown is None:
        return "?"
    value, low, high = (_number(gate["gate"], shown[name]) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _number(gate: str, value: float | None) -> str:
    if value is None:
        return "?"
    if gate == "errors":
        return f"{100 * value:.2f} %"
    if gate in ("p95", "first_event"):
        return f"{value:.0f} ms"
    return f"${value:.6f}" if gate == "cost" else f"{value:.3f}"


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
