"""The cache where parts of the broker end, where nobody takes calls, and beside what else a pool may say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import PATHS, Ask, Got, call_all, client, make, opened
from support.records import record_of
from support.simulators import Simulators
from support.waiting import wait_until

WORDS = "one two three four five six seven eight nine ten"


def config(sims: Simulators) -> dict[str, Any]:
    def pool(name: str, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "members": [{"provider": "first", "model": "m"}],
            "cache": "short-context",
            **more,
        }

    return {
        "providers": [provider("first", sims["first"].port, "openai-chat", "/v1")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            pool("plain"),
            pool("guarded", guard="full"),
            pool("passing", usage_event="pass"),
            pool("waiting", timeouts={"wait": "1ms"}),
        ],
    }


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("first") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def broker(sims: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker"), config(sims)) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(broker: Broker, sims: Simulators) -> None:
    sims.reset()
    broker.forget()


def one(broker: Broker, ask: Ask) -> Got:
    (got,) = make(broker.url, [ask])
    return got


def word(got: Got) -> str:
    return got.headers.get("x-broker-cache", "")


def events(got: Got) -> list[Any]:
    lines = [line[6:] for line in got.body.split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def tells_usage(got: Got) -> bool:
    return any(event.get("usage") for event in events(got))


def test_a_stream_outlives_the_control_plane_that_watches_it(broker: Broker, sims: Simulators) -> None:
    sims["first"].script(replies=[{"text": WORDS, "chunks": 10}], faults=[{"token_delay_ms": 100}])
    ask = Ask("plain", stream=True)
    (serve,) = broker.child_pids("serve")

    async def run() -> bytes:
        async with opened(broker.url, ask) as reply:
            body = b""
            async for chunk in reply.aiter_raw():
                if not body:
                    os.kill(serve, signal.SIGTERM)
                body += chunk
            return body

    body = asyncio.run(run())
    assert body.rstrip().endswith(b"data: [DONE]")
    wait_until(lambda: broker.child_pids("serve") not in ([], [serve]))
    broker.wait_for(lambda status: status["in_effect"], 60)
    sims["first"].script()
    assert word(one(broker, ask)) == "miss"  # what was in its memory is gone with it
    assert word(one(broker, ask)) == "hit"


def test_those_who_wait_are_served_when_the_control_plane_ends(broker: Broker, sims: Simulators) -> None:
    """They ask the provider themselves, or are told to come again; the one that leads has its answer."""
    sims["first"].script(faults=[{"delay_headers_ms": 1500}])
    ask = Ask("plain")
    (serve,) = broker.child_pids("serve")

    async def run() -> list[Got]:
        calls = asyncio.create_task(call_all(broker.url, [ask] * 5, parallel=5))
        await asyncio.to_thread(wait_until, lambda: waiting(broker) == 4)
        os.kill(serve, signal.SIGTERM)
        return await calls

    got = asyncio.run(run())
    wait_until(lambda: broker.child_pids("serve") not in ([], [serve]))
    broker.wait_for(lambda status: status["in_effect"], 60)
    assert [each.is_whole for each in got] == [True] * 5, got


def waiting(broker: Broker) -> int:
    return int(broker.metrics("modelbroker_cache_calls_waiting", labels=False)[""])


def test_where_every_member_is_out_the_cache_still_answers(broker: Broker, sims: Simulators) -> None:
    known = Ask("waiting")
    assert word(one(broker, known)) == "miss"
    sims["first"].script(faults=[{"status": 429, "retry_after_s": 60}])
    assert one(broker, Ask("waiting")).status == 429
    wait_until(lambda: one(broker, Ask("waiting")).headers.get("x-broker-code") == "pool_rate_limited")
    hit = one(broker, known)
    assert (hit.status, word(hit)) == (200, "hit")
    assert record_of(broker, hit)["outcome"] == "ok"


def test_who_waits_for_one_that_is_refused_is_refused_too(broker: Broker, sims: Simulators) -> None:
    sims["first"].script(faults=[{"status": 429, "retry_after_s": 60, "delay_headers_ms": 300}])
    got = make(broker.url, [Ask("waiting", question="Nobody is there.")] * 10, parallel=10)
    assert {each.status for each in got} == {429}


@pytest.mark.parametrize("pool", ["plain", "guarded"])
def test_a_stream_with_and_without_usage(broker: Broker, sims: Simulators, pool: str) -> None:
    """Whoever did not ask for it does not get it, whatever the stored reply had."""
    ask = Ask(pool, stream=True)
    asking = replace(ask, more={"stream_options": {"include_usage": True}})
    for first, other in ((ask, asking), (asking, ask)):
        question = f"Usage for {first.more} in {pool}?"
        miss = one(broker, replace(first, question=question))
        hit, again = (one(broker, replace(other, question=question)) for _ in range(2))
        assert [word(each) for each in (miss, hit, again)] == ["miss", "hit", "hit"]
        assert [tells_usage(each) for each in (miss, hit)] == [first is asking, other is asking]
        assert hit.is_whole and hit.text == miss.text
        assert again.body == hit.body
    assert len(sims["first"].calls()) == 2


def test_where_the_pool_passes_usage_to_all_a_hit_has_it(broker: Broker, sims: Simulators) -> None:
    whole, stream = (Ask("passing", stream=stream, question="Usage for all?") for stream in (False, True))
    miss, hit = one(broker, whole), one(broker, stream)
    assert [word(each) for each in (miss, hit)] == ["miss", "hit"]
    assert tells_usage(hit)


def test_who_leads_and_leaves_while_nobody_takes_calls_lets_the_next_one_lead(
    broker: Broker, sims: Simulators
) -> None:
    """It waits for its member, which wants no call for a while: the others wait for it."""
    sims["first"].script(faults=[{"first": 1, "status": 429, "retry_after_s": 3}])
    one(broker, Ask("waiting"))
    ask = Ask("plain", question="Who leads?")

    async def run() -> list[Got]:
        async with client(broker.url) as http:
            leader = asyncio.create_task(http.post(PATHS[ask.dialect], json=ask.body))
            await asyncio.to_thread(wait_until, lambda: metric(broker, "modelbroker_calls_waiting") == 1)
            others = asyncio.create_task(call_all(broker.url, [ask] * 3, parallel=3))
            await asyncio.to_thread(wait_until, lambda: waiting(broker) == 3)
            leader.cancel()
            return await others

    got = asyncio.run(run())
    assert [each.is_whole for each in got] == [True] * 3
    assert sorted(map(word, got)) == ["hit", "hit", "miss"]


def metric(broker: Broker, name: str) -> float:
    return broker.metrics(name, labels=False).get("", 0.0)
