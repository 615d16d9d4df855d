"""Every attempt's usage is in the record, as the provider told it: of recorded replies of real providers what
the dialect's own decoder reads in them, whether they pass or are translated, and however they are cut."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from modelbroker.core.usage import Usage
from modelbroker.dialects import provider_dialect
from modelbroker.dialects.replies import Started, UsageGiven
from support.broker import BASES, KEY_SHA256, Broker, provider
from support.calls import Ask, Got, make
from support.dialects import PROVIDER_KINDS, recorded, upstream
from support.leaving import Client
from support.recordings import recordings
from support.records import lines_of, record_with
from support.simulators import Simulators
from support.waiting import wait_until
from support.wire import BEARER, CHAT, COUNT_TOKENS, EMBEDDINGS, MESSAGES, RESPONSES, X_API_KEY, Answer, ask

PATHS: Mapping[str, str] = {
    "openai-chat": CHAT,
    "openai-compatible-chat": CHAT,
    "openai-responses": RESPONSES,
    "openai-embeddings": EMBEDDINGS,
    "anthropic-messages": MESSAGES,
    "anthropic-count-tokens": COUNT_TOKENS,
}
DIALECTS: Mapping[str, str] = {
    **PROVIDER_KINDS,
    "openai-embeddings": "openai-embeddings",
    "anthropic-count-tokens": "anthropic-messages",
}
MODELS: Mapping[str, str] = dict.fromkeys(DIALECTS, "m") | {
    "bedrock-converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "bedrock-converse-stream": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "gemini-generate-content": "gemini-2.5-pro",
}
_FOLDER = Path(os.environ.get("MODELBROKER_RECORDINGS", Path(__file__).parents[3] / "shared" / "recordings"))
Told = tuple[Any, str]  # usage and its state, as a line of calls.jsonl has them
Found = tuple[Any, str, str]  # and the service tier


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators(*DIALECTS) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    def entry(kind: str) -> dict[str, Any]:
        dialect = DIALECTS[kind]
        return provider(kind, sims[kind].port, dialect, BASES.get(dialect, "/v1"))

    def pool(name: str, *kinds: str, **more: Any) -> dict[str, Any]:
        members = [{"provider": kind, "model": MODELS[kind], "priority": n} for n, kind in enumerate(kinds)]
        return {"name": name, "ejection": "off", "members": members, **more}

    config = {
        "providers": [*map(entry, DIALECTS)],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            *(pool(f"pool-{kind}", kind, failover="none") for kind in DIALECTS),
            *(pool(f"guarded-{kind}", kind, failover="none", guard="full") for kind in CLIENTS),
            pool("two", "openai-chat", "anthropic-messages"),
            {
                "name": "embeddings-of-gemini",
                "members": [{"provider": "gemini-generate-content", "model": "gemini-embedding-001"}],
            },
        ],
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def _well_behaved(sims: Simulators) -> None:
    sims.reset()


def lines(broker: Broker) -> dict[str, dict[str, Any]]:
    """Records by their calls' ids."""
    return {line["request_id"]: line for line in lines_of(broker)}


def told(broker: Broker, got: Got) -> Told:
    """Of a call with one attempt."""
    record = record_with(broker, got.headers["x-broker-request-id"])
    (attempt,) = record["attempts"]
    assert (record["usage"], record["usage_state"]) == (attempt["usage"], attempt["usage_state"])
    return record["usage"], record["usage_state"]


def shown(usage: Usage | None) -> Any:
    """As JSON has it."""
    return json.loads(msgspec.json.encode(usage))


# -- recorded traffic


def expected(kind: str, status: int, reply: bytes, is_stream: bool) -> Found:
    if status >= 300 or kind == "anthropic-count-tokens":
        return None, "none", ""
    usage, tier = decoded(kind, reply, is_stream)
    is_told = usage is not None and usage.prompt + usage.output > 0
    return (shown(usage), "exact", tier) if is_told else (None, "unknown", "")


def decoded(kind: str, reply: bytes, is_stream: bool) -> tuple[Usage | None, str]:
    """What the dialect's own decoder finds in a good reply: usage and tier."""
    dialect = DIALECTS[kind]
    if dialect == "openai-embeddings":
        return Usage(input=json.loads(reply)["usage"]["prompt_tokens"]), ""
    if not is_stream:
        try:
            whole = provider_dialect(dialect).decode_reply(reply, upstream(dialect))
        except ValueError:
            return None, ""
        return whole.usage, whole.service_tier
    decoder = provider_dialect(dialect).stream_decoder(upstream(dialect))
    events = [*decoder.feed(reply), *decoder.end()]
    found = [event for event in events if isinstance(event, (Started, UsageGiven))]
    usages = [event.usage for event in found if event.usage is not None]
    tiers = [event.service_tier for event in found if event.service_tier]
    return (usages[-1] if usages else None), (tiers[-1] if tiers else "")


