"""One call and the cache, as the outer listener's conversation has it."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from modelbroker.cli.secrets import resolve
from modelbroker.core.usage import Usage
from modelbroker.dialects import Used, used_text
from modelbroker.dialects.repeats import NOT_KEYED
from modelbroker.exchange import Forward, Inbound, Moment, OuterCall, Pending, Reply, View
from modelbroker.policy.kept import MOST_UNPAID_S, Memory, ReplyCache
from support.catalogs import catalog

CALLERS = {
    "one": {},
    "other": {},
    "red": {"team": "red"},
    "also-red": {"team": "red"},
    "blue": {"team": "blue"},
    "speaker": {"trusted_for": ["customer"]},
}
POOLS = [
    {"name": "own", "members": [{"provider": "b", "model": "m"}, {"provider": "a", "model": "m"}]},
    {"name": "second", "members": [{"provider": "b", "model": "m"}, {"provider": "a", "model": "m"}]},
    {"name": "team", "members": [{"provider": "b", "model": "m"}], "cache": {"scope": "team"}},
]
PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
}
SAYS = "Say one word."
BODIES: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "model": "own",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SAYS}],
        "temperature": 0.5,
        "max_tokens": 20,
        "stop": ["."],
        "seed": 1,
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "user": "somebody",
        "stream": False,
    },
    "openai-responses": {
        "model": "own",
        "input": [{"role": "user", "content": SAYS}],
        "instructions": "Be brief.",
        "max_output_tokens": 20,
        "store": False,
        "user": "somebody",
        "reasoning": {"effort": "low"},
        "stream": False,
    },
    "anthropic-messages": {
        "model": "own",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": SAYS}]}],
        "max_tokens": 20,
        "temperature": 0.5,
        "metadata": {"user_id": "somebody"},
        "thinking": {"type": "disabled"},
        "stream": False,
    },
}
REPLIES: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Word"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    },
    "openai-responses": {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "completed",
        "output": [
            {
                "type": "message",
                "id": "i",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Word", "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4},
    },
    "anthropic-messages": {
        "id": "a",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Word"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
}
HEAD = [(":status", "200"), ("content-type", "application/json"), ("x-broker-member", "b/m")]
Outcome = Forward | Reply | Pending


def view() -> View:
    callers = [
        {"name": name, "key": {"sha256": hashlib.sha256(name.encode()).hexdigest()}, **more}
        for name, more in CALLERS.items()
    ]
    pools = [{"cache": "short-context", **pool} for pool in POOLS]
    loaded = catalog(pools=pools, callers=callers)
    resolved = resolve(loaded, {"K": "provider-key"})
    by_name = {caller.name: caller for caller in resolved.callers.values()}
    return View("g", loaded, resolved.state, resolved.callers, by_name)


VIEW = view()


class Calls:
    """Calls that share a cache."""

    def __init__(self) -> None:
        self.cache = ReplyCache(Memory(1 << 20), wake=lambda calls: self.woken.extend(calls))
        self.woken: list[str] = []
        self._number = 0

    def ask(
        self,
        dialect: str,
        body: Any,
        caller: str = "one",
        headers: tuple[tuple[str, str], ...] = (),
        query: str = "",
        now_s: float = 0.0,
    ) -> tuple[OuterCall, Outcome]:
        self._number += 1
        call = OuterCall(VIEW, f"id-{self._number}", replies=self.cache)
        path = PATHS[dialect] + query
        inbound = Inbound([(":method", "POST"), (":path", path), ("x-api-key", caller), *headers])
        assert not isinstance(call.on_headers(inbound, ends=False), Reply)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        outcome = call.on_body(raw, Moment(now_s, int(now_s * 1000)))
        assert isinstance(outcome, Forward | Reply | Pending)
        return call, outcome

    def fill(self, dialect: str, body: Any, **more: Any) -> None:
        call, outcome = self.ask(dialect, body, **more)
        assert isinstance(outcome, Forward) and outcome.watched and call.cache is not None
        assert call.cache.on_reply_headers(HEAD, ends=False)
        has_more, entry = call.cache.on_reply_body(json.dumps(REPLIES[dialect]).encode(), True, 0.0)
        assert not has_more and entry is not None, call.cache.reason


def is_hit(outcome: Outcome) -> bool:
    return isinstance(outcome, Reply) and outcome.status == 200


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in items for found in paths(inner, (*path, key)))]


def at(body: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        body = body[step]
    return body


SCALARS = st.none() | st.booleans() | st.integers(-5, 100) | st.floats(0, 2) | st.text(max_size=4)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
DIALECTS = st.sampled_from(list(PATHS))


@given(DIALECTS, st.data())
def test_any_changed_field_that_can_affect_the_output_misses(dialect: str, data: Any) -> None:
    calls = Calls()
    calls.fill(dialect, BODIES[dialect])
    body = copy.deepcopy(BODIES[dialect])
    path = data.draw(st.sampled_from([each for each in paths(body) if each and each[0] != "stream"]))
    inner = at(body, path[:-1])
    match data.draw(st.sampled_from(["set", "add", "delete"])):
        case "set":
            inner[path[-1]] = data.draw(VALUES)
        case "add" if isinstance(inner, list):
            inner.append(data.draw(VALUES))
        case "add":
            name = data.draw(st.text(max_size=5).filter(lambda name: name not in inner))
            inner[name] = data.draw(VALUES)
            path = (*path[:-1], name)
        case _:
            del inner[path[-1]]
    assume(json.dumps(body, sort_keys=True) != json.dumps(BODIES[dialect], sort_keys=True))
    _, outcome = calls.ask(dialect, body)
    if isinstance(outcome, Reply) and outcome.status != 200:
        return  # the call is none at all
    assert is_hit(outcome) == (path[0] in NOT_KEYED[dialect])


@given(DIALECTS, st.permutations(["anthropic-beta", "openai-beta", "anthropic-version", "x-goog-api-client"]))
def test_headers_that_providers_act_upon_matter(dialect: str, names: list[str]) -> None:
    calls = Calls()
    calls.fill(dialect, BODIES[dialect], headers=((names[0], "a"),))
    same = ((names[0], "a"), ("user-agent", "another"), ("traceparent", "00-1"), ("cookie", "a=b"))
    assert is_hit(calls.ask(dialect, BODIES[dialect], headers=same)[1])
    for headers in ((), ((names[0], "b"),), ((names[1], "a"),), ((names[0], "a"), (names[1], "a"))):
        assert not is_hit(calls.ask(dialect, BODIES[dialect], headers=headers)[1])
    assert not is_hit(calls.ask(dialect, BODIES[dialect], headers=same[:1], query="?beta=true")[1])


@given(DIALECTS, st.sampled_from(list(CALLERS)), st.sampled_from(list(CALLERS)))
def test_two_callers_with_equal_calls_never_share(dialect: str, one: str, other: str) -> None:
    calls = Calls()
    calls.fill(dialect, BODIES[dialect], caller=one)
    assert is_hit(calls.ask(dialect, BODIES[dialect], caller=other)[1]) == (one == other)


TEAMED = ["red", "also-red", "blue"]


@given(DIALECTS, st.sampled_from(TEAMED), st.sampled_from([*TEAMED, "one", "speaker"]))
def test_teams_share_where_the_pool_says_so(dialect: str, one: str, other: str) -> None:
    calls, body = Calls(), {**BODIES[dialect], "model": "team"}
    calls.fill(dialect, body, caller=one)
    _, outcome = calls.ask(dialect, body, caller=other)
    teams = [CALLERS[name].get("team") for name in (one, other)]
    assert is_hit(outcome) == (teams[0] == teams[1])
    if teams[1] is None:
        assert isinstance(outcome, Forward) and not outcome.watched
        assert dict(outcome.set_headers)["x-broker-cache"] == "bypass; reason=no-team"


def test_customers_that_a_caller_speaks_for_are_kept_apart() -> None:
    calls, body = Calls(), BODIES["openai-chat"]
    for_acme = (("x-broker-customer", "acme"),)
    calls.fill("openai-chat", body, caller="speaker", headers=for_acme)
    asked = [
        calls.ask("openai-chat", body, caller="speaker", headers=headers)[1]
        for headers in (for_acme, (("x-broker-customer", "other"),), ())
    ]
    assert [is_hit(outcome) for outcome in asked] == [True, False, False]
    # Who is not trusted to say it can't get there by saying so.
    assert not is_hit(calls.ask("openai-chat", body, caller="one", headers=for_acme)[1])


def test_pools_and_dialects_share_nothing() -> None:
    calls = Calls()
    calls.fill("openai-chat", BODIES["openai-chat"])
    for body in ({**BODIES["openai-chat"], "model": "second"}, {**BODIES["openai-chat"], "model": "team"}):
        assert not is_hit(calls.ask("openai-chat", body)[1])
    body = {"model": "own", "max_tokens": 9, "messages": [{"role": "user", "content": SAYS}]}
    calls.fill("openai-chat", body)
    assert not is_hit(calls.ask("anthropic-messages", body)[1])


def test_a_hit_says_where_it_comes_from() -> None:
    calls = Calls()
    calls.fill("openai-chat", BODIES["openai-chat"])
    _, hit = calls.ask("openai-chat", BODIES["openai-chat"], now_s=90.4)
    assert isinstance(hit, Reply)
    headers, facts = dict(hit.headers), dict(hit.facts)
    assert (headers["x-broker-cache"], headers["x-broker-cache-age"]) == ("hit", "90")
    assert (headers["x-broker-request-id"], facts["cached_request_id"]) == ("id-2", "id-1")
    assert (facts["cache"], facts["caller"], facts["pool"]) == ("hit", "one", "own")
    assert "paid" not in facts  # it is not known yet
    _, late = calls.ask("openai-chat", BODIES["openai-chat"], now_s=3_600.0)
    assert isinstance(late, Forward)


@pytest.mark.parametrize(
    ("said", "hits"), [("max-age=100", True), ("max-age=10", False), ("no-cache", False)]
)
def test_a_client_says_how_old_a_reply_may_be(said: str, hits: bool) -> None:
    calls = Calls()
    calls.fill("openai-chat", BODIES["openai-chat"])
    headers = (("cache-control", said),)
    _, outcome = calls.ask("openai-chat", BODIES["openai-chat"], headers=headers, now_s=50.0)
    assert is_hit(outcome) == hits
    assert hits or (isinstance(outcome, Forward) and outcome.watched)


def test_who_waits_gets_the_reply_that_came() -> None:
    calls, body = Calls(), BODIES["openai-chat"]
    leader, sent = calls.ask("openai-chat", body)
    follower, waits = calls.ask("openai-chat", body)
    assert isinstance(sent, Forward) and isinstance(waits, Pending) and waits.asks is None
    assert leader.cache is not None
    leader.cache.on_reply_headers(HEAD, ends=False)
    leader.cache.on_reply_body(json.dumps(REPLIES["openai-chat"]).encode(), True, 1.0)
    assert calls.woken == ["id-2"]
    joined = follower.on_ready(Moment(1.0, 1_000))
    assert isinstance(joined, Reply) and dict(joined.facts)["cache"] == "joined"


STREAM_HEAD = [(":status", "200"), ("content-type", "text/event-stream"), ("x-broker-member", "b/m")]
STREAMED = b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
STREAMED += b'"delta":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Untold(Calls):
    """A stream that does not tell what it used came at 0 s, by the call id-1."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = BODIES["openai-chat"]
        self.streamed = {**self.whole, "stream": True}
        self.leader, sent = self.ask("openai-chat", self.streamed)
        assert isinstance(sent, Forward) and sent.watched

    def ends(self) -> None:
        assert self.leader.cache is not None
        self.leader.cache.on_reply_headers(STREAM_HEAD, ends=False)
        assert self.leader.cache.on_reply_body(STREAMED, True, 0.0)[1] is not None

    def wakes(self) -> list[str]:
        woken, self.woken[:] = list(self.woken), []
        return woken


