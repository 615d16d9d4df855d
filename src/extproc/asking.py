"""Budgets that are kept elsewhere: the call waits for their verdict, and the event loop does not."""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import Protocol

from ..exchange import Funds
from ..policy.budgets import GRANTED, Ask, Verdict

log = logging.getLogger("modelbroker.extproc")
_under_way: set[asyncio.Task[None]] = set()  # a task that nobody holds may be collected


class Desk(Funds, Protocol):
    """Funds of which some take a while."""

    async def decide(self, ask: Ask) -> Verdict:
        """Never raises: whoever is away has a policy for that."""

    def release(self, request_id: str) -> None:
        """The call that this was reserved for is no more."""


class _NoDesk:
    """Nobody pays."""

    def reserve(self, ask: Ask) -> Verdict | None:
        return Verdict(GRANTED)

    async def decide(self, ask: Ask) -> Verdict:
        return Verdict(GRANTED)

    def holds(self, request_id: str, account: str) -> bool:
        return False

    def release(self, request_id: str) -> None:
        """Nothing was reserved."""


NO_DESK: Desk = _NoDesk()


class Asker(Protocol):
    """Who waits for a verdict."""

    def on_verdict(self, verdict: Verdict) -> None: ...


def ask_for(desk: Desk, ask: Ask, asker: Asker) -> None:
    """`asker.on_verdict`, once it is there. An asker that nobody else holds has no client any more: what was
    reserved for it is given back."""
    waiting = weakref.ref(asker)

    async def run() -> None:
        verdict = await desk.decide(ask)
        if (found := waiting()) is not None:
            found.on_verdict(verdict)
        elif verdict.outcome == GRANTED:
            desk.release(ask.request_id)

    task = asyncio.get_running_loop().create_task(run())
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
