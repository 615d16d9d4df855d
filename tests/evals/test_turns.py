"""Calls that share a budget wait for one another, but not for those that wait as well."""

from __future__ import annotations

import asyncio

import pytest
from modelbroker.evals.turns import Turns


def is_refused(heard: str) -> bool:
    return heard == "refused"


@pytest.mark.parametrize("many", [1, 2, 8])
def test_where_there_is_no_money_all_come_to_an_end(many: int) -> None:
    posts = 0

    async def call() -> str:
        nonlocal posts
        posts += 1
        await asyncio.sleep(0.001)
        return "refused"

    async def run() -> list[str]:
        turns = Turns(0.001)
        async with asyncio.timeout(20):
            return await asyncio.gather(*[turns.take(call, is_refused) for _ in range(many)])

    assert asyncio.run(run()) == ["refused"] * many
    assert posts <= 6 * many  # each looks a few times


def test_what_fits_behind_others_waits_for_them_however_long() -> None:
    """Three calls, room for one at a time."""

    async def run() -> tuple[list[str], int]:
        turns, room, posts = Turns(0.001), asyncio.Semaphore(1), 0

        async def call() -> str:
            nonlocal posts
            posts += 1
            if room.locked():
                await asyncio.sleep(0)
                return "refused"
            async with room:
                await asyncio.sleep(0.1)  # far longer than all looks of who is alone
            return "said"

        async with asyncio.timeout(20):
            return await asyncio.gather(*[turns.take(call, is_refused) for _ in range(3)]), posts

    said, posts = asyncio.run(run())
    assert said == ["said"] * 3 and posts < 12


def test_what_is_settled_a_while_behind_an_end_is_waited_for_each_time() -> None:
    """Room for two of twelve, free again a few looks later: more looks in all than one alone has."""

    async def run() -> list[str]:
        turns, look_s, free = Turns(0.02), 0.02, 2

        def settle() -> None:
            nonlocal free
            free += 1

        async def call() -> str:
            nonlocal free
            await asyncio.sleep(0)
            if not free:
                return "refused"
            free -= 1
            await asyncio.sleep(0.001)
            asyncio.get_running_loop().call_later(2.5 * look_s, settle)
            return "said"

        async with asyncio.timeout(20):
            return await asyncio.gather(*[turns.take(call, is_refused) for _ in range(12)])

    assert asyncio.run(run()) == ["said"] * 12