def test_who_needs_what_a_reply_used_waits_until_it_is_known() -> None:
    calls = Untold()
    early, waits = calls.ask("openai-chat", calls.whole)
    assert isinstance(waits, Pending)
    calls.ends()
    assert calls.wakes() == ["id-2"]
    waits = early.on_ready(Moment(0.0, 0))
    assert isinstance(waits, Pending) and 0 < waits.most_s <= MOST_UNPAID_S
    late, waits = calls.ask("openai-chat", calls.whole, now_s=0.1)
    assert isinstance(waits, Pending) and waits.asks is None
    assert is_hit(calls.ask("openai-chat", calls.streamed, now_s=0.1)[1])
    assert calls.cache.waiting == 2 and calls.wakes() == []
    calls.cache.settle("id-1", used_text(Used(Usage(input=7, output=5))))
    assert calls.wakes() == ["id-2", "id-3"]
    for call in (early, late):
        told = call.on_ready(Moment(0.2, 200))
        assert isinstance(told, Reply) and json.loads(told.body)["usage"]["completion_tokens"] == 5
        assert dict(told.facts)["cache"] == "joined"
    assert calls.cache.waiting == 0


@pytest.mark.parametrize("how", ["time", "unknown", "gone"])
def test_where_it_is_not_known_what_a_reply_used_one_asks_for_all(how: str) -> None:
    calls = Untold()
    calls.ends()
    both = [calls.ask("openai-chat", calls.whole)[0] for _ in range(2)]
    now_s = MOST_UNPAID_S if how == "time" else 0.1
    if how == "gone":
        calls.cache.memory.shrink(0)
        calls.cache.memory.shrink(1 << 20)
    if how != "time":
        calls.cache.settle("id-1", "")
        assert calls.wakes() == ["id-2", "id-3"]
    moment = Moment(now_s, int(now_s * 1000))
    leads, waits = (call.on_ready(moment) for call in both)
    assert isinstance(leads, Forward) and leads.watched
    assert isinstance(waits, Pending)
    assert both[0].cache is not None
    both[0].cache.on_reply_headers(HEAD, ends=False)
    both[0].cache.on_reply_body(json.dumps(REPLIES["openai-chat"]).encode(), True, now_s)
    assert calls.wakes() == ["id-3"]
    assert is_hit(both[1].on_ready(moment))
    assert calls.cache.waiting == 0