ROWS = [
    pytest.param(kind, *row.values, id=f"{kind}:{row.id}", marks=row.marks)
    for kind in PATHS
    for row in recordings(kind)
]


def replay(broker: Broker, kind: str, row: Any) -> Answer:
    """A recorded request, answered with what was recorded."""
    body = {**row["request"]["body"], "model": f"pool-{kind}"}
    keys = X_API_KEY if kind.startswith("anthropic") else BEARER
    pin = ("x-mock-reply", json.dumps({"recording": row["id"]}))
    return ask(broker.url, PATHS[kind], body, [*keys, pin, ("content-type", "application/json")])


def load(sims: Simulators, kind: str, **script: Any) -> None:
    sims[kind].script(recordings=[str((_FOLDER / f"{kind}.jsonl").resolve())], **script)


def known(kind: str, row: Any) -> Found:
    body = row["response"]["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return expected(kind, row["response"]["status"], raw, isinstance(body, str))


@pytest.mark.parametrize("size", [None, 7, 1000])
def test_what_passes(broker: Broker, sims: Simulators, size: int | None) -> None:
    """The buckets that the dialect's decoder reads in the same bytes, in whatever pieces a stream comes."""
    wanted: dict[str, tuple[str, Found]] = {}
    rows = [row.values for row in ROWS if row.values[1] is not None]
    if not rows:
        pytest.skip("no recordings here")
    for kind in PATHS:
        load(sims, kind, **({"split_bytes": size} if size else {}))
    for kind, row in rows:
        if size and not isinstance(row["response"]["body"], str):
            continue
        answer = replay(broker, kind, row)
        wanted[answer.get("x-broker-request-id")] = (row["id"], known(kind, row))
    found = found_in(broker, wanted)
    assert found == wanted
    states = {state for _, (_, state, _) in wanted.values()}
    assert "exact" in states and (size or "none" in states)


def found_in(broker: Broker, wanted: Mapping[str, tuple[str, Found]]) -> dict[str, tuple[str, Found]]:
    wait_until(lambda: wanted.keys() <= lines(broker).keys(), 60)
    records = lines(broker)
    found = {}
    for request_id, (name, _) in wanted.items():
        record = records[request_id]
        (attempt,) = record["attempts"]
        found[request_id] = (name, (record["usage"], record["usage_state"], attempt["service_tier"]))
    return found


def test_what_is_translated(broker: Broker, sims: Simulators) -> None:
    """The same buckets, for clients of every other dialect."""
    wanted: dict[str, tuple[str, Found]] = {}
    kinds = set()
    if not recorded():
        pytest.skip("no recordings here")
    for kind in PROVIDER_KINDS:
        load(sims, kind)
    for row in recorded():
        kind, _, ident = row.id.partition(":")
        wish = expected(kind, row.status, row.reply, row.streamed)
        if wish[1] != "exact":
            continue
        kinds.add(kind)
        client = "openai-chat" if row.dialect == "anthropic-messages" else "anthropic-messages"
        pin = {"x-mock-reply": json.dumps({"recording": ident})}
        (got,) = make(broker.url, [Ask(f"pool-{kind}", client, row.streamed, headers=pin)])
        if got.status == 200:
            wanted[got.headers["x-broker-request-id"]] = (row.id, wish)
    assert {row_id.partition(":")[0] for row_id, _ in wanted.values()} == kinds
    assert found_in(broker, wanted) == wanted


# -- what becomes of calls

CLIENTS = ("openai-chat", "openai-responses", "anthropic-messages")
OTHER = {
    "openai-chat": "anthropic-messages",
    "openai-responses": "anthropic-messages",
    "anthropic-messages": "openai-chat",
}
SAID = {"text": "Well. " * 20, "chunks": 20, "tokens": {"input": 10, "output": 50, "cache_read": 90}}
USED = {"input": 10, "cache_read": 90, "cache_write_5m": 0, "cache_write_1h": 0, "output": 50}


def reply(**said: Any) -> dict[str, str]:
    return {"x-mock-reply": json.dumps({**SAID, **said})}


def buckets(usage: Any) -> Any:
    return {name: usage[name] for name in USED} if usage is not None else None


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", CLIENTS)
def test_a_call_has_one_usage_on_every_way(broker: Broker, dialect: str, stream: bool) -> None:
    """As it passes, where it is watched, and where it is translated."""
    pools = [f"pool-{dialect}", f"guarded-{dialect}", *(f"pool-{other}" for other in (*CLIENTS, *FURTHER))]
    asks = [Ask(pool, dialect, stream, headers=reply()) for pool in pools]
    for got in make(broker.url, asks):
        assert got.is_whole, str(got)
        usage, state = told(broker, got)
        assert (buckets(usage), state) == (USED, "exact"), str(got)


FURTHER = ("bedrock-converse", "gemini-generate-content")


def test_what_a_client_does_not_see_is_recorded_all_the_same(broker: Broker) -> None:
    (got,) = make(broker.url, [Ask("pool-openai-chat", stream=True, headers=reply())])
    assert b'"prompt_tokens"' not in got.body
    assert buckets(told(broker, got)[0]) == USED


FAKE = json.dumps(
    {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "input_tokens": 1, "output_tokens": 1}}
)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", CLIENTS)
def test_what_only_looks_like_usage_is_none(broker: Broker, dialect: str, stream: bool) -> None:
    """In the words of the answer and the arguments of calls, at the broker's own pieces and at any."""
    call = {"name": "get_usage", "arguments": json.loads(FAKE)}
    asks = [
        Ask(f"pool-{dialect}", dialect, stream, headers=reply(**said))
        for said in (
            {"text": FAKE + '","usage":{"prompt_tokens":1},"' + "}" * 9},
            {"text": FAKE * 100, "chunks": 2},
            {"text": "", "tool_calls": [call] * 2},
            {"text": FAKE, "reasoning": FAKE, "split_bytes": 5},
        )
    ]
    for got in make(broker.url, asks):
        usage, state = told(broker, got)
        assert (buckets(usage), state) == (USED, "exact"), str(got)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_a_response_quotes_of_its_request_is_none(broker: Broker, stream: bool) -> None:
    """Also where a client asks in the provider's own words."""
    tools = [
        {
            "type": "function",
            "name": f"usage_{n}",
            "parameters": {"type": "object", "properties": {"usage": json.loads(FAKE)["usage"]}},
        }
        for n in range(60)
    ]
    body = {
        "model": "pool-openai-responses",
        "input": FAKE,
        "instructions": FAKE * 50,
        "metadata": {"usage": FAKE, "response": FAKE},
        "tools": tools,
        "stream": stream,
    }
    headers = [*BEARER, *reply().items(), ("content-type", "application/json")]
    answer = ask(broker.url, RESPONSES, body, headers)
    record = record_with(broker, answer.get("x-broker-request-id"))
    assert answer.status == 200 and b"usage_59" in answer.body
    assert (buckets(record["usage"]), record["usage_state"]) == (USED, "exact")


