"""Budgets and rate limits hold, whoever calls and however many at a time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest
from modelbroker.core.prices import dollars
from support.broker import Broker, provider
from support.budgets import DOLLAR, asked, charged, standing, team, told
from support.calls import Got, leave, make
from support.records import lines_of, record_of
from support.simulators import Simulators
from support.waiting import wait_until

TEAMS = (
    "crowd",
    "over",
    "deg",
    "child",
    "deny",
    "two",
    "places",
    "paced",
    "tried",
    "unknown",
    "known",
    "left",
    "kill",
    "again",
    "never",
    "held",
)
# $10 a million tokens of an answer, and nothing for the question: 100 tokens are a tenth of a cent.
CALL = DOLLAR // 1000
USED = {"input": 10, "output": 100}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a", "b") as simulators:
        yield simulators


def config(sims: Simulators) -> dict[str, Any]:
    def pool(name: str, *members: str) -> dict[str, Any]:
        parts = [member.split("/") for member in members]
        listed = [{"provider": p, "model": m, "priority": number} for number, (p, m) in enumerate(parts)]
        return {"name": name, "ejection": "off", "members": listed}

    def daily(name: str, amount: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "match": {"team": name}, "amount": amount, "per": "day", **more}

    steps = [{"40%": "warn"}, {"50%": {"degrade": "cheap"}}, {"100%": "deny"}]
    return {
        "providers": [provider(name, sims[name].port, "openai-chat", "/v1") for name in ("a", "b")],
        "callers": [team(name) for name in TEAMS],
        "pools": [
            pool("dear", "a/m"),
            pool("cheap", "b/m"),
            pool("both", "a/m", "b/m"),
            pool("odd", "a/odd"),
            {**pool("kept", "a/m"), "cache": "short-context"},
        ],
        "prices": [
            {"provider": "a", "model": "m", "input": 0, "output": 10},
            {"provider": "b", "model": "m", "input": 0, "output": 1},
        ],
        "budgets": [
            {
                "name": "crowds",
                "by": "team",
                "match": {"team": ["crowd", "over"]},
                "amount": "$0.02",
                "per": "day",
            },
            daily("deg", "$0.01", at=steps),
            daily("child", "$0.003", borrows_from="lender", time_zone="Europe/Berlin"),
            daily("deny", "1 calls"),
            {"name": "lender", "match": {"team": "nobody"}, "amount": "$0.002", "per": "rolling 30d"},
            {
                "name": "of-a",
                "by": "provider",
                "match": {"team": "two", "provider": "a"},
                "amount": "2 calls",
                "per": "month",
            },
            daily("tried", "$1"),
            {"name": "tries", "match": {"team": "tried"}, "amount": "1000 calls", "per": "day"},
            daily("unknown", "$1"),
            daily("known", "$1", on_unknown_cost="$0.4"),
            daily("left", "$1"),
            daily("kill", "$1"),
            daily("never", "$0.001"),
            daily("held", "$0.002"),
            {
                "name": "nobodys",
                "by": "customer",
                "match": {"team": "nobody"},
                "amount": "$1",
                "per": "rolling 24h",
            },
            daily("again", "2 calls", at=[{"60%": {"degrade": "cheap"}}, {"100%": "deny"}]),
        ],
        "rate_limits": [
            {"name": "places", "match": {"team": "places"}, "concurrency": 2},
            {"name": "paced", "match": {"team": "paced"}, "calls": "3/h", "tokens": "1k/h"},
        ],
    }


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims)) as running:
        yield running


@pytest.fixture(autouse=True)
def _well_behaved(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    for sim in sims:
        sim.script(replies=[{"text": "hello", "tokens": USED}])
    broker.forget()


def codes(got: list[Got]) -> Counter[str]:
    return Counter("" if one.status == 200 else one.headers["x-broker-code"] for one in got)


def quiet(broker: Broker, budget: str, scope: str, spent: int) -> None:
    """After all has ended, so much is spent and nothing is reserved."""
    wait_until(lambda: standing(broker, budget, scope) == (spent, 0), 60)


@pytest.mark.parametrize(("name", "output"), [("crowd", 100), ("over", 130)])
def test_of_two_hundred_calls_at_a_time_as_many_are_made_as_fit(
    broker: Broker, sims: Simulators, name: str, output: int
) -> None:
    """Twenty fit. What is spent is beyond the limit by no more than what those under way cost beyond what was
    reserved for them: the stated bound."""
    for sim in sims:
        sim.script(
            replies=[{"text": "hello", "tokens": {"input": 10, "output": output}}],
            faults=[{"delay_headers_ms": 1500}],
        )
    got = make(broker.url, [asked(name, "dear") for _ in range(200)], parallel=200)
    assert codes(got) == {"": 20, "budget_exceeded": 180}
    refused = next(one for one in got if one.status == 429)
    assert b"the budget crowds (team=%b) allows $0.02 per day" % name.encode() in refused.body
    assert int(refused.headers["retry-after"]) > 0
    quiet(broker, "crowds", f"team={name}", 20 * output * CALL // 100)
    record = record_of(broker, refused)
    assert (record["budget"], record["outcome"], record["error_source"]) == ("crowds", "refused", "policy")
    good = record_of(broker, next(one for one in got if one.status == 200))
    (charge,) = good["budgets"]
    assert (charge["scope"], charge["reserved"], charge["charged"]) == (
        f"team={name}",
        CALL,
        good["cost"]["total"],
    )


def test_calls_go_on_in_a_cheaper_pool_before_they_are_denied(broker: Broker) -> None:
    """Five dear ones are half of it; the other half is for fifty cheap ones."""
    got = [one for _ in range(8) for one in make(broker.url, [asked("deg", "dear")]) if _settled(broker, one)]
    assert [one.headers["x-broker-pool"] for one in got] == ["dear"] * 5 + ["cheap"] * 3
    record = record_of(broker, got[-1])
    assert (record["pool"], record["degraded_from"], record["budget"]) == ("cheap", "dear", "deg")
    quiet(broker, "deg", "", 5 * CALL + 3 * CALL // 10)
    assert broker.metrics("modelbroker_budget_warnings_total")['{at="40%",budget="deg"}'] == 1
    assert "budget deg (all): 40% of it are used or reserved" in broker.log()
    for _ in range(5):
        make(broker.url, [asked("deg", "dear", tokens=900)])
    (last,) = make(broker.url, [asked("deg", "dear", tokens=90_000)])
    assert last.status == 429


def _settled(broker: Broker, got: Got) -> dict[str, Any]:
    return record_of(broker, got)


def test_a_team_borrows_what_others_leave(broker: Broker) -> None:
    got = [
        one for _ in range(6) for one in make(broker.url, [asked("child", "dear")]) if _settled(broker, one)
    ]
    assert [one.status for one in got] == [200] * 5 + [429]
    assert b"the budget lender allows $0.002 per rolling 30d, and" in got[-1].body
    quiet(broker, "child", "", 3 * CALL)
    quiet(broker, "lender", "", 2 * CALL)


def test_a_denial_in_each_dialect(broker: Broker) -> None:
    """429, which the SDKs don't try again: it takes until tomorrow."""
    make(broker.url, [asked("deny", "cheap")])
    chat = openai.OpenAI(base_url=f"{broker.url}/v1", api_key="key-deny", max_retries=3)
    with pytest.raises(openai.RateLimitError) as denied:
        chat.chat.completions.create(model="cheap", messages=[{"role": "user", "content": "Hello"}])
    assert denied.value.code == "budget_exceeded"
    assert (
        "the budget deny allows 1 calls per day, and 1 calls are used or reserved; it fits again in"
        in str(denied.value)
    )
    with pytest.raises(openai.RateLimitError):
        chat.responses.create(model="cheap", input="Hello", stream=True)
    messages = anthropic.Anthropic(base_url=broker.url, api_key="key-deny", max_retries=3)
    with pytest.raises(anthropic.RateLimitError) as told_so:
        messages.messages.create(model="cheap", max_tokens=9, messages=[{"role": "user", "content": "Hello"}])
    assert told_so.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index,call-overload]
    assert told_so.value.response.headers["x-should-retry"] == "false"
    wait_until(lambda: sum(1 for one in lines_of(broker) if one["budget"] == "deny") == 3)


