"""The commands as a shell sees them: text, exit codes, nothing of a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
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


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "broker.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize("command", ["up", "serve", "bootstrap", "check", "explain", "mock"])
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
    text = CONFIG + "listen: {tls: {cert_file: /nonexistent.pem, key_file: /nonexistent.key}}\n"
    path = tmp_path / "broker.yaml"
    path.write_text(text)
    done = run("check", str(path))
    assert done.returncode == 1
    assert "Envoy would refuse" in done.stderr
    assert "/nonexistent" in done.stderr
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


def test_explain_says_what_is_translated(config: Path) -> None:
    body = json.dumps({"model": "fast", "n": 1, "messages": [{"role": "user", "content": "hi"}]})
    arguments = ["explain", "--config", str(config), "--caller", "tester", "--assume-credentials"]
    done = run(*arguments, "-", stdin=body)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("  + ")}
    assert lines["anthropic/claude-x"].endswith("first with 70%, translated into anthropic-messages")
    assert lines["openai/gpt-x"].endswith("first with 30%")
    story = json.loads(run(*arguments, "--json", "-", stdin=body).stdout)
    assert [m["dialect"] for m in story["eligible"]] == ["anthropic-messages", "openai-chat"]


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
