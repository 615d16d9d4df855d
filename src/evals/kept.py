"""What a run came to, in the state folder of the broker whose configuration it evaluated: for the console.

Figures and verdicts alone; no case, no answer, and nothing that a judge said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

FOLDER = "evaluations"
MOST = 100
_MOST_SLICES, _MOST_TEXT = 200, 100


class Figure(msgspec.Struct, frozen=True):
    """As `stats.Interval`; a bound that is not known is None."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0


class Candidate(msgspec.Struct, frozen=True):
    """One candidate, or one of its slices. Qualities are from 0 to 1, `cost` is dollars a call; `verdict`:
    better, not worse, worse, open or baseline; `decided_by` as docs/evals.md has it."""

    candidate: str
    n: int
    what: str = ""
    slice: str = ""
    value: str = ""
    quality: Figure | None = None
    difference: Figure | None = None
    refusals: Figure | None = None
    errors: Figure | None = None
    first_event_ms: Figure | None = None
    latency_p50_ms: Figure | None = None
    latency_p95_ms: Figure | None = None
    cost: Figure | None = None
    unknown_costs: int = 0
    p_value: float | None = None
    verdict: str = ""
    decided_by: str = ""
    always_valid: Figure | None = None
    scorers: dict[str, Figure | None] = {}


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A run. `ended` as docs/evals.md has it; `configurations`: path, or own → revision; `left_out`: cases
    that were not asked; `more_slices`: that are not here. `mocked`: simulators answered in the places of
    providers. Times are unix seconds, money nano-dollars."""

    run: str
    suite: str
    at_s: float
    ended_s: float
    ended: str
    mocked: bool
    folder: str
    configurations: dict[str, str]
    cases: int
    left_out: int
    reference: str
    margin: float
    confidence: float
    cost_nano: int
    unknown_costs: int
    baseline: str
    candidates: tuple[Candidate, ...]
    slices: tuple[Candidate, ...] = ()
    more_slices: int = 0
    pareto: tuple[str, ...] = ()


def kept_of(tree: Mapping[str, Any], *, at_s: float, ended_s: float, mocked: bool, folder: str) -> Kept:
    """`tree`: the report as JSON. Pure."""
    slices = tree["slices"]
    told = {
        **tree,
        "at_s": at_s,
        "ended_s": ended_s,
        "mocked": mocked,
        "folder": folder,
        "left_out": sum(tree["left_out"].values()),
        "slices": [{**one, "value": str(one["value"])[:_MOST_TEXT]} for one in slices[:_MOST_SLICES]],
        "more_slices": max(len(slices) - _MOST_SLICES, 0),
    }
    return msgspec.convert(told, Kept)


def keep(state_dir: Path, one: Kept) -> None:
    """Whole at any moment; of one run the last word. The oldest go. OSError where that can't be written."""
    folder = state_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{one.run}.json"
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(one))
    fresh.replace(path)
    for old in all_kept(state_dir)[MOST:]:
        with contextlib.suppress(OSError):
            (folder / f"{old.run}.json").unlink()


def all_kept(state_dir: Path) -> list[Kept]:
    """The newest first; what can't be read is left out."""
    found = []
    for path in (state_dir / FOLDER).glob("*.json"):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            one = msgspec.json.decode(path.read_bytes(), type=Kept)
            if path.stem == one.run:
                found.append(one)
    return sorted(found, key=lambda one: (one.at_s, one.run), reverse=True)
