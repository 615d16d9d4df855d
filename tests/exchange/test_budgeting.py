"""What budgets do with a call on its way: the pool it goes to, who is left out, what it is told."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from modelbroker.core.budgets import Span, Window
from modelbroker.core.call import Caller
from modelbroker.core.causes import Cause
from modelbroker.core.keys import CAUSE_HEADER, MEMBER_HEADER
from modelbroker.core.prices import Price, Rates, Scale, book_of
from modelbroker.exchange import Forward, Hold, Inbound, Moment, OuterCall, Reply, View
from modelbroker.policy import State
from modelbroker.policy.budgets import DENIED, Accounts, Ask, Verdict, rolling_span
from modelbroker.policy.ceilings import Ceilings
from modelbroker.policy.estimates import Estimates
from modelbroker.policy.seats import Plan
from support.catalogs import catalog

MEMBERS = {"a": "anthropic-messages", "b": "openai-chat", "c": "openai-chat"}
BOOK = book_of(
    {
        (provider, "m"): (Price(Scale(Rates(input=0, output=rate * 10**9))),)
        for provider, rate in {"a": 10, "b": 1, "c": 10}.items()
    }
)
CALL = 100 * 10_000  # nano-dollars: 100 tokens at $10 a million


def spans(window: Window, now_s: float) -> Span:
    if window.unit:
        return Span(0, 0, 86_400.0)
    return rolling_span(window, now_s) if window.length_ms else Span(0, 0, math.inf)


def pool(name: str, *providers: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "members": [{"provider": p, "model": "m", "priority": n} for n, p in enumerate(providers)],
        **more,
    }


class Front:
    """Calls of one configuration."""

    def __init__(self, pools: list[dict[str, Any]], **sections: Any) -> None:
        found = catalog(pools=pools, **sections)
        plan = Plan(found.budgets)
        self.accounts = Accounts(spans)
        self.view = View("g", found, State({}, {}), {}, {}, Estimates(BOOK), Ceilings(BOOK), plan)
        self.caller = Caller("tester", team="t")
        self.count = 0

    def call(
        self, name: str, tokens: int | None = 100, course: str = "", member: str = "", cause: str = ""
    ) -> OuterCall:
        self.count += 1
        headers = [(":method", "POST"), (":path", "/v1/chat/completions")]
        if course:
            headers += [("x-broker-call", course), (MEMBER_HEADER, member), (CAUSE_HEADER, cause)]
        one = OuterCall(self.view, f"{self.count:032x}", b"k" * 16, funds=self.accounts)
        one.assume(self.caller)
        assert one.on_headers(Inbound(headers), ends=False) is None
        self.body = {"model": name, "messages": [{"role": "user", "content": "Hello"}]}
        if tokens:
            self.body["max_tokens"] = tokens
        return one

    def go(self, name: str, tokens: int | None = 100) -> Forward | Reply | Hold | Ask:
        return self.call(name, tokens).on_body(json.dumps(self.body).encode(), Moment(1000.0, 1))

    def pools(self, name: str, times: int, tokens: int | None = 100) -> list[str]:
        """Where each of so many calls went, or the code by which it was refused."""
        got = [self.go(name, tokens) for _ in range(times)]
        return [dict(one.facts)["pool"] if isinstance(one, Forward) else one.code for one in got]  # type: ignore[union-attr]

    def reserved(self) -> dict[str, int]:
        return {name.split("|")[0]: one.reserved for name, one in self.accounts.accounts.items()}


def dollars(name: str, amount: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "amount": amount, "per": "day", **more}


def steps(*said: tuple[int, Any]) -> list[dict[str, Any]]:
    return [{f"{part}%": action} for part, action in said]


def test_a_call_reserves_what_it_may_cost_at_the_dearest_member() -> None:
    front = Front([pool("p", "b", "a")], budgets=[dollars("x", "$1")])
    assert front.pools("p", 1) == ["p"]
    assert front.reserved() == {"x": CALL}
    front.pools("p", 1, tokens=None)
    assert front.reserved() == {"x": CALL + 4_096 * 10_000}


def test_a_call_in_no_budget_reserves_nothing() -> None:
    front = Front(
        [pool("p", "b")], budgets=[dollars("x", "$1", match={"team": "other"}), dollars("y", "$1", by="user")]
    )
    forward = front.go("p")
    assert isinstance(forward, Forward)
    assert "reserved" not in dict(forward.facts)
    assert front.reserved() == {}


def test_no_more_is_reserved_for_an_answer_than_the_budget_says() -> None:
    front = Front([pool("p", "a")], budgets=[dollars("x", "$1", reserve_output="50")])
    front.pools("p", 1)
    front.pools("p", 1, tokens=None)
    front.pools("p", 1, tokens=20)
    assert front.reserved() == {"x": CALL // 2 + CALL // 2 + CALL // 5}


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"amount": "$0.01", "per": "day"}, "budget x allows $0.01 per day"),
        ({"amount": "10 tokens", "per": "rolling 24h"}, "budget x allows 10 tokens per rolling 24h"),
    ],
)
def test_a_call_that_never_fits_is_told_what_to_ask_for(limit: dict[str, str], said: str) -> None:
    """By the client's own name of the field."""
    front = Front([pool("p", "a")], budgets=[{"name": "x", **limit}])
    reply = front.go("p", tokens=None)
    assert isinstance(reply, Reply)
    error = json.loads(reply.body)["error"]
    assert said in error["message"]
    assert "more than all of it: ask for a shorter answer, by max_completion_tokens" in error["message"]
    assert error["param"] == "max_completion_tokens"


