"""`prices`, and what `check` and `explain` say of them: the commands themselves, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from modelbroker.cli import prices as module
from modelbroker.cli.main import main

CONFIG = """\
pools:
  - name: p
    members:
      - {provider: anthropic, model: claude-opus-4-7}
      - {provider: openai, model: gpt-5.4}
      - {provider: openai, model: gpt-nobody-knows}
      - {provider: vllm, model: qwen}
prices:
  - {provider: vllm, commitment: true}
  - provider: anthropic
    model: claude-*
    from: 2026-09-01
    input: 4.50
    output: 22.50
    above: {200k: {input: 9}}
    batch: {input: 2.25, output: 11.25}
callers:
  - {name: tester, key: {env: TESTERS_KEY}}
"""
Told = tuple[int, str, str]


@pytest.fixture
def told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Exit code, stdout and stderr of a command; CONFIG stands for the path of a configuration."""
    path = tmp_path / "broker.yaml"
    path.write_text(CONFIG)

    def run(*arguments: str) -> Told:
        code = main([str(path) if argument == "CONFIG" else argument for argument in arguments])
        out, err = capsys.readouterr()
        return code, out.replace(str(path), "broker.yaml"), err.replace(str(path), "broker.yaml")

    return run


def rows(out: str) -> list[list[str]]:
    """Cells of a table: two spaces or more are between them."""
    table = out.partition("\n\n")[0].splitlines()
    return [line.split() for line in table]


def test_the_table_of_what_is_in_effect(told: Callable[..., Told]) -> None:
    code, out, err = told("prices", "--config", "CONFIG", "--at", "2026-11-01")
    assert (code, err) == (0, "")
    lines = rows(out)
    assert lines[0][:4] == ["MEMBER", "INPUT", "CACHE", "READ"]
    assert lines[1] == [
        *("anthropic/claude-opus-4-7", "4.5", "?", "?", "?", "22.5", "from", "2026-09-01", "broker.yaml:10")
    ]
    assert lines[2] == ["above", "200k", "9", "?", "?", "?", "22.5"]
    assert lines[3] == ["batch", "2.25", "?", "?", "?", "11.25"]
    assert lines[4][:6] == ["openai/gpt-5.4", "2.5", "0.25", "?", "?", "15"]
    assert out.count("genai-prices 0.2.") == 1 and "(openai/gpt-5.4)" in out
    further = ["web", "searches", "10000"]  # a million of them
    assert ["flex", "above", "272k", "2.5", "0.25", "?", "?", "11.25", *further] in lines
    (unknown,) = [line for line in lines if line[0] == "openai/gpt-nobody-knows"]
    assert unknown[1:] == ["?", "?", "?", "?", "?", "nowhere:", "add", "it", "to", "`prices`"]
    assert lines[-1] == ["vllm/qwen", "0", "0", "0", "0", "0", "paid", "otherwise", "broker.yaml:9"]
    assert "Dollars per million tokens; ?: not known. Revision " in out
    assert out.endswith("Web searches: dollars per million of them, which are no tokens.\n")


def test_at_another_day_another_price(told: Callable[..., Told]) -> None:
    assert rows(told("prices", "--config", "CONFIG", "--at", "2026-08-31", "opus")[1])[1][1] == "5"
    assert rows(told("prices", "--config", "CONFIG", "--at", "2026-09-01T00:00", "opus")[1])[1][1] == "4.5"


@pytest.mark.parametrize(("model", "members"), [("gpt", 2), ("openai/*", 2), ("*qwen", 1), ("", 4)])
def test_some_of_the_members(told: Callable[..., Told], model: str, members: int) -> None:
    code, out, _ = told("prices", "--config", "CONFIG", "--format", "json", model)
    answer = json.loads(out)
    assert (code, len(answer["prices"])) == (0, members)


def test_json_has_exact_numbers(told: Callable[..., Told]) -> None:
    answer = json.loads(told("prices", "--config", "CONFIG", "--format", "json", "--at", "2026-11-01")[1])
    by_member = {each["member"]: each["price"] for each in answer["prices"]}
    assert by_member["openai/gpt-nobody-knows"] is None
    assert by_member["vllm/qwen"]["commitment"] is True
    claude = by_member["anthropic/claude-opus-4-7"]
    assert claude["standard"] == {
        "rates": {"input": 4_500_000_000, "output": 22_500_000_000},
        "above": [{"tokens": 200_000, "rates": {"input": 9_000_000_000, "output": 22_500_000_000}}],
    }
    assert claude["source"] == "broker.yaml:10" and len(answer["revision"]) == 12


