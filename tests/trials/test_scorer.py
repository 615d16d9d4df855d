"""What the process that scores answers makes of one task."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from modelbroker.core.capture import PATTERNS
from modelbroker.core.traffic import Sample
from modelbroker.trials.frames import Graded, Redact, Task, task_frame
from modelbroker.trials.scorer import graded

SEEN: list[Mapping[str, Any]] = []


def own(case: Mapping[str, Any]) -> float:
    SEEN.append(case)
    if "fail" in case["answer"]["text"]:
        raise RuntimeError(case["answer"]["text"])
    if case["reference"] is not None:
        return 0.25
    return 0.75


def sample(text: str = "Write to me@example.com", asked: str = "I am you@example.com", **more: Any) -> Sample:
    request = {"model": "chat", "messages": [{"role": "user", "content": asked}]}
    reply = {
        "id": "x",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
    }
    fields: dict[str, Any] = {
        "dialect": "openai-chat",
        "path": "/v1/chat/completions",
        "status": 200,
        "request": json.dumps(request).encode(),
        "reply": json.dumps(reply).encode(),
        **more,
    }
    return Sample("a", 1.0, **fields)


def task(*samples: Sample, by: list[dict[str, Any]], timeout_s: float = 30.0) -> Task:
    scorers = tuple(map(json.dumps, by))
    redact = Redact(PATTERNS, (), (), True)
    # Nobody listens at port 1.
    return Task(
        7, "127.0.0.1", 1, False, timeout_s, scorers, "x-broker-errand", {"judges": "sealed"}, redact, samples
    )


def scored(*samples: Sample, by: list[dict[str, Any]]) -> Graded:
    return asyncio.run(graded(task(*samples, by=by)))


OWN = {"kind": "python", "function": f"{__name__}:own"}
MAIL = {"kind": "regex", "pattern": "me@example"}


def test_rules_look_at_what_was_said_and_functions_behind_redaction() -> None:
    SEEN.clear()
    assert scored(sample(), by=[MAIL]).values == (1.0,)
    assert scored(sample(), by=[OWN]).values == (0.75,)
    (seen,) = SEEN
    assert seen["answer"]["text"] == "Write to [email]" and "you@example" not in json.dumps(seen["request"])


def test_the_mean_goes_by_weight() -> None:
    by = [{**MAIL, "weight": 3}, {"kind": "rubric", "rubric": [{"at_most": 3}]}]
    assert scored(sample(), by=by).values == (0.75,)


def test_of_two_the_first_is_what_the_second_is_held_against() -> None:
    first, second = sample("Paris it is"), sample("Oslo it is")
    found = scored(first, second, by=[{"kind": "similarity"}]).values
    assert found[0] == 1.0 and 0.0 < found[1] < 1.0
    assert scored(first, first, by=[{"kind": "exact"}]).values == (1.0, 1.0)
    assert scored(first, second, by=[OWN]).values == (0.25, 0.25)


@pytest.mark.parametrize(
    ("one", "by", "why"),
    [
        (sample(reply=b"no reply"), [MAIL], "unfit"),
        (sample(path="/v1/embeddings"), [MAIL], "unfit"),
        (sample(), [{"kind": "json"}], "unfit"),  # its request asks for no schema
        (sample("fail"), [OWN], "function"),
        (sample(), [{"kind": "python", "function": "there.is:none"}], "function"),
        (sample(), [{"kind": "judge", "pool": "judges", "grade": True}], "judge"),
        # One that fails leaves no mean of the others: that would be another measure.
        (sample(), [MAIL, {"kind": "judge", "pool": "judges", "grade": True}], "judge"),
        (sample(), [{"kind": "regex", "nonsense": 1}], "defect"),
    ],
)
def test_without_a_score_there_is_a_word(
    one: Sample, by: list[dict[str, Any]], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And none of the call's own."""
    assert scored(one, by=by) == Graded(7, (), why)
    assert "example.com" not in caplog.text and "fail" not in caplog.text


@pytest.mark.parametrize("whose", ["redaction's", "a rule's"])
def test_an_expression_that_never_ends_holds_up_no_other_answer(whose: str) -> None:
    """Python's `re` lets nothing else run meanwhile: by itself it would hold up all, until somebody ended the
    process."""
    rule = MAIL if whose == "redaction's" else {"kind": "regex", "pattern": "(a+)+b"}
    redact = Redact((), (("badge", "(a+)+b"),) if rule is MAIL else (), (), True)
    evil = msgspec.structs.replace(task(sample("a" * 50), by=[rule]), redact=redact)
    good = msgspec.structs.replace(task(sample(), by=[MAIL]), number=8)
    child = subprocess.Popen(
        [sys.executable, "-m", "modelbroker.trials.scorer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(task_frame(evil) + task_frame(good))
        child.stdin.flush()
        patience = threading.Timer(60, child.kill)
        patience.start()
        lines = [child.stdout.readline() for _ in range(2)]
        patience.cancel()
    finally:
        child.kill()
        _, log = child.communicate()
    told = [msgspec.json.decode(line, type=Graded) for line in lines if line]
    assert {one.number: (one.values, one.why) for one in told} == {7: ((), "timeout"), 8: ((1.0,), "")}
    assert (b"look at `redact.custom` (badge)" in log) == (rule is MAIL) and b"aaa" not in log
