"""The commands as a shell sees them: text, exit codes, nothing of a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from modelbroker.cli.main import main
from support.broker import KEY, KEY_SHA256

CONFIG = """\
pools:
  - name: fast
    members:
      - {provider: anthropic, model: claude-x, weight: 70, capabilities: {tools: no}}
      - {provider: openai, model: gpt-x, weight: 30}
rules:
  - name: long
    match: {context.tokens: ">100k"}
    deny: too long
callers:
  - {name: tester, key: {sha256: SHA}, tier: premium}
""".replace("SHA", KEY_SHA256)


def run(*arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelbroker.cli.main", *arguments]
    path = "/usr/bin:/bin"
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        env={"PATH": path, "HOME": "/nonexistent", **environ},
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done


def run_here(*arguments: str, stdin: str) -> str:
    """What a command prints, run in this process: a new one takes a second to be there."""
    said = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}, clear=True),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()))),
        contextlib.redirect_stdout(said),
    ):
        main(arguments)
    return said.getvalue()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "broker.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize("command", ["up", "serve", "bootstrap", "check", "explain", "prices", "mock"])
def test_help_has_examples(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert "examples:\n  modelbroker " + command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice"),
        (["up"], "--config"),
        (["up", "--config", "x", "--port", "http"], "give a number from 0"),
        (["up", "--config", "x", "--port", "70000"], "give a number from 0"),
        (["up", "--config", "x", "--drain-timeout", "soon"], "give seconds"),
        (["serve", "--config", "x", "--xds", "here"], "give HOST:PORT or unix:/PATH"),
        (["mock", "--dialect", "cobol"], "invalid choice"),
        (["prices", "--config", "x", "--at", "June"], "give e.g. 2026-06-01 or 2026-06-01T18:00"),
        (["mock", "--tls-cert", "x"], "go together"),
    ],
)
def test_bad_use_is_exit_code_2(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_check_says_that_envoy_takes_it(config: Path) -> None:
    done = run("check", str(config))
    assert done.returncode == 0, done.stderr
    assert "1 pools, 2 members; Envoy takes it" in done.stdout
    assert "OPENAI_API_KEY is not set" in done.stderr


def test_check_says_everything_at_once(tmp_path: Path) -> None:
    path = tmp_path / "broker.yaml"
    path.write_text(
        CONFIG.replace("weight: 70", "weight: heavy").replace("provider: openai", "provider: opnai")
    )
    done = run("check", str(path))
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"{path}:4: pools[0].members[0].weight: ")
    assert second.startswith(f"{path}:5: pools[0].members[1].provider: ")
    assert "openai" in second


def test_check_knows_the_deviations(tmp_path: Path) -> None:
    """The dialects' own tables reach a user's YAML: names, kinds and words."""
    path = tmp_path / "broker.yaml"
    lines = (
        "providers:",
        "- name: groq",
        "  deviations:",
        "    max_token_field: max_tokens",
        "    stream_usage: maybe",
        "    unsupported: [logprobs, seeds]",
        "- {name: anthropic, deviations: {thinking: sometimes}}",
    )
    path.write_text(CONFIG + "\n".join(lines))
    done = run("check", str(path))
    assert done.returncode == 1
    first = CONFIG.count("\n") + 1
    said = [line for line in done.stderr.splitlines() if ".deviations." in line]
    assert [line.removeprefix(f"{path}:") for line in said] == [
        f"{first + 3}: providers[0].deviations.max_token_field: there is no deviation "
        '"max_token_field"; did you mean "max_tokens_field"?',
        f'{first + 4}: providers[0].deviations.stream_usage: "maybe" is not of the right kind; '
        "give true or false",
        f'{first + 5}: providers[0].deviations.unsupported[1]: there is no "seeds" here; '
        'did you mean "seed"?',
        f'{first + 6}: providers[1].deviations.thinking: there is no "sometimes" here; '
        "give adaptive, budget, none",
    ]


def test_check_lets_envoy_judge_what_only_envoy_knows(tmp_path: Path) -> None:
    text = CONFIG + "providers: [{name: openai, ca_file: /nonexistent.pem}]\n"
    path = tmp_path / "broker.yaml"
    path.write_text(text)
    done = run("check", str(path), OPENAI_API_KEY="k")
    assert done.returncode == 1
    assert "Envoy would refuse" in done.stderr
    assert "/nonexistent" in done.stderr
    warned = f"warning: {path}:{text.count(chr(10))}: providers[0].ca_file: /nonexistent.pem is not there"
    assert warned in done.stderr
    assert run("check", "--no-envoy", str(path)).returncode == 0


@pytest.mark.parametrize("path", ["/nonexistent", "/nonexistent/x.yaml"])
def test_check_without_a_configuration(path: str) -> None:
    done = run("check", path)
    assert done.returncode == 1
    assert path in done.stderr


def test_explain_tells_the_whole_story(config: Path) -> None:
    messages = [{"role": "user", "content": "hi"}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    body = json.dumps({"model": "fast", "messages": messages, "tools": tools})
    arguments = [
        "explain",
        "--config",
        str(config),
        "--header",
        f"x-api-key={KEY}",
        "--assume-credentials",
        "-",
    ]
    done = run(*arguments, stdin=body)
    assert done.returncode == 0, done.stderr
    assert "openai/gpt-x" in done.stdout
    assert "claude-x takes no tools (no_tools)" in done.stdout
    story = json.loads(run(*arguments[:-1], "--json", "-", stdin=body).stdout)
    assert story["pool"] == "fast"
    assert story["facts"]["tier"] == "premium"
    assert [m["member"] for m in story["eligible"]] == ["openai/gpt-x"]
    assert [(m["member"], m["code"]) for m in story["ruled_out"]] == [("anthropic/claude-x", "no_tools")]


EXPLAINED = """\
providers:
  - {name: own, dialect: openai-chat, base_url: "http://127.0.0.1:9/v1", auth: none}
  - {name: bedrock, region: us-east-1}
