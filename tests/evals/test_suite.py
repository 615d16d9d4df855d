"""A suite's text: all that is wrong at once, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelbroker.core.catalog import Catalog
from modelbroker.dialects import BUILT, KNOWN
from modelbroker.evals.reference import page
from modelbroker.evals.suite import Suite, read_suite
from modelbroker.settings import SettingsError, compile_texts

GOOD = """\
name: support
data: {file: cases.jsonl}
candidates:
  - {name: today, pool: support}
  - {name: new, provider: openai, model: gpt-5-mini}
scorers:
  - {kind: exact}
"""
BROKER = """\
pools:
  - {name: support, members: [{provider: anthropic, model: claude-sonnet-4-6}]}
  - {name: judges, members: [{provider: openai, model: gpt-5.1}]}
callers: [{name: app, key: {env: X}}]
"""


def catalog() -> Catalog:
    return compile_texts({"broker.yaml": BROKER}, dialects=KNOWN, built=BUILT).catalog


def wrong(text: str, looks_up: bool = False) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_suite("suite.yaml", text, catalog() if looks_up else None)
    return str(caught.value).splitlines()


def good(text: str = GOOD) -> Suite:
    return read_suite("suite.yaml", text, catalog())


def test_what_is_left_out_has_a_meaning() -> None:
    suite = good()
    assert suite.baseline == "today"
    assert suite.reference == "expected"
    assert (suite.margin, round(suite.alpha, 6)) == (0.02, 0.05)
    assert [one.what for one in suite.candidates] == ["support", "openai/gpt-5-mini"]
    assert good(GOOD.replace("{file: cases.jsonl}", "{traffic: {since: 7d}}")).reference == "captured"


def test_all_is_told_at_once() -> None:
    text = (
        GOOD.replace("pool: support", "pol: support").replace("kind: exact", "kind: exat")
        + "stop: {margin: 2}\nx: 1\n"
    )
    told = wrong(text)
    assert told[0] == 'suite.yaml:4: candidates[0].pol: there is no "pol" here; did you mean "pool"?'
    assert told[1].startswith(
        'suite.yaml:7: scorers[0].kind: "exat" is not of the right form; give one of exact, json'
    )
    assert (
        told[2]
        == "suite.yaml:8: stop.margin: 2 is not a percentage; give a percentage of more than 0, e.g. 5%"
    )
    assert told[3].startswith('suite.yaml:9: x: there is no "x" here; ')


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: support\n", "", "suite.yaml:1: name is missing; give it a name"),
        ("{file: cases.jsonl}", "{}", "suite.yaml:2: data: has neither file nor traffic; "),
        (
            "cases.jsonl}",
            "cases.jsonl, strata: [colour]}",
            'suite.yaml:2: data.strata[0]: nothing can be told apart by "colour"',
        ),
        ("name: new", "name: today", 'suite.yaml:5: candidates[1].name: the name "today" stands twice'),
        ("name: new", "name: 'a b'", 'suite.yaml:5: candidates[1].name: "a b" is no good name'),
        (", model: gpt-5-mini", "", "suite.yaml:5: candidates[1].model: is missing"),
        ("pool: support", "pool: support, config: x", "suite.yaml:4: candidates[0]: is more than one thing"),
        (
            "pool: support",
            "pool: suport",
            'suite.yaml:4: candidates[0].pool: there is no pool "suport"; did you mean "support"?',
        ),
        ("kind: exact", "kind: exact, pool: x", 'suite.yaml:7: scorers[0].pool: exact has no "pool"'),
        ("kind: exact", "kind: regex", "suite.yaml:7: scorers[0]: regex needs pattern"),
        (
            "kind: exact",
            "kind: regex, pattern: '('",
            "suite.yaml:7: scorers[0].pattern: is no regular expression",
        ),
        ("kind: exact", "kind: exact, weight: 0", "suite.yaml:6: scorers: all weights are 0"),
        (
            "kind: exact",
            "kind: rubric, rubric: [{say: x}]",
            "suite.yaml:7: scorers[0].rubric[0]: is no check",
        ),
        (
            "kind: exact",
            "kind: rubric, rubric: [{at_most: x}]",
            'scorers[0].rubric[0].at_most: "x" is no number',
        ),
        (
            "kind: exact",
            "kind: judge, pool: support",
            "anthropic/claude-sonnet-4-6 would judge itself: it is in the candidate today",
        ),
        ("scorers:", "baseline: old\nscorers:", 'suite.yaml:6: baseline: there is no candidate "old"'),
        (
            "  - {name: new, provider: openai, model: gpt-5-mini}\n",
            "",
            "suite.yaml:3: candidates: has only 1; give at least two",
        ),
        (
            "provider: openai",
            "provider: opnai",
            'suite.yaml:5: candidates[1].provider: there is no provider "opnai"; did you mean "openai"?',
        ),
        (
            "{file: cases.jsonl}",
            "{traffic: {where: {colour: [red]}}}",
            'suite.yaml:2: data.traffic.where.colour: captured calls have no field "colour"; ',
        ),
        (
            "{file: cases.jsonl}",
            "{traffic: {since: soon}}",
            'suite.yaml:2: data.traffic.since: "soon" is not a duration; give 1s to 366d',
        ),
        (
            "{file: cases.jsonl}",
            "{traffic: {since: 900d}}",
            'suite.yaml:2: data.traffic.since: "900d" is too long; give 1s to 366d',
        ),
        (
            "kind: exact",
            "kind: json, schema: {properties: {a: {type: 7}}}",
            "suite.yaml:7: scorers[0].schema: is no JSON schema: $.properties.a.type: 7 is none of object, ",
        ),
        (
            "name: support\n",
            "name: support\nname: other\n",
            "suite.yaml:2: name: the key is there already at suite.yaml:1",
        ),
    ],
)
def test_each_mistake_has_its_line(old: str, new: str, told: str) -> None:
    assert GOOD.count(old) == 1
    assert any(told in line for line in wrong(GOOD.replace(old, new), looks_up=True))


def test_what_is_no_suite_at_all() -> None:
    assert wrong("- a\n")[0].startswith("suite.yaml:1: the file holds a list, not a mapping")
    assert wrong("a: [\n")[0].startswith("suite.yaml:")


def test_a_judge_may_be_a_candidate_where_that_is_said() -> None:
    judge = "kind: judge, pool: support, allow_candidates: true"
    assert good(GOOD.replace("kind: exact", judge)).scorers[0].pool == "support"
    assert good(GOOD.replace("kind: exact", "kind: judge, pool: judges"))


def test_a_run_goes_on_only_with_the_same_cases_and_candidates() -> None:
    digest = good().digest
    assert good(GOOD + "budget: {spend: $5}\n").digest == digest
    assert good(GOOD.replace("gpt-5-mini", "gpt-5.1")).digest != digest
    assert good(GOOD.replace("cases.jsonl", "others.jsonl")).digest != digest


def test_the_docs_have_every_field() -> None:
    text = (Path(__file__).parents[2] / "docs" / "evals.md").read_text()
    assert page(text) == text
