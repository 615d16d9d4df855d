"""Cases out of files and captured traffic, and samples of them."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from modelbroker.core.traffic import Sample
from modelbroker.evals.answers import Answer, Used, answer_from, read_answer
from modelbroker.evals.cases import Case, NoCase, case_of_line, case_of_sample, expected_answer, stratified

CHAT = {"model": "support", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


def case(name: str, **slices: str) -> Case:
    return Case(name, "openai-chat", {"model": "m"}, slices=slices)


def test_the_short_form_is_a_request() -> None:
    made = case_of_line(
        json.dumps({"question": "2 + 2?", "expected": "4", "team": "a", "dialect": "anthropic-messages"}), 7
    )
    assert made.id == "7"
    assert made.path == "/v1/messages"
    assert made.request["messages"] == [{"role": "user", "content": "2 + 2?"}]
    assert made.slices["team"] == "a"
    assert (made.slices["stream"], made.slices["tools"], made.slices["context"]) == ("no", "no", "up to 1k")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[]", "is no JSON object"),
        ("{}", "needs one of question, messages and request"),
        ('{"question": "a", "messages": []}', "needs one of"),
        ('{"question": "a", "expcted": 1}', "has expcted, which is no field of a case"),
        ('{"question": "a", "dialect": "gemini"}', "gemini is no dialect of conversations"),
        ('{"request": {"model": 3}}', "request: "),
        ('{"question": "a", "reply": {"choices": []}}', "reply: "),
        (
            '{"request": {"model": "m", "input": "a", "tools": [{"type": "web_search"}]}, "dialect": "openai-responses"}',  # noqa: E501
            "runs none",
        ),
    ],
)
def test_what_is_no_case_is_told(line: str, told: str) -> None:
    with pytest.raises(NoCase) as caught:
        case_of_line(line, 1)
    assert told in str(caught.value)


def sample(**more: object) -> Sample:
    reply = json.dumps(
        {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    )
    known = {
        "request_id": "a" * 32,
        "at_s": 1.0,
        "dialect": "openai-chat",
        "path": "/v1/chat/completions",
        "status": 200,
        "team": "blue",
        "request": json.dumps({**CHAT, "stream": False}).encode(),
        "reply": reply.encode(),
        **more,
    }
    return Sample(**known)  # type: ignore[arg-type]


def test_captured_traffic_is_asked_again_as_it_was() -> None:
    made = case_of_sample(sample())
    assert made.captured == Answer("Hi", (), "end")
    assert made.model == "support"
    assert made.people == {"team": "blue"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"request": None}, "not captured"),
        ({"cut": "size"}, "cut"),
        ({"path": "/v1/embeddings", "dialect": "openai-embeddings"}, "no conversation"),
        ({"request": b"{"}, "no JSON object"),
    ],
)
def test_what_cannot_be_asked_again_is_told(more: dict[str, object], told: str) -> None:
    with pytest.raises(NoCase, match=told):
        case_of_sample(sample(**more))


def test_a_reply_that_failed_or_was_cut_is_no_reference() -> None:
    assert case_of_sample(sample(status=500)).captured is None
    assert case_of_sample(sample(cut="ended")).captured is None
    assert case_of_sample(sample(reply=b"{}")).captured is None


def test_streams_are_read_to_their_end() -> None:
    def event(delta: dict[str, object], finish: str | None = None) -> bytes:
        return (
            b"data: "
            + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()
            + b"\n\n"
        )

    stream = event({"role": "assistant", "content": "Good "}) + event({"content": "day"}) + event({}, "stop")
    assert read_answer("openai-chat", stream + b"data: [DONE]\n\n", True).text == "Good day"
    with pytest.raises(ValueError, match="no end"):
        read_answer("openai-chat", event({"content": "Good "}), True)


def test_answers_come_back_from_the_disk() -> None:
    answer = Answer("a", (Used("f", {"x": [1, None]}), Used("g", "no json")), "tool_calls", True)
    assert answer_from(json.loads(json.dumps(answer.as_json()))) == answer


def test_what_a_file_expects() -> None:
    assert expected_answer(None) is None
    assert expected_answer("4") == Answer("4")
    assert expected_answer({"a": 1}) == Answer('{"a": 1}')
    assert expected_answer({"tool_calls": [{"name": "f", "arguments": {"x": 1}}]}) == Answer(
        "", (Used("f", {"x": 1}),)
    )


@given(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=60), st.integers(1, 80), st.integers(0, 9)
)
@example(["a", "a", "a", "a", "b", "c"], 3, 0)  # two have half a case, and one remains
def test_each_stratum_has_its_share(teams: list[str], most: int, seed: int) -> None:
    cases = [case(str(number), team=team) for number, team in enumerate(teams)]
    drawn = stratified(cases, most, ["team"], seed)
    assert len(drawn) == min(most, len(cases))
    assert len({one.id for one in drawn}) == len(drawn)
    assert drawn == stratified(list(reversed(cases)), most, ["team"], seed)
    had, got = Counter(teams), Counter(one.slices["team"] for one in drawn)
    for team, count in had.items():
        assert got[team] <= count
        if most >= len(had):
            assert got[team] >= 1
            assert got[team] >= int(min(most, len(cases)) * count / len(cases)) - (len(had) - 1)


def test_another_seed_draws_others() -> None:
    cases = [case(str(number)) for number in range(100)]
    assert stratified(cases, 10, [], 1) != stratified(cases, 10, [], 2)
