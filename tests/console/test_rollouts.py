"""Rollouts and shadows in words, out of what the admin port, the ledger and the state folder say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.console.rollouts import (
    charts_of,
    decided_words,
    events_of,
    gate_of,
    run_of,
    shadow_of,
    stages_of,
    told_of,
    verdict_words,
    width_for,
)
from modelbroker.console.words import NOTHING
from modelbroker.ledger.arms import Copies, Part

NOW_S = 1_800_000_000.0


def gate(verdict: str = "open", name: str = "errors", **more: Any) -> dict[str, Any]:
    shown = {"low": 0.0, "value": 0.01, "high": 0.03, "n": 100}
    return {"gate": name, "verdict": verdict, "stable": shown, "candidate": shown, "allowed": 0.03, **more}


def event(event: str, at_stage: str, stage: str, at_s: float, **more: Any) -> dict[str, Any]:
    told = {"rollout": "try", "turn": 1, "reason": "", "phase": "running", "calls": {}, "gates": []}
    told |= {"actor": "", "by": ""}
    return {**told, "at_s": at_s, "event": event, "at_stage": at_stage, "stage": stage, **more}


def row(**more: Any) -> dict[str, Any]:
    return {
        "rollout": "try",
        "pool": "chat",
        "to": "new/n",
        "phase": "running",
        "stage": "10%",
        "stages": ["shadow", "10%", "100%"],
        "since_s": NOW_S - 60,
        "reason": "every gate passed",
        "calls": {"stable": 900, "candidate": 100},
        "min_calls": 150,
        "hold_s": 600.0,
        "gates": [gate()],
        "last": None,
        **more,
    }


STORY = [
    event("began", "shadow", "shadow", NOW_S - 1000),
    event(
        "rolled-back",
        "shadow",
        "shadow",
        NOW_S - 900,
        reason="the gate errors failed",
        gates=[gate("failed")],
    ),
    event("resumed", "shadow", "shadow", NOW_S - 700, reason="by command", turn=2, actor="token", by="ana"),
    event(
        "promoted",
        "shadow",
        "10%",
        NOW_S - 60,
        reason="every gate passed",
        calls={"stable": 400, "candidate": 200},
        gates=[gate("passed")],
        turn=3,
    ),
]


def test_stages_of_the_run_that_goes_on() -> None:
    assert [one["event"] for one in run_of(STORY)] == ["resumed", "promoted"]
    assert run_of(STORY[:1]) == STORY[:1] and run_of([]) == []
    shadow, ten, all_of = stages_of(row(), run_of(STORY))
    assert (shadow.state, shadow.calls, shadow.gates) == ("done", (200, 400), (("errors", "passed", "good"),))
    assert (shadow.since_s, shadow.until_s) == (NOW_S - 700, NOW_S - 60)
    assert (ten.state, ten.calls, ten.gates) == ("now", (100, 900), (("errors", "open", "warn"),))
    assert (all_of.state, all_of.calls, all_of.since_s) == ("to come", None, 0.0)


def test_stages_of_one_that_is_over() -> None:
    last = event("rolled-back", "10%", "10%", NOW_S - 5)
    said = stages_of(row(phase="rolled-back", last=last), [*run_of(STORY), last])
    assert [(one.name, one.state, one.kind) for one in said] == [
        ("shadow", "done", "good"),
        ("10%", "rolled back here", "bad"),
        ("100%", "to come", ""),
    ]
    assert said[1].until_s == NOW_S - 5
    assert stages_of({"rollout": "try", "phase": "waiting"}, []) == []


def test_the_story() -> None:
    said = [told_of(one) for one in STORY]
    assert [one.kind for one in said] == ["", "bad", "good", "good"]
    assert said[0].words == "Began with the stage shadow."
    assert said[1].words == "Rolled back at shadow: the gate errors failed."
    assert said[2].words == "Resumed at shadow: by command, ana (token)."
    end = "after 200 calls of the candidate and 400 of the stable arm."
    assert said[3].words == f"Promoted from shadow to 10%: every gate passed, {end}"
    assert said[3].gates[0].candidate == "1.00 % (0.00 % to 3.00 %)"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "another 9 min at least; 50 more calls of the candidate; the gate errors."),
        ({"hold_s": 1.0, "min_calls": 1, "gates": [gate("passed")]}, "by itself at once."),
        ({"phase": "paused"}, "until it is resumed"),
        ({"phase": "done"}, "all calls of the pool are new/n's"),
        ({"phase": "rolled-back", "reason": "by command"}, "Rolled back: by command."),
        (
            {"phase": "rolled-back", "reason": "by command", "last": {"actor": "token", "by": "ana"}},
            "Rolled back: by command, ana (token).",
        ),
        ({"phase": "waiting"}, "has not begun yet"),
    ],
)
def test_what_is_waited_for(more: dict[str, Any], words: str) -> None:
    assert words in decided_words(row(**more), NOW_S)


def test_what_a_gate_says() -> None:
    assert "is not higher than what is allowed" in verdict_words(gate("passed"))
    assert "is lower than what is allowed" in verdict_words(gate("failed", "quality"))
    assert verdict_words(gate(), row()) == "Neither is shown yet: it waits for more calls."
    assert verdict_words(gate(), row(phase="done")) == "Neither is shown."
    unscored = gate(name="quality", candidate=None, stable=None, allowed=None)
    assert verdict_words(unscored).endswith("no scores of the candidate arm and the stable arm.")
    shown = gate_of(unscored)
    assert (shown.candidate, shown.allowed, shown.chart) == ("?", "?", "")
    assert "allowed: 3.00 %" in gate_of(gate()).chart


def test_bounds_that_nobody_knows_are_no_error() -> None:
    shown = {"low": None, "value": 3.0, "high": None, "n": 1}
    assert gate_of(gate(name="cost", candidate=shown)).candidate == "$3.000000 (? to ?)"


@given(st.floats(0, 86_400 * 14))
def test_a_chart_has_no_more_columns_than_there_is_room_for(seconds: float) -> None:
    width_s = width_for(seconds)
    assert seconds / width_s <= 57 and width_s >= 10


def test_charts_have_gaps_where_nobody_called() -> None:
    parts = [
        Part(0, "stable", 4, 1, 3, 300.0, 2_000_000, 0),
        Part(20_000, "stable", 2, 0, 2, 100.0, 0, 2),
        Part(20_000, "candidate", 1, 1, 0, 0.0, 0, 1),
    ]
    charts = dict(charts_of(parts, 0, 30, 10))
    assert [name.split(",")[0] for name in charts] == [
        "Calls that failed",
        "Mean latency of good calls",
        "Mean cost of a call",
        "Calls",
    ]
    failed, latency, cost, _ = charts.values()
    assert "stable: 25 %" in failed and "candidate: 100 %" in failed
    assert "stable: 100 ms" in latency and f"candidate: {NOTHING}" in latency
    assert "stable: $0.0005" in cost and f"candidate: {NOTHING}" in cost
    assert "nan" not in "".join(map(str, charts.values()))


def test_events_of_a_file_that_was_cut(tmp_path: Path) -> None:
    assert events_of(tmp_path, "try") == []
    lines = [json.dumps(one) for one in (*STORY, event("began", "a", "a", NOW_S, rollout="other"))]
    (tmp_path / "rollouts.jsonl").write_text("\n".join(["{", *lines, '{"rollout": "try"', ""]))
    assert [one["event"] for one in events_of(tmp_path, "try")] == [one["event"] for one in STORY]
    with (tmp_path / "rollouts.jsonl").open("a") as file:
        file.write((lines[0] + "\n") * 8_000)
    assert len(events_of(tmp_path, "try")) == 100


def test_what_became_of_copies() -> None:
    said = {"to": "b/m", "answered": 5, "failed": 1, "dropped": 2, "unfit": 3, "waiting": 1, "under_way": 1}
    budget = {"budget": "shadow:s", "unit": "nano_dollars", "spent": 1, "limit": 2}
    shown = shadow_of("s", said, Copies("s", 6, 1, 5, 500.0, 7, 0), {"shadow:s": budget})
    assert (shown["sent"], shown["missed"], shown["now"], shown["latency_ms"]) == (6, 5, 2, 100.0)
    assert shown["results"] == [("answered", 5), ("failed", 1), ("dropped", 2), ("unfit", 3)]
    assert shown["budget"] is budget
    assert shadow_of("s", {"to": "b/m"}, None, {})["latency_ms"] is None