def test_who_leaves_waits_no_longer_for_what_a_reply_used() -> None:
    calls = Untold()
    calls.ends()
    calls.ask("openai-chat", calls.whole)
    calls.cache.leave("id-2")
    assert calls.cache.waiting == 0
    calls.cache.settle("id-1", "")
    assert calls.wakes() == []


@pytest.mark.parametrize("status", ["500", "404", "204"])
def test_who_waits_for_one_that_fails_goes_by_itself(status: str) -> None:
    calls, body = Calls(), BODIES["openai-chat"]
    leader, _ = calls.ask("openai-chat", body)
    followers = [calls.ask("openai-chat", body)[0] for _ in range(3)]
    assert leader.cache is not None
    assert not leader.cache.on_reply_headers([(":status", status), *HEAD[1:]], ends=False)
    assert calls.woken == ["id-2", "id-3", "id-4"]
    for follower in followers:
        assert isinstance(follower.on_ready(Moment(1.0, 1_000)), Forward)


def test_a_patient_call_waits_as_long_as_its_client_does() -> None:
    calls, body = Calls(), BODIES["openai-chat"]
    calls.ask("openai-chat", body)
    patient, waits = calls.ask("openai-chat", body, headers=(("x-stainless-timeout", "7"),))
    assert isinstance(waits, Pending) and waits.most_s == 7.0 < waits.all_s
    assert isinstance(patient.on_ready(Moment(7.0, 7_000)), Forward)
    assert calls.cache.flights.followers == 0
