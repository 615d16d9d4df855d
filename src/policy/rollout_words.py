"""What a rollout's gates and scores say, as people are told of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.acts import By
from ..core.trials import CANDIDATE, STABLE

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


def reason_words(reason: str, actor: str, user: str) -> str:
    """Why a step was taken, and by whose command: `by command, ana (token)`."""
    return ", ".join(filter(None, (reason, str(By(actor, user)) if user else "")))


def why_words(row: Mapping[str, Any]) -> str:
    """The same of where a rollout is."""
    last = row.get("last") or {}
    return reason_words(row["reason"], last.get("actor", ""), last.get("by", ""))


def score_words(said: Mapping[str, Any] | None) -> list[str]:
    """What became of the answers that a broker was to score; nothing where it scores none."""
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
    return told


def behind_words(row: Mapping[str, Any]) -> str:
    """Nothing where this broker's configuration has the candidate that its fleet has."""
    there = row.get("fleet_to")
    if not there:
        return ""
    stays = "nobody gets it" if row["phase"] in ("waiting", "rolled-back") else "it stays as it is"
    return (
        f"behind: the fleet has the candidate {there}, and this broker's configuration {row['to']}: {stays}"
    )


def figure(gate: Mapping[str, Any], arm: str) -> str:
    """`1.2 % (0.4 % to 2.9 %)`"""
    shown = gate[arm]
    if shown is None:
        return "?"
    value, low, high = (number(gate["gate"], shown[name]) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def number(gate: str, value: float | None) -> str:
    """A figure of this gate: a share, a time, dollars or a score."""
    if value is None:
        return "?"
    if gate == "errors":
        return f"{100 * value:.2f} %"
    if gate in ("p95", "first_event"):
        return f"{value:.0f} ms"
    return f"${value:.6f}" if gate == "cost" else f"{value:.3f}"