def test_pools_that_degrade_to_one_another_make_no_circle() -> None:
    """Each budget sends the call to the other's pool; it ends where nobody sends it on, or is denied."""
    front = Front(
        [pool("p", "a"), pool("q", "c")],
        budgets=[
            dollars("of-p", "$0.001", match={"pool": "p"}, at=steps((0, {"degrade": "q"}))),
            dollars("of-q", "$0.001", match={"pool": "q"}, at=steps((0, {"degrade": "p"}), (100, "deny"))),
        ],
    )
    # From p to q to p, where it stays: it was in both.
    assert front.pools("p", 3) == ["p"] * 3


def test_of_several_steps_the_last_that_is_reached_counts() -> None:
    cheaper = steps((10, {"degrade": "q"}), (50, {"degrade": "r"}), (100, "deny"))
    front = Front(
        [pool("p", "a"), pool("q", "a"), pool("r", "b")], budgets=[dollars("x", "$0.01", at=cheaper)]
    )
    assert front.pools("p", 8) == ["p", "q", "q", "q", "q", "r", "r", "r"]


def test_a_call_that_the_cheaper_pool_cant_take_stays() -> None:
    small = pool("q", "b")
    small["members"][0]["capabilities"] = {"context": 1}
    budgets = [dollars("x", "$0.01", at=steps((0, {"degrade": "q"}), (100, "deny")))]
    front = Front([pool("p", "a"), small], budgets=budgets)
    forward = front.go("p")
    assert isinstance(forward, Forward)
    told = dict(forward.facts)
    assert told["pool"] == "p"
    assert "degraded_from" not in told


def test_a_degraded_call_says_so_in_each_attempt() -> None:
    budgets = [dollars("x", "$0.01", at=steps((0, {"degrade": "q"})))]
    front = Front([pool("p", "a"), pool("q", "b", "c")], budgets=budgets)
    first = front.go("p")
    assert isinstance(first, Forward)
    assert dict(first.facts)["degraded_from"] == "p"
    course = dict(first.own_headers)["x-broker-call"]
    further = front.call("p", course=course, member="b/m", cause=Cause.SERVER.value)
    second = further.on_body(json.dumps(front.body).encode(), Moment(1000.0, 2))
    assert isinstance(second, Forward)
    told = dict(second.facts)
    assert (told["pool"], told["degraded_from"], told["budget"]) == ("q", "p", "x")
    # b's error cost nothing: its reservation is c's now, which is dearer.
    assert front.reserved() == {"x": CALL}


@pytest.mark.parametrize(("cause", "whole"), [(Cause.RATE_LIMIT, CALL), (Cause.STALL, 2 * CALL)])
def test_what_an_attempt_may_have_cost_stays_reserved(cause: Cause, whole: int) -> None:
    front = Front([pool("p", "a", "c")], budgets=[dollars("x", "$1"), dollars("n", "9 calls")])
    first = front.go("p")
    assert isinstance(first, Forward)
    course = dict(first.own_headers)["x-broker-call"]
    further = front.call("p", course=course, member="a/m", cause=cause.value)
    assert isinstance(further.on_body(json.dumps(front.body).encode(), Moment(1000.0, 2)), Forward)
    assert front.reserved() == {"x": whole, "n": 1}


