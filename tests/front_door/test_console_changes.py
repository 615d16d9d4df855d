"""The console's pages of what changes: revisions, rollouts, evaluations and the fleet, in a real browser."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Page
from support.broker import KEY_SHA256, Broker, provider
from support.browser import aside, browsing, facts, rows, visit, words
from support.calls import Ask, Got, make
from support.rollouts import events_of, load
from support.simulators import Simulators
from support.waiting import wait_until

CANARY = "canary-of-a-prompt"
HOSTILE = "<img src=x onerror=alert(1)>"
ROLLOUT = "try-1"


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("own", "new") as simulators:
        for simulator in simulators:
            tokens = {"input": 100, "output": 10}
            simulator.script(replies=[{"text": f"{CANARY} from {simulator.name}", "tokens": tokens}])
        yield simulators


def config(sims: Simulators, weight: int = 1, **more: Any) -> dict[str, Any]:
    """Two callers, of which one may use one of two pools; and a rollout, for which seconds are enough."""
    team = more.pop("team", "search")
    return {
        "providers": [provider(sim.name, sim.port, "openai-chat", "/v1") for sim in sims],
        "callers": [
            {"name": "tester", "key": {"sha256": KEY_SHA256}, "pools": ["chat"], "team": team},
            {"name": "other", "key": {"env": "KEY_OF_PROVIDERS"}, "pools": ["side"]},
        ],
        "pools": [
            {
                "name": "chat",
                "members": [{"provider": "own", "model": "m"}],
                "affinity": {"by": "session", "header": "x-my-session"},
                "rollout": {
                    "to": "new/n",
                    "name": ROLLOUT,
                    "hold": "1s",
                    "min_calls": 20,
                    "within": "6h",
                    "gates": {"confidence": "90%", "errors": "40%"},
                    "stages": [{"share": "40%"}, {"share": "100%"}],
                },
            },
            {
                "name": "side",
                "members": [
                    {"provider": "own", "model": "m", "weight": weight},
                    {"provider": "new", "model": "n"},
                ],
            },
        ],
        "prices": [{"provider": name, "model": "*", "input": 3, "output": 15} for name in ("own", "new")],
        **more,
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    with Broker(folder, config(sims), may_be_refused=True, with_ledger=True) as running:
        running.wait_for(lambda s: s["in_effect"])
        yield running


@pytest.fixture(scope="module")
def page(broker: Broker) -> Iterator[Page]:
    with browsing(broker, viewport={"width": 1360, "height": 900}) as browsed:
        yield browsed
        for path in (
            "/revisions",
            "/revisions/2",
            "/rollouts",
            f"/rollouts/{ROLLOUT}",
            "/evaluations",
            "/fleet",
        ):
            visit(browsed, path)
            assert CANARY not in browsed.content(), path


def until(page: Page, path: str, *said: str) -> str:
    """The words of the page once all of these are among them."""

    def seen() -> str:
        assert visit(page, path) == 200
        told = words(page)
        return told if all(one in told for one in said) else ""

    return wait_until(seen, timeout_s=60, every_s=0.2)


def command(broker: Broker, *arguments: str) -> subprocess.CompletedProcess[str]:
    told = [sys.executable, "-m", "modelbroker.cli.main", *arguments]
    return subprocess.run(told, capture_output=True, text=True, timeout=120, cwd=broker.folder)


def test_edits_a_rollback_and_an_edit_that_is_refused(broker: Broker, sims: Simulators, page: Page) -> None:
    first = broker.status()["serving"]
    until(page, "/revisions", f"{first} live now")
    number = int(rows(page, "#revisions")[0]["#"].removeprefix("#"))
    second = broker.edit(config(sims, weight=3, team=HOSTILE))
    _what_it_changed_and_for_whom(broker, page, number, first, second)
    third = broker.edit(config(sims, weight=5))
    until(page, "/revisions", f"{third} live now")
    told = command(broker, "rollback", second, "--admin", broker.admin_url)
    assert told.returncode == 0, told.stderr
    said = until(
        page, "/revisions", f"({second}) by ", "until the source says something new", "#" + str(number + 3)
    )
    newest = rows(page, "#revisions")[0]
    assert newest["Why"] == "rolled back" and newest["Revision"] == f"{second} live now" and newest["Who"]
    assert "is refused" not in said
    wrong = yaml.safe_dump(config(sims, weight=6)).replace("weight: 6", "weight: heavy")
    line = next(at for at, one in enumerate(wrong.splitlines(), 1) if "heavy" in one)
    broker.write(wrong)
    said = until(page, "/revisions", "the edit is refused at")
    assert f"broker.yaml:{line}" in page.locator("#refused").inner_text()
    assert said.index("is refused") < said.index("Compare")
    broker.edit(config(sims))
    until(page, "/revisions", f"#{number + 4}")
    assert page.locator("#refused, #rollback").count() == 0


def _what_it_changed_and_for_whom(broker: Broker, page: Page, number: int, first: str, second: str) -> None:
    (got,) = aside(make, broker.url, [Ask("chat", question=CANARY)])
    assert got.is_whole
    until(page, "/revisions", f"{second} live now", "2 changes, for other, tester")
    newest, older = rows(page, "#revisions")[:2]
    assert (newest["#"], newest["Why"]) == (f"#{number + 1}", "edit")
    assert (older["#"], older["Revision"]) == (f"#{number}", first)
    path = f"/revisions/{number + 1}"
    said = until(page, path, "In words, and for whom")
    assert f"~ changed tester team: search → {HOSTILE}" in said
    assert "~ changed side for other" in said and "own/m" in said
    assert f"+ team: {HOSTILE}" in said and "- team: search" in said
    # As `modelbroker diff` says it.
    both = f"#{number}", f"#{number + 1}"
    told = command(broker, "diff", *both, "--state-dir", str(broker.folder / "state"))
    assert told.returncode == 0, told.stderr
    for line in ("2 changes, for other, tester", f"team: search → {HOSTILE}"):
        assert line in told.stdout and line in said
    wait_until(
        lambda: visit(page, path) == 200 and facts(page).get("Calls") == "1", timeout_s=60, every_s=0.2
    )
    # By the form, the other way round.
    page.select_option("select[name=a]", str(number + 1))
    page.select_option("select[name=b]", str(number))
    page.click("form.filters button")
    page.wait_for_selector("#words")
    assert f"team: {HOSTILE} → search" in words(page)


def test_a_rollout_that_is_promoted(broker: Broker, page: Page) -> None:
    assert "Began with the stage 40%" in until(page, f"/rollouts/{ROLLOUT}", "Began")
    got: list[Got] = aside(asyncio.run, load(broker, {"done", "rolled-back"}))
    assert all(one.is_whole for one in got)
    promoted = next(one for one in events_of(broker) if one["event"] == "promoted")
    said = until(page, f"/rollouts/{ROLLOUT}", "Done at 100%", "Calls that failed, each")
    first, last = rows(page, "#stages")
    assert (first["Stage"], first["State"], first["Gates"]) == ("40%", "done", "errors passed")
    assert first["Candidate's calls"] == str(promoted["calls"]["candidate"])
    assert (last["Stage"], last["State"], last["Gates"]) == ("100%", "done", "errors passed")
    assert "Promoted from 40% to 100%: every gate passed, after" in said
    assert "It is shown that the candidate is not higher than what is allowed." in said
    visit(page, "/rollouts")
    (row,) = rows(page, "#rollouts")
    assert (row["Rollout"], row["Phase"].split()[0], row["Pool"]) == (ROLLOUT, "done", "chat")


def test_an_evaluation_with_the_verdict_that_it_printed(broker: Broker, sims: Simulators, page: Page) -> None:
    assert f"--state-dir {broker.folder / 'state'}" in until(
        page, "/evaluations", "No run has ended here yet"
    )
    cases = [{"id": f"q{n}", "question": f"{CANARY} {n}", "expected": f"{CANARY} {n} yes"} for n in range(12)]
    answers = {case["question"]: case["expected"] for case in cases}
    replies = [
        {"match": {"model": model}, "knows": {"right": right, "seed": 1, "answers": answers, "wrong": "no"}}
        for model, right in (("m", 1.0), ("n", 0.0))
    ]
    (broker.folder / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    (broker.folder / "answers.yaml").write_text(yaml.safe_dump({"replies": replies}))
    suite = {
        "name": f"suite {HOSTILE}",
        "config": str(broker.config_dir),
        "data": {"file": "cases.jsonl", "sample": len(cases)},
        "candidates": [
            {"name": "today", "provider": "own", "model": "m"},
            {"name": "cheap", "provider": "new", "model": "n"},
        ],
        "scorers": [{"kind": "exact"}],
        "budget": {"spend": "$1"},
    }
    (broker.folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    state = ("--state-dir", str(broker.folder / "state"), "--runs", str(broker.folder / "runs"))
    mocked = ("--mock-providers", "answers.yaml", "--format", "json")
    told = command(broker, "eval", "run", "suite.yaml", *mocked, *state)
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    (cheap,) = [one for one in report["candidates"] if one["candidate"] == "cheap"]
    assert cheap["verdict"] == "worse"
    until(page, "/evaluations", f"cheap: {cheap['verdict']}", f"suite {HOSTILE}")
    (row,) = rows(page, "#runs")
    assert row["Run"] == f"{report['run']} simulated" and row["Cases"] == str(report["cases"])
    page.click(f"text={report['run']}")
    page.wait_for_selector("#candidates")
    found = {one["Candidate"].split()[0]: one for one in rows(page, "#candidates")}
    assert found["cheap"]["Verdict"].startswith("worse") and found["today"]["Verdict"] == "baseline"
    assert found["cheap"]["Quality"].startswith(f"{100 * cheap['quality']['value']:.1f} %")
    assert CANARY not in page.content() and page.locator("svg .point").count() == 3
    kept: list[Path] = list((broker.folder / "state" / "evaluations").iterdir())
    assert [path.stem for path in kept] == [report["run"]] and CANARY not in kept[0].read_text()


def test_a_broker_that_is_alone_says_so(broker: Broker, page: Page) -> None:
    serving = broker.status()["serving"]
    said = until(page, "/fleet", "This broker is alone", f"1 broker serves {serving}")
    assert "redis: {url:" in said
    (row,) = rows(page, "#fleet")
    assert (row["State"], row["Serves"], row["Envoys"]) == ("in effect", serving, "1")