def test_what_only_calls_under_way_hold_is_no_matter_of_days(broker: Broker, sims: Simulators) -> None:
    """They reserve what they may cost at most: an SDK tries again once they are over, and has its answer."""
    sims["a"].script(replies=[{"tokens": USED}], faults=[{"delay_headers_ms": 500}])
    got = make(broker.url, [asked("held", "dear", tokens=150) for _ in range(2)])
    assert codes(got) == {"": 1, "budget_exceeded": 1}
    refused = next(one for one in got if one.status == 429)
    assert refused.headers["retry-after"] == "1" and "x-should-retry" not in refused.headers
    assert b"it may fit once calls that are under way give back what they do not use" in refused.body
    quiet(broker, "held", "", CALL)
    # Of what is spent it is, and not of what is held.
    (refused,) = make(broker.url, [asked("held", "dear", tokens=150)])
    assert refused.status == 429 and refused.headers["x-should-retry"] == "false"
    (fits,) = make(broker.url, [asked("held", "dear", tokens=100)])
    assert fits.status == 200


def test_a_provider_whose_budget_is_spent_is_left_out(broker: Broker) -> None:
    got = [one for _ in range(4) for one in make(broker.url, [asked("two", "both")])]
    assert [one.member for one in got] == ["a/m", "a/m", "b/m", "b/m"]
    (alone,) = make(broker.url, [asked("two", "dear")])
    assert alone.status == 429


