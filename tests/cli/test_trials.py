"""What `explain`, `check` and `rollout status` say of shadows and rollouts."""

from __future__ import annotations

import json
from dataclasses import replace
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


CAPTURED = """
callers: [{name: me, key: {env: MY_KEY}}, {name: payroll-1, key: {env: MY_KEY_2}}]
capture:
  rules:
    - {match: {stream: true}, share: 10%}
    - {name: others, match: {stream: false}, pools: [ch*]}
  exempt: [payroll-*]
  body_bytes: 1KiB
  encryption: {key: {env: TRAFFIC_KEY}}
"""
HELLO = BODY.replace(b"true", b"false")
LONG = HELLO.replace(b"Hi", b"Hi" * 600)


def explained(
    config: Path, capsys: pytest.CaptureFixture[str], question: Question
) -> tuple[list[str], dict[str, Any]]:
    """The lines, and the JSON."""
    explain_call(config, question, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    explain_call(config, question, as_json=True)
    return lines, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("question", "captured", "why_not", "told"),
    [
        (
            Question((), HELLO, caller="me"),
            True,
            None,
            "both bodies, by others",
        ),
        (
            Question((), LONG, caller="me"),
            True,
            None,
            "both bodies, by others; the request is left out, "
            f"for its {len(LONG):,} bytes are more than body_bytes (1,024)",
        ),
        (
            Question((), BODY, caller="me"),
            None,
            None,
            "both bodies, by capture-1, of 10 % of such calls",
        ),
        (Question((), BODY, caller="me", request_id="call-6"), True, None, "both bodies, by capture-1"),
        (
            Question((), BODY, caller="me", request_id="call-1"),
            False,
            "share",
            "none: it is not among the 10 % of capture-1 (docs/capture.md)",
        ),
        (
            Question((), HELLO, caller="payroll-1"),
            False,
            "exempt",
            "none: its caller is exempt (docs/capture.md)",
        ),
        (
            Question((), HELLO, caller="me", assume_credentials=False),
            False,
            "unavailable",
            "none: the key or the URL of its store can't be read (docs/capture.md)",
        ),
    ],
)
def test_explain_says_whether_bodies_are_captured(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    question: Question,
    captured: bool | None,
    why_not: str | None,
    told: str,
) -> None:
    config.write_text(CONFIG + CAPTURED)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    if why_not != "unavailable":
        question = replace(question, assume_credentials=True)
    lines, story = explained(config, capsys, question)
    assert f"capture  {told}" in lines
    assert (story["capture"]["captured"], story["capture"]["why_not"]) == (captured, why_not)


def test_explain_where_nothing_is_captured(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = Question((), BODY, assume_credentials=True)
    lines, story = explained(config, capsys, question)
    assert "capture  none: nothing is captured here (docs/capture.md)" in lines
    assert story["capture"]["why_not"] == "off"
    config.write_text(CONFIG + CAPTURED.replace("stream: false", "team: red"))
    lines, story = explained(config, capsys, replace(question, body=HELLO, caller="me"))
    assert "capture  none: no rule of `capture` matches (docs/capture.md)" in lines
    assert story["capture"]["why_not"] == "no_rule"


@pytest.mark.parametrize(
    ("headers", "request_id", "told"),
    [
        ((), "", "rollout: whose it is, is drawn for each call"),
        ((("x-session-id", "s-1"),), "", "drawn by the header x-session-id"),
        ((), "call-1", "drawn by the request id"),
    ],
)
def test_explain_says_whose_a_call_is(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    headers: tuple[tuple[str, str], ...],
    request_id: str,
    told: str,
) -> None:
    question = Question(headers, BODY, assume_credentials=True, request_id=request_id)
    lines, story = explained(config, capsys, question)
    (line,) = [line for line in lines if told in line]
    first = story["trials"]["rollout"]["candidate_from"]
    assert line == told if first is None else line.startswith(f"rollout: the candidate's from {first} on, ")
    (shadow,) = story["trials"]["shadows"]
    if request_id:
        assert shadow["copied"] is False
        assert "shadow: not sent to openai/gpt-5-nano: it is not among the 5 % that are" in lines


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
        "ROLLOUT  PHASE    STAGE       SINCE  CALLS    STABLE",
        "try-1    running  1% → [10%]  12 m   9 of 20  90",
        "  every gate passed",
        "  GATE    VERDICT  CANDIDATE             STABLE            ALLOWED",
        "  errors  open     1.00 % (0.10 % to ?)  ?                 3.00 %",
        "  p95     passed   0 ms (0 ms to ?)      0 ms (0 ms to ?)  ?",
    ]
    paused = {**row, "phase": "paused", "reason": "by command", "last": {"actor": "token", "by": "ana"}}
    assert lines(paused, 820.0)[2] == "  by command, ana (token)"
    resumed = {**paused, "reason": "", "last": {"actor": "command", "by": "ben"}}
    assert lines(resumed, 820.0)[2] == "  ben (command)"


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
