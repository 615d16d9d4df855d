"""`modelbroker eval` as a user runs it: real Envoy, simulated members whose quality is known."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from modelbroker.traffic.stores import open_store
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, make
from support.simulators import Simulators
from support.waiting import wait_until

RUN_S = 150
RIGHT = {"today": 0.8, "same": 0.8, "better": 0.95, "worse": 0.6}
WRONG = "I do not know."


def questions(count: int) -> dict[str, str]:
    return {f"What is {n} plus {n} (number {n})?": str(2 * n) for n in range(100, 100 + count)}


def knows(model: str, seed: int, asked: dict[str, str]) -> dict[str, Any]:
    return {
        "match": {"model": model},
        "knows": {"right": RIGHT[model], "seed": seed, "answers": asked, "wrong": WRONG},
    }


def is_right(model: str, seed: int, question: str) -> bool:
    """docs/simulator.md: drawn by seed, model and question."""
    return random.Random(f"{seed}:{model}:{question}").random() < RIGHT[model]


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("openai", "judge") as simulators:
        yield simulators


class Place:
    """A folder with a configuration, cases and a suite."""

    def __init__(self, folder: Path, sims: Simulators, asked: dict[str, str], **suite: Any) -> None:
        self.folder, self.runs = folder, folder / "runs"
        (folder / "state").mkdir()
        config = {
            "providers": [
                provider("sim", sims["openai"].port, "openai-chat", "/v1"),
                provider("judges", sims["judge"].port, "openai-chat", "/v1"),
            ],
            "pools": [
                {
                    "name": "support",
                    "cache": "short-context",
                    "members": [{"provider": "sim", "model": "today"}],
                },
                {"name": "judges", "members": [{"provider": "judges", "model": "judge"}]},
            ],
            "rules": [{"match": {"team": "none"}, "deny": "nobody"}],
            "callers": [{"name": "app", "key": {"env": "KEY_OF_PROVIDERS"}}],
            "budgets": [{"name": "everything", "amount": "1 calls", "per": "day"}],
            "prices": [
                {"provider": name, "model": "*", "input": 1, "output": 10} for name in ("sim", "judges")
            ],
        }
        (folder / "broker.yaml").write_text(yaml.safe_dump(config))
        lines = [
            {
                "id": f"q{number}",
                "question": question,
                "expected": answer,
                "feature": ("search", "help")[number % 2],
                **({"stream": True} if number % 3 == 0 else {}),
                **({"dialect": "anthropic-messages"} if number % 4 == 0 else {}),
            }
            for number, (question, answer) in enumerate(asked.items())
        ]
        (folder / "cases.jsonl").write_text("\n".join(map(json.dumps, lines)))
        self.suite = {
            "name": "sums",
            "config": "broker.yaml",
            "data": {"file": "cases.jsonl", "sample": len(asked)},
            "candidates": [
                {"name": "today", "pool": "support"},
                *({"name": name, "provider": "sim", "model": name} for name in ("same", "better", "worse")),
            ],
            "scorers": [{"kind": "exact"}],
            "budget": {"spend": "$5"},
            "stop": {"decided": False, "margin": "3%"},
            "calls": {"at_a_time": 8},
            **suite,
        }
        self.write()

    def write(self, **changes: Any) -> None:
        self.suite |= changes
        (self.folder / "suite.yaml").write_text(yaml.safe_dump(self.suite))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "modelbroker.cli.main", "eval", *arguments, "--runs", str(self.runs)]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, "KEY_OF_PROVIDERS": "sk-provider-secret"},
        )

    def eval(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=RUN_S)
        assert process.returncode == code, f"{output}\n{errors}"
        return output + (errors if code else "")

    def run(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        state = str(self.folder / "state")
        report: dict[str, Any] = json.loads(
            self.eval("run", "suite.yaml", "--format", "json", "--state-dir", state, *arguments, code=code)
        )
        return report

    @property
    def folder_of_run(self) -> Path:
        return max(self.runs.iterdir())

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Of the newest run; none while there is none."""
        if not self.runs.exists() or not any(self.runs.iterdir()):
            return []
        path = self.folder_of_run / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_known_quality_is_found(tmp_path: Path, sims: Simulators, seed: int) -> None:
    """What is worse is not promoted, what is better is found, what is the same is neither; figures are those
    of the simulator's own draws."""
    asked = questions(240)
    sims["openai"].script(replies=[knows(name, seed, asked) for name in RIGHT])
    place = Place(tmp_path, sims, asked, slices=["feature", "dialect", "stream"])
    report = place.run()
    found = {one["candidate"]: one for one in report["candidates"]}
    for name in RIGHT:
        drawn = sum(is_right(name, seed, question) for question in asked)
        assert found[name]["quality"]["value"] == pytest.approx(drawn / len(asked))
        assert found[name]["n"] == len(asked)
    assert found["worse"]["verdict"] == "worse"
    assert found["better"]["verdict"] in ("better", "not worse")
    assert found["same"]["verdict"] not in ("better", "worse")
    assert found["today"]["verdict"] == "baseline"
    assert report["ended"] == "through"
    # A third are streams, in each dialect both ways.
    assert {(one["slice"], one["value"]) for one in report["slices"]} >= {
        ("stream", "yes"),
        ("dialect", "anthropic-messages"),
    }
    if seed == 1:
        _costs_are_the_records_and_go_into_the_ledger(place, report)
        _the_report_is_one_file(place)