def test_so_many_calls_at_a_time(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"delay_headers_ms": 1500}])
    got = make(broker.url, [asked("places", "dear") for _ in range(6)])
    assert codes(got) == {"": 2, "rate_limited": 4}
    refused = next(one for one in got if one.status == 429)
    assert refused.headers["retry-after"] == "1"
    assert "x-should-retry" not in refused.headers
    wait_until(lambda: make(broker.url, [asked("places", "cheap")])[0].status == 200, 15)


def test_so_many_tokens_and_calls_in_a_time(broker: Broker) -> None:
    (large,) = make(broker.url, [asked("paced", "dear", tokens=5000)])
    assert large.status == 429
    assert b"the rate limit paced allows 1000 tokens/h, and" in large.body
    assert b"more than all of it: ask for a shorter answer, by max_completion_tokens" in large.body
    assert json.loads(large.body)["error"]["param"] == "max_completion_tokens"
    got = make(broker.url, [asked("paced", "dear", tokens=10) for _ in range(5)])
    assert codes(got) == {"": 3, "rate_limited": 2}
    wait_until(
        lambda: (
            {row["unit"]: row["spent"] for row in told(broker)["budgets"] if row["budget"] == "paced"}
            == {"calls": 3, "tokens": 330}
        )
    )


def test_a_failed_attempt_is_not_paid_twice(broker: Broker, sims: Simulators) -> None:
    sims["a"].script(faults=[{"status": 500}])
    (got,) = make(broker.url, [asked("tried", "both")])
    assert (got.member, got.attempts) == ("b/m", 2)
    record = record_of(broker, got)
    assert {one["budget"]: one["charged"] for one in record["budgets"]} == {"tried": CALL // 10, "tries": 1}
    quiet(broker, "tries", "", 1)


def test_a_cost_that_nobody_knows(broker: Broker) -> None:
    (refused,) = make(broker.url, [asked("unknown", "odd")])
    assert (refused.status, refused.headers["x-broker-code"]) == (403, "budget_cost_unknown")
    got = make(broker.url, [asked("known", "odd") for _ in range(3)])
    assert codes(got) == {"": 2, "budget_exceeded": 1}
    quiet(broker, "known", "", 2 * 4 * DOLLAR // 10)


@pytest.mark.parametrize("reads", [False, True], ids=["before", "within"])
def test_who_leaves_leaves_nothing_reserved(broker: Broker, sims: Simulators, reads: bool) -> None:
    """What was used is not told: it counts as what was reserved."""
    before, _ = standing(broker, "left")
    sims["a"].script(faults=[{"token_delay_ms": 300} if reads else {"stall": "before-headers"}])
    asks = [asked("left", "dear", stream=True) for _ in range(10)]
    asyncio.run(leave(broker.url, sims["a"], asks, reads))
    wait_until(lambda: standing(broker, "left") == (before + 10 * CALL, 0), 30)


def test_where_they_stand(broker: Broker) -> None:
    """The command says what `/budgets` says, and the metrics too."""
    make(broker.url, [asked("tried", "cheap")])
    wait_until(lambda: standing(broker, "tried")[1] == 0 and standing(broker, "tried")[0] > 0)
    spent, _ = standing(broker, "tried")
    command = [sys.executable, "-m", "modelbroker.cli.main", "budgets", "--admin", broker.admin_url]
    table = subprocess.run(
        [*command, "tried"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert table[0] == "figures of this broker alone"
    assert table[2].split()[:6] == ["tried", "all", "$1", "day,", "UTC", f"${dollars(spent)}"]
    shown = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True).stdout
    (row,) = [row for row in json.loads(shown)["budgets"] if row["budget"] == "tried"]
    assert (row["limit"], row["spent"], row["reserved"], row["window"]) == (DOLLAR, spent, 0, "day@UTC")
    metric = broker.metrics("modelbroker_budget_spent")
    assert metric['{budget="tried",kind="budget",scope="",unit="nano_dollars"}'] == spent
    nothing = subprocess.run([*command, "no-such"], capture_output=True, text=True, check=False)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert 'there is no budget or rate limit "no-such"; there are ' in nothing.stderr
    assert "Traceback" not in nothing.stderr
    unused = subprocess.run([*command, "nobodys"], capture_output=True, text=True, check=True).stdout
    assert unused.splitlines()[2].split() == ["nobodys", "-", "$1", "rolling", "24h", "$0", "$0", "0.0%", "-"]


def test_who_was_denied_is_told_by_the_command_and_in_the_log(broker: Broker) -> None:
    """By the budget's name, whether or not one of its accounts holds anything; the log has the first."""
    got = make(broker.url, [asked("never", "dear", tokens=500) for _ in range(4)])
    assert codes(got) == {"budget_exceeded": 4}
    command = [sys.executable, "-m", "modelbroker.cli.main", "budgets", "--admin", broker.admin_url, "never"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert table[2].split()[:3] == ["never", "all", "$0.001"]
    assert table[3:] == ["calls denied since this broker began: never 4"]
    assert broker.log().count("budget never (all): a call is denied, the first in this window") == 1
    with urllib.request.urlopen(f"{broker.admin_url}/status", timeout=10) as reply:
        warnings = "\n".join(json.load(reply)["warnings"])
    assert "a/odd has no price" in warnings
    assert "$0.001 is less than one call of 4,096 tokens at b/m ($0.004096)" in warnings
    assert "a/odd has no price" in broker.log()


def test_what_is_answered_from_the_cache_costs_nothing(broker: Broker) -> None:
    """And what a cheaper pool says in place of another one is not kept for those who ask that one."""

    def ask(question: str) -> Got:
        (got,) = make(broker.url, [asked("again", "kept", question=question)])
        return got

    first = ask("the same")
    wait_until(lambda: standing(broker, "again") == (1, 0))
    assert [ask("the same").headers["x-broker-cache"] for _ in range(3)] == ["hit"] * 3
    assert first.status == 200
    assert standing(broker, "again") == (1, 0)
    degraded = ask("another")
    assert degraded.headers["x-broker-pool"] == "cheap"
    assert record_of(broker, degraded)["degraded_from"] == "kept"
    quiet(broker, "again", "", 2)
    assert ask("another").status == 429


def test_an_edit_holds_for_what_was_spent_already(broker: Broker, sims: Simulators) -> None:
    (before,) = make(broker.url, [asked("deny", "cheap")])
    assert before.status in (200, 429)
    wait_until(lambda: standing(broker, "deny") == (1, 0))
    edited = config(sims)
    (deny,) = [one for one in edited["budgets"] if one["name"] == "deny"]
    deny["amount"] = "3 calls"
    broker.edit(edited)
    got = [one for _ in range(3) for one in make(broker.url, [asked("deny", "cheap")])]
    assert [one.status for one in got] == [200, 200, 429]
    quiet(broker, "deny", "", 3)


def test_a_broker_that_is_killed_loses_no_spend(broker: Broker, sims: Simulators) -> None:
    """Killed under load, again and again: what stands is what the records say, to the nano-dollar."""
    sims["a"].script(
        replies=[{"text": "hello", "tokens": USED}], faults=[{"delay_headers_ms": 100, "rate": 0.5}]
    )
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(make, broker.url, [asked("kill", "dear") for _ in range(600)], 10)
        for least in (50, 150):
            wait_until(lambda least=least: charged(broker, "kill") >= least * CALL, 60)
            (pid,) = broker.child_pids("serve")
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: broker.child_pids("serve") not in ([], [pid]) and broker.status(), 30)
        load.result()
    wait_until(lambda: standing(broker, "kill") == (charged(broker, "kill"), 0), 30)
    assert charged(broker, "kill") >= 200 * CALL
