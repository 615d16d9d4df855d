"""The fleet as each broker knows it: it says what it serves, and hears what the others do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec
from prometheus_client import Gauge

from .. import __version__
from ..core.acts import By
from ..core.budgets import Fleet
from ..revisions.fleet import Ago, Board, Told, drift
from .admin import Query, Routes

log = logging.getLogger("modelbroker")

_BEHIND = Gauge(
    "modelbroker_fleet_brokers_behind", "Brokers of the fleet that do not serve its newest revision"
)
_BROKERS = Gauge("modelbroker_fleet_brokers", "Brokers of the fleet that say what they serve")
_EVERY_S = 1.0
_SAY_EVERY_S = 60.0


class FleetKeeper:
    """`status` is the broker's own; `changed_s` says when it came to a revision that it serves since now
    (unix time; None: it never served another). `configured` says which Redis holds from now on."""

    def __init__(
        self,
        broker: str,
        admin: str,
        status: Callable[[], dict[str, Any]],
        changed_s: Callable[[str], float | None],
    ) -> None:
        self._broker, self._admin, self._status, self._came_s = broker, admin, status, changed_s
        self._place: tuple[Fleet, str | None] | None = None
        self._board: Board | None = None
        self._serving, self._serving_s = "", 0.0  # of this process's clock that only goes forward
        self._changed_s: float | None = None  # of the same
        self._fleet: list[Told] = []
        self._error = ""
        self._said_s = -math.inf
        self._life = secrets.token_hex(4)

    def configured(self, fleet: Fleet | None, password: str | None) -> None:
        self._place = (fleet, password) if fleet is not None else None

    async def run(self) -> None:
        place: tuple[Fleet, str | None] | None = None
        try:
            while True:
                try:
                    if place != self._place:
                        place = self._place
                        await self._leave()
                        self._board = Board(*place) if place is not None else None
                    await self._tell()
                except Exception:
                    log.exception("the fleet is not told")
                await asyncio.sleep(_EVERY_S)
        finally:
            await self._leave()

    async def _tell(self) -> None:
        told, ago = await self._told()
        if self._board is None:
            self._fleet = [ago.of(told, time.time())]
            self._heard()
            return
        try:
            self._fleet = await self._board.tell(told, ago)
        except Exception as error:  # of redis-py, or of sockets
            self._error = f"the fleet's Redis is away ({type(error).__name__})"
            self._say(f"{self._error}: what the other brokers serve is not known")
            return
        self._heard()
        if (twin := self._board.twin) is not None:
            self._error = (
                f"another broker has the name {self._broker}, at {twin.host} ({twin.admin}), and a copy of "
                f"this one's state folder: give each its own"
            )
            self._say(self._error)

    def _say(self, what: str) -> None:
        if time.monotonic() - self._said_s > _SAY_EVERY_S:
            log.warning("%s", what)
            self._said_s = time.monotonic()

    def _heard(self) -> None:
        self._error = ""
        found = drift(self._fleet, self._now_s())
        _BROKERS.set(len(self._fleet) - len(found.away))
        _BEHIND.set(len(found.behind))

    async def _told(self) -> tuple[Told, Ago]:
        status = self._status()
        serving, source = status["serving"] or "", status["source"]
        if serving != self._serving:
            await self._changes_to(serving)
        told = Told(
            broker=self._broker,
            host=socket.gethostname(),
            version=__version__,
            admin=self._admin,
            revision=status["revision"] or "",
            serving=serving,
            commit=(status["origin"] or {}).get("commit", ""),
            is_in_effect=status["in_effect"] and status["serving"] == status["revision"],
            is_rolled_back=status["rollback"] is not None,
            envoys=len(status["envoys"]),
            error=(status["error"] or "")[:500],
            source=source["source"],
            wanted=source.get("commit") or "",
            life=self._life,
        )
        now_s, fetched_s = time.monotonic(), source.get("fetched_at")
        return told, Ago(
            now_s - self._serving_s,
            now_s - self._changed_s if self._changed_s is not None else None,
            max(time.time() - fetched_s, 0.0) if fetched_s else None,
        )

    async def _changes_to(self, serving: str) -> None:
        now_s = time.monotonic()
        if self._serving:
            self._changed_s = now_s
        elif (came_s := await asyncio.to_thread(self._came_s, serving)) is not None:
            self._changed_s = now_s - max(time.time() - came_s, 0.0)
        self._serving, self._serving_s = serving, now_s

    def _now_s(self) -> float:
        return next((one.at_s for one in self._fleet if one.broker == self._broker), 0.0)

    async def _leave(self) -> None:
        board, self._board = self._board, None
        if board is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(board.leave(self._broker), 1.0)
            with contextlib.suppress(Exception):
                await asyncio.wait_for(board.close(), 1.0)

    def routes(self) -> Routes:
        """What the admin port answers."""

        def shown(query: Query, body: bytes, by: By) -> dict[str, Any]:
            return {
                "broker": self._broker,
                "shared": self._place is not None,
                "error": self._error or None,
                "brokers": [msgspec.to_builtins(one) for one in self._fleet],
            }

        return {("GET", "/fleet"): shown}
