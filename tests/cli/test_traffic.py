"""`modelbroker traffic`: out to a file, in from one, and how many there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.cli.main import main

POOLS = {"pools": [{"name": "p", "members": [{"provider": "openai", "model": "gpt-5-mini"}]}]}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAFFIC_KEY", "6b" * 32)
    path = tmp_path / "broker.yaml"
    path.write_text(yaml.safe_dump({**POOLS, "capture": {"encryption": {"key": {"env": "TRAFFIC_KEY"}}}}))
    return path


def recorded(number: int) -> dict[str, Any]:
    kind = "openai-chat" if number % 2 else "openai-responses"
    asked = {
        "model": f"m-{number}",
        "messages" if number % 2 else "input": [{"role": "user", "content": "hi"}],
    }
    body = {"id": f"reply-{number}", "created_at": 1_780_000_000 + number}
    return {
        "id": f"test:{number}",
        "kind": kind,
        "request": {"body": asked},
        "response": {"status": 200, "body": body},
    }


def run(*words: str, config: Path) -> int:
    return main(["traffic", *words, "--config", str(config), "--state-dir", str(config.parent / "state")])


def test_in_and_out(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [recorded(number) for number in range(60)]
    log = tmp_path / "log.jsonl"
    secret = {"request": {"model": "m", "messages": [{"content": "I am alice@example.com"}]}, "team": "sales"}
    lines = [json.dumps(row) for row in rows]
    log.write_text("\n".join([*lines[:9], "{", "", *lines[9:], json.dumps(secret), '{"request": 1}']))
    assert run("import", str(log), config=config) == 1
    said = capsys.readouterr().err
    assert f"{log}:10: is no JSON" in said and f":{len(rows) + 4}: `request` is no JSON object" in said
    assert f"{len(rows) + 1} calls imported, 0 were there already, 2 bad lines" in said
    assert run("import", str(log), config=config) == 1
    assert f"0 calls imported, {len(rows) + 1} were there already" in capsys.readouterr().err

    assert run("stats", "--format", "json", config=config) == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats["samples"] == len(rows) + 1 and set(stats["by"]["dialect"]) == {
        "openai-chat",
        "openai-responses",
    }
    assert run("stats", "--where", "team=sales", config=config) == 0
    assert "1 captured calls" in capsys.readouterr().out
    assert run("stats", "--until", "1d", config=config) == 0
    capsys.readouterr()
    assert run("stats", "--since", "1d", "--until", "2d", config=config) == 1
    assert "is not before --until (" in capsys.readouterr().err

    out = tmp_path / "out.jsonl"
    assert run("export", "--out", str(out), config=config) == 0
    exported = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(exported) == len(rows) + 1 and out.stat().st_mode & 0o077 == 0
    (sales,) = [row for row in exported if row["team"] == "sales"]
    assert sales["request"]["messages"] == [{"content": "I am [email]"}] and sales["redacted"] == ["email"]
    for words in (("--sample", "7"), ("--limit", "7")):
        drawn = []
        for name in ("a", "b"):
            assert run("export", *words, "--out", str(tmp_path / name), config=config) == 0
            drawn.append((tmp_path / name).read_bytes())
        assert drawn[0] == drawn[1] and drawn[0].count(b"\n") == 7

    # What was exported comes in again, elsewhere.
    other = tmp_path / "other"
    other.mkdir()
    copy = other / "broker.yaml"
    copy.write_text(config.read_text())
    assert run("import", str(out), config=copy) == 0
    assert run("export", "--out", str(other / "again"), config=copy) == 0
    assert (other / "again").read_bytes() == out.read_bytes()


def test_what_is_left_out_is_counted(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    rows: list[dict[str, Any]] = [{"id": str(n), "request": asked, "team": 5} for n in range(3)]
    rows += [{"request": {"model": "m"}}, {"id": "s", "request": asked, "response": {}, "status": "ok"}]
    log.write_text("\n" + "\n".join(map(json.dumps, rows)))
    assert run("import", str(log), config=config) == 1  # for the line that asks nothing
    told = capsys.readouterr().err
    assert f"warning: {log}:2: `team` is no text: taken without it, and so in 2 lines more" in told
    assert f"warning: {log}:6: `status` is no number of 100 to 599: taken without it\n" in told
    assert f"\n{log}:5: `request` has no `" in f"\n{told}"
    assert "4 calls imported, 0 were there already, 1 bad lines" in told
    assert run("stats", config=config) == 0
    assert ["status", "unknown", "4"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert run("stats", "--where", "status=unknown", config=config) == 0
    assert "4 captured calls" in capsys.readouterr().out


def test_what_can_not_be(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("stats", config=config) == 1
    assert "there is no store of traffic" in capsys.readouterr().err
    assert run("import", str(tmp_path / "none"), config=config) == 1
    assert "can't be read" in capsys.readouterr().err
    monkeypatch.setenv("TRAFFIC_KEY", "short")
    assert run("stats", config=config) == 1
    assert "TRAFFIC_KEY holds is no key of 32 bytes" in capsys.readouterr().err
    monkeypatch.delenv("TRAFFIC_KEY")
    assert run("stats", config=config) == 1
    assert "TRAFFIC_KEY is not set" in capsys.readouterr().err
    config.write_text(yaml.safe_dump(POOLS))
    assert run("stats", config=config) == 1
    assert "has no section `capture`" in capsys.readouterr().err
    for words, told in (
        ("nonsense=1", "names are purpose, "),
        ("status=ok", "'status=ok': status is a number, e.g. 200, or unknown"),
        ("status=0", "'status=0': status is a number, e.g. 200, or unknown"),
        ("stream=maybe", "'stream=maybe': stream is true or false"),
    ):
        with pytest.raises(SystemExit):
            run("stats", "--where", words, config=config)
        assert told in capsys.readouterr().err


def test_an_export_that_fails_leaves_no_plain_text(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps(recorded(1)))
    assert run("import", str(log), config=config) == 0
    before = {path.name for path in tmp_path.iterdir()}
    (tmp_path / "state" / "some").mkdir()
    assert run("export", "--out", str(tmp_path / "state" / "some"), config=config) == 1
    assert "some is a folder: give a file, or - for standard output" in capsys.readouterr().err
    assert not (tmp_path / "state" / "some.new").exists()
    monkeypatch.setenv("TRAFFIC_KEY", "6c" * 32)
    assert run("export", "--out", str(tmp_path / "out.jsonl"), config=config) == 1
    assert "which is not there" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == before


def test_check_refuses_a_key_that_is_not_there(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = yaml.safe_load(config.read_text())
    said["capture"]["rules"] = [{"match": {}}]
    config.write_text(yaml.safe_dump(said))
    assert main(["check", "--no-envoy", str(config)]) == 0
    monkeypatch.delenv("TRAFFIC_KEY")
    capsys.readouterr()
    assert main(["check", "--no-envoy", str(config)]) == 1
    assert (
        "capture.encryption.key: the environment variable TRAFFIC_KEY is not set" in capsys.readouterr().err
    )
