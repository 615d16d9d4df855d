"""Calls that are handed back: where they go next, how long they wait, and what edits in between change."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from modelbroker.cli.secrets import resolve
from modelbroker.core.call import caller_of
from modelbroker.core.causes import Cause
from modelbroker.core.keys import member_key
from modelbroker.core.record import Observed
from modelbroker.exchange import Forward, Hold, Inbound, Moment, OuterCall, Reply, Strip, View
from modelbroker.policy import Book
from modelbroker.policy.health import Swaps
from modelbroker.policy.holding import Settled
from support.catalogs import catalog

KEY = "key-of-tests"
SEAL = b"s" * 32
NOW_S = 1_800_000_000.0
B1, B2, C1, C2 = "b/m1", "b/m2", "c/m1", "c/m2"
CALLERS = [
    {
        "name": "tester",
        "key": {"sha256": hashlib.sha256(KEY.encode()).hexdigest()},
        "pools": ["a*", "one*", "levels*"],
        "trusted_for": ["customer"],
    }
]


def pool(name: str, *members: str, **more: Any) -> dict[str, Any]:
    said = [dict(zip(("provider", "model"), member.split("/"), strict=True)) for member in members]
    return {"name": name, "members": said, **more}


LEVELS = {"members": [{"provider": "b", "model": "m1"}, {"provider": "c", "model": "m1", "priority": 1}]}
POOLS = [
    pool("a", B1, B2, failover=2, on={"context-overflow": "b", "capacity": "next"}, timeouts={"call": "20s"}),
    pool("b", C1, C2, failover=9, on={"context-overflow": "c", "server-error": "next"}),
    pool("c", B1, C1, on={"context-overflow": "a"}),
    pool("one", B1, failover="none"),
    {"name": "levels", "on": {"server-error": "next-priority"}, **LEVELS},
]


def view(pools: list[dict[str, Any]] = POOLS, callers: list[dict[str, Any]] = CALLERS) -> View:
    loaded = catalog(pools=pools, callers=callers)
    resolved = resolve(loaded, {"K": "provider-key"})
    by_name = {entry.name: caller_of(entry) for entry in loaded.callers}
    return View("g", loaded, resolved.state, resolved.callers, by_name)


VIEW = view()


class Call:
    """One call through the outer listener, as often as its attempts are handed back."""

    def __init__(self, model: str, seen: View = VIEW, book: Book | None = None, **headers: str) -> None:
        self.seen = seen
        self.book = book or Book()
        self.body = json.dumps({"model": model, "messages": []}).encode()
        self.headers = {":method": "POST", ":path": "/v1/chat/completions", "x-api-key": KEY, **headers}
        self.ms = 1_000
        self.outer: Any = None

    def go(self, has_room: bool = True) -> Forward | Reply | Hold:
        self.outer = OuterCall(self.seen, "another id" if self.outer else "id-1", SEAL, self.book)
        answer = self.outer.on_headers(Inbound(list(self.headers.items())), ends=False)
        if isinstance(answer, Reply):
            return answer
        outcome = self.outer.on_body(self.body, self.moment(), has_room)
        assert isinstance(outcome, (Forward, Reply, Hold))
        self._left(outcome)
        return outcome

    def ready(self, ms: int) -> Forward | Reply | Hold:
        self.ms += ms
        outcome: Forward | Reply | Hold = self.outer.on_ready(self.moment())
        self._left(outcome)
        return outcome

    def failed(self, member: str, cause: str) -> Forward | Reply | Hold:
        """As Envoy does it: the headers as they went on, with what the member's listener said."""
        self.headers |= {"broker-cause": cause, "broker-member": member}
        return self.go()

    def moment(self) -> Moment:
        return Moment(NOW_S + self.ms / 1000, self.ms)

    def _left(self, outcome: Forward | Reply | Hold) -> None:
        if isinstance(outcome, Forward):
            self.headers = {n: v for n, v in self.headers.items() if n not in outcome.remove_headers}
            self.headers |= dict(outcome.set_headers)


def went_to(outcome: Forward | Reply | Hold, seen: View = VIEW) -> str:
    """The member by name; "" where Envoy picks."""
    assert isinstance(outcome, Forward), outcome
    kind, key = outcome.pick
    if kind == "class":
        return ""
    chosen = seen.catalog.pools[dict(outcome.set_headers)["x-broker-pool"]]
    (name,) = [
        member.id
        for member in chosen.members
        if member_key(seen.catalog.providers[member.provider], member, seen.catalog.limits, chosen.timeouts)
        == key
    ]
    return name


