"""What is wrong → what is said of it, word for word: file, line, field, wrong, right."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelbroker.dialects import DEVIATIONS
from modelbroker.settings import Problem, SettingsError, compile_texts

DIALECTS = {
    "openai-chat",
    "openai-responses",
    "openai-embeddings",
    "anthropic-messages",
    "bedrock-converse",
    "gemini",
}
M = "members: [{provider: openai, model: m}]"
POOL = f"pools: [{{name: p, {M}}}]\n"


def problems(**files: str) -> list[str]:
    try:
        texts = {f"{name}.yaml": text for name, text in files.items()}
        compile_texts(texts, dialects=DIALECTS, built=DIALECTS, deviations=DEVIATIONS)
    except SettingsError as error:
        assert str(error) == "\n".join(map(str, error.problems))
        return [str(problem).removeprefix("a.yaml:") for problem in error.problems]
    return []


def test_how_a_problem_reads() -> None:
    wrong, right = '"heavy" is not a whole number', "give a weight of 0 or more, e.g. 70"
    problem = Problem("config/pools.yaml", 12, "pools[0].members[1].weight", wrong, right)
    assert str(problem) == (
        'config/pools.yaml:12: pools[0].members[1].weight: "heavy" is not a whole number; '
        "give a weight of 0 or more, e.g. 70"
    )
    assert str(Problem("x", 0, "", "is gone", "look for it")) == "x: is gone; look for it"


TABLE = [
    tuple(block.strip("\n").split("\n=> "))
    for block in Path(__file__).with_name("bad.txt").read_text(encoding="utf-8").split("\n\n")[1:]
]


@pytest.mark.parametrize(("text", "said"), TABLE)
def test_one_problem(text: str, said: str) -> None:
    more = {} if text.startswith("pools:") else {"z": POOL}
    assert problems(a=text, **more) == [said]


def test_names_of_places_are_not_repeated() -> None:
    """One may be a secret in the wrong place, and no message has several lines."""
    text = 'providers: [{name: openai, credential: {vault: llm/openai, "sk-1\\n": null}}]'
    said = problems(a=text, z=POOL)
    told = "1: providers[0].credential: names 2 places; give one place, e.g. {vault: llm/openai, field: key}"
    assert told in said
    assert not any("sk-1" in one or "\n" in one for one in said)


def test_all_at_once_by_file_and_line() -> None:
    first = f"rules:\n- match: {{teir: x}}\n  pool: q\npools:\n- name: p\n  {M}\n  weight: 3"
    second = f"pools:\n- name: p\n  {M}\nlisten: {{port: x}}"
    assert problems(a=first, b=second) == [
        '2: rules[0].match.teir: there is no fact "teir"; did you mean "tier"?',
        '3: rules[0].pool: there is no pool "q"; the pools are p',
        '7: pools[0].weight: there is no "weight" here; the keys here are name, routing, failover, cache, '
        "aliases, members, timeouts, usage_event, on, hedge, affinity, guard, shadow, rollout, ejection",
        'b.yaml:2: pools[0].name: the name "p" is taken already at a.yaml:5; give each pool its own name',
        'b.yaml:4: listen.port: "x" is not a whole number; give a port from 0 to 65535',
    ]


def test_all_parts_of_a_budget_at_once() -> None:
    steps = "[{80%: degrade}, {90%: {degrade: nopool}}, {100%: block}]"
    right = "give warn, deny or {degrade: NAME OF A POOL}"
    assert problems(a=f"budgets: [{{name: b, amount: $1, per: day, at: {steps}}}]\n" + POOL) == [
        f'1: budgets[0].at[0]: "degrade" is nothing to do there; {right}',
        '1: budgets[0].at[1]: there is no pool "nopool"; the pools are p',
        f'1: budgets[0].at[2]: "block" is nothing to do there; {right}',
    ]


def test_the_same_key_in_two_files() -> None:
    assert problems(a="listen:\n  port: 1\n" + POOL, b="listen: {port: 2}") == [
        "b.yaml:1: listen.port: is set already at a.yaml:2; keep one of the two"
    ]
    assert problems(a="facts: {headers: {a: x-a}}\n" + POOL, b="facts: {headers: {a: x-b}}") == [
        "b.yaml:1: facts.headers.a: is set already at a.yaml:1; keep one of the two"
    ]


@pytest.mark.parametrize("files", [{}, {"a": ""}, {"a": "# nothing\n"}, {"a": "pools:"}, {"a": "pools: []"}])
def test_no_pools(files: dict[str, str]) -> None:
    (problem,) = problems(**files)
    assert problem.removeprefix("configuration:") == (
        "1: the configuration has no pools; begin with `pools: [{name: my-pool, members: [{provider: "
        "anthropic, model: claude-sonnet-4-6}]}]`; config/modelbroker.yaml is a whole example"
    )


def test_a_wrong_file_does_not_make_the_others_wrong() -> None:
    found = problems(a=POOL + "rules: [{match: {}, pool: q}]", b="pools: [{name: q")
    assert len(found) == 1
    assert found[0].startswith("b.yaml:2: not YAML: ")


def test_a_thousand_mistakes_are_told_in_time() -> None:
    members = ", ".join(f"{{provider: provder-{i}, model: m}}" for i in range(300))
    rules = "\n".join(f"- {{match: {{tier: a}}, pool: pol-{i}}}" for i in range(300))
    pools = "\n".join(f"- {{name: pool-{i}, {M}}}" for i in range(500))
    text = f"rules:\n{rules}\npools:\n- {{name: x, members: [{members}]}}\n{pools}"
    assert len(problems(a=text)) == 600
