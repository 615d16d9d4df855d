"""Rollouts: stage by stage, what gates say in words, and both arms over time; and the shadows beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from markupsafe import Markup

from ..core.trials import CANDIDATE, STABLE, candidate_pool
from ..ledger.arms import Copies, Part, arms, copies
from ..policy.rollout_words import behind_words, figure, number, reason_words, score_words, why_words
from .asked import Asked, Missing, Page
from .charts import Axis, Series, lines, whole
from .intervals import Bar, Mark, intervals
from .sources import Away, Sources
from .words import count, lasting, moment, money, ms, percent, plural, tick

_EVENTS = "rollouts.jsonl"
_MOST_BYTES, _MOST_EVENTS = 1 << 20, 100
_MOST_DAYS, _COLUMNS = 14, 40
_WIDTHS_S = (10, 30, 60, 300, 900, 3_600, 3 * 3_600, 6 * 3_600, 86_400)
_KINDS = {"passed": "good", "failed": "bad", "open": "warn"}
_PHASES = {"running": "good", "paused": "warn", "rolled-back": "bad", "done": "good", "waiting": ""}
_GATES = {
    "errors": "calls that failed",
    "quality": "quality of answers",
    "p95": "95th percentile of latency",
    "first_event": "95th percentile of the first event",
    "cost": "cost of a call",
}
_RESULTS = (
    "answered",
    "failed",
    "refused",
    "timeout",
    "broken",
    "dropped",
    "late",
    "paused",
    "unfit",
    "lost",
)
_MISSED = ("refused", "dropped", "late", "paused", "unfit", "lost")
_RESTS_S = 2.0


class Gate(NamedTuple):
    """`verdict`: passed, failed or open; `words` say what that means; figures of both arms with bounds."""

    name: str
    what: str
    verdict: str
    kind: str
    candidate: str
    stable: str
    allowed: str
    words: str
    chart: Markup


class Stage(NamedTuple):
    """`state`: done, now, to come, or how it ended; `kind` a badge's. `calls`: (candidate's, stable arm's),
    None where nobody knows; `gates`: (name, verdict, badge) as they decided."""

    name: str
    state: str
    kind: str
    since_s: float
    until_s: float
    calls: tuple[int, int] | None
    gates: tuple[tuple[str, str, str], ...]


class Told(NamedTuple):
    """An event in words; `kind` is a story's."""

    at_s: float
    words: str
    kind: str
    gates: tuple[Gate, ...]


def show(asked: Asked, sources: Sources) -> Page:
    name = asked.path.strip("/").partition("/")[2]
    rows = sources.tree("/rollouts")["rollouts"]
    if name:
        row = next((one for one in rows if one["rollout"] == name), None)
        if row is None:
            raise Missing(f"There is no rollout {name[:100]}.")
        return _one(asked, sources, row)
    shadows, away = _shadows(asked, sources)
    told = [(row, stages_of(row, [])) for row in rows]
    data = {"title": "Rollouts", "rollouts": told, "phases": _PHASES, "shadows": shadows, "away": away}
    return Page("rollouts.html", data, every_s=5)


def _one(asked: Asked, sources: Sources, row: Mapping[str, Any]) -> Page:
    events = events_of(sources.folder, row["rollout"])
    stages = stages_of(row, run_of(events))
    charts, away = _charts(asked, sources, row, run_of(events))
    data = {
        "title": f"Rollout {row['rollout']}",
        "row": row,
        "phases": _PHASES,
        "stages": stages,
        "gates": [gate_of(one, row) for one in row.get("gates", ())],
        "events": [told_of(one) for one in reversed(events)],
        "scores": score_words(row.get("scores")),
        "charts": charts,
        "away": away,
        "decided": decided_words(row, asked.now_s),
    }
    return Page("rollout.html", data, every_s=5)


# -- pure