def test_a_name_that_is_none(told: Callable[..., Told]) -> None:
    assert told("prices", "--config", "CONFIG", "nope") == (1, "", "no member's name has 'nope' in it\n")


def test_check_names_who_has_no_price(told: Callable[..., Told]) -> None:
    code, _, err = told("check", "--no-envoy", "CONFIG")
    assert code == 0
    (line,) = [line for line in err.splitlines() if "has no price" in line]
    assert line.startswith(
        "warning: broker.yaml:6: pools[0].members[2].model: openai/gpt-nobody-knows has no"
    )


def test_check_says_that_there_is_no_price_list(
    told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.bundled.__globals__["importlib"].util, "find_spec", lambda name: None)
    code, _, err = told("check", "--no-envoy", "CONFIG")
    assert code == 0
    assert "warning: the package genai-prices is not here, so only models in `prices` have a price" in err
    assert len([line for line in err.splitlines() if "has no price" in line]) == 2
    assert "4.5" in told("prices", "--config", "CONFIG", "opus")[1]


def test_explain_says_what_a_member_costs(
    told: Callable[..., Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTERS_KEY", "secret")
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"model": "p", "messages": [{"role": "user", "content": "hi"}]}))
    asked = ("explain", "--config", "CONFIG", "--caller", "tester", "--assume-credentials", str(body))
    lines = told(*asked)[1].splitlines()
    begin = lines.index("prices") + 1
    # 16 tokens in, and 1,000 out where nobody says how many they may be.
    assert dict(line.split(maxsplit=1) for line in lines[begin:-1]) == {
        "anthropic/claude-opus-4-7": "$4.5 in, $22.5 out a million tokens; this call $0.022572",
        "openai/gpt-5.4": "$2.5 in, $15 out a million tokens; this call $0.01504",
        "openai/gpt-nobody-knows": "its price is not known",
        "vllm/qwen": "paid otherwise; this call $0",
    }


CHEAPEST = """\
pools:
  - name: p
    routing: {by: cheapest, tolerance: 60%}
    hedge: 1s
    members:
      - {provider: openai, model: gpt-nobody-knows, weight: 90}
      - {provider: anthropic, model: claude-opus-4-7}
      - {provider: openai, model: gpt-5.4, weight: 3}
      - {provider: openai, model: gpt-5.4-pro}
prices:
  - {provider: anthropic, model: claude-*, input: 4.50, output: 22.50}
  - {provider: openai, model: gpt-5.4, input: 2.50, output: 15}
  - {provider: openai, model: gpt-5.4-pro, input: 30, output: 180}
callers:
  - {name: tester, key: {env: TESTERS_KEY}}
"""


def test_check_and_explain_of_a_pool_that_wants_the_cheapest(
    told: Callable[..., Told], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTERS_KEY", "secret")
    (tmp_path / "broker.yaml").write_text(CHEAPEST)
    code, _, err = told("check", "--no-envoy", "CONFIG")
    assert code == 0
    assert "pools[0].hedge: a call that is for the cheapest member is not hedged" in err
    assert (
        "pools[0].members[0].model: openai/gpt-nobody-knows has no price, so what its calls cost is unknown, "
        "and it is the last to be tried (routing: cheapest)"
    ) in err
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"model": "p", "messages": [{"role": "user", "content": "hi"}]}))
    asked = ("explain", "--config", "CONFIG", "--caller", "tester", "--assume-credentials", str(body))
    text, story = told(*asked)[1], json.loads(told(*asked[:-1], "--json", asked[-1])[1])
    chances = {one["member"]: one["chance"] for one in story["eligible"]}
    assert chances == {
        "openai/gpt-nobody-knows": 0.0,
        "anthropic/claude-opus-4-7": 0.25,
        "openai/gpt-5.4": 0.75,
        "openai/gpt-5.4-pro": 0.0,
    }
    assert story["facts"]["cost.estimate"] == 22_572_000, "of those that may be first the dearest"
    assert story["order"][2:] == ["openai/gpt-5.4-pro", "openai/gpt-nobody-knows"]
    assert f"cheapest {', '.join(story['order'])}" in text
    assert "openai/gpt-5.4-pro                       weight 1, not among the cheapest" in text
    assert "cost.estimate      $0.022572" in text
