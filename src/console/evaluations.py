"""Runs of `modelbroker eval` as they ended, and what is known of the quality of live answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from ..core.trials import CANDIDATE, STABLE
from ..evals.kept import MOST, Candidate, Figure, Kept, all_kept
from ..policy.rollout_words import figure
from .asked import Asked, Missing, Page
from .intervals import Bar, Mark, intervals
from .rollouts import events_of
from .sources import Away, Sources
from .words import NOTHING, money, ms

_KINDS = {"better": "good", "not worse": "good", "worse": "bad", "open": "warn"}
_ENDS = {
    "through": ("through", "good", "all cases were asked"),
    "decided": ("decided", "good", "every candidate was decided before the cases were through"),
    "money": ("out of budget", "warn", "it ended by its budget before the cases were through"),
    "interrupted": ("interrupted", "warn", "the same command goes on with it"),
}
_BY = {
    "bounds": "by bounds that hold at every moment",
    "sample": "by the whole sample",
}


class Row(NamedTuple):
    """One candidate as it is shown; `one` has the figures."""

    one: Candidate
    kind: str
    quality: str
    difference: str
    refused: str
    failed: str
    first_event: str
    p50: str
    p95: str
    cost: str
    by: str
    is_front: bool


class Beside(NamedTuple):
    """A candidate of two runs of one suite; None where one of them has not got it. `moved`: its verdict is
    another one."""

    name: str
    before: Row | None
    now: Row | None
    moved: bool


class Live(NamedTuple):
    """What the gate `quality` of a rollout says: `at_s` None: now."""

    rollout: str
    pool: str
    stage: str
    at_s: float | None
    verdict: str
    kind: str
    candidate: str
    stable: str


def show(asked: Asked, sources: Sources) -> Page:
    kept = all_kept(sources.folder)
    name = asked.path.strip("/").partition("/")[2]
    if name:
        return _one(asked, kept, name)
    live, away = _live(sources)
    data = {
        "title": "Evaluations",
        "runs": [(one, _ENDS.get(one.ended, (one.ended, "warn", "")), verdicts_of(one)) for one in kept],
        "most": MOST,
        "folder": str(sources.folder),
        "live": live,
        "away": away,
    }
    return Page("evaluations.html", data, every_s=10)


def _one(asked: Asked, kept: Sequence[Kept], name: str) -> Page:
    run = _named(kept, name)
    others = [one for one in kept if one.suite == run.suite and one.run != run.run]
    chosen = asked.query.get("with", "")
    other = _named(kept, chosen) if chosen else None
    data = {
        "title": run.run,
        "run": run,
        "end": _ENDS.get(run.ended, (run.ended, "warn", "")),
        "rows": [row_of(run, one) for one in run.candidates],
        "slices": [row_of(run, one) for one in run.slices],
        "differences": differences_chart(run),
        "qualities": qualities_chart(run),
        "scorers": scorers_of(run),
        "others": others,
        "other": other,
        "beside": beside(other, run) if other is not None else [],
    }
    return Page("evaluation.html", data)


def _named(kept: Sequence[Kept], name: str) -> Kept:
    found = next((one for one in kept if one.run == name), None)
    if found is None:
        raise Missing(f"There is no run {name[:100]} here: the last {MOST} are kept.")
    return found


# -- pure


def verdicts_of(run: Kept) -> list[tuple[str, str, str]]:
    """(candidate, verdict, badge), without the baseline."""
    rivals = [one for one in run.candidates if one.verdict != "baseline"]
    return [(one.candidate, one.verdict, _KINDS.get(one.verdict, "")) for one in rivals]


def row_of(run: Kept, one: Candidate) -> Row:
    return Row(
        one,
        _KINDS.get(one.verdict, ""),
        percents(one.quality),
        points(one.difference) if one.verdict != "baseline" else "",
        _share(one.refusals),
        _share(one.errors),
        _time(one.first_event_ms),
        _time(one.latency_p50_ms),
        _time(one.latency_p95_ms),
        _dollars(one),
        _BY.get(one.decided_by, ""),
        one.candidate in run.pareto,
    )


def percents(one: Figure | None) -> str:
    """`81.0 % (74.2 to 86.5)`"""
    if one is None or one.value is None:
        return NOTHING
    low, high = ("?" if bound is None else f"{bound * 100:.1f}" for bound in (one.low, one.high))
    return f"{one.value * 100:.1f} % ({low} to {high})"


def points(one: Figure | None) -> str:
    """`+2.0 (+1.1 to +5.2)`"""
    if one is None or one.value is None:
        return NOTHING
    value, low, high = ("?" if each is None else _signed(each) for each in (one.value, one.low, one.high))
    return f"{value} ({low} to {high})"


def _signed(value: float) -> str:
    return f"{value * 100:+.1f}".replace("-", "−")


def _share(one: Figure | None) -> str:
    return NOTHING if one is None or one.value is None else f"{one.value * 100:.1f} %"


def _time(one: Figure | None) -> str:
    return NOTHING if one is None else ms(one.value)


def _dollars(one: Candidate) -> str:
    if one.cost is None or one.cost.value is None:
        return "unknown" if one.n else NOTHING
    more = f", {one.unknown_costs} unknown" if one.unknown_costs else ""
    return f"{money(round(one.cost.value * 1e9))}{more}"


def differences_chart(run: Kept) -> Markup:
    bars = [
        Bar(one.candidate, one.difference.low, one.difference.value, one.difference.high, at % 8)
        for at, one in enumerate(run.candidates)
        if one.verdict != "baseline" and one.difference is not None and one.difference.value is not None
    ]
    marks = [Mark(0.0, run.baseline), Mark(-run.margin, f"the margin: {run.margin * 100:g} points less")]
    what = f"difference to {run.baseline} in points of quality, with bounds"
    return intervals(bars, _signed, what, marks) if bars else Markup("")


def qualities_chart(run: Kept) -> Markup:
    bars = [
        Bar(one.candidate, one.quality.low, one.quality.value, one.quality.high, at % 8)
        for at, one in enumerate(run.candidates)
        if one.quality is not None and one.quality.value is not None
    ]
    what = "quality of each candidate, with bounds"
    return intervals(bars, lambda value: f"{value * 100:.4g} %", what, least=0.0, most=1.0)


def scorers_of(run: Kept) -> list[tuple[str, list[str]]]:
    """(scorer, its mean of each candidate), where there are several."""
    names = list(dict.fromkeys(name for one in run.candidates for name in one.scorers))
    if len(names) < 2:
        return []
    return [(name, [percents(one.scorers.get(name)) for one in run.candidates]) for name in names]


def beside(before: Kept, now: Kept) -> list[Beside]:
    """Candidate by candidate, as `now` has them, then those that are only in `before`."""
    old = {one.candidate: row_of(before, one) for one in before.candidates}
    new = {one.candidate: row_of(now, one) for one in now.candidates}
    found = []
    for name in dict.fromkeys([*new, *old]):
        a, b = old.get(name), new.get(name)
        found.append(Beside(name, a, b, a is not None and b is not None and a.one.verdict != b.one.verdict))
    return found


# -- live traffic


def _live(sources: Sources) -> tuple[list[Live], str]:
    """What the gates `quality` of rollouts say: now, and as stages ended, the newest first."""
    try:
        rows = sources.tree("/rollouts")["rollouts"]
    except Away as away:
        return [], str(away)
    found = []
    for row in rows:
        found += [_live_of(row, gate, row["stage"], None) for gate in _quality(row.get("gates", ()))]
        for event in reversed(events_of(sources.folder, row["rollout"])):
            found += [
                _live_of(row, gate, event["at_stage"], event["at_s"]) for gate in _quality(event["gates"])
            ]
    return found, ""


def _quality(gates: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [gate for gate in gates if gate["gate"] == "quality"]


def _live_of(row: Mapping[str, Any], gate: Mapping[str, Any], stage: str, at_s: float | None) -> Live:
    kind = {"passed": "good", "failed": "bad"}.get(gate["verdict"], "warn")
    both = figure(gate, CANDIDATE), figure(gate, STABLE)
    return Live(row["rollout"], row["pool"], stage, at_s, gate["verdict"], kind, *both)
