"""What `explain`, `check` and `rollout status` say of shadows and rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from modelbroker.cli.check import check_path
from modelbroker.cli.explain import Question, explain_call
from modelbroker.cli.rollout import lines
from modelbroker.core.errors import Misconfigured

CONFIG = """
pools:
  - name: chat
    members: [{provider: anthropic, model: claude-opus-4-7}]
    shadow: {to: openai/gpt-5-nano, share: 5%, budget: $1/day, match: {stream: true}}
    rollout: {to: openai/gpt-5-mini, gates: {errors: 1%}}
"""
BODY = b'{"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "stream": true}'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "broker.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (BODY, "shadow: 5 % of such calls are also sent to openai/gpt-5-nano"),
        (BODY.replace(b"true", b"false"), "shadow: such calls are not sent to openai/gpt-5-nano"),
        (
            BODY,
            "rollout: part of chat>openai/gpt-5-mini to openai/gpt-5-mini (1% → 10% → 50% → 100%)",
        ),
    ],
)
def test_explain(config: Path, capsys: pytest.CaptureFixture[str], body: bytes, told: str) -> None:
    assert explain_call(config, Question((), body, assume_credentials=True), as_json=False) == 0
    assert told in capsys.readouterr().out.splitlines()


def test_check_counts_the_pools_that_somebody_wrote(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_path(config, with_envoy=True) == 0
    assert "1 pools, 1 members; Envoy takes it" in capsys.readouterr().out


def test_a_rollout_for_people() -> None:
    arm = {"low": 0.001, "value": 0.01, "high": None, "n": 9}
    row: dict[str, Any] = {
        "rollout": "try-1",
        "phase": "running",
        "stage": "10%",
        "stages": ["1%", "10%"],
        "since_s": 100.0,
        "reason": "every gate passed",
        "calls": {"stable": 90, "candidate": 9},
        "min_calls": 20,
        "gates": [
            {"gate": "errors", "verdict": "open", "stable": None, "candidate": arm, "allowed": 0.03},
            {"gate": "p95", "verdict": "passed", "stable": arm, "candidate": arm, "allowed": None},
        ],
    }
    assert lines(row, 820.0) == [
        "ROLLOUT  PHASE    STAGE            SINCE  CALLS    STABLE",
        "try-1    running  10% of 1% → 10%  12 m   9 of 20  90",
        "  every gate passed",
        "  GATE    VERDICT  CANDIDATE             STABLE            ALLOWED",
        "  errors  open     1.00 % (0.10 % to ?)  ?                 3.00 %",
        "  p95     passed   0 ms (0 ms to ?)      0 ms (0 ms to ?)  ?",
    ]


NOTHING = {"unscored": {"candidate": 0, "stable": 0}}


def test_answers_that_were_drawn_are_told(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "rollout": "try-1",
        "phase": "running",
        "stage": "10%",
        "stages": ["10%"],
        "since_s": 100.0,
        "reason": "",
        "calls": {"stable": 90, "candidate": 9},
        "min_calls": 20,
        "gates": [],
        "scores": {
            "scored": 12,
            "failed": 2,
            "dropped": 1,
            "waiting": 1,
            "under_way": 2,
            "unscored": {"candidate": 2, "stable": 0},
            "last_failure": "judge",
        },
    }
    assert lines(row, 820.0)[-1] == (
        "  answers drawn: 12 scored, 2 failed, 1 dropped, 3 waiting; "
        "without a score: 2 of the candidate's, 0 of the stable arm's; "
        "the last failure: a judge did not answer, or named no verdict"
    )
    none = {**row, "scores": {**NOTHING, "waiting": 0, "under_way": 0, "last_failure": None}}
    assert lines(none, 820.0)[-1] == "  answers drawn: none so far"
    assert not [line for line in lines({**row, "scores": None}, 820.0) if "answers" in line]


SCORED = """
pools:
  - name: chat
    members: [{provider: anthropic, model: claude-opus-4-7}]
    rollout:
      to: openai/gpt-5-mini
      gates: {quality: 5%}
      scores: {by: [{kind: python, function: NAME}]}
"""


def test_check_looks_for_the_functions_that_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broker.yaml"
    path.write_text(SCORED.replace("NAME", "json:loads"))
    assert check_path(path, with_envoy=False) == 0
    path.write_text(SCORED.replace("NAME", "json:lodas"))
    with pytest.raises(Misconfigured, match="the scorer json:lodas can't be had"):
        check_path(path, with_envoy=False)