def error(outcome: Forward | Reply | Hold) -> tuple[int, str, str]:
    assert isinstance(outcome, Reply), outcome
    told = json.loads(outcome.body)["error"]
    return outcome.status, told["code"], told["message"]


def out(book: Book, member: str, wait_s: int, ms: int) -> None:
    said = {"retry-after": str(wait_s)}
    book.observe(Observed(member, 429, Cause.RATE_LIMIT, said, NOW_S + ms / 1000, "id"))


def test_the_other_member_is_next_and_the_budget_ends() -> None:
    call = Call("a")
    assert went_to(call.go()) == ""
    outcome = call.failed(B2, "server-error")
    assert went_to(outcome) == B1
    assert "server-error" not in dict(outcome.set_headers).get("x-broker-handback", "").split(",")


def test_a_failure_comes_back_where_only_who_is_out_for_a_guess_is_left() -> None:
    call = Call("a", book=(book := Book()))
    book.observe(Observed(B2, 404, Cause.MODEL_NOT_FOUND, {}, NOW_S, "id"))
    outcome = call.go()
    assert isinstance(outcome, Forward)
    assert "timeout" in dict(outcome.set_headers)["x-broker-handback"].split(",")
    assert went_to(call.failed(B1, "timeout")) == B2


def test_a_failure_comes_back_where_somebody_is_ready_by_then() -> None:
    """A stream's first event may take a minute, and the member was out for half of one."""
    call = Call("a", book=(book := Book()))
    out(book, B2, 9, 0)
    outcome = call.go()
    assert isinstance(outcome, Forward)
    assert "timeout" in dict(outcome.set_headers)["x-broker-handback"].split(",")
    call.ms += 10_000
    assert went_to(call.failed(B1, "timeout")) == B2


def test_who_was_told_of_keeps_its_name_and_its_beginning() -> None:
    call = Call("a", **{"x-broker-customer": "acme"})
    first = call.go()
    assert isinstance(first, Forward)
    call.ms += 5_000
    second = call.failed(B1, "reset")
    assert isinstance(second, Forward)
    assert call.outer.request_id == "id-1"
    assert dict(second.facts)["customer"] == "acme"
    assert dict(second.facts)["attempt"] == "2"
    assert dict(second.set_headers)["x-envoy-upstream-rq-timeout-ms"] == "15000"


def test_a_pools_change_keeps_the_budget_and_the_time_of_the_first() -> None:
    call = Call("a")
    call.go()
    second = call.failed(B1, "context-overflow")
    assert went_to(second) in (C1, C2)
    assert isinstance(second, Forward)
    assert dict(second.set_headers)["x-broker-pool"] == "b"
    assert dict(second.set_headers)["x-envoy-upstream-rq-timeout-ms"] == "20000"
    third = call.failed(went_to(second), "server-error")
    assert {went_to(second), went_to(third)} == {C1, C2}
    assert isinstance(third, Forward)
    # It is the last of three, though pool b would have more: only what was not sent comes back.
    assert set(dict(third.set_headers)["x-broker-handback"].split(",")) <= {"capacity", "not-carried"}


def test_pools_that_send_calls_in_a_ring_end() -> None:
    pools = [
        pool("a", B1, failover=9, on={"context-overflow": "b"}),
        pool("b", C1, on={"context-overflow": "a"}),
    ]
    seen = view(pools)
    call = Call("a", seen)
    call.go()
    last = call.failed(B1, "context-overflow")
    assert went_to(last, seen) == C1
    assert isinstance(last, Forward)
    assert "context-overflow" not in dict(last.set_headers).get("x-broker-handback", "")


def test_the_callers_pools_are_about_the_first_one() -> None:
    assert error(Call("b").go())[:2] == (403, "pool_not_allowed")
    call = Call("a")
    call.go()
    assert went_to(call.failed(B2, "context-overflow")) in (C1, C2)


def test_a_later_priority() -> None:
    call = Call("levels")
    call.go()
    assert went_to(call.failed(B1, "server-error")) == C1


def test_what_was_not_sent_costs_nothing() -> None:
    call = Call("a")
    call.go()
    second = call.failed(B1, "capacity")
    assert isinstance(second, Forward)
    assert "context-overflow" in dict(second.set_headers)["x-broker-handback"]
    seen = view([pool("one", B1, B2, failover="none")])
    call = Call("one", seen)
    first = call.go()
    assert isinstance(first, Forward)
    assert dict(first.set_headers)["x-broker-handback"] == "capacity,not-carried"
    assert went_to(call.failed(B1, "capacity"), seen) == B2