# What providers of a dialect have told of a stream in its middle.
SO_FAR: Mapping[str, str] = {
    "openai-chat": "unknown",
    "openai-responses": "unknown",
    "anthropic-messages": "partial",
}


@pytest.mark.parametrize("translated", [False, True], ids=["same", "translated"])
@pytest.mark.parametrize("member", CLIENTS)
def test_a_client_that_leaves_in_mid_stream(
    broker: Broker, sims: Simulators, member: str, translated: bool
) -> None:
    dialect = OTHER[member] if translated else member
    before = lines(broker).keys()
    sims[member].script(faults=[{"stall": "mid-stream", "after_events": 9}], replies=[SAID])
    with Client(broker.url, Ask(f"pool-{member}", dialect, True), "http/1.1") as client:
        client.send()
        assert client.read()
        client.leave()
    new = wait_until(lambda: lines(broker).keys() - before, 60)
    (record,) = [lines(broker)[request_id] for request_id in new or ()]
    assert record["code"] == "client_gone"
    assert record["usage_state"] == record["attempts"][0]["usage_state"] == SO_FAR[member]
    if SO_FAR[member] == "partial":
        assert buckets(record["usage"]) == USED | {"output": record["usage"]["output"]}
        assert record["usage"]["output"] < USED["output"]


