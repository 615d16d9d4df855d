"""Runs of evaluations as the state folder keeps them, and their pages."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from modelbroker.console.asked import Asked
from modelbroker.console.evaluations import beside, points, row_of, verdicts_of
from modelbroker.console.pages import Pages
from modelbroker.console.reports import Settings
from modelbroker.console.sources import Sources
from modelbroker.console.words import NOTHING
from modelbroker.evals.kept import MOST, Figure, Kept, all_kept, keep, kept_of

NOW_S = 1_800_000_000.0
HOSTILE = "<script>alert('x')</script>"


def figure(value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 10}


def candidate(name: str, verdict: str, quality: float, **more: Any) -> dict[str, Any]:
    return {
        "candidate": name,
        "n": 10,
        "what": f"pool {name}",
        "quality": figure(quality, quality - 0.1, quality + 0.1),
        "difference": figure(quality - 0.8, -0.2, None) if verdict != "baseline" else None,
        "cost": figure(0.000025),
        "latency_p95_ms": figure(1_500.0),
        "verdict": verdict,
        "decided_by": "sample" if verdict != "baseline" else "",
        "scorers": {"exact": figure(quality)},
        **more,
    }


def tree(run: str = "run-1", **more: Any) -> dict[str, Any]:
    """As the report's JSON."""
    return {
        "suite": "sums",
        "run": run,
        "ended": "through",
        "configurations": {"own": "abcdef"},
        "cases": 10,
        "left_out": {"its request was not captured": 2, "S3CRET words of a request": 1},
        "reference": "expected",
        "margin": 0.03,
        "confidence": 0.95,
        "cost_nano": 5_000_000,
        "unknown_costs": 1,
        "baseline": "today",
        "candidates": [candidate("today", "baseline", 0.8), candidate("cheap", "worse", 0.5)],
        "pareto": ["today"],
        "slices": [{**candidate("cheap", "", 0.5), "slice": "feature", "value": HOSTILE, "verdict": ""}],
        **more,
    }


def kept(at_s: float = NOW_S, mocked: bool = False, **more: Any) -> Kept:
    return kept_of(tree(**more), at_s=at_s, ended_s=at_s + 60, mocked=mocked, folder="/runs/run-1")


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return Pages(Sources(Settings(folder=str(tmp_path), admin="127.0.0.1:1", ledger="")))


def seen(pages: Pages, path: str, **query: str) -> tuple[int, str]:
    status, _, body = pages.answer(Asked(path, query, "u", NOW_S))
    assert b"<script>alert" not in body
    return status, " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body.decode())).split())


def test_what_is_kept_is_read_again_the_newest_first(tmp_path: Path) -> None:
    assert all_kept(tmp_path) == []
    for number in range(3):
        keep(tmp_path, kept(NOW_S + number, run=f"run-{number}"))
    keep(tmp_path, kept(NOW_S + 1, run="run-1", ended="money"))
    found = all_kept(tmp_path)
    assert [(one.run, one.ended) for one in found] == [
        ("run-2", "through"),
        ("run-1", "money"),
        ("run-0", "through"),
    ]
    assert found[0].left_out == 3 and b"S3CRET" not in msgspec.json.encode(found[0])


def test_only_so_many_are_kept_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    for number in range(MOST + 2):
        keep(tmp_path, kept(NOW_S + number, run=f"run-{number}"))
    folder = tmp_path / "evaluations"
    (folder / "garbage.json").write_text("{")
    (folder / "other.json").write_bytes(msgspec.json.encode(kept(run="run-5")))
    found = all_kept(tmp_path)
    assert len(found) == MOST and found[-1].run == "run-2"
    assert not list(folder.glob("*.new"))


def test_slices_are_bounded() -> None:
    one = kept(slices=[{**candidate("cheap", "", 0.5), "slice": "user", "value": "u" * 500}] * 300)
    assert (len(one.slices), one.more_slices, len(one.slices[0].value)) == (200, 100, 100)


def test_a_row_says_what_the_command_said() -> None:
    one = kept()
    today, cheap = (row_of(one, each) for each in one.candidates)
    assert (today.quality, today.difference, today.cost, today.p95) == (
        "80.0 % (70.0 to 90.0)",
        "",
        "$0.000025",
        "1.50 s",
    )
    assert (cheap.difference, cheap.kind, cheap.by) == (
        "\u221230.0 (\u221220.0 to ?)",
        "bad",
        "by the whole sample",
    )
    assert verdicts_of(one) == [("cheap", "worse", "bad")]
    assert points(None) == points(Figure(None)) == NOTHING


def test_two_runs_side_by_side() -> None:
    before = kept(candidates=[candidate("today", "baseline", 0.8), candidate("old", "open", 0.7)])
    now = kept(candidates=[candidate("today", "worse", 0.8), candidate("cheap", "better", 0.9)])
    said = [(one.name, one.before is None, one.now is None, one.moved) for one in beside(before, now)]
    assert said == [
        ("today", False, False, True),
        ("cheap", True, False, False),
        ("old", False, True, False),
    ]


def test_pages(tmp_path: Path, pages: Pages) -> None:
    status, said = seen(pages, "/evaluations")
    assert status == 200 and f"--state-dir {tmp_path}" in said and "No run has ended here yet" in said
    keep(tmp_path, kept(NOW_S, run="run-1", mocked=True))
    keep(tmp_path, kept(NOW_S + 60, run="run-2", suite=HOSTILE))
    keep(tmp_path, kept(NOW_S + 90, run="run-3"))
    said = seen(pages, "/evaluations")[1]
    assert "cheap: worse" in said and "run-1 simulated" in said and HOSTILE in said and "$0.005 + ?" in said
    assert "It is not known now" in said  # of live answers, for no broker answers
    said = seen(pages, "/evaluations/run-3")[1]
    assert "cheap pool cheap worse" in said and HOSTILE in said and "3 left out" in said
    said = seen(pages, "/evaluations/run-3", **{"with": "run-1"})[1]
    assert "Verdict then" in said
    assert seen(pages, "/evaluations/run-3", **{"with": "../x"})[0] == 404
    assert seen(pages, "/evaluations/none")[0] == 404


def test_a_run_without_figures_is_a_page(tmp_path: Path, pages: Pages) -> None:
    bare = {"candidate": "today", "n": 0, "verdict": "baseline"}
    keep(
        tmp_path,
        kept(candidates=[bare, {**bare, "candidate": "x", "verdict": "open"}], slices=[], ended="odd"),
    )
    status, said = seen(pages, "/evaluations/run-1")
    assert status == 200 and "odd" in said