def test_no_call_is_run_more_often_than_envoy_would() -> None:
    names = [f"b/m{n}" for n in range(40)]
    seen = view([pool("a", *names, failover=9)])
    call = Call("a", seen)
    outcome = call.go()
    made = 1
    for name in names:
        if "capacity" not in dict(outcome.set_headers).get("x-broker-handback", ""):
            break
        member = went_to(outcome, seen) or name
        outcome = call.failed(member, "capacity")
        assert isinstance(outcome, Forward)
        made += 1
    assert made == 31


def test_nobody_left_tells_the_whole_story() -> None:
    call = Call("a")
    call.go()
    call.failed(B1, "server-error")
    outcome = call.failed(B2, "not-carried")
    status, code, message = error(outcome)
    assert (status, code) == (503, "no_member_left")
    assert f"{B1}: server-error, {B2}: not-carried" in message
    assert isinstance(outcome, Reply)
    assert dict(outcome.headers)["x-broker-attempts"] == "2"
    assert dict(outcome.facts)["attempt"] == "3"  # two were made before


def test_what_no_member_can_carry_is_the_last_ones_own_refusal() -> None:
    call = Call("a")
    call.go()
    last = call.failed(B1, "not-carried")
    assert isinstance(last, Forward)
    assert "not-carried" not in dict(last.set_headers).get("x-broker-handback", "")


# -- edits in between


def test_an_edit_takes_the_member_that_would_be_next() -> None:
    call = Call("a")
    call.go()
    call.seen = view([pool("a", B1, C2, failover=2)])
    assert went_to(call.failed(B1, "reset"), call.seen) == C2


def test_an_edit_takes_the_pool() -> None:
    call = Call("a")
    call.go()
    call.seen = view([pool("one", B1)])
    assert error(call.failed(B1, "reset"))[:2] == (404, "model_not_found")


def test_an_edit_takes_the_pool_that_the_call_went_on_in() -> None:
    call = Call("a")
    call.go()
    call.failed(B1, "context-overflow")
    call.seen = view([pool("a", B1, B2)])
    status, code, message = error(call.failed(C1, "reset"))
    assert (status, code) == (503, "no_eligible_member")
    assert "b" in message


def test_an_edit_takes_the_caller() -> None:
    call = Call("a")
    call.go()
    other = {"name": "other", "key": {"sha256": "0" * 64}}
    call.seen = view(callers=[other])
    assert error(call.failed(B1, "reset"))[:2] == (401, "invalid_api_key")


# -- who says so itself


def test_a_client_that_hands_its_own_call_back_is_nobody() -> None:
    call = Call("a")
    call.go()
    good = call.headers["x-broker-call"]
    said = {"x-broker-call": good[:-8] + "AAAAAAA=", "broker-cause": "reset", "broker-member": B1}
    nobody = Call("a", **said)
    del nobody.headers["x-api-key"]
    assert error(nobody.go())[:2] == (401, "missing_api_key")
    outer = OuterCall(VIEW, "id-2", SEAL)
    inbound = Inbound(
        [(":method", "POST"), (":path", "/v1/chat/completions"), ("x-api-key", KEY), *said.items()]
    )
    assert outer.on_headers(inbound, ends=False) == Strip(
        "id-2", ("broker-cause", "broker-member", "x-broker-call")
    )
    outcome = Call("a", **said).go()
    assert isinstance(outcome, Forward)
    assert dict(outcome.set_headers)["x-broker-attempt"] == "1"


# -- waiting


def test_a_call_waits_for_the_first_that_is_ready() -> None:
    book = Book()
    for member, wait_s in ((B1, 8), (B2, 4)):
        out(book, member, wait_s, 1_000)
    call = Call("a", book=book)
    assert call.go() == Hold(4, 10)
    assert went_to(call.ready(4_001)) == B2


def test_all_waits_of_a_call_together_have_one_bound() -> None:
    book = Book()
    for member in (B1, B2):
        out(book, member, 6, 1_000)
    call = Call("a", book=book)
    assert call.go() == Hold(6, 10)
    for member in (B1, B2):
        out(book, member, 3, 7_000)
    hold = call.ready(6_000)
    assert isinstance(hold, Hold)
    assert (hold.wait_s, hold.most_s) == (pytest.approx(3), 4)
    for member in (B1, B2):
        out(book, member, 2, 10_000)
    status, code, message = error(call.ready(3_000))
    assert (status, code) == (429, "pool_rate_limited")
    assert "2 s" in message


def test_what_was_waited_before_an_attempt_counts_behind_it() -> None:
    book = Book()
    for member in (B1, B2):
        out(book, member, 6, 1_000)
    call = Call("a", book=book)
    call.go()
    assert isinstance(call.ready(6_001), Forward)
    out(book, B1, 5, call.ms)
    out(book, B2, 5, call.ms)
    assert error(call.failed(B1, "rate-limit"))[:2] == (429, "pool_rate_limited")


