"""What calls cost and what budgets did about it, as people see it in the console."""

from __future__ import annotations

import csv
import io
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page
from support.broker import Broker, provider
from support.browser import aside, browsing, rows, visit, words
from support.budgets import asked, team, told
from support.calls import make
from support.simulators import Simulators
from support.waiting import wait_until

# $10 a million tokens of an answer, and nothing for the question: 100 tokens are a tenth of a cent.
USED = {"input": 10, "output": 100}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        for sim in simulators:
            sim.script(replies=[{"text": "hello", "tokens": USED}])
        yield simulators


def config(sims: Simulators) -> dict[str, Any]:
    steps = [{"50%": "warn"}, {"100%": "deny"}]
    return {
        "providers": [provider(name, sims[name].port, "openai-chat", "/v1") for name in ("a", "b")],
        "callers": [team("red"), {**team("green"), "customer": HOSTILE}, team("blue")],
        "pools": [
            {"name": name, "ejection": "off", "members": [{"provider": of, "model": model}]}
            for name, of, model in (("dear", "a", "m"), ("cheap", "b", "m"), ("odd", "b", "unpriced"))
        ],
        "prices": [
            {"provider": "a", "model": "m", "input": 0, "output": 10},
            {"provider": "b", "model": "m", "input": 0, "output": 1},
        ],
        "budgets": [
            {
                "name": "of-teams",
                "by": "team",
                "match": {"team": ["red", "green"]},
                "amount": "$0.004",
                "per": "month",
                "at": steps,
            },
        ],
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """red is denied its fifth call; green pays for two; blue for one, and nobody knows what another cost."""
    with Broker(tmp_path_factory.mktemp("broker"), config(sims), with_ledger=True) as running:
        in_turn = [*[asked("red", "dear")] * 5, *[asked("green", "cheap")] * 2, asked("blue", "dear")]
        statuses = [make(running.url, [one])[0].status for one in (*in_turn, asked("blue", "odd"))]
        assert statuses == [200] * 4 + [429] + [200] * 4
        running.wait_for(lambda s: s["ledger"]["taken"] == 9 and not s["ledger"]["behind_bytes"])
        wait_until(lambda: all(not row["reserved"] for row in told(running)["budgets"]), 60)
        yield running


@pytest.fixture
def page(broker: Broker) -> Iterator[Page]:
    with browsing(broker) as opened:
        yield opened


def command(broker: Broker, line: str) -> str:
    """What the command that a page tells says, letter by letter."""
    assert shlex.split(line)[0] == "modelbroker" and str(broker.config_dir) in line
    argv = [sys.executable, "-m", "modelbroker.cli.main", *shlex.split(line)[1:]]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout


def test_what_three_teams_spent(broker: Broker, page: Page) -> None:
    """To the nano-dollar, as the command has it that the page tells."""
    page.click("nav >> text=Spend")
    found = {row["team"]: row for row in rows(page, "#groups")}
    assert list(found) == ["red", "blue", "green"]
    assert [(found[name]["Cost"], found[name]["Calls"]) for name in found] == [
        ("$0.004", "5"),
        ("$0.001 + ?", "2"),
        ("$0.0002", "2"),
    ]
    assert found["red"]["Output"] == "400" and found["blue"]["Unknown"] == "1"
    total = page.locator("#total-cost span")
    assert (total.inner_text(), total.get_attribute("title")) == (
        "$0.0052 + ?",
        "$0.0052 and what is unknown",
    )
    assert "the cost of 1 call more is unknown" in words(page)
    lines = command(broker, page.locator("#command").inner_text()).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["red", "blue", "green", "ALL"]
    assert "0.0052 + ?" in lines[4]


def test_into_a_group_and_out_again(page: Page) -> None:
    visit(page, "/spend")
    page.click("#groups >> text=green")
    page.wait_for_url("**/console/spend?by=feature&team=green")
    assert "team: green" in words(page.locator("#chips"))
    page.select_option("#by", "customer")  # a form that sends itself
    page.wait_for_url("**by=customer**")
    (row,) = rows(page, "#groups")
    assert (row["customer"], row["Cost"]) == (HOSTILE, "$0.0002")
    page.click(f"#groups >> text={HOSTILE}")
    page.wait_for_url("**by=feature**")
    assert f"customer: {HOSTILE}" in words(page.locator("#chips"))
    page.get_by_label("Remove the filter team: green").click()
    page.wait_for_url("**customer=**")
    assert "team" not in page.locator("#chips").inner_text()
    page.fill("#value", "nobody")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**dimension=team**")
    assert "No call has what is asked for" in words(page)


def test_as_a_file(page: Page) -> None:
    visit(page, "/spend", {"by": "member"})
    with page.expect_download() as download:
        page.click("#csv")
    text = download.value.path().read_text()
    assert download.value.suggested_filename == "spend.csv"
    costs = {row["member"]: row["cost_nano"] for row in csv.DictReader(io.StringIO(text))}
    assert costs == {"a/m": "5000000", "b/m": "200000", "b/unpriced": "", "": "0"}


def test_without_javascript(broker: Broker) -> None:
    with browsing(broker, java_script_enabled=False) as page:
        visit(page, "/spend")
        page.select_option("#by", "pool")
        page.get_by_role("button", name="Group").click()
        page.wait_for_url("**by=pool**")
        assert {row["pool"] for row in rows(page, "#groups")} == {"dear", "cheap", "odd"}


def test_a_budget_that_is_used_up(broker: Broker, page: Page) -> None:
    page.click("nav >> text=Budgets")
    first, second = rows(page, "#budgets")
    assert first["Budget"].startswith("of-teams budget; team is red or green; an account for each team")
    assert (first["Whose"], first["Used"], first["Spent"], first["Limit"]) == (
        "team red",
        "100 % warn at 50 % ✓ reached, deny at 100 % ✓ reached",
        "$0.004",
        "$0.004",
    )
    assert first["State"].startswith("used up: calls are denied")
    assert (second["Whose"], second["Spent"]) == ("team green", "$0.0002")
    assert second["Used"] == "5.0 % warn at 50 %, deny at 100 %"
    assert second["State"].startswith("has room")
    (happened,) = rows(page, "#happened")
    assert happened == {
        "Budget": "of-teams",
        "Calls denied": "1",
        "Sent to another pool": "0",
        "Warnings": "50% reached 1 time",
    }
    # It fills while somebody looks.
    got = aside(make, broker.url, [asked("green", "cheap")] * 3)
    assert [one.status for one in got] == [200] * 3
    page.locator("#budgets >> text=$0.0005").first.wait_for()
    page.click("text=team red")
    page.wait_for_url("**/console/spend?span=month&team=red")
    assert "$0.004" in page.locator("#total-cost").inner_text()


def test_where_no_budget_is(sims: Simulators, broker: Broker, page: Page) -> None:
    """The last one: it takes them away."""
    broker.edit({**config(sims), "budgets": []})
    visit(page, "/budgets")
    assert "There is no budget and no rate limit." in words(page)
