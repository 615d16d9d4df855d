"""Figures and the report, out of a run that is made by hand; the run on the disk; and what brokers are run
with."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.core.errors import Misconfigured
from modelbroker.dialects import BUILT, KNOWN
from modelbroker.evals import svg
from modelbroker.evals.answers import Answer
from modelbroker.evals.cases import Case
from modelbroker.evals.figures import Run, disagreements, pareto, results_of
from modelbroker.evals.folder import Meta, RunFolder, meta_of, read_run
from modelbroker.evals.outcomes import Billed, Outcome, Scored, billed_of_record
from modelbroker.evals.overlay import asker_of, askers, files_of, stages_of
from modelbroker.evals.report import About, dollars, html_of, last_words, table_of, tree_of
from modelbroker.evals.suite import read_suite
from modelbroker.settings import compile_texts

SUITE = """\
name: "<support>"
data: {file: cases.jsonl}
candidates:
  - {name: old, pool: support}
  - {name: new, provider: openai, model: gpt-5-mini}
  - {name: next, config: new.yaml}
scorers: [{kind: exact}, {kind: judge, pool: judges, weight: 0}]
slices: [team]
budget: {spend: $8}
"""
ABOUT = About("run-1", "2026-11-29", "0.1", {"": "abc"}, "def", {"it was cut": 2})


def run(**changes: Any) -> Run:
    """20 cases: `old` is right in 15, `new` in 10 of them and fails one call, `next` was stopped by the money
    at half."""
    cases = {
        f"c{n}": Case(
            f"c{n}",
            "openai-chat",
            {"model": "m", "messages": [{"role": "user", "content": f"<b>{n}"}]},
            slices={"team": "ab"[n % 2]},
            expected=str(n),
        )
        for n in range(20)
    }
    outcomes, scores, billed = {}, {}, {}
    for n, name in enumerate(cases):
        for candidate, right in (("old", n < 15), ("new", n < 10), ("next", n < 10)):
            if candidate == "next" and n >= 10:
                continue
            request_id = f"{candidate}-{name}"
            answer = (
                None if (candidate, n) == ("new", 12) else Answer(str(n) if right else "<script>no</script>")
            )
            outcomes[name, candidate] = Outcome(
                name,
                candidate,
                200 if answer else 500,
                "" if answer else "upstream_error",
                answer,
                100.0 + n,
                None,
                "m",
                (request_id,),
            )
            if answer:
                scores[name, candidate] = (
                    Scored(name, candidate, "exact", float(right), "" if right else "another text"),
                )
            cost = {"old": 3_000_000, "new": 1_000_000, "next": None}[candidate]
            billed[request_id] = Billed(request_id, cost, 5 if cost is None else cost)
    return replace(Run(read_suite("s.yaml", SUITE), cases, outcomes, scores, billed, "money"), **changes)


def test_figures() -> None:
    results = results_of(run(), resamples=200)
    old, new, following = results.overall
    assert old.quality is not None
    assert (old.quality.value, old.n, old.difference) == (0.75, 20, None)
    assert new.quality is not None
    assert new.errors is not None
    assert (new.quality.value, new.errors.value) == (0.5, 0.05)  # a call that failed counts as 0
    assert new.difference is not None
    assert new.difference.value == pytest.approx(-0.25)
    assert new.cost is not None
    assert new.cost.value == pytest.approx(0.001)
    assert (following.cost, following.unknown_costs) == (None, 10)  # unknown is unknown, never zero
    assert results.cost == 20 * 3_000_000 + 20 * 1_000_000 + 10 * 5
    assert results.unknown_costs == 10
    assert pareto(results) == ("old", "new")
    assert [(one.value, one.candidate, one.n) for one in results.slices[:2]] == [
        ("a", "old", 10),
        ("a", "new", 10),
    ]
    assert results_of(run(), resamples=200) == results


def test_what_the_budget_stopped_was_not_evaluated() -> None:
    whole = run()
    key = ("c0", "new")
    stopped = replace(whole.outcomes[key], code="budget_exceeded", answer=None)
    assert replace(whole, outcomes={**whole.outcomes, key: stopped}).quality(*key) is None


def test_the_most_telling_disagreements_of_each_rival() -> None:
    found = disagreements(run(), 4)
    assert [(one.rival, one.gap) for one in found] == [("new", -1.0)] * 4
    assert disagreements(replace(run(), scores={}, outcomes={})) == ()


def test_the_report_escapes_redacts_and_fetches_nothing() -> None:
    results = results_of(run(), resamples=200)
    text = html_of(results, ABOUT, lambda said: said.replace("no", "[gone]"))
    assert "<script>no" not in text
    assert "&lt;script&gt;[gone]&lt;/script&gt;" in text
    assert "&lt;support&gt;" in text
    assert "failed: upstream_error" in text
    assert not re.search(r"(src|href)=|@import|url\(", text)
    embedded = re.search(r'<script type="application/json" id="report">(.*?)</script>', text, re.DOTALL)
    assert embedded
    assert json.loads(embedded[1]) == json.loads(json.dumps(tree_of(results, ABOUT)))


def test_json_knows_no_infinity() -> None:
    tree = tree_of(results_of(run(), resamples=200), ABOUT)
    text = json.dumps(tree, allow_nan=False)
    assert tree["candidates"][0]["verdict"] == "baseline"
    assert tree["candidates"][0]["latency_p95_ms"]["high"] is None
    assert "Infinity" not in text


def test_the_table_says_what_has_to_be_known() -> None:
    lines = "\n".join(table_of(results_of(run(), resamples=200), ABOUT))
    assert "75.0 % (53.1–88.8)" in lines
    assert "unknown" in lines
    assert "It ended by its budget before the cases were through." in lines
    assert "It cost $0.080, and what 10 calls cost nobody knows." in lines
    assert "Left out: 2 since it was cut." in lines
    assert "No score" not in lines


def test_answers_without_a_score_are_counted() -> None:
    whole = run()
    silent = [Scored("c1", "new", "judge", None, "the judge gave no mark")]
    scores = {**whole.scores, ("c1", "new"): (*whole.scores["c1", "new"], *silent)}
    # One that failed has no answer to be scored.
    scores["c12", "new"] = (Scored("c12", "new", "judge", None, "failed"),)
    lines = table_of(results_of(replace(whole, scores=scores), resamples=200), ABOUT)
    (line,) = [line for line in lines if line.startswith("No score")]
    assert re.fullmatch(r"No score of judge for 1 of \d+ answers \(the judge gave no mark\)\.", line)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "$0"), (12.345, "$12.35"), (0.0123, "$0.012"), (0.0000051, "$0.0000051")]
)
def test_dollars(value: float, text: str) -> None:
    assert dollars(value) == text


def test_what_was_said_last_in_any_dialect() -> None:
    assert last_words({"input": "a"}) == "a"
    assert (
        last_words(
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "image"}]},
                    {"role": "assistant", "content": "c"},
                ]
            }
        )
        == "b\n[image]"
    )


def test_plots_hold_what_they_are_given() -> None:
    point = svg.Point("a<b", (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), 0, True)
    text = svg.scatter(
        [point, replace(point, name="c", x=(0.3, 0.4, float("inf")))], "cost", "quality", lambda v: f"${v}"
    )
    assert "a&lt;b" in text
    assert "inf" not in text
    assert "nan" not in text
    assert text.count("<circle") == 2
    assert svg.scatter([], "", "", str) == svg.distributions([], "", str) == svg.forest([], 0.02) == ""
    assert "NaN" not in svg.distributions([svg.Curve("a", (5.0,), 0)], "latency", str)
    assert svg.ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_a_run_comes_back_from_the_disk_whatever_cut_its_last_line(tmp_path: Path) -> None:
    whole = run(billed={"x": Billed("x", 1, 1)})
    with RunFolder.opened(tmp_path / "r") as folder:
        folder.begin(Meta("support", "suite.yaml", "d", 1.0), SUITE, whole.cases.values())
        for outcome in whole.outcomes.values():
            folder.keep_reply(outcome)
        for scored in whole.scores.values():
            folder.keep_score(scored[0])
        folder.keep_record(whole.billed["x"])
        with pytest.raises(Misconfigured, match="under way"), RunFolder.opened(tmp_path / "r"):
            pass
    with (tmp_path / "r" / "replies.jsonl").open("a") as file:
        file.write('{"case": "c1", "cand')
    back = read_run(tmp_path / "r")
    assert (back.outcomes, back.scores, back.billed) == (whole.outcomes, whole.scores, whole.billed)
    assert list(back.cases.values()) == list(whole.cases.values())
    with RunFolder.opened(tmp_path / "r") as folder:
        folder.keep_reply(whole.outcomes["c0", "old"])
    assert len(read_run(tmp_path / "r").outcomes) == len(whole.outcomes)
    assert meta_of(tmp_path / "r").digest == "d"
    with pytest.raises(Misconfigured, match="no run"):
        read_run(tmp_path / "nowhere")


def test_what_a_record_says_of_cost() -> None:
    line = {
        "request_id": "a",
        "attempts_made": 1,
        "cost": {"total": None, "buckets": {"input": 7}, "unknown": ["output"]},
    }
    assert (billed_of_record(line).cost, billed_of_record(line).known) == (None, 7)
    assert billed_of_record({"request_id": "a", "attempts_made": 0}).cost == 0
    assert billed_of_record({"request_id": "a", "attempts_made": 1}).cost is None


BROKER = """\
listen: {port: 9999}
ledger: {url: none}
audit: {}
cache: {size: 10MiB}
pools:
  - {name: support, cache: short-context, members: [{provider: anthropic, model: claude-sonnet-4-6}]}
  - {name: judges, members: [{provider: openai, model: gpt-5.1}]}
