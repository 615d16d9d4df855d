"""`diff` and `gate` as people call them: what they print, how they end, and what they say of what is no
configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.cli.main import main
from support.catalogs import PROVIDERS

MEMBERS = [{"provider": "b", "model": "m", "weight": 3}, {"provider": "c", "model": "m"}]


def write(path: Path, **sections: Any) -> str:
    config: dict[str, Any] = {
        "providers": PROVIDERS,
        "callers": [{"name": "bot", "key": {"env": "K"}, "team": "a|b", "pools": ["chat"]}],
        "pools": [{"name": "chat", "members": MEMBERS}, {"name": "idle", "members": MEMBERS[:1]}],
        **sections,
    }
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def both(tmp_path: Path) -> tuple[str, str]:
    old = write(tmp_path / "old.yaml")
    changed = [{**MEMBERS[0], "weight": 1}, MEMBERS[1]]
    new = write(
        tmp_path / "new.yaml",
        pools=[{"name": "chat", "members": changed}, {"name": "idle", "members": MEMBERS[1:]}],
    )
    return old, new


def test_as_text(both: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "diff", *both)
    title, *lines = out.splitlines()
    assert code == 0 and title.endswith(": 2 changes")
    assert lines == [
        "",
        "pools",
        "  ~ chat   (everybody)",
        "      b/m: 75% → 50%",
        "      c/m: 25% → 50%",
        "  ~ idle   (nobody)",
        "      b/m goes (had 100%)",
        "      c/m is new: 100%",
    ]
    code, out, _ = run(capsys, "diff", "--exit-code", both[0], both[0])
    assert code == 0 and out.startswith("nothing is different: both are ")
    assert run(capsys, "diff", "--exit-code", *both)[0] == 1


def test_as_markdown_and_json(
    both: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "diff.md"
    assert run(capsys, "diff", *both, "--format", "markdown", "--out", str(out))[:2] == (0, "")
    assert "| pools: **chat** | b/m: 75% → 50%<br>c/m: 25% → 50% | everybody |" in out.read_text()
    tree = json.loads(run(capsys, "diff", *both, "--format", "json")[1])
    assert [(one["section"], one["name"], one["kind"]) for one in tree["changes"]] == [
        ("pools", "chat", "changed"),
        ("pools", "idle", "changed"),
    ]
    assert tree["changes"][0]["callers"] == ["bot"] and not tree["changes"][1]["everybody"]


def test_marks_of_tables_are_no_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = write(tmp_path / "a.yaml"), write(tmp_path / "b.yaml", callers=[])
    out = run(capsys, "diff", old, new, "--format", "markdown")[1]
    (row,) = [line for line in out.splitlines() if "**bot**" in line]
    assert row == "| callers: **bot** (removed) | could use chat, team a\\|b | everybody |"


def test_what_a_configuration_says_is_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "<img src=x> @team `x` \x1b[31mred ~~gone~~ [a](http://b)"
    rules = [{"match": {"team": "x"}, "deny": said}]
    both = write(tmp_path / "a.yaml"), write(tmp_path / "b.yaml", rules=rules)
    out = run(capsys, "diff", *both, "--format", "markdown")[1]
    escaped = r"&lt;img src=x&gt; &#64;team \`x\` \\u001b\[31mred \~\~gone\~\~ \[a\](http://b)"
    assert escaped in out and "\x1b" not in out
    out = run(capsys, "diff", *both)[1]
    assert said.replace("\x1b", r"\u001b") in out


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ("nowhere.yaml", "there is no nowhere.yaml here; a revision that was live is found with --config"),
        ("git+https://host", "git+https… is no repository: give git+https://HOST/REPOSITORY.git@REF"),
    ],
)
def test_what_is_no_configuration_is_said(
    both: tuple[str, str], given: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, error = run(capsys, "diff", both[0], given)
    assert (code, out) == (1, "") and wrong in error


def test_which_of_the_two_is_broken_is_said(
    both: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("pools: [{name: x}]\n")
    code, _, error = run(capsys, "diff", both[0], str(broken))
    assert code == 1 and f"{broken} is no good configuration" in error
    assert f"{broken}:1: pools[0].members: is missing" in error


# -- the gate


def test_a_gate_without_traffic(both: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "gate", *both)
    assert code == 0 and out.startswith("This change may go live\n")
    assert "b/m: 75% → 50%" in out and "nothing is simulated: give recorded calls with --traffic" in out
    code, _, error = run(capsys, "gate", *both, "--fail-if", "cost > +5%")
    assert code == 1 and "--fail-if needs recorded calls" in error


def test_a_gate_needs_no_secret_and_asks_for_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is for pull requests: what the broker is given there is not here."""
    nothing = {"env": "NOT_SET_ANYWHERE"}
    sections: dict[str, Any] = {
        "secrets": {
            "stores": [
                {"name": "vault", "vault": {"address": "http://127.0.0.1:1", "auth": {"token": nothing}}}
            ]
        },
        "telemetry": {"otlp": {"endpoint": "https://collector.test", "headers": {"api-key": nothing}}},
        "capture": {"rules": [{"match": {}}], "encryption": {"key": {"vault": "traffic", "field": "key"}}},
        "audit": {"key": {"vault": "audit", "field": "key"}},
    }
    old = write(tmp_path / "old.yaml", **sections)
    new = write(tmp_path / "new.yaml", **sections, metrics={"labels": ["team"]})
    code, out, error = run(capsys, "gate", old, new)
    assert (code, error) == (0, ""), out
    assert out.startswith("This change may go live\n") and "vault" not in out
    assert not caplog.records