pools:
  - name: fast
    members:
      - {provider: own, model: m, weight: 40}
      - {provider: mistral, model: m, weight: 30}
      - {provider: anthropic, model: claude-x, weight: 20}
      - {provider: bedrock, model: claude-x, weight: 10, priority: 1}
  - {name: other, members: [{provider: groq, model: m}]}
  - {name: kept, cache: short-context, members: [{provider: own, model: m}]}
  - name: sticky
    affinity: session
    members: [{provider: own, model: m}, {provider: mistral, model: m}]
callers:
  - {name: tester, key: {sha256: SHA}}
""".replace("SHA", KEY_SHA256)


@pytest.fixture
def explained(tmp_path: Path) -> Callable[..., tuple[str, Any]]:
    """What `explain` says of a body: its text, and its JSON."""
    path = tmp_path / "broker.yaml"
    path.write_text(EXPLAINED)

    def ask(body: Any, *more: str) -> tuple[str, Any]:
        arguments = ["explain", "--config", str(path), "--caller", "tester", *more]
        text = body if isinstance(body, str) else json.dumps(body)
        said = run_here(*arguments, "-", stdin=text)
        return said, json.loads(run_here(*arguments, "--json", "-", stdin=text))

    return ask


def test_explain_says_what_becomes_of_the_call_at_each_member(explained: Callable[..., Any]) -> None:
    asked = {"model": "fast", "messages": [{"role": "user", "content": "hi"}], "seed": 1}
    asked |= {"logit_bias": {"1": 2}}
    text, story = explained(asked, "--assume-credentials")
    lines = [line for line in text.splitlines() if line.startswith(("  + ", "      "))]
    own, mistral, no_bias, claude, neither, bedrock, nor = (" ".join(line.split()) for line in lines)
    assert own == "+ own/m weight 40, first with 44%: passes as it is"
    assert mistral == "+ mistral/m weight 30, first with 33%: is mended, in openai-chat"
    assert claude == "+ anthropic/claude-x weight 20, first with 22%: is translated into anthropic-messages"
    assert bedrock == "+ bedrock/claude-x weight 10, level 1: is translated into bedrock-converse"
    assert no_bias == "without logit_bias"  # Mistral has a seed, under another name
    for line in (neither, nor):
        assert sorted(line.removeprefix("without ").split(", ")) == ["logit_bias", "seed"]
    members = story["eligible"]
    assert [member["way"] for member in members] == ["passes", "mended", "translated", "translated"]
    dialects = ["openai-chat", "openai-chat", "anthropic-messages", "bedrock-converse"]
    assert [member["dialect"] for member in members] == dialects
    assert [len(member["dropped"]) for member in members] == [0, 1, 2, 2]


def test_explain_says_what_the_call_reserves(tmp_path: Path) -> None:
    budgets = """
