"""Large requests: the second member gets the exact body, once, however the first one failed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.broker import KEY, KEY_SHA256, Broker, one_a_dialect
from support.calls import PATHS, Ask, Got, call, client
from support.envoy import stats
from support.simulators import Simulators

LIMIT = 30_000_000
SIZES = {"10KB": 10_000, "1.1MB": 1_100_000, "10MB": 10_000_000, "30MB": LIMIT}
FAULTS: dict[str, dict[str, Any]] = {
    "status": {"status": 503},
    "reset": {"reset": "before-headers"},
    "no-connection": {"reset": "on-accept"},
    "stall": {"stall": "before-headers"},
    "first-event": {"error_event": True},
}
DIALECTS = ("openai-chat", "anthropic-messages")
# What a silent member gets, by the size of the body: the second one has to read it within that time, on a
# busy machine too.
TIMEOUTS: dict[str, dict[str, str]] = {
    "patient": {},
    "quick": {"first_event": "2s", "reply": "2s"},
    "less-quick": {"first_event": "8s", "reply": "8s"},
}


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("bad", "good") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    pools = [
        {
            "name": f"{dialect}.{name}",
            "members": [
                {"provider": f"bad-{dialect}", "model": "bad-model"},
                {"provider": f"good-{dialect}", "model": "good-model", "priority": 1},
            ],
            "ejection": "off",
            "timeouts": timeouts,
        }
        for dialect in DIALECTS
        for name, timeouts in TIMEOUTS.items()
    ]
    config = {
        "providers": one_a_dialect(sims, DIALECTS),
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "limits": {"request_bytes": LIMIT},
        "pools": pools,
    }
    with Broker(tmp_path_factory.mktemp("broker"), config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def body_of(ask: Ask, size: int) -> bytes:
    """The ask's body, filled up to `size` bytes with what no two places of it have in common."""
    bare = len(json.dumps({**ask.body, "metadata": {"filling": ""}}).encode())
    filling = random.Random(size).randbytes((size - bare) // 2 + 1).hex()
    filled = {**ask.body, "metadata": {"filling": filling[: size - bare]}}
    body = json.dumps(filled).encode()
    assert len(body) == size
    return body


def sent_on(body: bytes, pool: str, model: str) -> bytes:
    """What a provider of `model` is to get: a chat stream is asked for usage, too."""
    if b'"stream": true' in body and pool.startswith("openai-chat"):
        body = body.replace(b"{", b'{"stream_options":{"include_usage":true},', 1)
    return body.replace(f'"model": "{pool}"'.encode(), f'"model": "{model}"'.encode(), 1)


def send(broker: Broker, calls: list[tuple[Ask, bytes]]) -> list[Got]:
    """All at once, each over a connection of its own."""

    async def one(ask: Ask, body: bytes) -> Got:
        async with client(broker.url) as http:
            return await call(http, ask, body)

    async def every() -> list[Got]:
        return list(await asyncio.gather(*(one(ask, body) for ask, body in calls)))

    return asyncio.run(every())


def assert_passed_on_once(sims: Simulators, name: str, calls: list[tuple[Ask, bytes]]) -> None:
    """Each body, with the member's model in it, arrived whole and one time."""
    received = sorted(entry["body_sha256"] for entry in sims[name].settled_calls() if entry["body_bytes"])
    expected = sorted(
        hashlib.sha256(sent_on(body, ask.pool, f"{name}-model")).hexdigest() for ask, body in calls
    )
    assert received == expected


def assert_none_abandoned(broker: Broker) -> None:
    """Envoy never gave a further attempt up because the body was too large to keep."""
    abandoned = stats(broker, "retry_or_shadow_abandoned$")
    assert not any(abandoned.values()), abandoned
    assert not any(stats(broker, r"cluster\.pool/.*upstream_internal_redirect_failed_total$").values())
    handed_back = stats(broker, r"cluster\.pool/.*upstream_internal_redirect_succeeded_total$")
    assert sum(handed_back.values()) > 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_second_member_gets_the_exact_body_once(
    broker: Broker, sims: Simulators, fault: str, size: str
) -> None:
    sims["bad"].script(refuse=True)  # ends idle connections: those that are there are accepted already
    sims["bad"].script(faults=[FAULTS[fault]])
    timeouts = "patient"
    if fault == "stall":
        timeouts = "quick" if SIZES[size] < 2_000_000 else "less-quick"
    streams = (True,) if fault == "first-event" else (False, True)
    dialect = "anthropic-messages" if fault == "status" else "openai-chat"
    calls = [
        (ask, body_of(ask, SIZES[size]))
        for ask in (Ask(f"{dialect}.{timeouts}", dialect, stream) for stream in streams)
    ]
    for got in send(broker, calls):
        assert got.is_whole, str(got)
        assert got.text == f"good answering as good-model: {got.ask.question}"
        assert (got.attempts, got.member) == (2, f"good-{dialect}/good-model"), str(got)
    if fault != "no-connection":
        assert_passed_on_once(sims, "bad", calls)
    assert_passed_on_once(sims, "good", calls)
    assert_none_abandoned(broker)


def test_many_large_bodies_at_once(broker: Broker, sims: Simulators) -> None:
    sims["bad"].script(faults=[FAULTS["status"]])
    asks = [Ask(f"{dialect}.patient", dialect, stream) for dialect in DIALECTS for stream in (False, True)]
    calls = [(ask, body_of(ask, 3_000_000 + n)) for n, ask in enumerate(asks * 2)]
    for got in send(broker, calls):
        assert got.is_whole, str(got)
        assert got.attempts == 2
    assert_passed_on_once(sims, "good", calls)
    assert_none_abandoned(broker)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_largest_body_in_chunks_of_unknown_length(
    broker: Broker, sims: Simulators, dialect: str, stream: bool
) -> None:
    sims["bad"].script(faults=[FAULTS["status"]])
    ask = Ask(f"{dialect}.patient", dialect, stream)
    body = body_of(ask, LIMIT)
    reply = post(broker, dialect, body, in_chunks=True)
    assert reply.status_code == 200, reply.text
    assert_passed_on_once(sims, "good", [(ask, body)])


def post(broker: Broker, dialect: str, body: bytes, *, in_chunks: bool) -> httpx.Response:
    """As the official SDKs send: all of it, and only then an eye on the answer."""
    chunks = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    content = chunks if in_chunks else body
    return httpx.post(broker.url + PATHS[dialect], content=content, headers=headers, timeout=60)


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_byte_too_many_is_refused_in_the_dialects_shape(
    broker: Broker, sims: Simulators, dialect: str, framing: str
) -> None:
    ask = Ask(f"{dialect}.patient", dialect)
    body = body_of(ask, LIMIT + 1)
    reply = post(broker, dialect, body, in_chunks=framing == "chunks")
    answer = reply.json()
    assert reply.status_code == 413
    assert answer["error"]["code"] == "request_too_large"
    if dialect == "anthropic-messages":
        assert (answer["type"], answer["error"]["type"]) == ("error", "request_too_large")
    else:
        assert answer["error"]["type"] == "invalid_request_error"
    assert sims["bad"].calls() + sims["good"].calls() == []


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_far_too_large_is_refused_too(broker: Broker, dialect: str, framing: str) -> None:
    """Past every buffer: the reply may come while the client still sends."""
    reply = post(broker, dialect, b" " * (2 * LIMIT), in_chunks=framing == "chunks")
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "request_too_large"


def test_an_asynchronous_client_sees_the_refusal_too(broker: Broker) -> None:
    """asyncio's transports drop what they have received when a write fails, so the body is taken in first."""
    headers = {"authorization": f"Bearer {KEY}"}

    async def refused() -> list[int]:
        async with httpx.AsyncClient(base_url=broker.url, timeout=60, trust_env=False) as client:
            body = b" " * (LIMIT + 1024 * 1024)
            replies = [
                await client.post(PATHS["openai-chat"], content=body, headers=headers) for _ in range(3)
            ]
            return [reply.status_code for reply in replies]

    assert asyncio.run(refused()) == [413] * 3
