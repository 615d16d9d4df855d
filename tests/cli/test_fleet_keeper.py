"""The fleet as one broker knows it, while the Redis of it is away, and when there is none any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from modelbroker.cli.fleet import FleetKeeper
from modelbroker.core.acts import By
from modelbroker.core.budgets import Fleet
from support.servers import Redis

STATUS: dict[str, Any] = {
    "revision": "aaaaaaaaaaaa",
    "serving": "aaaaaaaaaaaa",
    "in_effect": True,
    "error": None,
    "envoys": ["e"],
    "origin": None,
    "rollback": None,
    "source": {"source": "config/"},
}


def test_what_redis_said_is_forgotten_with_it() -> None:
    keeper = FleetKeeper("me", "127.0.0.1:1", lambda: STATUS, lambda revision: None)

    def shown() -> dict[str, Any]:
        told: dict[str, Any] = keeper.routes()["GET", "/fleet"]({}, b"", By())
        return told

    async def until(holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while not holds(told := shown()):  # noqa: ASYNC110 - the keeper tells nobody
                await asyncio.sleep(0.01)
        return told

    async def run() -> None:
        keeper.configured(Fleet(url="redis://127.0.0.1:1"), None)
        task = asyncio.create_task(keeper.run())
        told = await until(lambda told: told["error"])
        assert "Redis is away" in told["error"] and told["shared"]
        keeper.configured(None, None)
        told = await until(lambda told: told["error"] is None)
        assert [one["broker"] for one in told["brokers"]] == ["me"] and not told["shared"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_two_brokers_of_one_name_say_so(redis: Redis) -> None:
    """Their state folders are one a copy of the other; and one alone is nobody's twin over restarts."""

    async def run() -> None:
        fleet = Fleet(url=redis.url, prefix="twins")
        keepers = [
            FleetKeeper("me", f"127.0.0.1:{n}", lambda: STATUS, lambda revision: None) for n in range(3)
        ]

        def told(number: int, what: str) -> Any:
            return keepers[number].routes()["GET", "/fleet"]({}, b"", By())[what]

        def error(number: int) -> str:
            return str(told(number, "error") or "")

        async def until(holds: Callable[[], bool]) -> None:
            async with asyncio.timeout(60):
                while not holds():  # noqa: ASYNC110 - the keeper tells nobody
                    await asyncio.sleep(0.01)

        for keeper in keepers:
            keeper.configured(fleet, None)
        tasks = []
        for number in (0, 1):
            tasks.append(asyncio.create_task(keepers[number].run()))
            await until(lambda number=number: bool(told(number, "brokers")))
        await until(lambda: "(127.0.0.1:1), and a copy of this one's state folder" in error(0))
        await until(lambda: "(127.0.0.1:0), and a copy of this one's state folder" in error(1))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        last = asyncio.create_task(keepers[2].run())
        await until(lambda: bool(told(2, "brokers")))
        assert error(2) == ""
        last.cancel()
        await asyncio.gather(last, return_exceptions=True)

    asyncio.run(run())