prices: [{provider: own, model: "*", input: 1, output: 10}, {provider: mistral, model: "*", commitment: true}]
budgets:
- {name: company, amount: $100, per: month}
- {name: each, by: caller, amount: $5, per: day, borrows_from: spare}
- {name: spare, match: {team: nobody}, amount: $1, per: day}
- {name: others, match: {team: others}, amount: $1, per: day}
rate_limits: [{name: rates, by: provider, concurrency: 9}]
"""
    path = tmp_path / "broker.yaml"
    path.write_text(EXPLAINED + budgets)
    asked = {"model": "fast", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000}
    said = run(
        "explain",
        "--config",
        str(path),
        "--caller",
        "tester",
        "--assume-credentials",
        "-",
        stdin=json.dumps(asked),
    )
    _, _, told = said.stdout.partition("\nbudgets\n")
    lines = [line.strip() for line in told.splitlines()]
    assert lines[0].startswith("each (caller=tester): reserves ")
    assert lines[1].startswith("company: reserves ")
    assert "spare: lends of $1" in lines
    assert "rates (provider=own): reserves 1 calls of 9 calls" in lines
    assert "rates (provider=mistral): reserves 1 calls of 9 calls" in lines
    assert "others" not in told


def test_explain_says_what_a_dialect_cannot_say(explained: Callable[..., Any]) -> None:
    """The pool's members are eligible as far as facts tell, and an encoder finds what no fact holds."""
    image = {"type": "image_url", "image_url": {"url": "data:image/bmp;base64,Qk0="}}
    asked = {"model": "fast", "messages": [{"role": "user", "content": [image]}]}
    text, story = explained(asked, "--assume-credentials")
    ways = {member["member"]: (member["way"], member["why"]) for member in story["eligible"]}
    assert ways["own/m"] == ("passes", None)
    way, why = ways["anthropic/claude-x"]
    assert way == "impossible"
    assert "image/bmp" in why
    assert f"can't be said in anthropic-messages: {why}" in text