def test_a_further_attempt_that_does_not_fit_is_not_made() -> None:
    front = Front([pool("p", "a", "c")], budgets=[dollars("x", "$0.0015")])
    first = front.go("p")
    assert isinstance(first, Forward)
    course = dict(first.own_headers)["x-broker-call"]
    further = front.call("p", course=course, member="a/m", cause=Cause.STALL.value)
    reply = further.on_body(json.dumps(front.body).encode(), Moment(1000.0, 2))
    assert isinstance(reply, Reply)
    assert (reply.status, reply.code) == (429, "budget_exceeded")
    assert dict(reply.facts)["budget"] == "x"


def test_providers_are_left_out_in_turn() -> None:
    each = {
        "name": "each",
        "by": "provider",
        "match": {"provider": ["a", "b"]},
        "amount": "1 calls",
        "per": "day",
    }
    front = Front([pool("p", "a", "b", "c")], budgets=[each])
    got = [front.go("p") for _ in range(4)]
    picks = [one.pick for one in got if isinstance(one, Forward)]
    assert {kind for kind, _ in picks} == {"member"}
    assert len(set(picks)) == 3
    assert picks[2] == picks[3]
    scopes = {name.split("|")[3]: one.reserved for name, one in front.accounts.accounts.items()}
    assert scopes == {"provider=a": 1, "provider=b": 1}


def test_members_without_a_price_are_left_out() -> None:
    budgets = [dollars("x", "$1")]
    mixed = pool("p", "a", "b")
    mixed["members"][0]["model"] = "odd"
    front = Front([mixed, {"name": "odd", "members": mixed["members"][:1]}], budgets=budgets)
    forward = front.go("p")
    assert isinstance(forward, Forward)
    assert forward.pick[0] == "member"
    assert front.reserved() == {"x": CALL // 10}
    refused = front.go("odd")
    assert isinstance(refused, Reply)
    assert (refused.status, refused.code) == (403, "budget_cost_unknown")


@pytest.mark.parametrize(("policy", "reserved"), [("allow", 0), ("$0.25", 250_000_000)])
def test_a_cost_that_nobody_knows_counts_as_the_budget_says(policy: str, reserved: int) -> None:
    odd = pool("p", "a")
    odd["members"][0]["model"] = "odd"
    front = Front([odd], budgets=[dollars("x", "$1", on_unknown_cost=policy)])
    assert front.pools("p", 1) == ["p"]
    assert front.reserved().get("x", 0) == reserved


class Slow:
    """Funds that are asked elsewhere."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts

    def reserve(self, ask: Ask) -> Verdict | None:
        return None

    def holds(self, request_id: str, account: str) -> bool:
        return False


def test_where_the_verdict_takes_a_while_the_call_waits_for_it() -> None:
    budgets = [dollars("x", "$0.002", at=steps((50, {"degrade": "q"}), (100, "deny")))]
    front = Front([pool("p", "a"), pool("q", "b")], budgets=budgets)
    ends: list[Sequence[str]] = []
    for _ in range(3):
        call = front.call("p", tokens=150)
        call.funds = Slow(front.accounts)
        outcome = call.on_body(json.dumps(front.body).encode(), Moment(1000.0, 1))
        asked = []
        while isinstance(outcome, Ask):
            verdict = front.accounts.reserve(outcome)
            asked.append(verdict.outcome)
            outcome = call.on_ready(Moment(1000.0, 1), verdict)
        assert isinstance(outcome, Forward)
        assert dict(outcome.facts)["pool"] == "q"
        ends.append(asked)
    assert ends == [["degraded", "granted"]] * 3
    call = front.call("q", tokens=100_000)
    call.funds = Slow(front.accounts)
    ask = call.on_body(json.dumps(front.body).encode(), Moment(1000.0, 1))
    assert isinstance(ask, Ask)
    verdict = front.accounts.reserve(ask)
    assert verdict.outcome == DENIED
    reply = call.on_ready(Moment(1000.0, 1), verdict)
    assert isinstance(reply, Reply)
    assert reply.code == "budget_exceeded"
