"""A record holds all that its decision was made of."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
from hypothesis import event, given
from hypothesis import strategies as st
from modelbroker.core.call import Caller, Decision, Facts, caller_of
from modelbroker.core.catalog import Catalog
from modelbroker.core.errors import CallError
from modelbroker.core.prices import Price, Rates, Scale, book_of
from modelbroker.core.record import Record
from modelbroker.dialects import SURFACES
from modelbroker.exchange import Forward, Inbound, Moment, OuterCall, Reply, View
from modelbroker.policy import State, decide
from modelbroker.policy.estimates import Estimates, with_estimate
from modelbroker.policy.kept import Memory, ReplyCache
from modelbroker.records.lost import tell
from modelbroker.simulation.deciding import Deciding, Denied
from modelbroker.simulation.facts import facts_of
from modelbroker.simulation.recorded import decode
from support.catalogs import catalog

AT_S = 1_790_000_000.0
MEMBERS = [
    {"provider": "a", "model": "c", "weight": 70},
    {"provider": "b", "model": "g", "weight": 30, "capabilities": {"context": 2_000}},
    {"provider": "r", "model": "g", "priority": 1},
]
CATALOG: Catalog = catalog(
    facts={"headers": {"task": "x-task"}},
    callers=[
        {"name": "one", "key": {"sha256": hashlib.sha256(b"one").hexdigest()}, "tier": "premium"},
        {
            "name": "two",
            "key": {"sha256": hashlib.sha256(b"two").hexdigest()},
            "team": "red",
            "pools": ["p*"],
        },
        {
            "name": "says",
            "key": {"sha256": hashlib.sha256(b"says").hexdigest()},
            "trusted_for": ["feature", "customer"],
        },
    ],
    pools=[
        {"name": "plain", "members": MEMBERS, "aliases": ["gpt-*"], "affinity": {"by": "user"}},
        {"name": "other", "members": MEMBERS[::-1], "cache": {"scope": "all"}},
        {"name": "large", "members": MEMBERS[:1]},
    ],
    rules=[
        {"name": "dear", "match": {"cost.estimate": "> $0.02"}, "deny": "too dear"},
        {"name": "task", "match": {"task": "code-*"}, "pool": "other"},
        {"name": "long", "match": {"context.tokens": ">1k", "tier": "premium"}, "pool": "large"},
        {"name": "short", "match": {"max_output.tokens": {"all": [">100", "<=200"]}}, "pool": "other"},
        {"name": "feature", "match": {"feature": "search", "stream": True}, "pool": "other"},
        {"name": "images", "match": {"images": True, "caller": "!two"}, "pool": "large"},
    ],
)
CALLERS = {entry.name: caller_of(entry) for entry in CATALOG.callers}
RATES = Scale(Rates(input=2_000_000_000, output=10_000_000_000))
BOOK = book_of({(m["provider"], m["model"]): (Price(RATES),) for m in MEMBERS})  # type: ignore[misc]
VIEW = View(
    "g",
    CATALOG,
    State(),
    {hashlib.sha256(name.encode()).hexdigest(): caller for name, caller in CALLERS.items()},
    CALLERS,
    Estimates(BOOK),
)
URL = "https://x.test/a.png"
PARTS: dict[str, list[Any]] = {
    "openai-chat": [
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "file", "file": {"file_id": "f"}},
    ],
    "openai-responses": [{"type": "input_image", "image_url": URL}, {"type": "input_file", "file_id": "f@r"}],
    "anthropic-messages": [
        {"type": "image", "source": {"type": "url", "url": URL}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ],
}
EXTRAS: dict[str, list[dict[str, Any]]] = {
    "openai-chat": [
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        {"reasoning_effort": "low"},
        {"n": 2},
        {"web_search_options": {}},
        {"store": True},
    ],
    "openai-responses": [
        {"tools": [{"type": "web_search"}]},
        {"previous_response_id": "resp_1@r"},
        {"previous_response_id": "resp_1"},
        {"previous_response_id": "resp_1@nobody"},
        {"store": False},
        {"reasoning": {"effort": "low"}},
    ],
    "anthropic-messages": [
        {"tools": [{"name": "f", "input_schema": {}}]},
        {"thinking": {"type": "enabled", "budget_tokens": 1_024}},
        {"container": "c_1"},
        {"mcp_servers": [{"type": "url", "url": URL, "name": "n"}]},
    ],
}
LIMIT = {
    "openai-chat": "max_tokens",
    "openai-responses": "max_output_tokens",
    "anthropic-messages": "max_tokens",
}


@st.composite
def bodies(draw: Any) -> tuple[str, dict[str, Any]]:
    surface = draw(st.sampled_from(SURFACES))
    dialect = surface.dialect
    body: dict[str, Any] = {"model": draw(st.sampled_from(["plain", "other", "large", "gpt-5", "nothing"]))}
    text = "word " * draw(st.sampled_from([1, 500, 900, 2_000]))
    if dialect == "openai-embeddings":
        return surface.path, body | {"input": text}
    kind = "input_text" if dialect == "openai-responses" else "text"
    content = [{"type": kind, "text": text}, *draw(st.lists(st.sampled_from(PARTS[dialect]), max_size=2))]
    body["input" if dialect == "openai-responses" else "messages"] = [{"role": "user", "content": content}]
    body[LIMIT[dialect]] = draw(st.sampled_from([50, 100, 101, 200, 201, 5_000]))
    if draw(st.booleans()) and dialect != "anthropic-messages":
        del body[LIMIT[dialect]]
    body["stream"] = draw(st.booleans())
    for extra in draw(st.lists(st.sampled_from(EXTRAS[dialect]), max_size=2)):
        body |= extra
    return surface.path, body


HEADERS = st.fixed_dictionaries(
    {"x-api-key": st.sampled_from(list(CALLERS))},
    optional={
        "x-task": st.sampled_from(["code-review", "chat", "h\u00e9\udcff"]),
        "x-broker-feature": st.sampled_from(["search", "x"]),
        "x-broker-customer": st.just("acme"),
    },
)


def outcome_of(facts: Facts) -> Decision | str:
    try:
        return decide(facts, CATALOG, State())
    except CallError as error:
        return error.code


def asked(path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[Facts, Record] | None:
    """The facts as the broker had them, and the record that the call leaves."""
    inbound = Inbound([(":method", "POST"), (":path", path), *headers.items()])
    call = OuterCall(VIEW, "0" * 32, b"k" * 32, replies=ReplyCache(Memory(1 << 20)))
    assert not isinstance(call.on_headers(inbound, ends=False), Reply)
    data = json.dumps(body).encode()
    outcome = call.on_body(data, Moment(AT_S, 0))
    try:
        facts = OuterCall(VIEW, "").facts(inbound, data)
    except CallError:
        return None
    facts = with_estimate(facts, CATALOG, State(), VIEW.estimates, AT_S)
    assert isinstance(outcome, Forward | Reply)
    told = outcome.shared_facts + outcome.own_facts if isinstance(outcome, Forward) else outcome.facts
    record = Record("0" * 32, AT_S, 0.0, None, 0, "POST", path, stream=dict(told).get("stream") == "1")
    tell(record, dict(told))
    return facts, record


@given(bodies(), HEADERS)
def test_the_record_decides_as_the_call_was_decided(
    drawn: tuple[str, dict[str, Any]], headers: dict[str, str]
) -> None:
    path, body = drawn
    if (found := asked(path, headers, body)) is None:
        return
    facts, record = found
    was = outcome_of(facts)
    again = facts_of(record, CATALOG)
    assert outcome_of(again) == was
    told = again._replace(owned_ids=facts.owned_ids)
    if "\udcff" not in headers.get("x-task", ""):
        assert told == facts
    event(was if isinstance(was, str) else f"{was.pool} by {was.rule or 'name'}")
    line = decode(msgspec.json.encode(record))  # and as the journal has it, and each kind of call once
    for keeps in (True, False):
        decided = DECIDING[keeps].decision(line, AT_S)
        assert (decided.code if isinstance(decided, Denied) else decided) == was


DECIDING = {keeps: Deciding(VIEW, keeps=keeps) for keeps in (True, False)}


@given(bodies(), HEADERS, st.sampled_from(["user", "metadata"]))
def test_what_tells_calls_apart_tells_nothing_of_them(
    drawn: tuple[str, dict[str, Any]], headers: dict[str, str], name: str
) -> None:
    """Conversations and fingerprints are equal for equal calls, and are hashes with a key."""
    path, body = drawn
    body = (
        {**body, "metadata": {"user_id": "somebody"}} if "messages" in path else {**body, "user": "somebody"}
    )
    one, two = (asked(path, headers, body) for _ in range(2))
    if one is None or two is None:
        return
    assert (one[1].conversation, one[1].fingerprint) == (two[1].conversation, two[1].fingerprint)
    if one[1].pool == "plain" and one[1].eligible:
        assert len(one[1].conversation) == 16
        event("has a conversation")
    if one[1].fingerprint:
        event("has a fingerprint")
        assert len(one[1].fingerprint) == 16
    assert not one[1].fingerprint or one[1].pool == "other"


def test_a_caller_is_who_the_configuration_says_now() -> None:
    record = Record("", AT_S, 0.0, None, 0, "POST", "/v1/messages", caller="two", team="blue", customer="x")
    record.dialect = "anthropic-messages"
    assert facts_of(record, CATALOG).caller == CALLERS["two"]
    record.caller = "says"
    assert facts_of(record, CATALOG).caller == Caller(
        "says", customer="x", trusted_for=frozenset({"feature", "customer"})
    )
