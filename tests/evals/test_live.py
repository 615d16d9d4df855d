"""Scores of live answers: one alone, or against the pool's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.evals.answers import Answer
from modelbroker.evals.cases import Case
from modelbroker.evals.live import Means, NoScore, Seen, values_of
from modelbroker.settings.scorer_schema import ScorerIn

CASE = Case("c", "openai-chat", {"model": "m", "messages": []}, slices={"team": "sales", "tools": "no"})
JUDGE = {"kind": "judge", "pool": "judges"}


def chat(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return json.dumps({"id": "x", "object": "chat.completion", "model": "j", "choices": [choice]}).encode()


class Others:
    """Who answers by what is in the question; `asked` is what they heard."""

    def __init__(self, said: Mapping[str, str]) -> None:
        self.said, self.asked = said, list[str]()

    async def ask(self, pool: str, path: str, body: Mapping[str, Any]) -> bytes:
        text = json.dumps(body)
        self.asked.append(text)
        if path.endswith("embeddings"):
            vector = [1.0, 0.0] if "left" in text else [0.0, 1.0]
            return json.dumps({"data": [{"embedding": vector}]}).encode()
        return chat(next((word for piece, word in self.said.items() if piece in text), "I can't tell."))

    async def own(self, name: str, case: Case, answer: Answer, reference: Answer | None) -> float:
        return 1.0 if reference is None else 0.5


def values(
    by: list[dict[str, Any]], *texts: str, others: Others | None = None, clean: list[str] | None = None
) -> list[float]:
    scorers = [ScorerIn.model_validate(one) for one in by]
    others = others or Others({})
    seen = Seen(CASE, tuple(map(Answer, texts)))
    hidden = Seen(CASE, tuple(map(Answer, clean or texts)))
    return asyncio.run(values_of(scorers, seen, hidden, Means(others.ask, others.own)))


@pytest.mark.parametrize(
    ("by", "texts", "expected"),
    [
        ([{"kind": "regex", "pattern": "a"}], ["abc"], [1.0]),
        ([{"kind": "regex", "pattern": "a"}], ["abc", "xyz"], [1.0, 0.0]),
        ([{"kind": "json", "schema": {"type": "object"}}], ["no"], [0.0]),
        # The pool's own is held against itself: as far as it is good at all.
        (
            [{"kind": "json", "schema": {"type": "object"}}],
            ['{"a": 1, "b": 2}', '{"a": 1, "b": 3}'],
            [1.0, 0.5],
        ),
        ([{"kind": "json", "schema": {"type": "object"}}], ["no", '{"a": 1}'], [0.0, 1.0]),
        ([{"kind": "exact"}], ["Yes", "yes "], [1.0, 1.0]),
        ([{"kind": "similarity"}], ["left", "left"], [1.0, 1.0]),
        ([{"kind": "similarity", "pool": "e"}], ["left", "right"], [1.0, 0.0]),
        ([{"kind": "python", "function": "f"}], ["a"], [1.0]),
        ([{"kind": "python", "function": "f"}], ["a", "b"], [0.5, 0.5]),
        # One that is not for this call takes no part.
        ([{"kind": "regex", "pattern": "a"}, {"kind": "tools"}], ["a", "b"], [1.0, 0.0]),
        (
            [
                {"kind": "regex", "pattern": "a", "match": {"team": "legal"}},
                {"kind": "regex", "name": "x", "pattern": "b"},
            ],
            ["a"],
            [0.0],
        ),
    ],
)
def test_by_rule(by: list[dict[str, Any]], texts: list[str], expected: list[float]) -> None:
    assert values(by, *texts) == expected


def test_a_judge_gives_marks_and_sees_what_is_redacted() -> None:
    others = Others({"<answer>\\nhidden good": '{"mark": 8}', "<answer>\\nhidden bad": '{"mark": 1}'})
    by = [{**JUDGE, "grade": True}]
    assert values(by, "plain good", "plain bad", others=others, clean=["hidden good", "hidden bad"]) == [
        0.8,
        0.1,
    ]
    assert len(others.asked) == 2 and not [text for text in others.asked if "plain" in text]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # Who wins in both places has won; who wins in one only has won nothing.
        ({"<answer_a>\\nnew": '{"winner": "A"}', "<answer_b>\\nnew": '{"winner": "B"}'}, 1.0),
        ({"<answer_a>\\nnew": '{"winner": "B"}', "<answer_b>\\nnew": '{"winner": "A"}'}, 0.0),
        ({"<answer_a>": '{"winner": "A"}'}, 0.5),
        ({"<answer_a>": '{"winner": "tie"}'}, 0.5),
    ],
)
def test_a_judge_of_pairs_is_asked_twice(said: dict[str, str], expected: float) -> None:
    others = Others(said)
    assert values([JUDGE], "old", "new", others=others) == [0.5, expected]
    assert len(others.asked) == 2


def test_the_same_words_need_no_judge() -> None:
    others = Others({})
    assert values([JUDGE], "same", "same", others=others) == [0.5, 0.5]
    assert others.asked == []


@pytest.mark.parametrize(
    ("by", "texts", "why"),
    [
        ([{**JUDGE, "grade": True}], ["a"], "judge"),  # it names no mark
        ([JUDGE], ["a", "b"], "judge"),
        ([JUDGE], ["a"], "unfit"),
        ([{"kind": "exact"}], ["a"], "unfit"),
        ([{"kind": "regex", "pattern": "a"}, {**JUDGE, "grade": True}], ["a"], "judge"),
    ],
)
def test_no_score_is_better_than_a_part_of_one(by: list[dict[str, Any]], texts: list[str], why: str) -> None:
    with pytest.raises(NoScore, match=f"^{why}$"):
        values(by, *texts)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=2), st.floats(0.1, 10), st.floats(0.1, 10))
def test_scores_are_between_0_and_1(texts: list[str], one: float, other: float) -> None:
    by = [
        {"kind": "regex", "pattern": "a", "weight": one},
        {"kind": "rubric", "rubric": [{"at_most": 10}, {"says": "b"}], "weight": other},
    ]
    found = values(by, *texts)
    assert len(found) == len(texts) and all(0.0 <= value <= 1.0 for value in found)
    # What is the same has the same.
    assert len(set(values(by, texts[0], texts[0]))) == 1
