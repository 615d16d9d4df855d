"""`shadow` and `rollout` of pools: what they compile to, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.core.trials import ALL_PPM, is_made
from modelbroker.dialects import BUILT, DEVIATIONS, KNOWN
from modelbroker.settings import SettingsError, compile_texts
from modelbroker.settings.compiler import Loaded

POOL = {"name": "chat", "members": [{"provider": "anthropic", "model": "claude-opus-4-7"}]}
OTHER = {"name": "cheap", "members": [{"provider": "openai", "model": "gpt-5-mini"}]}


def load(**more: Any) -> Loaded:
    listen = more.pop("listen", {})
    tree = {"pools": [{**POOL, **more}, OTHER], "listen": listen}
    return compile_texts({"x.yaml": yaml.safe_dump(tree)}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS)


def wrong(**more: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**more)
    return str(caught.value)


def test_nothing_said_is_nothing_new() -> None:
    """Not even another revision."""
    catalog = load().catalog
    assert catalog.trials == {} and list(catalog.pools) == ["chat", "cheap"]


def test_a_member_gets_a_pool_of_its_own_that_nobody_can_ask_for() -> None:
    catalog = load(shadow={"to": "openai/gpt-5-nano", "budget": "$20/day"}).catalog
    (shadow,) = catalog.trials["chat"].shadows
    made = catalog.pools[shadow.target]
    assert is_made(made.name) and [one.id for one in made.members] == ["openai/gpt-5-nano"]
    assert (shadow.share_ppm, shadow.caller) == (50_000, "shadow:chat")
    (budget,) = catalog.budgets
    assert (budget.purpose, budget.limit, budget.window.unit) == ("shadow", 20 * 10**9, "day")
    # What fails at a candidate, the pool itself answers.
    assert {action for _, action in made.on if isinstance(action, str)} == {"chat"}


def test_a_rollout_has_stages_by_default() -> None:
    rollout = load(rollout={"to": "cheap"}).catalog.trials["chat"].rollout
    assert rollout is not None and (rollout.name, rollout.target) == ("chat>cheap", "cheap")
    assert [stage.name for stage in rollout.stages] == ["1%", "10%", "50%", "100%"]
    assert rollout.stages[-1].share_ppm == ALL_PPM
    assert rollout.stages[0].gates.errors_ppm == 20_000 and rollout.stages[0].hold_ms == 3_600_000


def test_a_stage_may_have_gates_of_its_own() -> None:
    stages = [{"share": "1%", "gates": {"errors": "off", "p95": "10%"}}, {"share": "100%", "hold": "2m"}]
    rollout = load(rollout={"to": "cheap", "stages": stages, "within": "3h"}).catalog.trials["chat"].rollout
    assert rollout is not None
    first, last = rollout.stages
    assert (first.gates.errors_ppm, first.gates.latency_ppm) == (None, 100_000)
    assert (last.hold_ms, last.limit_ms, last.gates.errors_ppm) == (120_000, 10_800_000, 20_000)


@pytest.mark.parametrize("to", ["anthropic/claude-opus-4-7", "again"])
def test_a_candidate_that_is_the_pool_itself_is_warned_of(to: str) -> None:
    again = {**POOL, "name": "again"}

    def warnings(*members: dict[str, Any]) -> list[str]:
        pool = {**POOL, "members": [*POOL["members"], *members], "rollout": {"to": to}}  # type: ignore[misc]
        text = yaml.safe_dump({"pools": [pool, again]})
        loaded = compile_texts({"x.yaml": text}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS)
        assert loaded.catalog.trials["chat"].rollout is not None  # it may well be meant
        return [str(one) for one in loaded.warnings]

    (warning,) = warnings()
    assert warning.startswith("x.yaml:") and "pools[0].rollout.to" in warning
    assert f'"{to}" has the only member that "chat" has' in warning and "(an A/A test)" in warning
    # One of two members, or another one, is none.
    assert warnings({"provider": "openai", "model": "gpt-5-mini"}) == []
    assert load(rollout={"to": "cheap"}).warnings == ()


def test_what_nothing_bounds_is_warned_of() -> None:
    (warning,) = load(shadow={"to": "cheap"}).warnings
    assert "nothing bounds what copies of calls to cheap cost" in str(warning)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"shadow": {"to": "nobody"}}, 'there is no pool "nobody"'),
        ({"shadow": {"to": "nobody/x"}}, 'there is no provider "nobody"'),
        ({"shadow": {"to": "chat"}}, '"chat" is this very pool'),
        ({"shadow": {"to": "cheap", "share": "0%"}}, "would be none at all"),
        ({"shadow": {"to": "cheap", "share": "0.0001%"}}, "has more than three digits behind the point"),
        ({"shadow": {"to": "cheap", "budget": "20"}}, "give e.g. $20/day"),
        ({"shadow": {"to": "cheap", "match": {"taem": "x"}}}, 'there is no fact "taem"'),
        ({"rollout": {"to": "cheap", "stages": [{"hold": "1h"}]}}, "a stage has either shadow or share"),
        ({"rollout": {"to": "cheap", "stages": [{"share": "50%"}]}}, "the last stage is not 100%"),
        (
            {"rollout": {"to": "cheap", "stages": [{"share": "50%"}, {"share": "10%"}]}},
            "is no larger than the share before it",
        ),
        (
            {"rollout": {"to": "cheap", "stages": [{"share": "5%"}, {"shadow": "10%"}, {"share": "100%"}]}},
            "a shadow comes before shares",
        ),
        ({"rollout": {"to": "cheap", "hold": "2h", "within": "1h"}}, "is no longer than hold"),
        ({"rollout": {"to": "cheap", "within": "100d"}}, '"100d" is not between 1d and 90d'),
        ({"rollout": {"to": "cheap", "gates": {"errors": "5"}}}, "give e.g. 2%, or off"),
        ({"rollout": {"to": "cheap", "gates": {"confidence": "100%"}}}, "is no confidence"),
        ({"rollout": {"to": "cheap", "name": "a b"}}, "is no name"),
        (
            {
                "shadow": {"to": "cheap"},
                "listen": {
                    "tls": {
                        "cert_file": "a",
                        "key_file": "b",
                        "client_ca_file": "c",
                        "require_client_cert": True,
                    }
                },
            },
            "which asks for a certificate",
        ),
    ],
)
def test_what_is_wrong_is_said(said: dict[str, Any], told: str) -> None:
    assert told in wrong(**said)


def test_rollouts_do_not_go_round_in_a_circle() -> None:
    tree = {"pools": [{**POOL, "rollout": {"to": "cheap"}}, {**OTHER, "rollout": {"to": "chat"}}]}
    with pytest.raises(SettingsError, match="round in a circle: chat > cheap > chat"):
        compile_texts({"x.yaml": yaml.safe_dump(tree)}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS)


def test_the_docs_rollout_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rollout.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    loaded = compile_texts({"x.yaml": text}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS)
    rollout = loaded.catalog.trials["reasoning-tier"].rollout
    assert rollout is not None and rollout.stages[0].limit_ms == 7 * 86_400_000
    assert all(stage.scores is not None for stage in rollout.stages) and not loaded.warnings


# -- scores

MARKS = {"kind": "judge", "pool": "judges", "grade": True}
JUDGES = {"name": "judges", "members": [{"provider": "openai", "model": "gpt-5"}]}


def rolled(scores: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"to": "cheap", "gates": {"quality": "5%"}, "scores": scores, **more}


def load_scored(rollout: dict[str, Any], judges: dict[str, Any] = JUDGES) -> Loaded:
    text = yaml.safe_dump({"pools": [{**POOL, "rollout": rollout}, OTHER, judges]})
    return compile_texts({"x.yaml": text}, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS)


def test_scores_have_a_share_a_budget_and_the_words_of_suites() -> None:
    said = {"by": [MARKS, {"kind": "regex", "pattern": "x", "weight": 2}], "budget": "$10/day"}
    loaded = load_scored(rolled(said))
    rollout = loaded.catalog.trials["chat"].rollout
    assert rollout is not None
    for stage in rollout.stages:
        scores = stage.scores
        assert scores is not None and scores.name == rollout.name
        assert (scores.share_ppm, scores.caller, scores.asks) == (100_000, "score:chat", ("judges",))
        assert [one.name for one in scores.by] == ["judge", "regex"]
    (budget,) = loaded.catalog.budgets
    assert (budget.name, budget.purpose) == ("score:chat>cheap", "score")
    assert (budget.limit, budget.window.unit) == (10 * 10**9, "day")
    assert not loaded.warnings


def test_a_stage_may_have_scores_of_its_own() -> None:
    stages = [
        {"shadow": "5%", "budget": "$1/day", "scores": {"by": [{"kind": "similarity"}], "share": "100%"}},
        {"share": "10%", "gates": {"errors": "1%"}},
        {"share": "100%"},
    ]
    loaded = load_scored(rolled({"by": [{"kind": "json", "schema": {"type": "object"}}]}, stages=stages))
    rollout = loaded.catalog.trials["chat"].rollout
    assert rollout is not None
    names = [stage.scores.name if stage.scores is not None else None for stage in rollout.stages]
    # One whose gates do not look at quality is not scored.
    assert names == ["chat>cheap#shadow", None, "chat>cheap"]


def test_a_schema_is_the_same_in_any_order() -> None:
    def said(*names: Any) -> str:
        schema = {"properties": {name: {} for name in names}}
        rollout = (
            load_scored(rolled({"by": [{"kind": "json", "schema": schema}]})).catalog.trials["chat"].rollout
        )
        assert rollout is not None and rollout.stages[0].scores is not None
        return rollout.stages[0].scores.by[0].said

    assert said(1, "a", "b") == said("b", "a", 1) != said("a", "c")


@pytest.mark.parametrize(
    ("scores", "more", "told"),
    [
        (
            {"by": [{"kind": "exact"}]},
            {},
            "x.yaml:11: pools[0].rollout.scores.by[0]: exact holds an answer against another one, and in "
            "stages with share (stages[0] is one) each call has one answer; for stages with share give json "
            "by a schema, regex, rubric, python, or a judge with grade: true; give stages with shadow "
            "`scores` of their own for it",
        ),
        ({"by": [{"kind": "judge", "pool": "judges"}]}, {}, "judge compares two answers unless it gives"),
        ({"by": [{"kind": "json", "fields": ["a"]}]}, {}, "json with fields holds them"),
        ({"by": [{"kind": "tools"}]}, {}, "tools holds an answer"),
        ({"by": [{"kind": "judge", "grade": True}]}, {}, "judge needs pool"),
        ({"by": [{**MARKS, "pool": "judgse"}]}, {}, 'no pool "judgse"; did you mean "judges"?'),
        (
            {"by": [{**MARKS, "pool": "cheap"}]},
            {},
            "openai/gpt-5-mini would judge itself: it answers in cheap",
        ),
        ({"by": [{**MARKS, "pool": "chat"}]}, {}, "claude-opus-4-7 would judge itself"),
        ({"by": [{"kind": "json", "schema": {"type": 7}}]}, {}, "is no JSON schema: $.type: 7 is none of"),
        ({"by": [MARKS, MARKS]}, {}, 'a scorer "judge" is there already'),
        ({"by": [MARKS, {"kind": "regex", "pattern": "("}]}, {}, "is no regular expression"),
        ({"by": [MARKS, {"kind": "regex", "pattern": "a", "weight": 0}]}, {}, "a rollout tells nobody"),
        ({"by": [{"kind": "regex", "pattern": "a"}], "budget": "$1/day"}, {}, "cost nothing"),
        ({"by": [MARKS]}, {"gates": {"errors": "2%"}}, "no gate looks at scores"),
        ({"by": []}, {}, "scores.by"),
        ({"by": [MARKS], "share": "0%"}, {}, "would be none at all"),
    ],
)
def test_who_can_not_score_where_is_said(scores: dict[str, Any], more: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_scored(rolled(scores, **more))
    assert told in str(caught.value)


def test_a_judge_may_be_an_arm_where_that_is_said() -> None:
    load_scored(rolled({"by": [{**MARKS, "pool": "cheap", "allow_candidates": True}]}))
    # Also one that answers only where the judge fails.
    judges = {**JUDGES, "on": {"server-error": "cheap"}}
    with pytest.raises(SettingsError, match="gpt-5-mini would judge itself"):
        load_scored(rolled({"by": [MARKS]}), judges)


def test_judges_that_nothing_bounds_are_warned_of() -> None:
    (warning,) = load_scored(rolled({"by": [MARKS]})).warnings
    assert "nothing bounds what judges cost" in str(warning)