@pytest.mark.parametrize("fault", [{"cut": "end"}, {"cut": "close"}, {"reset": "mid-stream"}], ids=str)
@pytest.mark.parametrize("pool", ["pool", "guarded"])
@pytest.mark.parametrize("member", CLIENTS)
def test_a_stream_that_breaks_off(
    broker: Broker, sims: Simulators, member: str, pool: str, fault: dict[str, Any]
) -> None:
    # Slow enough for the first events to be read before the end is seen.
    sims[member].script(faults=[{**fault, "after_events": 9, "token_delay_ms": 20}], replies=[SAID])
    (got,) = make(broker.url, [Ask(f"{pool}-{member}", member, True)])
    usage, state = told(broker, got)
    assert state == SO_FAR[member], str(got)
    assert (usage is None) == (state == "unknown")


def test_each_attempt_has_its_own(broker: Broker, sims: Simulators) -> None:
    sims["openai-chat"].script(faults=[{"status": 529}])
    (got,) = make(broker.url, [Ask("two", headers=reply())])
    record = record_with(broker, got.headers["x-broker-request-id"])
    tried = [(a["member"], a["usage_state"], buckets(a["usage"])) for a in record["attempts"]]
    assert tried == [("openai-chat/m", "none", None), ("anthropic-messages/m", "exact", USED)]
    assert (record["usage_state"], buckets(record["usage"])) == ("exact", USED)
    with urllib.request.urlopen(f"{broker.admin_url}/metrics") as page:
        metrics = page.read().decode()
    assert 'modelbroker_attempts_usage_total{member="openai-chat/m",state="none"}' in metrics


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", CLIENTS)
def test_what_is_compressed_is_found_or_unknown(
    broker: Broker, sims: Simulators, dialect: str, stream: bool
) -> None:
    """Envoy passes on what it can't read; Python reads it."""
    for sim in (sims[dialect], sims[OTHER[dialect]]):
        sim.script(faults=[{"compress": "gzip"}])
    asks = [Ask(f"pool-{kind}", dialect, stream, headers=reply()) for kind in (dialect, OTHER[dialect])]
    passing, translated = make(broker.url, asks)
    assert told(broker, passing) == (None, "unknown")
    usage, state = told(broker, translated)
    assert (buckets(usage), state) == (USED, "exact")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", CLIENTS)
def test_a_large_reply(broker: Broker, sims: Simulators, dialect: str, stream: bool) -> None:
    """In events of its full size, too."""
    sims[dialect].script(replies=[SAID | {"text": (FAKE + "w" * 9_000) * 100, "chunks": 2}])
    (got,) = make(broker.url, [Ask(f"pool-{dialect}", dialect, stream, max_tokens=1_000_000)])
    assert got.is_whole and len(got.body) > 900_000
    usage, state = told(broker, got)
    assert (buckets(usage), state) == (USED, "exact")


@pytest.mark.parametrize("pool", ["pool-openai-embeddings", "embeddings-of-gemini"])
@pytest.mark.parametrize("inputs", [1, 90])
def test_embeddings(broker: Broker, pool: str, inputs: int) -> None:
    body = {"model": pool, "input": ["some words to embed"] * inputs}
    answer = ask(broker.url, EMBEDDINGS, body, [*BEARER, ("content-type", "application/json")])
    record = record_with(broker, answer.get("x-broker-request-id"))
    tokens = answer.json["usage"]["prompt_tokens"]
    assert tokens > 0
    assert (record["usage"]["input"], record["usage_state"]) == (tokens, "exact")


@pytest.mark.parametrize("kind", ["anthropic-messages", "gemini-generate-content"])
def test_a_count_of_tokens_uses_none(broker: Broker, kind: str) -> None:
    body = {"model": f"pool-{kind}", "messages": [{"role": "user", "content": "hello"}]}
    answer = ask(broker.url, COUNT_TOKENS, body, [*X_API_KEY, ("content-type", "application/json")])
    record = record_with(broker, answer.get("x-broker-request-id"))
    assert (answer.status, record["usage"], record["usage_state"]) == (200, None, "none")


def test_what_was_refused_or_never_reached_used_none(broker: Broker, sims: Simulators) -> None:
    (refused,) = make(broker.url, [Ask("no-such-pool")])
    record = record_with(broker, refused.headers["x-broker-request-id"])
    assert (record["usage"], record["usage_state"]) == (None, "none")
    sims["openai-responses"].script(refuse=True)
    (gone,) = make(broker.url, [Ask("pool-openai-responses", "openai-responses")])
    assert told(broker, gone) == (None, "none")
