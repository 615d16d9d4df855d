"""Calls that share one budget: who is refused for what others have reserved waits for these."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_SETTLES = 5  # looks at a budget with no call under way: what was reserved is settled by then
_Heard = TypeVar("_Heard")


class Turns:
    """Calls under way have reserved more than they will cost: one that does not fit beside them waits until
    one of them has ended. Where none is under way, there is no money. Those that are refused as well free
    nothing: who waited for these would wait for ever."""

    def __init__(self, look_s: float) -> None:
        self._look_s = look_s
        self._under_way = 0
        self._paid = 0  # ends of calls that were let go
        self._an_end = asyncio.Condition()

    async def take(
        self, call: Callable[[], Awaitable[_Heard]], is_refused: Callable[[_Heard], bool]
    ) -> _Heard:
        """What `call` gives in the end. `is_refused`: by the budget, and it is worth to ask again."""
        alone = 0
        while True:
            before, refused = self._paid, False
            self._under_way += 1
            try:
                heard = await call()
                refused = is_refused(heard)
            finally:
                self._under_way -= 1
                self._paid += not refused
                async with self._an_end:
                    self._an_end.notify_all()
            if not refused or alone == _SETTLES:
                return heard
            async with self._an_end:
                while self._paid == before and self._under_way:
                    await self._an_end.wait()
            if self._paid != before:
                alone = 0
                continue
            alone += 1
            await asyncio.sleep(self._look_s)
