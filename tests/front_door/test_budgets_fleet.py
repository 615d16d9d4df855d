"""Three brokers that share their budgets in Redis: one account for all, with Redis and without."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from support.broker import Broker, provider
from support.budgets import DOLLAR, asked, charged, standing, team, told
from support.calls import Ask, Got, call_all
from support.servers import Redis
from support.simulators import Simulators
from support.waiting import wait_until

CALL = DOLLAR // 1000
TEAMS = ("crowd", "away", "back")


def config(sims: Simulators, redis: Redis) -> dict[str, Any]:
    return {
        "providers": [provider("a", sims["a"].port, "openai-chat", "/v1")],
        "callers": [team(name) for name in TEAMS],
        "pools": [{"name": "dear", "ejection": "off", "members": [{"provider": "a", "model": "m"}]}],
        "prices": [{"provider": "a", "model": "m", "input": 0, "output": 10}],
        "budgets": [{"name": "teams", "by": "team", "amount": "$0.02", "per": "month"}],
        # A call that starts on a busy machine waits rather than go by a share.
        "redis": {"url": redis.url, "timeout": "5s", "share": "25%"},
    }


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as simulators:
        simulators["a"].script(
            replies=[{"text": "hello", "tokens": {"input": 10, "output": 100}}],
            faults=[{"delay_headers_ms": 1500}],
        )
        yield simulators


@pytest.fixture(scope="module")
def brokers(
    sims: Simulators, redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sequence[Broker]]:
    with ExitStack() as stack:
        found = []
        for number in range(3):
            folder = tmp_path_factory.mktemp(f"broker-{number}")
            found.append(stack.enter_context(Broker(folder, config(sims, redis))))
        for broker in found:
            wait_until(lambda broker=broker: told(broker)["kept"] == "redis")
        yield found


def spread(brokers: Sequence[Broker], asks: Sequence[Ask]) -> list[Got]:
    """The calls, in turn at each of the brokers, all at the same time."""

    async def run() -> list[Got]:
        count = len(brokers)
        parts = [call_all(one.url, asks[n::count], parallel=100) for n, one in enumerate(brokers)]
        return [got for part in await asyncio.gather(*parts) for got in part]

    return asyncio.run(run())


def test_two_hundred_calls_at_three_brokers(brokers: Sequence[Broker]) -> None:
    got = spread(brokers, [asked("crowd", "dear") for _ in range(200)])
    codes = Counter("" if one.status == 200 else one.headers["x-broker-code"] for one in got)
    assert codes == {"": 20, "budget_exceeded": 180}
    for broker in brokers:
        wait_until(lambda broker=broker: standing(broker, "teams", "team=crowd") == (20 * CALL, 0), 60)
    assert sum(charged(broker, "teams") for broker in brokers) == 20 * CALL


def test_redis_goes_away_and_comes_back_empty(brokers: Sequence[Broker], redis: Redis) -> None:
    """No call is an error of ours. Each broker has a quarter of the limit to itself, five calls; and when
    Redis is back, it knows all that was spent: before it went, while it was away, and by other teams."""
    got = spread(brokers, [asked("away", "dear") for _ in range(6)])
    assert [one.status for one in got] == [200] * 6
    for broker in brokers:
        wait_until(lambda broker=broker: standing(broker, "teams", "team=away") == (6 * CALL, 0), 60)
    redis.kill()
    # The first call that asks finds out.
    got = spread(brokers, [asked("away", "dear") for _ in range(30)])
    codes = Counter("" if one.status == 200 else one.headers["x-broker-code"] for one in got)
    assert codes == {"": 9, "budget_exceeded": 21}  # of five each, two are gone
    assert [told(broker)["kept"] for broker in brokers] == ["away"] * 3
    assert all(broker.metrics("modelbroker_budget_redis_away", labels=False) == {"": 1} for broker in brokers)
    redis.start()
    for broker in brokers:
        wait_until(lambda broker=broker: standing(broker, "teams", "team=away") == (15 * CALL, 0), 30)
        assert standing(broker, "teams", "team=crowd") == (20 * CALL, 0)
        assert told(broker)["kept"] == "redis"
    got = spread(brokers, [asked("away", "dear") for _ in range(12)])
    assert sum(1 for one in got if one.status == 200) == 5
    for broker in brokers:
        wait_until(lambda broker=broker: standing(broker, "teams", "team=away") == (20 * CALL, 0), 60)