def test_explain_guesses_the_path_and_says_so(explained: Callable[..., Any]) -> None:
    asked = {"model": "fast", "input": "x", "tools": [{"type": "function", "name": "f", "parameters": {}}]}
    text, story = explained(asked, "--assume-credentials")
    assert "POST /v1/responses  (guessed from the body; --path says another)" in text
    assert (story["path"], story["guessed"]) == ("/v1/responses", True)
    text, story = explained(asked, "--assume-credentials", "--path", "/v1/chat/completions")
    assert "guessed" not in text
    assert (story["path"], story["guessed"]) == ("/v1/chat/completions", False)
    hi = {"model": "fast", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    assert explained(hi, "--header", "anthropic-version=2023-06-01")[1]["path"] == "/v1/messages"
    assert explained(hi)[1]["path"] == "/v1/chat/completions"


def test_explain_says_what_a_call_has_to_do_with_the_cache(explained: Callable[..., Any]) -> None:
    hi = {"model": "kept", "messages": [{"role": "user", "content": "hi"}]}
    text, story = explained(hi, "--assume-credentials")
    assert story["cache"] == {"scope": "caller", "bypass": None}
    assert "cache    a reply may be there, by caller (docs/cache.md)" in text
    text, story = explained(hi, "--assume-credentials", "--header", "cache-control=no-store")
    assert story["cache"]["bypass"] == "no-store"
    assert "cache    none: no-store (docs/cache.md)" in text
    assert "cache" not in explained({**hi, "model": "fast"}, "--assume-credentials")[1]


def test_explain_says_whom_a_conversation_belongs_to(explained: Callable[..., Any]) -> None:
    hi = {"model": "sticky", "messages": [{"role": "user", "content": "hi"}]}
    text, story = explained(hi, "--assume-credentials")
    assert story["affinity"] == {"by": "session", "found": None, "member": None}
    assert "affinity session, which nothing in the call names: by weight" in text
    assert [member["chance"] for member in story["eligible"]] == [0.5, 0.5]
    found: set[str] = set()
    for session in range(12):  # two of them are enough, in most cases
        if len(found) == 2:
            break
        text, story = explained(hi, "--assume-credentials", "--header", f"x-session-id=s{session}")
        member = story["affinity"]["member"]
        assert f"affinity session, by the header x-session-id: first at {member}" in text
        firsts = {each["member"]: each["chance"] for each in story["eligible"]}
        assert firsts == {"own/m": 0.0, "mistral/m": 0.0} | {member: 1.0}
        assert f"+ {member:40} weight 1, first with 100%" in text
        found.add(member)
    assert found == {"own/m", "mistral/m"}
    assert "affinity" not in explained({**hi, "model": "fast"}, "--assume-credentials")[1]


@pytest.mark.parametrize(
    ("body", "code"),
    [({"model": "nope", "messages": []}, "model_not_found"), ('{"model": ', "invalid_json")],
)
def test_explain_tells_of_no_keys_where_they_are_not_the_reason(
    explained: Callable[..., Any], body: Any, code: str
) -> None:
    text, story = explained(body)
    assert story["refused"]["code"] == code
    assert story["providers_out"] == {}
    assert "_API_KEY" not in text


def test_explain_tells_of_the_missing_keys_of_the_pool_alone(explained: Callable[..., Any]) -> None:
    text, story = explained({"model": "other", "messages": [{"role": "user", "content": "hi"}]})
    assert story["refused"]["code"] == "no_eligible_member"
    assert list(story["providers_out"]) == ["groq"]
    assert "GROQ_API_KEY is not set" in text
    assert "MISTRAL_API_KEY" not in text


@pytest.mark.parametrize(
    ("body", "caller", "words"),
    [
        ('{"model": "fast"}', [], "401 missing_api_key"),
        ('{"model": "nope"}', ["--caller", "tester"], "404 model_not_found"),
        ('{"model": ', ["--caller", "tester"], "400 invalid_json"),
        ('{"model": "fast"}', ["--caller", "tester"], "OPENAI_API_KEY is not set"),
        (
            '{"model": "fast", "x": "' + "long " * 100_000 + '"}',
            ["--caller", "tester"],
            "403 denied_by_rule: too long",
        ),
    ],
)
def test_explain_of_a_call_that_would_be_refused(
    config: Path, body: str, caller: list[str], words: str
) -> None:
    done = run("explain", "--config", str(config), *caller, "-", stdin=body)
    assert done.returncode == 1
    assert words in done.stdout


def test_explain_with_words_that_are_wrong(config: Path) -> None:
    assert run("explain", "--config", str(config), "--caller", "nobody", "-", stdin="{}").returncode == 1
    assert run("explain", "--config", str(config), "--header", "oops", "-", stdin="{}").returncode == 2
    missing = run("explain", "--config", str(config), "/nonexistent.json")
    assert (missing.returncode, "/nonexistent.json" in missing.stderr) == (1, True)


def test_bootstrap_is_yaml_with_the_addresses() -> None:
    done = run("bootstrap", "--xds", "unix:/a.sock", "--ext-proc", "broker:18001", "--node-id", "n-1")
    tree = yaml.safe_load(done.stdout)
    assert tree["node"]["id"] == "n-1"
    text = json.dumps(tree)
    assert '"path": "/a.sock"' in text
    assert '"address": "broker", "port_value": 18001' in text
