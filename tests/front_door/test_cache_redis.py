"""The cache of a fleet: brokers that share a Redis answer by each other's replies, and live without it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.calls import Ask, Got, make
from support.records import record_of
from support.servers import Redis
from support.simulators import Simulators
from support.waiting import wait_until


def config(sims: Simulators, **store: Any) -> dict[str, Any]:
    pools = [("short", {}), ("brief", {"ttl": "1500ms"})]
    return {
        "providers": [provider("first", sims["first"].port, "openai-chat", "/v1")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "prices": [{"provider": "first", "model": "m", "input": 1, "output": 2}],
        "cache": store,
        "pools": [
            {"name": name, "members": [{"provider": "first", "model": "m"}], "cache": cache}
            for name, cache in pools
        ],
    }


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("first") as simulators:
        yield simulators


@pytest.fixture(scope="module")
def brokers(
    sims: Simulators, redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Broker, Broker]]:
    """One by the URL itself, one by a variable that holds it."""
    with contextlib.ExitStack() as stack:
        one = Broker(tmp_path_factory.mktemp("one"), config(sims, redis=redis.url))
        environ = {"THE_REDIS": redis.url}
        other = Broker(
            tmp_path_factory.mktemp("other"), config(sims, redis={"env": "THE_REDIS"}), environ=environ
        )
        yield stack.enter_context(one), stack.enter_context(other)


@pytest.fixture(autouse=True)
def clean(sims: Simulators) -> None:
    sims.reset()


def ask_of(broker: Broker, ask: Ask) -> Got:
    (got,) = make(broker.url, [ask])
    return got


def word(got: Got) -> str:
    return got.headers["x-broker-cache"]


def is_shared(redis: Redis) -> bool:
    import redis as client

    with client.Redis.from_url(redis.url) as server:
        return bool(server.keys("modelbroker:cache:*"))


def emptied(redis: Redis) -> None:
    import redis as client

    with client.Redis.from_url(redis.url) as server:
        server.flushall()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_reply_that_another_broker_got(
    brokers: tuple[Broker, Broker], sims: Simulators, redis: Redis, stream: bool
) -> None:
    emptied(redis)
    one, other = brokers
    ask = Ask("short", stream=stream)
    miss = ask_of(one, ask)
    wait_until(lambda: is_shared(redis))  # once its usage is known
    hit, again = ask_of(other, ask), ask_of(other, ask)
    assert [word(got) for got in (miss, hit, again)] == ["miss", "hit", "hit"]
    assert hit.body == again.body == miss.body
    assert len(sims["first"].calls()) == 1
    paid, saved = record_of(one, miss), record_of(other, hit)
    assert saved["cached_request_id"] == paid["request_id"]
    assert saved["saved"]["cost"] == paid["cost"] and paid["cost"]["total"] > 0
    assert hit.headers["x-broker-request-id"] != miss.headers["x-broker-request-id"]


def test_a_fleet_forgets_in_time(brokers: tuple[Broker, Broker], sims: Simulators, redis: Redis) -> None:
    emptied(redis)
    one, other = brokers
    ask = Ask("brief")
    ask_of(one, ask)
    wait_until(lambda: is_shared(redis))
    wait_until(lambda: not is_shared(redis))
    late = ask_of(other, ask)
    assert word(late) == "miss"
    record_of(other, late)  # until then its reply may still come there, and be taken for another one's


def test_a_hundred_at_the_same_time_ask_once(
    brokers: tuple[Broker, Broker], sims: Simulators, redis: Redis
) -> None:
    emptied(redis)
    one, other = brokers
    ask = Ask("short")
    ask_of(one, ask)
    wait_until(lambda: is_shared(redis))
    got = make(other.url, [ask] * 100, parallel=50)
    assert {word(each) for each in got} == {"hit"}
    assert len(sims["first"].calls()) == 1


def test_what_is_no_entry_is_not_found(
    brokers: tuple[Broker, Broker], sims: Simulators, redis: Redis
) -> None:
    import redis as client

    emptied(redis)
    one, other = brokers
    ask = Ask("short")
    ask_of(one, ask)
    wait_until(lambda: is_shared(redis))
    with client.Redis.from_url(redis.url) as server:
        for key in server.keys("modelbroker:cache:*"):
            server.set(key, b"\x01 not an entry")
    got = ask_of(other, ask)
    assert (got.status, word(got)) == (200, "miss")


def test_without_its_redis_a_broker_asks_providers(
    brokers: tuple[Broker, Broker], sims: Simulators, redis: Redis
) -> None:
    one, other = brokers
    ask = Ask("short")
    ask_of(one, ask)
    redis.kill()
    try:
        began_s = time.monotonic()
        got = make(other.url, [ask, *(Ask("short") for _ in range(20))], parallel=1)
        assert [(each.status, word(each)) for each in got] == [(200, "miss")] * 21
        assert time.monotonic() - began_s < 15  # not 21 times however long a lost server is waited for
        assert word(ask_of(other, ask)) == "hit"  # by its own memory
        assert "the cache's Redis does not answer" in other.log()
        assert other.metrics("modelbroker_cache_redis_failures_total", labels=False)[""] >= 1
    finally:
        redis.start()

    def is_found_again() -> bool:
        fresh = Ask("short")
        ask_of(one, fresh)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: is_shared(redis), 2)
            return word(ask_of(other, fresh)) == "hit"
        return False

    wait_until(is_found_again)
    wait_until(lambda: "the cache's Redis answers again" in other.log())


def test_an_edit_takes_the_redis_away_and_brings_another(
    brokers: tuple[Broker, Broker], sims: Simulators, redis: Redis
) -> None:
    emptied(redis)
    one, other = brokers
    one.edit(config(sims))
    ask_of(one, ask := Ask("short"))
    hit = ask_of(one, ask)
    assert word(hit) == "hit"
    record_of(one, hit)  # and that of the call before: nothing of it comes to the other Redis
    one.edit(config(sims, redis=redis.unix_url))
    ask_of(one, ask := Ask("short"))
    wait_until(lambda: is_shared(redis))
    assert word(ask_of(other, ask)) == "hit"
