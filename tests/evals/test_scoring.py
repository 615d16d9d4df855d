"""Scorers, judges and schemas: tables."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.core.errors import Misconfigured
from modelbroker.core.jsonschema import mistake_in, problem_of, same
from modelbroker.evals.answers import Answer, Used
from modelbroker.evals.cases import Case
from modelbroker.evals.custom import function_named, scored_by
from modelbroker.evals.grading import Grader
from modelbroker.evals.judging import mark_of, pair_request, verdict_of, winner_of
from modelbroker.evals.outcomes import Outcome
from modelbroker.evals.redacting import redact_with
from modelbroker.evals.scoring import Score, applies, score
from modelbroker.evals.similarity import alike, cosine
from modelbroker.evals.suite import read_suite
from modelbroker.settings.scorer_schema import ScorerIn

PERSON = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
}


def scorer(**said: Any) -> ScorerIn:
    return ScorerIn.model_validate(said)


def case(request: Mapping[str, Any] | None = None, **slices: str) -> Case:
    return Case("c", "openai-chat", request or {"model": "m", "messages": []}, slices=slices)


def calls(*said: tuple[str, Any]) -> Answer:
    return Answer("", tuple(Used(name, arguments) for name, arguments in said))


@pytest.mark.parametrize(
    ("said", "answer", "reference", "value"),
    [
        ({"kind": "exact"}, "  Paris\n", "paris", 1.0),
        ({"kind": "exact", "case": True}, "paris", "Paris", 0.0),
        ({"kind": "regex", "pattern": r"\b42\b"}, "It is 42.", "", 1.0),
        ({"kind": "regex", "pattern": r"^42$"}, "It is 42.", "", 0.0),
        (
            {"kind": "rubric", "rubric": [{"says": "refund", "weight": 3}, {"at_most": 10}]},
            "your refund is due",
            "",
            0.75,
        ),
        ({"kind": "rubric", "rubric": [{"says_not": "sorry"}, {"at_least": 3}]}, "fine", "", 1.0),
        ({"kind": "json"}, "no json", '{"a": 1}', 0.0),
        ({"kind": "json"}, '```json\n{"a": 1, "b": {"c": 2}}\n```', '{"a": 1, "b": {"c": 3}}', 0.5),
        ({"kind": "json", "fields": ["a"]}, '{"a": 1, "b": 2}', '{"a": 1, "b": 3}', 1.0),
        ({"kind": "json"}, '{"a": true}', '{"a": 1}', 0.0),
        ({"kind": "json", "schema": PERSON}, '{"age": 3}', "x", 0.0),
        ({"kind": "json", "schema": PERSON}, '{"name": "Ann", "age": 3}', "x", 1.0),
        ({"kind": "similarity"}, "the same text", "The  same text", 1.0),
        ({"kind": "similarity"}, "", "text", 0.0),
    ],
)
def test_texts(said: dict[str, Any], answer: str, reference: str, value: float) -> None:
    assert score(scorer(**said), case(), Answer(answer), Answer(reference)).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        (calls(("f", {"x": 1})), calls(("f", {"x": 1})), 1.0),
        (calls(("f", {"x": 1, "y": 2})), calls(("f", {"x": 1, "y": 3})), 0.5),
        (calls(("g", {"x": 1})), calls(("f", {"x": 1})), 0.0),
        (calls(("f", {"x": 2}), ("f", {"x": 1})), calls(("f", {"x": 1}), ("f", {"x": 2})), 1.0),
        (calls(("f", {}), ("f", {})), calls(("f", {})), 0.5),
        (Answer("I ask first"), calls(("f", {})), 0.0),
        (Answer("a"), Answer("b"), 1.0),
    ],
)
def test_tool_calls(answer: Answer, reference: Answer, value: float) -> None:
    assert score(scorer(kind="tools"), case(), answer, reference).value == pytest.approx(value)


def test_arguments_may_be_left_aside() -> None:
    assert score(scorer(kind="tools", arguments=False), case(), calls(("f", 1)), calls(("f", 2))).value == 1.0


def test_who_can_say_something_is_the_same_for_every_candidate() -> None:
    asked = {"model": "m", "response_format": {"type": "json_schema", "json_schema": {"schema": PERSON}}}
    assert applies(scorer(kind="json"), case(asked), None)
    assert not applies(scorer(kind="json"), case(), Answer("text"))
    assert not applies(scorer(kind="exact"), case(), None)
    assert applies(scorer(kind="tools"), case(tools="yes"), Answer())
    assert not applies(scorer(kind="tools"), case(tools="no"), Answer())
    assert not applies(scorer(kind="regex", pattern="a", match={"team": ["x"]}), case(team="y"), None)
    # The request's own schema is what counts.
    assert score(scorer(kind="json"), case(asked), Answer('{"age": 1}'), Answer()).why == "$.name: is missing"


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "minimum": 1}, 2.0, 1.5),
        ({"enum": ["a", 1]}, 1, True),
        ({"type": ["string", "null"]}, None, 1),
        ({"type": "object", "additionalProperties": False, "properties": {"a": {}}}, {"a": 1}, {"b": 1}),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, ["a"], [1]),
        ({"anyOf": [{"type": "string"}, {"type": "number"}]}, 1, []),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1.5, 1),
        ({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"}, "x", 1),
        ({"not": {"type": "string"}}, 1, "x"),
        ({"const": {"a": [1]}}, {"a": [1.0]}, {"a": [2]}),
        ({"type": "string", "pattern": "^a", "maxLength": 2}, "ab", "abc"),
    ],
)
def test_schemas(schema: Any, good: Any, bad: Any) -> None:
    assert problem_of(good, schema) == ""
    assert problem_of(bad, schema) != ""


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_an_answer_agrees_with_itself(value: Any) -> None:
    text = Answer(json.dumps(value))
    assert same(value, json.loads(json.dumps(value)))
    assert score(scorer(kind="json"), case(), text, text).value == 1.0


@given(st.text(max_size=40), st.text(max_size=40))
def test_likeness_is_mutual_and_bounded(one: str, other: str) -> None:
    assert alike(one, other) == pytest.approx(alike(other, one))
    assert -1e-9 <= alike(one, other) <= 1 + 1e-9
    assert alike(one, one) == pytest.approx(1.0)


def test_embeddings() -> None:
    assert cosine([1, 0], [1, 0]) == 1.0
    assert cosine([1, 0], [-1, 0]) == 0.0
    assert cosine([0, 0], [1, 0]) == 0.0


def test_a_judge_must_say_the_same_in_both_places() -> None:
    a, b, tie = 'Good.\n{"winner": "A"}', 'x {"winner": "B"}', '```json\n{"winner": "tie"}\n```'
    assert verdict_of(a, b) == Score(1.0, "Good.")
    assert verdict_of(b, a).value == 0.0
    assert verdict_of(a, a) == Score(0.5, "tie")
    assert verdict_of(tie, b).value == 0.5
    assert mark_of('Fine {"mark": 7}').value == 0.7
    for bad in ("A", '{"winner": "C"}', ""):
        with pytest.raises(ValueError, match="no winner"):
            winner_of(bad)
    with pytest.raises(ValueError, match="no mark"):
        mark_of('{"mark": 11}')


def test_what_a_judge_is_asked_holds_both_answers_and_no_model() -> None:
    body = pair_request(
        case({"model": "secret-model", "messages": ["Q"]}),
        Answer("one"),
        calls(("f", 1)),
        Answer("ref"),
        "tone",
    )
    text = body["messages"][0]["content"]
    for piece in ("one", "[calls f 1]", "ref", "tone", '["Q"]'):
        assert piece in text
    assert "secret-model" not in text


def shout(given: Mapping[str, Any]) -> Any:
    return {"!": (1.0, "loud"), "?": 2, "": True}[given["answer"]["text"]]


def test_a_users_own_function() -> None:
    function = function_named(f"{__name__}:shout") if __name__ in __import__("sys").modules else shout
    assert scored_by(function, case(), Answer("!"), None) == Score(1.0, "loud")
    assert scored_by(function, case(), Answer(""), None) == Score(1.0)
    with pytest.raises(ValueError, match="no number from 0 to 1"):
        scored_by(function, case(), Answer("?"), None)
    with pytest.raises(ValueError, match="KeyError"):
        scored_by(function, case(), Answer("x"), None)
    assert function_named("json:dumps") is json.dumps
    for name in ("nobody", "json:nothing", "no.such.module:f", "json:__name__"):
        with pytest.raises(Misconfigured):
            function_named(name)


def leaves(given: Mapping[str, Any]) -> float:
    raise SystemExit(3)


def test_a_function_that_leaves_or_a_module_that_breaks_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a user's: no traceback of ours, and no end of who asks it."""
    with pytest.raises(ValueError, match="SystemExit"):
        scored_by(leaves, case(), Answer("x"), None)
    (tmp_path / "odd_scorer_1.py").write_text("def score(:\n")
    (tmp_path / "odd_scorer_2.py").write_text("1 / 0\n")
    (tmp_path / "odd_scorer_3.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name, why in (("1", "SyntaxError"), ("2", "ZeroDivisionError"), ("3", "SystemExit")):
        with pytest.raises(Misconfigured, match=f"odd_scorer_{name}:score can't be had: {why}"):
            function_named(f"odd_scorer_{name}:score")


def graded(kind: str, replies: list[bytes | str], **said: Any) -> tuple[Any, list[Mapping[str, Any]]]:
    text = (
        "name: a\ndata: {file: x}\ncandidates: [{name: old, pool: a}, {name: new, pool: b}]\n"
        f"scorers: [{json.dumps({'kind': kind, **said})}]\n"
    )
    asked: list[Mapping[str, Any]] = []

    async def ask(caller: str, path: str, body: Mapping[str, Any]) -> bytes:
        asked.append(body)
        reply = replies.pop(0)
        if isinstance(reply, bytes):
            return reply
        message = {"message": {"role": "assistant", "content": reply}, "finish_reason": "stop"}
        return json.dumps({"choices": [message]}).encode()

    grader = Grader(read_suite("s", text), ask)
    old, new = Outcome("c", "old", 200, "", Answer("old")), Outcome("c", "new", 200, "", Answer("new"))
    case_ = Case("c", "openai-chat", {"model": "m", "messages": []}, expected="good")
    return asyncio.run(grader.grade(case_, new, old, [])), asked


def test_pairs_are_asked_for_twice_with_places_swapped() -> None:
    found, asked = graded("judge", ['{"winner": "A"}', '{"winner": "B"}'], pool="judges")
    assert [one.value for one in found] == [1.0]
    first, second = (body["messages"][0]["content"] for body in asked)
    assert first.index("<answer_a>\nnew") < first.index("<answer_b>\nold")
    assert second.index("<answer_a>\nold") < second.index("<answer_b>\nnew")


def test_a_judge_that_says_nothing_is_no_score() -> None:
    found, _ = graded("judge", ["hm"], pool="judges", grade=True)
    assert (found[0].value, found[0].why) == (None, "the judge gave no mark")


def test_likeness_by_a_pools_embeddings() -> None:
    vector = json.dumps({"data": [{"embedding": [1, 0]}]}).encode()
    found, asked = graded("similarity", [vector, vector], pool="vectors")
    assert found[0].value == 1.0
    assert [body["input"] for body in asked] == ["new", "good"]
    assert graded("similarity", [b"{}"], pool="vectors")[0][0].why == "vectors gave no embedding"


def test_redaction_is_that_of_captured_traffic() -> None:
    redact = redact_with(["email", "keys"], [("order", r"A-\d{6}")])
    assert redact("Ask ann@example.com about A-123456") == "Ask [email] about [order]"


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({}, ""),
        ({"type": ["object", "null"], "properties": {"a": True, "b": {"items": {"type": "string"}}}}, ""),
        ({"items": [{"type": "string"}]}, ""),  # tuples of before 2020-12
        ({"type": "text"}, "$.type: 'text' is none of object, "),
        ({"anyOf": [{"type": "string"}, {"type": 7}]}, "$.anyOf[1].type: 7 is none of"),
        (
            {"properties": {"a": {"additionalProperties": 5}}},
            "$.properties.a.additionalProperties is no mapping",
        ),
        ({"required": "city"}, "$.required is no list"),
        ({"properties": ["city"]}, "$.properties is no mapping"),
    ],
)
def test_a_schema_that_means_nothing_is_told(schema: dict[str, object], told: str) -> None:
    found = mistake_in(schema)
    assert found.startswith(told) and bool(found) == bool(told)