def run_of(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the run that goes on, or went on last. One that was rolled back and is resumed begins anew."""
    begins, was = 0, ""
    for at, one in enumerate(events):
        if one["event"] == "began" or (one["event"], was) == ("resumed", "rolled-back"):
            begins = at
        was = one["event"]
    return list(events[begins:])


def stages_of(row: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> list[Stage]:
    """`events`: of this run, the oldest first."""
    names = list(row.get("stages", ()))
    since: dict[str, float] = {}
    ended: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event["event"] in ("promoted", "done", "rolled-back"):
            ended[event["at_stage"]] = event
        if event["event"] in ("began", "promoted", "resumed"):
            since.setdefault(event["stage"], event["at_s"])
    at = names.index(row["stage"]) if row.get("stage") in names else -1
    found = []
    for place, name in enumerate(names):
        if place == at:
            found.append(_stage_now(row, name, since.get(name, row["since_s"])))
            continue
        end = ended.get(name)
        state, kind = ("done", "good") if place < at else ("to come", "")
        if end is None:
            found.append(Stage(name, state, kind, since.get(name, 0.0), 0.0, None, ()))
            continue
        gates = tuple((one["gate"], one["verdict"], _KINDS[one["verdict"]]) for one in end["gates"])
        found.append(Stage(name, state, kind, since.get(name, 0.0), end["at_s"], _calls(end), gates))
    return found


def _stage_now(row: Mapping[str, Any], name: str, since_s: float) -> Stage:
    phase = row["phase"]
    state = {"running": "now", "rolled-back": "rolled back here"}.get(phase, phase)
    gates = tuple((one["gate"], one["verdict"], _KINDS[one["verdict"]]) for one in row["gates"])
    last = row.get("last") or {}
    until_s = last.get("at_s", 0.0) if phase in ("done", "rolled-back") else 0.0
    return Stage(name, state, _PHASES[phase], since_s, until_s, _calls(row), gates)


def _calls(said: Mapping[str, Any]) -> tuple[int, int] | None:
    calls = said.get("calls")
    return (calls[CANDIDATE], calls[STABLE]) if calls and CANDIDATE in calls else None


def gate_of(gate: Mapping[str, Any], row: Mapping[str, Any] | None = None) -> Gate:
    name, verdict = gate["gate"], gate["verdict"]
    bars = [
        Bar(arm, said["low"], said["value"], said["high"], colour)
        for arm, colour in ((STABLE, 0), (CANDIDATE, 1))
        if (said := gate[arm]) is not None and said["value"] is not None
    ]
    allowed = number(name, gate["allowed"])
    most = 1.0 if name in ("errors", "quality") else math.inf
    marks = [Mark(gate["allowed"], f"allowed: {allowed}")] if gate["allowed"] is not None and bars else []
    return Gate(
        name,
        _GATES.get(name, name),
        verdict,
        _KINDS[verdict],
        figure(gate, CANDIDATE),
        figure(gate, STABLE),
        allowed,
        verdict_words(gate, row),
        intervals(
            bars, lambda value: number(name, value), f"{name} of both arms, with bounds", marks, 0.0, most
        ),
    )


def verdict_words(gate: Mapping[str, Any], row: Mapping[str, Any] | None = None) -> str:
    worse = "lower" if gate["gate"] == "quality" else "higher"
    if gate["verdict"] == "passed":
        return f"It is shown that the candidate is not {worse} than what is allowed."
    if gate["verdict"] == "failed":
        return f"It is shown that the candidate is {worse} than what is allowed."
    missing = [arm for arm in (CANDIDATE, STABLE) if gate[arm] is None]
    if missing:
        what = "scores" if gate["gate"] == "quality" else "prices" if gate["gate"] == "cost" else "calls"
        return (
            f"Not known yet: there are no {what} of the {' and the '.join(f'{arm} arm' for arm in missing)}."
        )
    over = row is not None and row["phase"] in ("done", "rolled-back")
    return f"Neither is shown{'.' if over else ' yet: it waits for more calls.'}"


def told_of(event: Mapping[str, Any]) -> Told:
    """An event as a story tells it."""
    why = reason_words(event["reason"], event["actor"], event["by"])
    reason = f": {why}" if why else ""
    at, to = event["at_stage"], event["stage"]
    said = {
        "began": f"Began with the stage {to}",
        "promoted": f"Promoted from {at} to {to}{reason}",
        "done": f"Done at {at}, all calls are the candidate's{reason}",
        "rolled-back": f"Rolled back at {at}{reason}",
        "paused": f"Paused at {at}{reason}",
        "resumed": f"Resumed at {to}{reason}",
    }.get(event["event"], f"{event['event']} at {at}{reason}")
    kind = {"rolled-back": "bad", "paused": "warn", "began": ""}.get(event["event"], "good")
    calls = _calls(event)
    if calls is not None and event["event"] != "began":
        said += f", after {plural(calls[0], 'call')} of the candidate and {calls[1]:,} of the stable arm"
    return Told(event["at_s"], f"{said}.", kind, tuple(gate_of(one) for one in event["gates"]))


def decided_words(row: Mapping[str, Any], now_s: float) -> str:
    """What is waited for, or what came of it."""
    if told := behind_words(row):
        return f"{told[0].upper()}{told[1:]}."
    if row["phase"] == "waiting":
        return "It has not begun yet."
    if row["phase"] == "done":
        return f"Done: all calls of the pool are {row['to']}'s."
    if row["phase"] == "rolled-back":
        return f"Rolled back: {why_words(row)}. All calls are the pool's own members'."
    if row["phase"] == "paused":
        return "Paused: it stays at this stage until it is resumed; a gate that fails rolls it back."
    waits = []
    left_s = row["hold_s"] - (now_s - row["since_s"])
    if left_s > 0:
        waits.append(f"the stage lasts for another {lasting(left_s)} at least")
    missing = row["min_calls"] - row["calls"][CANDIDATE]
    if missing > 0:
        waits.append(f"{plural(missing, 'more call')} of the candidate")
    open_ = [one["gate"] for one in row["gates"] if one["verdict"] == "open"]
    if open_:
        waits.append(f"{'the gates' if len(open_) > 1 else 'the gate'} {', '.join(open_)}")
    return (
        f"It goes on by itself. It waits for: {'; '.join(waits)}."
        if waits
        else "It goes on by itself at once."
    )


# -- what is asked


def events_of(folder: Path, name: str) -> list[dict[str, Any]]:
    """The last ones that this broker noted, the oldest first."""
    try:
        with (folder / _EVENTS).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - _MOST_BYTES, 0))
            rows = file.read().splitlines()[1 if size > _MOST_BYTES else 0 :]
    except OSError:
        return []
    found = []
    for line in rows:
        try:
            event = msgspec.json.decode(line, type=_Event)
        except msgspec.MsgspecError:
            continue
        if event.rollout == name:
            found.append(msgspec.to_builtins(event))
    return found[-_MOST_EVENTS:]


class _Event(msgspec.Struct):
    """As trials/told.py writes it."""

    at_s: float
    rollout: str
    event: str
    at_stage: str
    stage: str
    turn: int
    reason: str
    calls: dict[str, int] = {}
    gates: list[dict[str, Any]] = []
    actor: str = ""
    by: str = ""


def _charts(
    asked: Asked, sources: Sources, row: Mapping[str, Any], events: Sequence[Mapping[str, Any]]
) -> tuple[list[tuple[str, Markup]], str]:
    """(title, chart) each; or why there are none."""
    if row["phase"] == "waiting":
        return [], ""
    is_over = row["phase"] in ("done", "rolled-back") and events
    until_s = min(asked.now_s, events[-1]["at_s"] + 3_600 if is_over else asked.now_s)
    since_s = max(events[0]["at_s"] if events else row["since_s"], until_s - _MOST_DAYS * 86_400)
    width_s = width_for(until_s - since_s)
    since_s -= since_s % width_s
    targets = (row["to"], candidate_pool(row["pool"], row["to"]))
    span_ms = int(since_s * 1000), int(until_s * 1000) + 1

    def ask() -> list[Part]:
        with sources.asking() as ledger:
            return arms(ledger, row["rollout"], targets, *span_ms, width_s * 1000)

    try:
        key = "arms", row["rollout"], int(since_s), width_s
        found = sources.kept.get(key, _RESTS_S, ask)
    except Away as away:
        return [], str(away)
    if not found:
        return [], f"the ledger has no call of it since {moment(since_s)} UTC"
    return charts_of(found, int(since_s), int(until_s), width_s), ""


def width_for(seconds: float) -> int:
    """How long a column of a chart is, in seconds."""
    return next((one for one in _WIDTHS_S if seconds / one <= _COLUMNS), _WIDTHS_S[-1])


def charts_of(parts: Sequence[Part], since_s: int, until_s: int, width_s: int) -> list[tuple[str, Markup]]:
    """Pure: errors, latency, cost and calls of both arms."""
    starts = list(range(since_s, until_s + 1, width_s)) or [since_s]
    by = {(one.arm, one.at_ms // 1000): one for one in parts}
    form = (
        slice(5, 10) if width_s >= 86_400 else slice(5, 16) if until_s - since_s > 86_400 else slice(11, 19)
    )
    columns = [moment(at)[form] for at in starts]
    nan = float("nan")

    def failed(one: Part) -> float:
        return one.failed / one.calls if one.calls else nan

    def latency(one: Part) -> float:
        return one.latency_ms / one.good if one.good else nan

    def cost(one: Part) -> float:
        return one.cost / known if (known := one.calls - one.unknown) else nan

    def calls(one: Part) -> float:
        return float(one.calls)

    def series(of: Any) -> list[Series]:
        return [
            Series(arm, [of(by[arm, at]) if (arm, at) in by else nan for at in starts], colour)
            for arm, colour in ((STABLE, 0), (CANDIDATE, 1))
        ]

    def dollars(value: float) -> str:
        return "–" if value != value else money(round(value))

    def share(value: float) -> str:
        return "–" if value != value else percent(value)

    def time(value: float) -> str:
        return "–" if value != value else ms(value)

    def number(value: float) -> str:
        return "–" if value != value else count(value)

    every = f"each {lasting(width_s)}"
    shown = (
        ("Calls that failed", failed, share, Axis(share), "calls that failed, by arm"),
        ("Mean latency of good calls", latency, time, Axis(time, whole), "latency, by arm"),
        ("Mean cost of a call", cost, dollars, Axis(tick), "cost of a call, by arm"),
        ("Calls", calls, number, Axis(number, whole), "calls, by arm"),
    )
    return [
        (f"{title}, {every}", lines(columns, series(of), told, what, axis))
        for title, of, told, axis, what in shown
    ]


def _shadows(asked: Asked, sources: Sources) -> tuple[list[dict[str, Any]], str]:
    """Of each shadow what became of its copies; and why the ledger says nothing of them."""
    told = sources.status().get("shadows") or {}
    spent: dict[str, Copies] = {}
    away = ""
    if told:
        until_ms = int(asked.now_s * 1000) + 1
        try:
            since_ms = until_ms - 86_400_000
            with sources.asking() as ledger:
                those = sources.kept.get("copies", _RESTS_S, lambda: copies(ledger, since_ms, until_ms))
            spent = {one.shadow: one for one in those}
        except Away as error:
            away = str(error)
    budgets = _budgets(sources) if told else {}
    rows = [shadow_of(name, said, spent.get(name), budgets) for name, said in told.items()]
    return rows, away


def shadow_of(
    name: str, said: Mapping[str, Any], spent: Copies | None, budgets: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Pure."""
    results = [(word, said[word]) for word in _RESULTS if said.get(word)]
    budget = budgets.get(f"shadow:{name}")
    return {
        "name": name,
        "to": said["to"],
        "sent": sum(said.get(word, 0) for word in _RESULTS if word not in _MISSED),
        "missed": sum(said.get(word, 0) for word in _MISSED),
        "results": results,
        "now": said.get("waiting", 0) + said.get("under_way", 0),
        "spent": spent,
        "latency_ms": spent.latency_ms / spent.good if spent is not None and spent.good else None,
        "budget": budget,
    }


def _budgets(sources: Sources) -> dict[str, dict[str, Any]]:
    try:
        tree = sources.tree("/budgets")
    except Away:
        return {}
    return {one["budget"]: one for one in tree.get("budgets", ()) if "budget" in one}