def _costs_are_the_records_and_go_into_the_ledger(place: Place, report: dict[str, Any]) -> None:
    records = place.lines("records.jsonl")
    assert len(records) == 960
    assert sum(record["cost"] for record in records) == report["cost_nano"] > 0
    assert {record["purpose"] for record in records} == {"eval"}
    assert report["configurations"]["own"] == records[0]["revision"]
    with sqlite3.connect(place.folder / "state" / "ledger.db") as ledger:
        rows = ledger.execute(
            "select purpose, caller, count(*), sum(cost_total) from calls group by 1, 2"
        ).fetchall()
    assert {(purpose, caller) for purpose, caller, _, _ in rows} == {
        ("eval", f"eval-{name}") for name in RIGHT
    }
    assert sum(cost for *_, cost in rows) == report["cost_nano"]


def _the_report_is_one_file(place: Place) -> None:
    out = place.eval("report").strip()
    text = Path(place.folder, out).read_text()
    for piece in ("<svg", "Where they differ most", WRONG, "prefers-color-scheme: dark", "not worse"):
        assert piece in text
    for fetched in ("<script src", "<link", "http://", "https://", "@import", "url("):
        assert fetched not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "sums-" in place.eval("list")
    assert "CANDIDATE" in place.eval("show")
    assert json.loads(place.eval("report", "--format", "json", "--out", "-"))["suite"] == "sums"
    assert not (place.folder / "-").exists()


def test_the_money_ends_it_and_more_money_goes_on(tmp_path: Path, sims: Simulators) -> None:
    asked = questions(40)
    sims["openai"].script(
        replies=[{**knows(name, 1, asked), "tokens": {"input": 1000, "output": 100}} for name in RIGHT]
    )
    sims["openai"].forget()
    # A call costs $0.002, and reserves that much and a little.
    place = Place(tmp_path, sims, asked, budget={"spend": "$0.1", "reserve_output": 100})
    report = place.run()
    assert report["ended"] == "money"
    assert {one["verdict"] for one in report["candidates"]} <= {"baseline", "open"}
    before = len(sims["openai"].calls())
    assert 0.05e9 < report["cost_nano"] <= 0.1e9 + 8 * 4 * 2_000_000
    assert report["cost_nano"] == before * 2_000_000
    place.write(budget={"spend": "$2", "reserve_output": 100})
    report = place.run()
    assert report["ended"] == "through"
    # Nothing was asked twice.
    assert len(sims["openai"].calls()) == 160
    assert report["cost_nano"] == 160 * 2_000_000


def test_what_others_have_reserved_ends_no_run(tmp_path: Path, sims: Simulators) -> None:
    asked = questions(40)
    sims["openai"].script(replies=[knows(name, 1, asked) for name in RIGHT])
    # A call reserves $0.041, 32 at a time $1.3; all that is asked for comes to less than $0.01.
    place = Place(tmp_path, sims, asked, budget={"spend": "$0.3", "reserve_output": 4096})
    report = place.run()
    assert (report["ended"], [one["n"] for one in report["candidates"]]) == ("through", [40] * 4)
    assert report["cost_nano"] < 0.03e9
    # Less than one call may cost: nothing is asked, and it says what would do.
    place.write(budget={"spend": "$0.02"})
    told = place.eval("run", "suite.yaml", "--new", "--state-dir", str(tmp_path / "state"), code=1)
    assert "It ended by its budget before the cases were through. What is left of `budget.spend`" in told
    assert "`budget.reserve_output`" in told


