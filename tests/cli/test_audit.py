"""`modelbroker audit`, and what the control plane makes of the section and of two configurations."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from modelbroker.audit.chain import read
from modelbroker.audit.events import ACT, CALL, Event, of_act
from modelbroker.audit.keys import signer_of
from modelbroker.audit.store import Chain, segments
from modelbroker.cli import audit_commands
from modelbroker.cli.acts import changed_parts, rotated, secret_acts
from modelbroker.cli.audit import AuditKeeper, settings_of
from modelbroker.cli.main import main
from modelbroker.core import acts
from modelbroker.core.acts import Act
from modelbroker.core.audit import Audit, AuditSink
from modelbroker.core.catalog import SecretRef
from modelbroker.core.errors import Misconfigured
from support.catalogs import catalog
from support.siem import ecs_problems, ocsf_problems

SIGNER = signer_of(b"k" * 32)
AT_MS = 1_795_998_258_000
HOUR_MS = 3_600_000
POOL = {"name": "p", "members": [{"provider": "openai", "model": "gpt-5-mini"}]}


def call(number: int, **more: Any) -> Event:
    fields = {
        "agent": f"agent-{number % 2}",
        "team": "search",
        "outcome": "ok",
        "cost_nano": 1_500_000,
        **more,
    }
    name = f"{number:032x}"
    return Event(kind=CALL, id=name, request_id=name, at_ms=AT_MS + number * HOUR_MS, severity=1, **fields)


EVENTS = [
    *(call(number) for number in range(10)),
    call(10, agent='quo"te\\', outcome="refused", code="budget_exceeded", cost_nano=0),
    call(11, agent="", caller="tester", cost_nano=None, member="openai/gpt-5"),
    of_act(
        Act("a" * 32, AT_MS + 12 * HOUR_MS, acts.CONFIG_LOADED, acts.EDIT, "alice", details={"name": "d48e"})
    ),
]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    clock = [AT_MS / 1000]
    chain = Chain(tmp_path / "audit", SIGNER, clock=lambda: clock[0], segment_bytes=1_500)
    for number, event in enumerate(EVENTS):
        clock[0] = event.at_ms / 1000
        chain.append([(event, ("calls", "1:f", number))])
    chain.checkpoint()
    chain.close()
    assert len(segments(tmp_path / "audit")) > 3
    return tmp_path


def run(state: Path, *words: str) -> int:
    return main(["audit", *words, "--state-dir", str(state)])


def ids(out: str) -> list[str]:
    lines = [read(line.encode()) for line in out.splitlines()]
    return [line.event.id for line in lines if not line.event.act.startswith("audit.")]


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        ([], lambda one: True),
        (["--agent", "agent-1"], lambda one: one.agent == "agent-1"),
        (["--agent", "agent-1", "--agent", "agent-0"], lambda one: one.agent.startswith("agent-")),
        (["--agent", 'quo"te\\'], lambda one: one.outcome == "refused"),
        (["--agent", ""], lambda one: not one.agent),
        (["--agent", "agent-1", "--outcome", "refused"], lambda one: False),
        (["--team", "search", "--code", "budget_exceeded"], lambda one: one.code),
        (["--member", "openai/gpt-5"], lambda one: one.member),
        (["--request-id", f"{3:032x}"], lambda one: one.id == f"{3:032x}"),
        (["--act", "config.loaded", "--user", "alice"], lambda one: one.kind == ACT),
        (["--since", "2026-11-30T04:24:18"], lambda one: one.at_ms >= AT_MS + 4 * HOUR_MS),
        (["--until", "2026-11-30T04:24:18"], lambda one: one.at_ms < AT_MS + 4 * HOUR_MS),
    ],
)
def test_query_finds_what_is_asked_for(
    state: Path, words: list[str], holds: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    until = [] if "--until" in words else ["--until", "2026-12-02"]
    assert run(state, "query", *words, *until, "--format", "json") == 0
    assert ids(capsys.readouterr().out) == [one.id for one in EVENTS if holds(one)]


def test_query_as_a_table(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rows(*words: str) -> list[list[str]]:
        assert run(state, "query", "--until", "2026-12-02", *words) == 0
        shown = capsys.readouterr()
        lines = [line.split() for line in shown.out.splitlines()]
        assert lines[0] == ["AT", "WHAT", "WHO", "ON", "OUTCOME", "CODE", "COST", "ID"]
        assert shown.err.strip() == ("1 event" if len(lines) == 2 else f"{len(lines) - 1} events")
        return [line[1:7] for line in lines[1:]]

    assert rows("--code", "budget_exceeded") == [["call", 'quo"te\\', "-", "refused", "budget_exceeded", "0"]]
    assert rows("--caller", "tester") == [["call", "tester", "openai/gpt-5", "ok", "-", "?"]]
    assert rows("--act", "config.loaded") == [["config.loaded", "alice", "(edit)", "d48e", "ok", "-"]]
    assert rows("--limit", "1") == [["audit.checkpoint", "broker", "-", "ok", "-", "-"]]
    assert rows("--agent", "agent-0", "--limit", "3")[0][5] == "0.0015"
    assert run(state, "query", "--agent", "nobody") == 0
    assert capsys.readouterr() == ("", "0 events\n")


def test_export_in_both_forms(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form, problems in (("ocsf", ocsf_problems), ("ecs", ecs_problems)):
        out = tmp_path / f"{form}.jsonl"
        assert run(state, "export", "--form", form, "--until", "2026-12-02", "--out", str(out)) == 0
        lines = out.read_bytes().splitlines()
        assert [problem for line in lines for problem in problems(line)] == []
        seqs = [
            read(raw).seq for _, path in segments(state / "audit") for raw in path.read_bytes().splitlines()
        ]
        assert len(lines) == len(seqs) and f"{len(lines)} events written" in capsys.readouterr().err


def test_verify_and_its_exit_codes(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def out_of(*words: str) -> tuple[int, str]:
        code = run(state, *words)
        return code, capsys.readouterr().out

    code, key = out_of("key")
    assert (code, key.strip()) == (0, SIGNER.public)
    pub, kept = tmp_path / "audit.pub", tmp_path / "kept.jsonl"
    pub.write_text(key)
    kept.write_text(out_of("checkpoint")[1])
    good = ["verify", "--public-key", str(pub), "--since-checkpoint", str(kept)]
    assert out_of(*good)[0] == 0
    assert "nothing is wrong" in out_of("verify")[1]
    assert json.loads(out_of("verify", "--format", "json")[1])["good"]
    # A sink's event has the checkpoint, too.
    for form in ("ocsf", "ecs"):
        run(
            state,
            "export",
            "--form",
            form,
            "--until",
            "2027-01-01",
            "--act",
            "audit.checkpoint",
            "--out",
            "-",
        )
        kept.write_text(capsys.readouterr().out)
        assert out_of(*good)[0] == 0
    shutil.copytree(state / "audit", tmp_path / "before")
    last = segments(state / "audit")[-1][1]
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    code, told = out_of(*good)
    assert code == 1 and "the end of the chain was cut" in told
    assert out_of("verify")[0] == 0  # nobody can know without it
    path = segments(state / "audit")[1][1]
    path.write_bytes(path.read_bytes().replace(b'"team":"search"', b'"team":"secret"', 1))
    code, told = out_of("verify", "--format", "json")
    found = json.loads(told)
    assert code == 1 and found["wrong"][0]["file"] == path.name and found["wrong"][0]["line"]


def test_a_line_that_is_not_whole_is_told(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = segments(state / "audit")[-1][1]
    last.write_bytes(last.read_bytes() + b'{"seq":')
    assert run(state, "verify") == 0
    assert f"the last line of {last.name} is not whole" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "--public-key", "hunter2"], "--public-key hunter2 is no public key: 64 hex digits"),
        (
            ["verify", "--public-key", "audit.pub"],
            "as `modelbroker audit key` prints them, or a file of them",
        ),
        (["verify", "--since-checkpoint", "none.jsonl"], "none.jsonl can't be read"),
        (["query", "--since", "1d", "--until", "2d"], "--since"),
    ],
)
def test_bad_use(state: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state, *words) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--act", "config.load"], "argument --act: there is no 'config.load'; did you mean config.loaded?"),
        (["--outcome", "denied"], "there is no 'denied'; there are ok, refused, error, client_gone, lost"),
        (["--actor", "me"], "there is no 'me'; there are broker, edit, command, token, console"),
    ],
)
def test_a_word_that_would_find_nothing_is_told(
    state: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(state, "query", *words)
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_where_there_is_no_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "query") == 1
    assert "does the configuration have the section `audit`" in capsys.readouterr().err
    assert main(["audit", "verify"]) == 1
    assert "say which broker's events" in capsys.readouterr().err
    kept = tmp_path / "kept.jsonl"
    kept.write_text('{"seq": 1}\n')
    chain = Chain(tmp_path / "audit", SIGNER)
    chain.append([(call(1), ("calls", "1:f", 1))])
    chain.close()
    assert run(tmp_path, "verify", "--since-checkpoint", str(kept)) == 1
    assert f"{kept}:1 is no checkpoint" in capsys.readouterr().err


# -- acts of commands


def test_commands_tell_of_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAFFIC_KEY", "6b" * 32)
    config, state = tmp_path / "broker.yaml", tmp_path / "state"
    capture = {"encryption": {"key": {"env": "TRAFFIC_KEY"}}}
    config.write_text(yaml.safe_dump({"pools": [POOL], "capture": capture, "audit": {}}))
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"request": {"model": "m", "messages": [{"content": "hunter2"}]}}) + "\n")
    place = ["--config", str(config), "--state-dir", str(state)]
    assert main(["traffic", "import", str(log), *place]) == 0
    out = tmp_path / "out.jsonl"
    assert main(["traffic", "export", "--out", str(out), *place]) == 0
    told = [json.loads(line) for line in (state / "acts.jsonl").read_text().splitlines()]
    assert [(one["act"], one["actor"], one["details"]) for one in told] == [
        ("traffic.imported", "command", {"name": str(log), "calls": 1}),
        ("traffic.exported", "command", {"name": str(out), "calls": 1}),
    ]
    assert all(one["user"] for one in told) and "hunter2" not in (state / "acts.jsonl").read_text()


def test_repricing_is_told_where_it_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, state = tmp_path / "broker.yaml", tmp_path / "state"
    config.write_text(yaml.safe_dump({"pools": [POOL], "audit": {}}))
    state.mkdir()
    place = ["--config", str(config), "--state-dir", str(state)]
    (state / "calls.jsonl").touch()
    assert main(["reprice", "--dry-run", *place]) == 0
    assert not (state / "acts.jsonl").exists()
    assert main(["reprice", *place]) == 0
    (told,) = [json.loads(line) for line in (state / "acts.jsonl").read_text().splitlines()]
    assert (told["act"], told["details"]["calls"]) == ("ledger.repriced", 0)


def test_what_a_client_chose_commands_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[31m\r\nforged  row \x9b2J \u202e \x00"
    chain = Chain(tmp_path / "audit", SIGNER)
    chain.append([(call(0, asked=evil + "x" * 300, agent="Zoë", user=evil), ("calls", "1:f", 0))])
    chain.close()
    assert run(tmp_path, "query") == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.split("\n")) and "Zoë" in out
    assert r"\u001b[31m\r\nforged  row \u009b2J \u202e \u0000xxx" in out and "x" * 100 not in out
    assert not any(line.startswith("forged") for line in out.split("\n"))


# -- what is made of the section


ON = Audit(is_on=True)


def test_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert settings_of(Audit(), {}) == (None, ())
    made, warnings = settings_of(ON, {})
    assert made is not None and (made.key, warnings) == ("", ())
    keyed = replace(ON, key=SecretRef("env", "KEY"))
    made, warnings = settings_of(keyed, {"KEY": "6b" * 32})
    assert made is not None and (made.key, warnings) == ("6b" * 32, ())
    made, (why,) = settings_of(keyed, {})
    assert made is None and why.startswith("audit.key: the environment variable KEY is not set; no events")
    made, (why,) = settings_of(keyed, {"KEY": "hunter2"})
    assert made is None and "hunter2" not in why and "the environment variable KEY holds is no Ed25519" in why


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(Misconfigured) as found:
        settings_of(ON, {})
    assert found.value.code == "missing_extra" and "pip install 'modelbroker[audit]'" in found.value.message
    assert settings_of(Audit(), {}) == (None, ())


def test_a_sink_without_its_secret_waits_until_it_is_there() -> None:
    sinks = (
        AuditSink("a", "splunk", credentials={"token": SecretRef("env", "HEC")}, options={"address": "x"}),
        AuditSink("b", "file", form="ecs"),
    )
    made, (why,) = settings_of(replace(ON, sinks=sinks), {})
    lacks = "token: the environment variable HEC is not set"
    assert made is not None and [(one.name, one.lacks) for one in made.sinks] == [("a", lacks), ("b", "")]
    assert why == f"audit.sinks[0].splunk.{lacks}; events wait in the chain for the sink a"
    made, warnings = settings_of(replace(ON, sinks=sinks), {"HEC": "the-token"})
    assert made is not None and warnings == () and made.sinks[0].lacks == ""
    assert made.sinks[0].secrets == {"token": "the-token"} and made.sinks[0].options == {"address": "x"}


def test_check_says_at_which_line_a_secret_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEC", raising=False)
    splunk = {"address": "https://localhost:1", "token": {"env": "HEC"}}
    sinks = [{"name": "out", "stdout": True}, {"name": "siem", "splunk": splunk}]
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"pools": [POOL], "audit": {"sinks": sinks}}))
    assert main(["check", str(path), "--no-envoy"]) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "HEC" in line)
    where = f"{path.name}:{path.read_text().splitlines().index('      token:') + 1}"
    assert where in line and "audit.sinks[1].splunk.token: the environment variable HEC is not set" in line


def test_why_there_are_no_events_is_in_the_status(tmp_path: Path) -> None:
    keeper = AuditKeeper(tmp_path)
    keeper.configured(None, Audit(), ())
    assert keeper.status()["state"] == "off" and keeper.done([1, 2]) == 2 and keeper.acts.done([1, 2]) == 2
    keeper.configured(None, ON, ("audit.key: the environment variable KEY is not set; no events",))
    status = keeper.status()
    assert (status["state"], status["error"][:9]) == ("waiting", "audit.key")
    assert keeper.done([1, 2]) == 0  # files wait for it


# -- what differs between two configurations


def ready(said: Any, credentials: dict[str, str], callers: dict[str, str]) -> Any:
    known = {key: SimpleNamespace(name=name) for key, name in callers.items()}
    resolved = SimpleNamespace(credentials=credentials, callers=known, ledger_url="", cache_redis="")
    return SimpleNamespace(catalog=said, resolved=resolved, redis_password=None, capture=None, audit=None)


def test_what_was_edited_and_what_was_rotated() -> None:
    entry = {"name": "bot", "key": {"env": "BOT_KEY"}}
    one = catalog(pools=[POOL], callers=[entry])
    two = catalog(pools=[POOL, {**POOL, "name": "q"}], callers=[entry])
    assert changed_parts(one, two) == "pools" and changed_parts(one, one) == ""
    name = "openai"
    before = ready(one, {name: "old"}, {"k1": "bot"})
    after = ready(one, {name: "new"}, {"k2": "bot"})
    (secret, key) = rotated(before, after, ())
    assert secret == (acts.SECRET_ROTATED, {"name": "env:OPENAI_API_KEY", "version": None})
    assert key == (acts.CALLER_KEY_ROTATED, {"name": "bot", "new": 1, "gone": 1})
    assert "old" not in str(secret) and "new" not in secret[1].values()
    assert rotated(before, before, ()) == []
    held = {"env:OPENAI_API_KEY", "env:BOT_KEY"}
    assert rotated(before, after, held) == [(acts.CALLER_KEY_ROTATED, {"name": "bot", "new": 1, "gone": 1})]


def test_secrets_in_stores() -> None:
    def row(version: str | None, until_s: float | None = None) -> dict[str, Any]:
        since_s = float(version) if version is not None else None
        told = {"secret": "vault:llm/openai#key", "version": version, "since_s": since_s}
        return told | {"replaced_until_s": until_s}

    assert (
        secret_acts(None, row("1"))
        == secret_acts(row(None), row("1"))
        == secret_acts(row("1"), row("1"))
        == []
    )
    assert secret_acts(row("1"), row("2", 99.0)) == [
        (acts.SECRET_ROTATED, {"name": "vault:llm/openai#key", "version": "2", "before": "1"})
    ]
    assert secret_acts(row("2", 99.0), row("2")) == [
        (acts.SECRET_OVERLAP_OVER, {"name": "vault:llm/openai#key", "version": "2"})
    ]


def test_a_segment_that_goes_while_the_chain_is_read(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = segments(state / "audit")
    files[0][1].unlink()
    monkeypatch.setattr(audit_commands, "segments", lambda folder: files)
    assert run(state, "verify") == 1
    assert "went while the chain was read" in capsys.readouterr().err
