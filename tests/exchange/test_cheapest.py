"""Pools that want the cheapest member: the first attempt, further ones, and what health and conversations
change."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from modelbroker.cli.secrets import resolve
from modelbroker.core.call import caller_of
from modelbroker.core.causes import Cause
from modelbroker.core.keys import member_key
from modelbroker.core.prices import Price, Rates, Scale, book_of
from modelbroker.core.record import Observed
from modelbroker.exchange import Forward, Hold, Inbound, Moment, OuterCall, Reply, View
from modelbroker.policy import Book
from modelbroker.policy.estimates import Estimates
from support.catalogs import catalog

KEY = "key-of-tests"
SEAL = b"s" * 32
NOW_S = 1_800_000_000.0
D = 1_000_000_000
CALLERS = [{"name": "tester", "key": {"sha256": hashlib.sha256(KEY.encode()).hexdigest()}}]
# Dollars a million tokens, in and out. m5 has no price.
RATES = {"m1": (5, 25), "m2": (1, 30), "m3": (2, 8), "m4": (2, 8)}


def member(model: str, **more: Any) -> dict[str, Any]:
    return {"provider": "b", "model": model, **more}


def pool(name: str, *members: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "routing": "cheapest", "members": list(members), "failover": 5, **more}


POOLS = [
    pool("p", member("m1", weight=90), member("m2"), member("m3"), member("m5", weight=90)),
    pool("levels", member("m1"), member("m3", priority=1)),
    pool("equal", member("m3", weight=3), member("m4"), member("m1", weight=50)),
    pool("all-equal", member("m3", weight=3), member("m4")),
    pool("wide", member("m1"), member("m3", weight=9), routing={"by": "cheapest", "tolerance": "100%"}),
    pool("unknown", member("m5", weight=3), member("m6")),
    pool("talks", member("m3"), member("m4"), member("m1"), affinity="session"),
    pool("short", member("m2"), member("m3"), routing={"by": "cheapest", "output": 1}),
    pool("hedged", member("m3"), member("m4"), hedge="1s"),
    pool("small", member("m3")),
]
RULES = [{"match": {"cost.estimate": "> $1", "model": "p"}, "pool": "small"}]


def view() -> View:
    loaded = catalog(pools=POOLS, callers=CALLERS, rules=RULES)
    resolved = resolve(loaded, {"K": "provider-key"})
    book = book_of(
        {
            ("b", model): (Price(Scale(Rates(input=way_in * D, output=way_out * D))),)
            for model, (way_in, way_out) in RATES.items()
        }
    )
    by_name = {entry.name: caller_of(entry) for entry in loaded.callers}
    return View("g", loaded, resolved.state, resolved.callers, by_name, Estimates(book))


VIEW = view()
MODELS = {
    (one.name, member_key(VIEW.catalog.providers["b"], m, VIEW.catalog.limits, one.timeouts)): m.model
    for one in VIEW.catalog.pools.values()
    for m in one.members
}


class Call:
    """One call, as often as its attempts are handed back; `went` is the model, "" where Envoy picks."""

    def __init__(
        self, model: str, number: int = 0, book: Book | None = None, seen: View = VIEW, **more: Any
    ) -> None:
        self.seen, self.number, self.book = seen, number, book or Book()
        self.session = more.pop("session", "")
        self.body = json.dumps({"model": model, "messages": [], "max_tokens": 1_000, **more}).encode()
        self.headers = {":method": "POST", ":path": "/v1/chat/completions", "x-api-key": KEY}
        if self.session:
            self.headers["x-session-id"] = self.session
        self.outcome: Forward | Reply | Hold | None = None

    def go(self) -> str:
        outer = OuterCall(self.seen, f"id-{self.number}", SEAL, self.book)
        outer.on_headers(Inbound(list(self.headers.items())), ends=False)
        self.outcome = outer.on_body(self.body, Moment(NOW_S, 1_000))
        assert isinstance(self.outcome, Forward), self.outcome
        gone = self.outcome.remove_headers
        self.headers = {n: v for n, v in self.headers.items() if n not in gone}
        self.headers |= dict(self.outcome.set_headers)
        kind, key = self.outcome.pick
        return "" if kind == "class" else MODELS[self.headers["x-broker-pool"], key]

    def failed(self, model: str, cause: str = "server-error") -> str:
        self.headers |= {"broker-cause": cause, "broker-member": f"b/{model}"}
        return self.go()


def out(book: Book, model: str, wait_s: int) -> None:
    book.observe(Observed(f"b/{model}", 429, Cause.RATE_LIMIT, {"retry-after": str(wait_s)}, NOW_S, "id"))


def test_the_cheapest_is_first_and_the_next_cheapest_next_whatever_weights_say() -> None:
    call = Call("p")
    order = [call.go()]
    for _ in range(3):
        order.append(call.failed(order[-1]))
    assert order == ["m3", "m1", "m2", "m5"], "1,000 tokens of output, and hardly any input"


def test_it_depends_on_the_call() -> None:
    """A long prompt and a short answer make another one the cheapest."""
    assert Call("p", max_tokens=1, messages=[{"role": "user", "content": "word " * 9_000}]).go() == "m2"
    said = [{"role": "user", "content": "word " * 200}]
    assert Call("short", messages=said).go() == "m2", "answers are short there as a rule"
    assert Call("p", messages=said).go() == "m3"


def test_a_rule_by_cost_holds_for_all_attempts() -> None:
    call = Call("p", max_tokens=200_000)
    assert call.go() == "m3"
    assert isinstance(call.outcome, Forward)
    assert dict(call.outcome.facts)["rule"] == "rule-1"
    assert dict(call.outcome.facts)["pool"] == "small"


def test_priorities_come_first() -> None:
    call = Call("levels")
    assert call.go() == "m1"
    assert call.failed("m1") == "m3"
    book = Book()
    out(book, "m1", 9)
    assert Call("levels", book=book).go() == "m3"


def test_who_costs_the_same_shares_by_weight() -> None:
    counts = Counter(Call("equal", number).go() for number in range(400))
    assert set(counts) == {"m3", "m4"}
    assert abs(counts["m3"] - 300) < 3 * (400 * 0.75 * 0.25) ** 0.5


@pytest.mark.parametrize("name", ["all-equal", "unknown", "hedged"])
def test_where_weights_decide_among_all_it_is_envoys_to_pick(name: str) -> None:
    call = Call(name, stream=True)
    assert call.go() == ""
    assert isinstance(call.outcome, Forward)
    assert ("x-broker-hedge" in dict(call.outcome.set_headers)) == (name == "hedged")


def test_a_tolerance() -> None:
    """$25 are no more than twice as much as $8 … but for three times."""
    assert {Call("wide", n).go() for n in range(20)} == {"m3"}
    near = replace(VIEW, estimates=Estimates(book_of({})))
    assert Call("wide", seen=near).go() == ""


def test_who_is_out_or_close_to_its_limit_gets_less() -> None:
    book = Book()
    out(book, "m3", 9)
    call = Call("p", book=book)
    assert call.go() == "m1"
    assert call.failed("m1") == "m2"
    low = {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "5"}
    low["x-ratelimit-reset-requests"] = "60s"
    book = Book()
    book.observe(Observed("b/m3", 200, None, low, NOW_S - 1, "id"))
    share = book.share("b/m3", NOW_S)
    assert 0 < share < 1
    counts = Counter(Call("p", number, book).go() for number in range(400))
    assert set(counts) == {"m3", "m1"}
    assert abs(counts["m3"] - 400 * share) < 3 * (400 * share * (1 - share)) ** 0.5


def test_a_member_that_fails_again_and_again_is_passed_over() -> None:
    book = Book()
    for _ in range(3):
        book.observe(Observed("b/m3", 500, Cause.SERVER, {}, NOW_S - 1, "id"))
    assert Call("p", book=book).go() == "m1"


def test_a_conversation_stays_at_one_of_the_cheapest() -> None:
    sessions = {
        name: {Call("talks", number, session=name).go() for number in range(5)} for name in "abcdefgh"
    }
    assert all(len(models) == 1 for models in sessions.values())
    assert {model for models in sessions.values() for model in models} == {"m3", "m4"}
    low = {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "5"}
    low["x-ratelimit-reset-requests"] = "60s"
    book = Book()
    book.observe(Observed("b/m3", 200, None, low, NOW_S - 1, "id"))
    assert {n: {Call("talks", i, book, session=n).go() for i in range(5)} for n in "abcdefgh"} == sessions
