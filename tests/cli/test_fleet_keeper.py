"""The fleet as one broker knows it, while the Redis of it is away, and when there is none any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from modelbroker.cli.fleet import FleetKeeper
from modelbroker.core.acts import By
from modelbroker.core.budgets import Fleet

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