@pytest.mark.parametrize(
    ("headers", "wait_s"), [({"x-stainless-timeout": "3"}, 4), ({}, 11), ({"x-stainless-timeout": "60"}, 19)]
)
def test_who_can_not_wait_so_long_is_told_at_once(headers: dict[str, str], wait_s: int) -> None:
    book = Book()
    for member in (B1, B2):
        out(book, member, wait_s, 1_000)
    outcome = Call("a", book=book, **headers).go()
    assert error(outcome)[:2] == (429, "pool_rate_limited")
    assert isinstance(outcome, Reply)
    assert dict(outcome.headers)["retry-after"] == str(wait_s)


def test_who_is_alone_looks_often_for_the_key_before_a_refused_one() -> None:
    """Nobody has to be spared once it is there: those that wait are let go as soon as they see it."""
    known = view([*POOLS, pool("one-more", B1, failover=2)])
    spare = dataclasses.replace(known.state, spare=frozenset(("b",)))
    call = Call(
        "one-more", View("g", known.catalog, spare, known.callers, known.callers_by_name), book := Book()
    )
    call.go()
    hold = call.failed(B1, "credential")
    assert isinstance(hold, Hold) and hold.is_look and hold.wait_s < 0.1 < hold.most_s
    now_s = NOW_S + 1.1
    book.swaps = Swaps({"b": Settled(now_s, is_back=True, until_s=now_s + 15)})
    assert isinstance(call.ready(50), Hold)
    assert went_to(call.ready(50), known) == B1


def test_nobody_waits_longer_than_the_whole_call_may_take() -> None:
    book = Book()
    seen = view([pool("a", B1, timeouts={"call": "3s"})])
    out(book, B1, 5, 1_000)
    assert error(Call("a", seen, book).go())[:2] == (429, "pool_rate_limited")


def test_where_there_is_no_room_to_wait_it_is_said_at_once() -> None:
    book = Book()
    for member in (B1, B2):
        out(book, member, 4, 1_000)
    outcome = Call("a", book=book).go(has_room=False)
    status, code, message = error(outcome)
    assert (status, code) == (429, "pool_rate_limited")
    assert "too many calls wait already" in message
    assert isinstance(outcome, Reply) and dict(outcome.headers)["retry-after"] == "4"


def test_what_failed_otherwise_is_no_rate_limit() -> None:
    """A member that failed is not ready for this call either, and it never said that it wants no calls."""
    book = Book()
    out(book, B2, 5, 1_000)
    call = Call("a", book=book)
    call.go()
    out(book, B2, 30, call.ms)
    assert error(call.failed(B1, "server-error"))[:2] == (503, "no_member_ready")


def test_the_calls_time_is_up_between_attempts() -> None:
    call = Call("a")
    call.go()
    call.ms += 20_000
    assert error(call.failed(B1, "reset"))[:2] == (504, "upstream_timeout")


@pytest.mark.parametrize(
    ("cause", "status"), [("rate-limit", 429), ("timeout", 504), ("first-event", 504), ("reset", 503)]
)
def test_where_nobody_is_left_the_status_is_that_of_the_last_failure(cause: str, status: int) -> None:
    call = Call("a", book=(book := Book()))
    call.go()
    call.failed(B1, "capacity")
    out(book, B1, 9, call.ms)
    out(book, B2, 7, call.ms)
    call.ms += 500
    outcome = call.failed(B2, cause)
    assert isinstance(outcome, Reply)
    assert error(outcome)[:2] == (status, "no_member_left"), error(outcome)
    assert dict(outcome.headers)["retry-after"] == "7"


@pytest.mark.parametrize("model", ["a", "b", "one", "levels"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_clients_header_goes_on_only_where_ours_takes_its_place(model: str, stream: bool) -> None:
    """Of a call that was handed back, what the earlier attempt set is there as well."""
    names = ("x-envoy-upstream-rq-timeout-ms", "x-broker-first-event-by", "x-broker-call", "x-broker-attempt")
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "x"}]})
    key = {":path": "/v1/chat/completions", ":method": "POST", "authorization": f"Bearer {KEY}"}
    callers = [{**CALLERS[0], "pools": ["*"]}]
    outer = OuterCall(view(callers=callers), "0" * 32, SEAL, Book())
    outer.on_headers(Inbound([*key.items(), *((name, "1") for name in names)]), ends=False)
    outcome = outer.on_body(body.encode(), Moment(NOW_S, 0))
    assert isinstance(outcome, Forward), outcome
    ours = {name for name, _ in outcome.set_headers}
    assert set(outcome.remove_headers) & set(names) == set(names) - ours
