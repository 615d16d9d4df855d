"""The cache: equal short calls are answered by one call to a provider, and nobody gets another tenant's
reply."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from support.broker import BASES, KEY_SHA256, Broker, one_a_dialect, provider
from support.calls import PATHS, Ask, Got, call_all, client, make
from support.records import record_of
from support.sdks import anthropic_sdk, openai_sdk
from support.simulators import Simulators
from support.waiting import wait_until

DIALECTS = ("openai-chat", "openai-responses", "anthropic-messages")
# Client's dialect → that of a member which has its calls translated.
OTHERS = {
    "openai-chat": "anthropic-messages",
    "openai-responses": "gemini",
    "anthropic-messages": "openai-chat",
}
TEAMS = {"anna": "red", "bob": "red", "carl": "blue", "nobody": ""}
INPUT, OUTPUT = 2_000, 10_000  # nano-dollars a token


def key_of(caller: str) -> dict[str, str]:
    return {"authorization": f"Bearer key-of-{caller}"}


def pool(name: str, *members: str, **more: Any) -> dict[str, Any]:
    listed = [{"provider": each, "model": "m", "priority": level} for level, each in enumerate(members)]
    return {"name": name, "members": listed, "ejection": "off", "cache": "short-context", **more}


def config(sims: Simulators) -> dict[str, Any]:
    first = sims["first"].port
    callers: list[dict[str, Any]] = [{"name": "tester", "key": {"sha256": KEY_SHA256}}]
    for name, team in TEAMS.items():
        digest = hashlib.sha256(f"key-of-{name}".encode()).hexdigest()
        callers.append({"name": name, "key": {"sha256": digest}} | ({"team": team} if team else {}))
    priced = [f"first-{dialect}" for dialect in DIALECTS] + [f"other-{name}" for name in OTHERS.values()]
    return {
        "providers": [
            *one_a_dialect([sims["first"], sims["next"]], DIALECTS),
            *(provider(f"other-{name}", first, name, BASES[name]) for name in OTHERS.values()),
            provider("vectors", first, "openai-embeddings", "/v1"),
        ],
        "callers": callers,
        "prices": [
            {"provider": name, "model": "m", "input": INPUT / 1000, "cache_read": 1, "output": OUTPUT / 1000}
            for name in priced
        ],
        "cache": {"bytes": "4MiB"},
        "pools": [
            *(pool(f"own-{dialect}", f"first-{dialect}") for dialect in DIALECTS),
            *(pool(f"translated-{dialect}", f"other-{OTHERS[dialect]}") for dialect in DIALECTS),
            pool("pair", "first-openai-chat", "next-openai-chat"),
            pool("hedged", "first-openai-chat", "next-openai-chat", hedge="50ms"),
            pool("vectors", "vectors", cache={"max_context_tokens": "10k", "max_reply_bytes": "32MiB"}),
            pool("team", "first-openai-chat", cache={"scope": "team"}),
            pool("all", "first-openai-chat", cache={"scope": "all"}),
            pool("tools", "first-openai-chat", cache={"tool_effects": True}),
            pool("brief", "first-openai-chat", cache={"ttl": "1ms"}),
            pool("small", "first-openai-chat", cache={"max_reply_bytes": "2KiB"}),
            pool("on", "first-openai-chat", on={"context-overflow": "plain"}),
            pool("plain", "next-openai-chat", cache="off"),
        ],
    }


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("first", "next") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims)) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(broker: Broker, sims: Simulators) -> None:
    sims.reset()
    broker.forget()


def one(broker: Broker, ask: Ask, **headers: str) -> Got:
    (got,) = make(broker.url, [replace(ask, headers={**ask.headers, **headers})])
    return got


def word(got: Got) -> str:
    return got.headers.get("x-broker-cache", "")


def record(broker: Broker, got: Got) -> tuple[str, str]:
    told = record_of(broker, got)
    return told["cache"], told["cache_reason"]


# -- hits


@pytest.mark.parametrize("kind", ["own", "translated"])
@pytest.mark.parametrize("first", [False, True], ids=["whole-first", "stream-first"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_hit_in_either_form(broker: Broker, sims: Simulators, dialect: str, first: bool, kind: str) -> None:
    more = {"store": False} if dialect == "openai-responses" else {}
    ask = Ask(f"{kind}-{dialect}", dialect, stream=first, more=more)
    miss, same = one(broker, ask), one(broker, ask)
    other = one(broker, replace(ask, stream=not first))
    assert [word(got) for got in (miss, same, other)] == ["miss", "hit", "hit"]
    assert same.body == miss.body
    assert same.is_whole and other.is_whole, other
    assert other.text == miss.text != ""
    (sent,) = sims["first"].calls()
    assert not [name for name in dict(sent["headers"]) if name.startswith("x-broker-")]
    for hit in (same, other):
        assert (hit.attempts, hit.member) == (0, miss.member)
        assert hit.headers["x-broker-request-id"] != miss.headers["x-broker-request-id"]
        assert int(hit.headers["x-broker-cache-age"]) >= 0
        assert hit.headers["x-broker-pool"] == ask.pool


@pytest.mark.parametrize("kind", ["own", "translated"])
def test_the_sdks_read_hits(broker: Broker, sims: Simulators, kind: str) -> None:
    question: Any = [{"role": "user", "content": f"Hello of the SDKs, {kind}."}]
    seen: dict[str, list[str]] = {dialect: [] for dialect in DIALECTS}
    with openai_sdk(broker.url) as sdk:
        for _ in range(2):
            asked: Any = {"model": f"{kind}-openai-chat", "messages": question}
            chat = sdk.chat.completions.create(**asked)
            seen["openai-chat"].append(chat.choices[0].message.content or "")
            with sdk.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
                final = events.get_final_completion()
            assert final.usage is not None and chat.usage is not None
            assert final.usage.total_tokens == chat.usage.total_tokens > 0
            seen["openai-chat"].append(final.choices[0].message.content or "")
            asked = {"model": f"{kind}-openai-responses", "input": "Hello.", "store": False}
            seen["openai-responses"].append(sdk.responses.create(**asked).output_text)
            with sdk.responses.stream(**asked) as stream:
                seen["openai-responses"].append(stream.get_final_response().output_text)
    with anthropic_sdk(broker.url) as other:
        for _ in range(2):
            asked = {"model": f"{kind}-anthropic-messages", "max_tokens": 99, "messages": question}
            seen["anthropic-messages"].append(other.messages.create(**asked).content[0].text)
            with other.messages.stream(**asked) as texts:
                seen["anthropic-messages"].append(texts.get_final_text())
    for dialect, texts in seen.items():
        assert len(texts) == 4 and len(set(texts)) == 1 and texts[0], dialect
    assert len(sims["first"].calls()) == 3


def test_a_response_that_its_provider_keeps_has_its_own_id(broker: Broker, sims: Simulators) -> None:
    """A client may go on from it: it is given again as it was, and not in another form under another id."""
    ask = Ask("own-openai-responses", "openai-responses")
    got = [one(broker, replace(ask, stream=stream)) for stream in (False, False, True, True)]
    assert [word(each) for each in got] == ["miss", "hit", "miss", "hit"]
    assert json.loads(got[1].body)["id"] == json.loads(got[0].body)["id"]
    assert got[3].body == got[2].body
    assert len(sims["first"].calls()) == 2


def test_embeddings(broker: Broker, sims: Simulators) -> None:
    with openai_sdk(broker.url) as sdk:
        one, again = (sdk.embeddings.create(model="vectors", input=["a", "b"]) for _ in range(2))
        assert one.model_dump() == again.model_dump() and len(one.data) == 2
        sdk.embeddings.create(model="vectors", input=["a", "c"])
        assert len(sims["first"].calls()) == 2
        large: Any = {"model": "vectors", "input": ["a"] * 100, "encoding_format": "float"}
        got = [sdk.embeddings.with_raw_response.create(**large) for _ in range(2)]
    assert [each.headers["x-broker-cache"] for each in got] == ["miss", "hit"]
    assert got[0].content == got[1].content and len(got[0].content) > 1_000_000


def test_a_hit_costs_nothing_and_saves_what_its_reply_cost(broker: Broker, sims: Simulators) -> None:
    sims["first"].script(replies=[{"text": "Done.", "tokens": {"input": 100, "output": 5, "cache_read": 90}}])
    for ask in [
        Ask("own-anthropic-messages", "anthropic-messages"),
        Ask("translated-openai-chat", stream=True),
    ]:
        miss, hit = one(broker, ask), one(broker, ask)
        paid, saved = record_of(broker, miss), record_of(broker, hit)
        assert (paid["cache"], paid["cached_request_id"], paid["saved"]) == ("stored", "", None)
        assert (saved["cache"], saved["outcome"], saved["attempts"]) == ("hit", "ok", [])
        assert saved["cached_request_id"] == paid["request_id"]
        assert saved["cost"] == {"total": 0, "buckets": {}, "unknown": []}
        assert saved["usage_state"] == "none"
        tier = paid["attempts"][0]["service_tier"]
        assert saved["saved"] == {"usage": paid["usage"], "service_tier": tier, "cost": paid["cost"]}
        tokens = paid["usage"]
        assert (tokens["cache_read"], tokens["output"]) == (90, 5)
        assert paid["cost"]["total"] == tokens["input"] * INPUT + 90 * 1_000 + 5 * OUTPUT
        for field in ("caller", "dialect", "model", "stream", "pool", "revision", "member", "context_tokens"):
            assert saved[field] == paid[field], field
    unpriced = Ask("pair")
    sims["first"].script(faults=[{"status": 529}])
    one(broker, unpriced)
    saved = record_of(broker, one(broker, unpriced))["saved"]
    assert saved["usage"]["input"] > 0
    assert (saved["cost"]["total"], saved["cost"]["unknown"]) == (None, ["price"])
    counted = broker.metrics("modelbroker_cache_hits_total")
    assert counted['{pool="pair"}'] >= 1
    assert broker.metrics("modelbroker_cache_saved_unknown_calls_total")['{pool="pair"}'] >= 1
    assert broker.metrics("modelbroker_cache_bytes", labels=False)[""] > 0


# -- what is equal, and for whom


def test_callers_share_nothing_unless_the_pool_says_so(broker: Broker, sims: Simulators) -> None:
    ask = Ask("own-openai-chat")
    assert [word(one(broker, ask, **key_of(name))) for name in ("anna", "bob", "anna")] == [
        "miss",
        "miss",
        "hit",
    ]
    ask = Ask("team")
    got = [one(broker, ask, **key_of(name)) for name in ("anna", "bob", "carl", "nobody", "nobody")]
    by_none = "bypass; reason=no-team"
    assert [word(each) for each in got] == ["miss", "hit", "miss", by_none, by_none]
    assert record(broker, got[4]) == ("bypass", "no-team")
    assert record_of(broker, got[1])["caller"] == "bob"
    ask = Ask("all")
    assert [word(one(broker, ask, **key_of(name))) for name in ("carl", "nobody")] == ["miss", "hit"]
    assert broker.metrics("modelbroker_cache_bypasses_total")['{pool="team",reason="no-team"}'] == 2


def test_what_may_change_the_answer_is_another_call(broker: Broker) -> None:
    ask = Ask("own-openai-chat", more={"temperature": 0.5})
    assert word(one(broker, ask)) == "miss"
    others = [
        replace(ask, more={"temperature": 0.50}, headers={"openai-beta": "x=1"}),
        replace(ask, more={"temperature": 0.6}),
        replace(ask, more={"temperature": 0.5, "seed": 1}),
        replace(ask, more={"temperature": 0.5, "something_new": True}),
        replace(ask, question=ask.question + " "),
    ]
    assert [word(each) for each in make(broker.url, others)] == ["miss"] * 5
    same = [
        replace(ask, more={"temperature": 0.5, "user": "somebody", "metadata": {"a": "b"}}),
        replace(ask, headers={"user-agent": "another", "traceparent": "00-1-2-01"}),
    ]
    assert [word(each) for each in make(broker.url, same)] == ["hit"] * 2


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (Ask("own-openai-chat", question="long " * 4_000), "long-context"),
        (Ask("own-openai-chat", headers={"cache-control": "no-store"}), "no-store"),
        (Ask("own-openai-responses", "openai-responses", more={"store": True}), "stateful"),
        (Ask("own-openai-responses", "openai-responses", more={"tools": [{"type": "web_search"}]}), "tools"),
    ],
    ids=["long", "no-store", "stored", "hosted"],
)
def test_calls_that_are_none_to_be_cached(broker: Broker, sims: Simulators, ask: Ask, reason: str) -> None:
    got = [one(broker, ask) for _ in range(2)]
    assert [word(each) for each in got] == [f"bypass; reason={reason}"] * 2
    assert [each.status for each in got] == [200, 200]
    assert record(broker, got[0]) == ("bypass", reason)
    assert len(sims["first"].calls()) == 2


def test_a_fresh_answer_takes_the_place_of_the_old_one(broker: Broker, sims: Simulators) -> None:
    ask = Ask("own-openai-chat")
    sims["first"].script(replies=[{"text": "old"}])
    one(broker, ask)
    sims["first"].script(replies=[{"text": "new"}])
    assert one(broker, ask).text == "old"
    for said in ("no-cache", "max-age=0"):
        fresh = one(broker, ask, **{"cache-control": said})
        assert (word(fresh), fresh.text) == ("miss", "new")
    assert (word(again := one(broker, ask)), again.text) == ("hit", "new")
    ask = Ask("brief")
    assert [word(one(broker, ask)) for _ in range(2)] == ["miss", "miss"]


def test_a_pool_without_a_cache_says_nothing_of_it(broker: Broker) -> None:
    ask = Ask("plain")
    got = [one(broker, ask, **{"x-broker-cache": "hit"}) for _ in range(2)]
    assert ["x-broker-cache" in each.headers for each in got] == [False, False]
    assert record(broker, got[1]) == ("", "")


# -- what is kept


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"tool_calls": [{}]}, "tools"),
        ({"text": "So far", "finish": "length"}, "max_tokens"),
        ({"text": "No.", "finish": "content_filter"}, "content_filter"),
        ({"text": "x" * 10_000}, "too-large"),
    ],
    ids=["tools", "length", "filter", "large"],
)
def test_replies_that_are_not_kept(
    broker: Broker, sims: Simulators, reply: dict[str, Any], reason: str, stream: bool
) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    ask = Ask("small", stream=stream, more={"tools": tools})
    sims["first"].script(replies=[reply])
    got = [one(broker, ask) for _ in range(2)]
    assert [word(each) for each in got] == ["miss", "miss"]
    assert [each.is_whole for each in got] == [True, True], got
    assert record(broker, got[0]) == ("miss", reason)
    assert len(sims["first"].calls()) == 2


def test_tool_calls_are_kept_where_the_pool_says_so(broker: Broker, sims: Simulators) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    ask = Ask("tools", more={"tools": tools})
    sims["first"].script(replies=[{"tool_calls": [{}]}])
    miss, hit = one(broker, ask), one(broker, ask)
    assert (word(hit), hit.body) == ("hit", miss.body)
    assert b"get_weather" in one(broker, replace(ask, stream=True)).body
    assert len(sims["first"].calls()) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400},
        {"status": 500},
        {"cut": "end", "after_events": 3},
        {"error_event": True, "after_events": 3},
    ],
    ids=lambda fault: "-".join(fault),
)
def test_what_failed_or_broke_off_is_not_kept(
    broker: Broker, sims: Simulators, dialect: str, fault: dict[str, Any]
) -> None:
    ask = Ask(f"own-{dialect}", dialect, stream=True)
    sims["first"].script(faults=[{"first": 2, **fault}], replies=[{"text": "a b c d e f", "chunks": 6}])
    bad = one(broker, ask)
    assert not bad.is_whole
    assert record_of(broker, bad)["cache"] == "miss"
    sims["first"].script()
    assert word(one(broker, ask)) == "miss"
    assert word(one(broker, ask)) == "hit"


def test_a_reply_after_failover_is_kept(broker: Broker, sims: Simulators) -> None:
    for stream in (False, True):
        ask = Ask("pair", stream=stream)
        sims["first"].script(faults=[{"status": 500}])
        got = one(broker, ask)
        assert (got.attempts, got.member) == (2, "next-openai-chat/m")
        assert record(broker, got) == ("stored", "")
        hit = one(broker, ask)
        assert (word(hit), hit.body, hit.attempts, hit.member) == ("hit", got.body, 0, got.member)
        broker.forget()


def test_another_pools_reply_is_not_kept(broker: Broker, sims: Simulators) -> None:
    ask = Ask("on")
    sims["first"].script(
        faults=[{"status": 400, "error": {"code": "context_length_exceeded", "message": "too long"}}]
    )
    got = [one(broker, ask) for _ in range(2)]
    assert [(each.status, each.member, word(each)) for each in got] == [
        (200, "next-openai-chat/m", "miss")
    ] * 2


def test_a_hedged_reply_is_kept(broker: Broker, sims: Simulators) -> None:
    ask = Ask("hedged", stream=True)
    sims["first"].script(faults=[{"delay_headers_ms": 20_000}])
    got = one(broker, ask)
    assert got.member == "next-openai-chat/m"
    assert (word(again := one(broker, ask)), again.body) == ("hit", got.body)


# -- calls under way


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_hundred_equal_calls_are_one(broker: Broker, sims: Simulators, dialect: str, stream: bool) -> None:
    sims["first"].script(faults=[{"delay_headers_ms": 300}])
    asks = [Ask(f"own-{dialect}", dialect, stream, question=f"A hundred, {dialect} {stream}.")] * 100
    got = make(broker.url, asks, parallel=100)
    assert all(each.is_whole for each in got)
    assert len({each.body for each in got}) == 1
    assert len(sims["first"].calls()) == 1
    words = sorted(record_of(broker, each)["cache"] for each in got)
    assert words.count("stored") == 1 and set(words) <= {"stored", "joined", "hit"}
    saved = [record_of(broker, each)["saved"] for each in got]
    assert len([each for each in saved if each is not None and each["cost"]["total"]]) == 99


@pytest.mark.parametrize("kind", ["own", "translated"])
def test_who_needs_the_usage_that_a_stream_does_not_tell_waits_for_it(
    broker: Broker, sims: Simulators, kind: str
) -> None:
    """It is known a little after the stream's end: those who wait, and those who come between, are given
    the reply then. Streams that tell no usage need not wait."""
    streamed = Ask(f"{kind}-openai-chat", stream=True)
    whole = replace(streamed, stream=False)
    asking = replace(streamed, more={"stream_options": {"include_usage": True}})
    sims["first"].script(
        replies=[{"text": "one two three four", "chunks": 4}], faults=[{"token_delay_ms": 200}]
    )
    asks = [streamed, *[whole, asking, streamed] * 3]

    async def run() -> list[Got]:
        leader = asyncio.create_task(call_all(broker.url, asks[:1]))
        await asyncio.to_thread(wait_until, lambda: len(sims["first"].calls()) == 1)
        others = asyncio.create_task(call_all(broker.url, asks[1:]))
        first = await leader
        late = call_all(broker.url, [whole, asking, streamed])
        return [*first, *await others, *await late]

    got = asyncio.run(run())
    assert [word(each) for each in got] == ["miss"] + ["hit"] * 12
    assert [each.text for each in got] == ["one two three four"] * 13
    assert len(sims["first"].calls()) == 1
    assert waiting(broker) == 0
    told = [record_of(broker, each) for each in got]
    assert [each["saved"]["cost"] for each in told[1:]] == [told[0]["cost"]] * 12
    assert all(b'"usage":{' in each.body for each in got if each.ask in (whole, asking))


def test_where_the_first_one_fails_the_others_go_on_by_themselves(broker: Broker, sims: Simulators) -> None:
    sims["first"].script(faults=[{"first": 1, "status": 400, "delay_headers_ms": 500}])
    got = make(broker.url, [Ask("own-openai-chat", question="It fails once.")] * 10, parallel=10)
    assert sorted(each.status for each in got) == [200] * 9 + [400]
    assert len(sims["first"].calls()) == 10


def test_where_the_first_client_leaves_the_next_one_leads(broker: Broker, sims: Simulators) -> None:
    ask = Ask("own-openai-chat", question="Its first client leaves.")
    sims["first"].script(faults=[{"first": 1, "delay_headers_ms": 60_000}])

    async def run() -> list[Got]:
        async with client(broker.url) as http:
            body = {"json": ask.body}
            leader = asyncio.create_task(http.post(PATHS[ask.dialect], **body))
            await asyncio.to_thread(wait_until, lambda: len(sims["first"].calls()) == 1)
            others = asyncio.create_task(call_all(broker.url, [ask] * 10, parallel=10))
            await asyncio.to_thread(wait_until, lambda: waiting(broker) == 10)
            leader.cancel()
            return await others

    got = asyncio.run(run())
    assert [each.is_whole for each in got] == [True] * 10
    assert len(sims["first"].calls()) == 2
    assert waiting(broker) == 0


def waiting(broker: Broker) -> int:
    return int(broker.metrics("modelbroker_cache_calls_waiting", labels=False)[""])


def test_a_reply_that_is_not_kept_makes_nobody_wait_twice(broker: Broker, sims: Simulators) -> None:
    """Its twin ran on the same kind of reply: others like it go at once."""
    sims["first"].script(replies=[{"text": "So far", "finish": "length"}], faults=[{"delay_headers_ms": 200}])
    ask = Ask("own-openai-chat", question="It is always too long.")
    assert word(one(broker, ask)) == "miss"
    got = make(broker.url, [ask] * 10, parallel=10)
    assert [each.is_whole for each in got] == [True] * 10
    assert len(sims["first"].calls()) == 11


def test_a_failover_keeps_those_who_wait(broker: Broker, sims: Simulators) -> None:
    sims["first"].script(faults=[{"status": 500, "delay_headers_ms": 500}])
    got = make(broker.url, [Ask("pair", question="It fails over.")] * 20, parallel=20)
    assert {(each.status, each.member) for each in got} == {(200, "next-openai-chat/m")}
    assert (len(sims["first"].calls()), len(sims["next"].calls())) == (1, 1)


def test_a_client_waits_no_longer_than_it_says(broker: Broker, sims: Simulators) -> None:
    ask = Ask("own-openai-chat", question="It is not patient.")
    sims["first"].script(faults=[{"first": 1, "delay_headers_ms": 60_000}])

    async def run() -> httpx.Response:
        async with client(broker.url) as http:
            leader = asyncio.create_task(http.post(PATHS[ask.dialect], json=ask.body))
            await asyncio.to_thread(wait_until, lambda: len(sims["first"].calls()) == 1)
            got = await http.post(PATHS[ask.dialect], json=ask.body, headers={"x-stainless-timeout": "0.3"})
            leader.cancel()
            return got

    got = asyncio.run(run())
    assert (got.status_code, got.headers["x-broker-cache"]) == (200, "miss")
    assert len(sims["first"].calls()) == 2


# -- edits


def test_an_edit_of_the_members_forgets_and_one_of_the_weights_does_not(
    broker: Broker, sims: Simulators
) -> None:
    ask = Ask("own-openai-chat", question="Before and after the edit.")
    one(broker, ask)
    edited = config(sims)
    members = edited["pools"][0]["members"]
    members[0]["weight"] = 7
    broker.edit(edited)
    assert word(one(broker, ask)) == "hit"
    members[0]["model"] = "another"
    broker.edit(edited)
    assert word(one(broker, ask)) == "miss"
    edited = config(sims)
    edited["pools"][0]["cache"] = {"version": "2"}
    broker.edit(edited)
    assert word(one(broker, ask)) == "miss"
    broker.edit(config(sims))
    assert word(one(broker, ask)) == "hit"


def test_knobs_that_were_dropped_are_named_again(broker: Broker, sims: Simulators) -> None:
    ask = Ask("translated-openai-chat", more={"frequency_penalty": 0.5})
    miss, hit = one(broker, ask), one(broker, ask)
    assert [word(each) for each in (miss, hit)] == ["miss", "hit"]
    assert hit.headers["x-broker-dropped"] == miss.headers["x-broker-dropped"] == "frequency_penalty"