def test_a_gate_needs_no_file_of_the_machine_where_the_broker_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Envoy judges all but what is in them; they are told where they are new."""
    there = "/run/nowhere"
    provider = {**PROVIDERS[0], "base_url": "https://models.test/v1", "ca_file": f"{there}/providers.pem"}
    tls = {name: f"{there}/{name}.pem" for name in ("cert_file", "key_file", "client_ca_file")}
    sections: dict[str, Any] = {"providers": [provider, *PROVIDERS[1:]], "listen": {"tls": tls}}
    new = write(tmp_path / "new.yaml", **sections)
    code, out, error = run(capsys, "gate", write(tmp_path / "old.yaml"), new)
    assert (code, error) == (0, ""), out
    warnings = [line for line in out.splitlines() if line.startswith("warning: ")]
    files = [*tls.values(), provider["ca_file"]]
    assert len(warnings) == len(files), out
    for file in files:
        (told,) = [line for line in warnings if f"{file} " in line]
        assert "new.yaml:" in told and "on this machine" in told
    more = write(tmp_path / "more.yaml", **sections, limits={"concurrency": 9})
    code, out, _ = run(capsys, "gate", new, more)
    assert code == 0 and "warning" not in out, out


def test_a_certificate_that_is_there_and_no_good_does_not_pass(
    both: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cert.pem").write_text("no certificate\n")
    tls = {"cert_file": str(tmp_path / "cert.pem"), "key_file": "/run/nowhere/key.pem"}
    new = write(tmp_path / "tls.yaml", listen={"tls": tls})
    code, out, _ = run(capsys, "gate", both[0], new)
    assert code == 1 and "cert.pem holds no certificate" in out and "tls.yaml:" in out, out


def test_what_can_not_be_live_does_not_pass(
    both: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("pools: [{name: x}]\n")
    code, out, _ = run(capsys, "gate", both[0], str(broken), "--format", "json")
    tree = json.loads(out)
    assert code == 1 and not tree["passes"] and "pools[0].members: is missing" in tree["errors"][0]
    assert tree["diff"] is None and tree["simulated"] is None
    # What mends it passes, though there is nothing to compare it with.
    code, out, _ = run(capsys, "gate", str(broken), both[0])
    assert code == 0 and f"{broken} is no good configuration: there is nothing to compare with" in out


def test_an_error_does_not_end_its_block(
    both: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write(tmp_path / "broken.yaml", pools=[{"name": "```\n# Approved", "members": MEMBERS}])
    code, out, _ = run(capsys, "gate", both[0], broken, "--no-envoy", "--format", "markdown")
    assert code == 1
    lines = out.splitlines()
    fence = lines[2].removesuffix("text")
    assert set(fence) == {"`"} and len(fence) > 3 and "# Approved" in lines
    assert [line for line in lines if line.startswith(fence)] == [f"{fence}text", fence], out


def test_only_new_warnings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = [{"match": {}, "pool": "chat"}, {"match": {"team": "x"}, "pool": "chat"}]
    old = write(tmp_path / "old.yaml", rules=rules)
    new = write(tmp_path / "new.yaml", rules=rules, limits={"concurrency": 9})
    assert "warning" not in run(capsys, "gate", old, new)[1]
    out = run(capsys, "gate", write(tmp_path / "none.yaml"), new, "--format", "markdown")[1]
    assert "no call gets to rule-2" in out


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_no_secret_is_printed_that_the_console_would_hide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    provider = {**PROVIDERS[0], "headers": {"x-tenant": "S3CRET-old", "x-gone": "S3CRET-gone"}}
    old = write(tmp_path / "old.yaml", providers=[provider, *PROVIDERS[1:]])
    provider["headers"] = {"x-tenant": "S3CRET-new", "x-come": "S3CRET-come"}
    new = write(tmp_path / "new.yaml", providers=[provider, *PROVIDERS[1:]])
    for command in ("diff", "gate"):
        more = ("--no-envoy",) if command == "gate" else ()
        _, out, err = run(capsys, command, old, new, "--format", form, *more)
        assert "S3CRET" not in out + err
        assert "headers" in out and "x-come" in out and "x-gone" in out and "hidden" in out
