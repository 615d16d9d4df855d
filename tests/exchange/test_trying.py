"""What is said beforehand of a call's copies and its arm is what becomes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelbroker.cli.explain_trials import trials_story
from modelbroker.cli.secrets import resolve
from modelbroker.core.call import Caller
from modelbroker.core.causes import Cause
from modelbroker.core.keys import CAUSE_HEADER, MEMBER_HEADER
from modelbroker.core.trials import Shadow
from modelbroker.exchange import Forward, Inbound, Moment, OuterCall, View
from modelbroker.exchange.trying import NO_ARM, Standing, Tried, armed, copies_of
from modelbroker.policy import Book, decide
from support.catalogs import catalog

POOLS: list[dict[str, Any]] = [
    {
        "name": "chat",
        "members": [{"provider": "a", "model": "m"}],
        "shadow": [
            {"to": "b/m", "share": "50%", "budget": "$1/day"},
            {"to": "c/m", "match": {"stream": True}, "budget": "$1/day"},
            {"to": "small", "budget": "$1/day"},
        ],
        "rollout": {
            "to": "c/new",
            "name": "try",
            "stages": [
                {"shadow": "50%", "budget": "$1/day"},
                *({"share": s} for s in ("10%", "60%", "100%")),
            ],
        },
    },
    {"name": "small", "members": [{"provider": "b", "model": "s", "capabilities": {"tools": False}}]},
]
LOADED = catalog(pools=POOLS)
RESOLVED = resolve(LOADED, {"K": "key"})
VIEW = View("g", LOADED, RESOLVED.state, {})
STAGES = LOADED.trials["chat"].rollout.stages if LOADED.trials["chat"].rollout else ()
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

bodies = st.fixed_dictionaries(
    {"model": st.just("chat"), "messages": st.just([{"role": "user", "content": "hi"}])},
    optional={"stream": st.booleans(), "tools": st.just([TOOL])},
)
sessions = st.one_of(st.none(), st.integers(0, 40).map(lambda n: f"session-{n}"))


def tried(said: dict[str, Any], session: str | None, ident: str, stage: int) -> Tried:
    headers = [(":method", "POST"), (":path", "/v1/chat/completions")]
    headers += [("x-session-id", session)] if session else []
    inbound, body = Inbound(headers), json.dumps(said).encode()
    facts = OuterCall(VIEW, ident).facts(inbound, body)
    return Tried(VIEW, Book(), facts, ident, inbound, body, 0.0, {"try": Standing("c/new", stage, True)})


@pytest.mark.parametrize("cause", [Cause.SERVER, Cause.STALL, Cause.CREDENTIAL])
def test_a_call_whose_candidate_is_gone_goes_on_where_it_would_have_been(cause: Cause) -> None:
    """An edit has taken it out while it was asked, and it has failed."""
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = [(":method", "POST"), (":path", "/v1/chat/completions")]

    def said(view: View, more: list[tuple[str, str]]) -> Forward:
        call = OuterCall(view, "c", b"k" * 16, standings={"try": Standing("c/new", 3, True)})
        call.assume(Caller("tester"))
        assert call.on_headers(Inbound([*headers, *more]), ends=False) is None
        forward = call.on_body(body, Moment(1000.0, 1))
        assert isinstance(forward, Forward)
        return forward

    first = said(VIEW, [])
    assert dict(first.facts)["pool"] == "chat~c/new"
    course = dict(first.own_headers)["x-broker-call"]
    without = catalog(pools=[{key: POOLS[0][key] for key in ("name", "members")}])
    view = View("h", without, resolve(without, {"K": "key"}).state, {})
    second = said(view, [("x-broker-call", course), (MEMBER_HEADER, "c/new"), (CAUSE_HEADER, cause.value)])
    assert dict(second.facts)["pool"] == "chat"
    assert (dict(second.facts)["arm"], dict(second.facts)["attempt"]) == ("candidate", "2")


@given(bodies, sessions, st.integers(0, 40), st.integers(0, 4))
def test_what_is_said_beforehand_is_what_becomes_of_it(
    said: dict[str, Any], session: str | None, number: int, stage: int
) -> None:
    call = tried(said, session, f"call-{number}", stage)
    decision = decide(call.facts, VIEW.catalog, VIEW.state)
    served, arm = armed(call, decision)
    missed: list[Shadow] = []
    copies = copies_of(call, "chat", served.pool, b"s" * 32, missed.append)
    asked = (VIEW, call.facts, decision, call.inbound, call.body)
    story = trials_story(*asked, call.request_id)
    assert story is not None
    now = [one for one in story["shadows"] if one["stage"] in (None, arm.stage)]
    assert {copy.shadow.to for copy in copies} == {one["to"] for one in now if one["copied"]}
    assert {shadow.to for shadow in missed} == {one["to"] for one in now if one["code"] == "unfit"}
    told = story["rollout"]
    first = told["stages"].index(told["candidate_from"])
    assert (arm.arm == "candidate") == (min(stage, len(STAGES) - 1) >= first)
    # Without an id the same is said, but for what a lot over it decides.
    before = trials_story(*asked, "")
    assert before is not None
    for one, other in zip(before["shadows"], story["shadows"], strict=True):
        if one["copied"] is None:
            assert other["code"] in (None, "share")
        else:
            assert one["copied"] == other["copied"]
    if session:
        assert before["rollout"] == told
    else:
        assert before["rollout"]["drawn_by"] is before["rollout"]["candidate_from"] is None


def test_while_an_edit_is_on_its_way_the_old_candidate_has_no_calls_at_the_stage_of_the_new_one() -> None:
    call = tried({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}, None, "x", 4)
    decision = decide(call.facts, VIEW.catalog, VIEW.state)
    assert armed(call, decision)[1].arm == "candidate"
    moved = call._replace(standings={"try": Standing("d/newer", 4, True, True)})
    assert armed(moved, decision) == (decision, NO_ARM)


def test_a_call_that_is_bound_to_one_account_is_not_copied() -> None:
    ident = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
    inbound = Inbound([(":method", "POST"), (":path", "/v1/messages/count_tokens")])
    body = json.dumps({**ident, "max_tokens": 5}).encode()
    facts = OuterCall(VIEW, "x").facts(inbound, body)
    story = trials_story(VIEW, facts, decide(facts, VIEW.catalog, VIEW.state), inbound, body, "")
    assert story is not None and {one["code"] for one in story["shadows"]} == {"bound"}
    call = Tried(VIEW, Book(), facts, "x", inbound, body, 0.0, {"try": Standing("c/new", 0, True)})
    assert copies_of(call, "chat", "chat", b"s" * 32, lambda _: pytest.fail("missed")) == []
