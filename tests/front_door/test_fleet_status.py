"""What the brokers of a fleet serve, and how long an edit took to get everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from support.broker import KEY_SHA256, Broker, provider
from support.servers import Redis
from support.simulators import Simulators
from support.waiting import wait_until


@pytest.fixture(scope="module")
def sims() -> Iterator[Simulators]:
    with Simulators("a") as simulators:
        yield simulators


def config(sims: Simulators, redis: Redis | None, concurrency: int = 50) -> dict[str, Any]:
    shared = {"redis": {"url": redis.url, "prefix": "drift"}} if redis is not None else {}
    return {
        "providers": [provider("a", sims["a"].port, "openai-chat", "/v1")],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [{"name": "chat", "members": [{"provider": "a", "model": "m"}]}],
        "limits": {"concurrency": concurrency},
        **shared,
    }


def asked(*brokers: Broker, words: Sequence[str] = ("--format", "json")) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelbroker.cli.main", "status", "--fleet", *words]
    for broker in brokers:
        command += ["--admin", broker.admin_url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def seen(*brokers: Broker) -> dict[str, Any]:
    told = asked(*brokers)
    assert told.stdout, told.stderr
    tree: dict[str, Any] = json.loads(told.stdout)
    assert told.returncode == (1 if tree["behind"] or tree["away"] or tree["errors"] else 0)
    return tree


def test_drift_and_its_end(sims: Simulators, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> None:
    with ExitStack() as stack:
        brokers = [
            stack.enter_context(Broker(tmp_path_factory.mktemp(f"broker-{number}"), config(sims, redis)))
            for number in range(3)
        ]
        first = brokers[0].status()["revision"]
        wait_until(lambda: len(seen(brokers[0])["brokers"]) == 3 and not seen(brokers[0])["behind"])
        tree = seen(brokers[2])
        assert tree["newest"] == first and tree["took_s"] is not None
        # One has the edit and two do not.
        second = brokers[0].edit(config(sims, redis, 51))
        wait_until(lambda: seen(brokers[1])["newest"] == second)
        tree = seen(brokers[1])
        assert len(tree["behind"]) == 2 and tree["took_s"] is None
        said = asked(brokers[1], words=()).stdout
        assert f"2 of 3 brokers are behind: {second} is the newest" in said and "behind" in said
        # The first goes back, the second follows it only there: nobody is behind the one that stayed.
        brokers[1].edit(config(sims, redis, 51))
        wait_until(lambda: len(seen(brokers[1])["behind"]) == 1)
        brokers[0].edit(config(sims, redis))
        wait_until(lambda: seen(brokers[2])["newest"] == first and len(seen(brokers[2])["behind"]) == 1)
        for broker in (brokers[0], brokers[2]):
            broker.edit(config(sims, redis, 51))
        wait_until(lambda: not seen(brokers[0])["behind"])
        said = asked(brokers[0], words=()).stdout
        assert f"3 brokers serve {second}; from the first to the last it took " in said
        assert brokers[0].metrics("modelbroker_fleet_brokers", labels=False) == {"": 3.0}
        # Who ends says so, and is nobody's drift.
        brokers[2].stop()
        wait_until(lambda: len(seen(brokers[0])["brokers"]) == 2)
        redis.kill()
        try:
            wait_until(lambda: bool(seen(brokers[0])["errors"]))
            assert "the fleet's Redis is away" in asked(brokers[0], words=()).stdout
        finally:
            redis.start()
        wait_until(lambda: not seen(brokers[0])["errors"])


def test_brokers_that_share_nothing_are_asked_one_by_one(
    sims: Simulators, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(Broker(tmp_path_factory.mktemp(f"alone-{number}"), config(sims, None)))
            for number in range(2)
        )
        wait_until(lambda: len(seen(one, other)["brokers"]) == 2 and not seen(one, other)["behind"])
        other.edit(config(sims, None, 7))
        wait_until(lambda: len(seen(one, other)["behind"]) == 1)