def test_a_run_that_was_killed_goes_on(tmp_path: Path, sims: Simulators) -> None:
    asked = questions(60)
    slow = [{"match": {"path": "*completions"}, "delay_headers_ms": 60, "delay_first_event_ms": 60}]
    sims["openai"].script(replies=[knows(name, 1, asked) for name in RIGHT], faults=slow)
    sims["openai"].forget()
    place = Place(tmp_path, sims, asked, calls={"at_a_time": 2})
    process = place.start("run", "suite.yaml", "--format", "json", "--state-dir", str(tmp_path / "state"))
    wait_until(lambda: len(place.lines("replies.jsonl")) >= 20, RUN_S)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=RUN_S)
    kept = len(place.lines("replies.jsonl"))
    assert kept < 240
    sims["openai"].script(replies=[knows(name, 1, asked) for name in RIGHT])
    report = place.run()
    assert report["ended"] == "through"
    replies = place.lines("replies.jsonl")
    assert len(replies) == len({(one["case"], one["candidate"]) for one in replies}) == 240
    # What was under way when it was killed was asked again, and nothing else.
    assert 240 <= len(sims["openai"].calls()) <= 240 + 8
    assert len(list(place.runs.iterdir())) == 1


def test_judges_tools_and_whole_configurations(tmp_path: Path, sims: Simulators) -> None:
    """The judge prefers whoever says 7, wherever it stands; a tool is called and not run; rules of another
    configuration decide by who asked."""
    tool = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}},
    }
    sims["openai"].script(
        replies=[
            {
                "match": {"model": "today", "contains": "weather"},
                "tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}],
            },
            {
                "match": {"model": "better", "contains": "weather"},
                "tool_calls": [{"name": "weather", "arguments": {"city": "Bergen"}}],
            },
            {"match": {"model": "today"}, "text": "It is 6. Write to jane.doe@example.com"},
            {"match": {"model": "better"}, "text": "It is 7."},
        ]
    )
    wins = {"A": "<answer_a>\\nIt is 7", "B": "<answer_b>\\nIt is 7"}
    sims["judge"].script(
        replies=[
            {"match": {"contains": piece}, "text": f'Seven is right.\n{{"winner": "{who}"}}'}
            for who, piece in wins.items()
        ]
    )
    place = Place(
        tmp_path,
        sims,
        questions(1),
        data={"file": "cases.jsonl"},
        candidates=[{"name": "today", "pool": "support"}, {"name": "new", "config": "new.yaml"}],
        scorers=[
            {"kind": "judge", "pool": "judges", "match": {"tools": "no"}},
            {"kind": "tools", "match": {"tools": "yes"}},
        ],
        slices=["tools", "team"],
    )
    config = yaml.safe_load((tmp_path / "broker.yaml").read_text())
    config["pools"].append({"name": "fresh", "members": [{"provider": "sim", "model": "better"}]})
    config["rules"] = [
        {"match": {"team": "blue", "caller": "app"}, "pool": "fresh"},
        {"match": {}, "deny": "not blue"},
    ]
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(config))
    messages = [{"role": "user", "content": "What is the weather?"}]
    wanted = {"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]}
    who = {"caller": "app", "team": "blue"}
    cases = [
        {"id": "sum", "question": "3 + 4? I am john@example.com", "expected": "7", **who},
        {
            "id": "call",
            "request": {"model": "support", "messages": messages, "tools": [tool]},
            "expected": wanted,
            **who,
        },
        {"id": "red", "question": "3 + 4?", "expected": "7", "caller": "other", "team": "red"},
    ]
    for case in cases:
        if "question" in case:
            case["request"] = {
                "model": "support",
                "messages": [{"role": "user", "content": case.pop("question")}],
            }
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    place.run()
    scores = {
        (one["case"], one["candidate"], one["scorer"]): one["value"] for one in place.lines("scores.jsonl")
    }
    assert scores["sum", "new", "judge"] == 1.0
    assert scores["sum", "today", "judge"] == 0.5
    assert scores["call", "today", "tools"] == 1.0
    assert scores["call", "new", "tools"] == 0.0
    replies = {(one["case"], one["candidate"]): one for one in place.lines("replies.jsonl")}
    assert replies["red", "new"]["code"] == "denied_by_rule"
    assert replies["sum", "new"]["member"] == "sim/better"
    # What was asked of the judge had both places.
    assert len(sims["judge"].calls()) >= 2
    kept = "".join((place.folder_of_run / name).read_text() for name in ("replies.jsonl", "scores.jsonl"))
    report = Path(tmp_path, place.eval("report").strip()).read_text()
    assert "jane.doe@example.com" not in kept + report
    assert "john@example.com" not in report
    assert "[email]" in report


def test_what_is_wrong_is_told_at_once_with_its_line(tmp_path: Path, sims: Simulators) -> None:
    place = Place(tmp_path, sims, questions(1))
    (tmp_path / "suite.yaml").write_text(
        "name: sums\nconfig: broker.yaml\ndata: {file: cases.jsonl}\n"
        "candidates:\n  - {name: a, pool: suport}\n"
        "  - {name: b, model: x}\nscorers:\n  - {kind: judge, pool: support}\nstop: {margin: 2%, often: 1}\n"
    )
    told = place.eval("run", "suite.yaml", code=1)
    assert "suite.yaml:9: stop.often" in told
    (tmp_path / "suite.yaml").write_text((tmp_path / "suite.yaml").read_text().replace(", often: 1", ""))
    told = place.eval("run", "suite.yaml", code=1)
    assert 'suite.yaml:5: candidates[0].pool: there is no pool "suport"; did you mean "support"?' in told
    assert "suite.yaml:6: candidates[1].provider: is missing" in told
    assert not place.runs.exists()


def test_what_can_not_be_asked_is_told_before_anything_is(tmp_path: Path, sims: Simulators) -> None:
    place = Place(tmp_path, sims, questions(1))
    for data, told in (
        ({"file": "nope.jsonl"}, "nope.jsonl: there is no such file; give a file of cases (JSON Lines)"),
        ({"file": "empty.jsonl"}, "there is no case to ask: empty.jsonl (`data.file`) holds none"),
        ({"traffic": {"since": "1d"}}, "the configuration has no section `capture`"),
    ):
        (tmp_path / "empty.jsonl").write_text("\n")
        place.write(data=data)
        said = place.eval("run", "suite.yaml", "--state-dir", str(tmp_path / "state"), code=1)
        assert told in said and "Traceback" not in said
    place.write(data={"file": "cases.jsonl"})
    place.runs = tmp_path / "broker.yaml"
    said = place.eval("run", "suite.yaml", code=1)
    assert "broker.yaml can't hold runs: Not a directory: give another folder with --runs" in said
    assert "Traceback" not in said


def test_the_docs_example_runs_from_nothing(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "evals.md").read_text()
    for name in ("broker.yaml", "cases.jsonl", "suite.yaml", "answers.yaml"):
        found = re.search(rf"`{re.escape(name)}`.*?```\w+\n(.*?)```", page, re.DOTALL)
        assert found
        (tmp_path / name).write_text(found[1])
    command = [sys.executable, "-m", "modelbroker.cli.main", "eval"]
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}

    def told(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environ, timeout=RUN_S
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    table = told("run", "suite.yaml", "--mock-providers", "answers.yaml")
    rows = {line.split()[0]: line for line in table.splitlines()[1:4]}
    assert "100.0 %" in rows["today"]
    assert "100.0 %" in rows["haiku"]
    assert re.search(r"mini +6 +0\.0 %", rows["mini"])
    assert Path(told("report").strip()).exists()


def test_captured_traffic_is_asked_again(tmp_path: Path, sims: Simulators) -> None:
    """Calls of three dialects, whole and streamed, go through a broker that captures them; the replies that
    clients got are what candidates are held against. Secrets in them are in no file of the run."""
    sims["openai"].script(
        replies=[
            {"match": {"model": "today"}, "text": "Write to jane.doe@example.com."},
            {"match": {"model": "worse"}, "text": "No."},
        ]
    )
    said = {
        "providers": [provider("sim", sims["openai"].port, "openai-chat", "/v1")],
        "pools": [{"name": "support", "members": [{"provider": "sim", "model": "today"}]}],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}, "team": "red"}],
        "prices": [{"provider": "sim", "model": "*", "input": 1, "output": 10}],
        "capture": {"rules": [{"match": {}, "pools": "*"}], "encryption": "none"},
    }
    made = [
        Ask("support", dialect, stream, f"I am john@example.com, number {n}")
        for n in range(4)
        for dialect in ("openai-chat", "openai-responses", "anthropic-messages")
        for stream in (False, True)
    ]
    with Broker(tmp_path, said, with_ledger=True) as broker:
        assert all(got.is_whole for got in make(broker.url, made))

        def captured() -> int:
            path = tmp_path / "state" / "traffic.db"
            if not path.exists():
                return 0
            with open_store(f"sqlite:///{path}") as store:
                return store.stats().samples

        wait_until(lambda: captured() == len(made))
    shutil.copy(broker.config_dir / "broker.yaml", tmp_path / "broker.yaml")
    (tmp_path / "suite.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "traffic",
                "config": "broker.yaml",
                "data": {
                    "traffic": {"since": "1h", "where": {"team": ["red"]}},
                    "strata": ["dialect", "stream"],
                    "sample": 12,
                },
                "candidates": [
                    {"name": "today", "pool": "support"},
                    {"name": "worse", "provider": "sim", "model": "worse"},
                ],
                "scorers": [{"kind": "similarity"}],
                "slices": ["dialect", "stream"],
            }
        )
    )
    environ = {
        **os.environ,
        "KEY_OF_PROVIDERS": "sk-provider-secret",
        "XDG_STATE_HOME": str(tmp_path / "home"),
    }
    command = [sys.executable, "-m", "modelbroker.cli.main", "eval", "run", "suite.yaml", "--format", "json"]
    done = subprocess.run(
        [*command, "--state-dir", "state"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environ,
        timeout=RUN_S,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    today, worse = report["candidates"]
    assert report["cases"] == today["n"] == worse["n"] == 12
    assert report["reference"] == "captured"
    assert worse["quality"]["value"] < 0.3 < 0.6 < today["quality"]["value"]
    # Each dialect and way has its share.
    assert {one["n"] for one in report["slices"] if one["slice"] == "dialect"} == {4}
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file():
            assert b"@example.com" not in path.read_bytes(), path
    # Calls of an evaluation are no clients', and are not captured.
    assert captured() == len(made)
    with sqlite3.connect(tmp_path / "state" / "ledger.db") as ledger:
        told = dict(ledger.execute("select purpose, count(*) from calls group by 1").fetchall())
    assert told == {None: len(made), "eval": 24}


def test_what_is_decided_ends_early_and_what_is_interrupted_goes_on(tmp_path: Path, sims: Simulators) -> None:
    asked = questions(240)
    sims["openai"].script(
        replies=[knows("today", 1, asked), {"match": {"model": "worse"}, "text": WRONG}],
        faults=[{"delay_headers_ms": 30, "delay_first_event_ms": 30}],
    )
    two = [{"name": "today", "pool": "support"}, {"name": "worse", "provider": "sim", "model": "worse"}]
    place = Place(tmp_path, sims, asked, candidates=two, stop={"at_least": 20}, calls={"at_a_time": 2})
    process = place.start("run", "suite.yaml", "--state-dir", str(tmp_path / "state"))
    wait_until(lambda: len(place.lines("replies.jsonl")) >= 6, RUN_S)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=RUN_S)
    assert process.returncode == 1
    assert "interrupted: the same command goes on with it" in errors
    assert "It was interrupted" in output
    assert "Traceback" not in errors
    report = place.run()
    assert report["ended"] == "decided"
    worse = report["candidates"][1]
    assert (worse["verdict"], worse["decided_by"]) == ("worse", "bounds")
    assert 20 <= worse["n"] < 100
    assert len(list(place.runs.iterdir())) == 1
    # In CI: not good enough is an error.
    told = place.eval("run", "suite.yaml", "--new", "--fail-unless", "not-worse", code=1)
    assert "modelbroker: --fail-unless not-worse: worse is worse" in told
    assert "worse" in told