callers: [{name: app, key: {env: X}, team: blue}]
budgets: [{name: all, amount: $1, per: day}]
rules: [{match: {team: blue, caller: app}, pool: judges}]
prices: [{provider: openai, model: "*", input: 1, output: 2}]
"""


def test_brokers_are_run_with_callers_and_a_budget_of_their_own() -> None:
    suite = read_suite("s.yaml", SUITE)
    people = [{"caller": "app", "team": "blue"}, {"caller": "app", "team": "red"}, {}]
    cases = [Case(str(n), "openai-chat", {"model": "support"}, people=one) for n, one in enumerate(people)]
    who = askers(cases)
    stages = stages_of(suite, 8_000_000_000)
    # A share for each candidate and for the judge.
    assert [(stage.config, stage.budget) for stage in stages] == [
        ("", 6_000_000_000),
        ("new.yaml", 2_000_000_000),
    ]
    own, other = (
        compile_texts(
            files_of({"b.yaml": BROKER}, suite, stage, who, "secret"), dialects=KNOWN, built=BUILT
        ).catalog
        for stage in stages
    )
    assert own.rules == ()
    assert not own.audit.is_on and not other.audit.is_on
    assert set(own.pools) == {"support", "judges", "eval-new"}
    assert all(pool.cache is None for pool in own.pools.values())
    assert [(one.name, one.purpose) for one in own.callers] == [
        (name, "eval") for name in ("eval-judge", "eval-new", "eval-old")
    ]
    assert [(one.name, one.limit, one.purpose) for one in own.budgets] == [
        ("eval:eval", 6_000_000_000, "eval")
    ]
    assert len(other.rules) == 1
    assert {(one.name, one.team) for one in other.callers} == {
        ("app", "blue"),
        (asker_of(suite.candidates[2], cases[1], who).name, "red"),
        ("eval-nobody", ""),
    }
    assert asker_of(suite.candidates[2], cases[0], who).name == "app"
    assert yaml.safe_load(files_of({"b.yaml": BROKER}, suite, stages[0], who, "secret")["000-eval.yaml"])[
        "ledger"
    ] == {"url": "none"}
