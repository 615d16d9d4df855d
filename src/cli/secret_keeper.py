"""Secrets in stores, as the control plane keeps them: asked for again in time, and told of."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from prometheus_client import Gauge

from ..core.catalog import Catalog
from .secrets import new_box, stored_secrets

log = logging.getLogger("modelbroker.secrets")

_GOOD = Gauge("modelbroker_secret_good", "1 while there is a value that is good", ["secret"])
_UNTIL = Gauge(
    "modelbroker_secret_good_until_seconds", "Until when it is good if its store says no more", ["secret"]
)
_FAILURES = Gauge("modelbroker_secret_failures", "Failures in a row to ask for it", ["secret"])
# What a configuration has new is seen so soon.
_LOOK_S = 1.0
_REST_S = 0.05


class SecretsKeeper:
    """`changed` is called where another value is good than before."""

    def __init__(
        self,
        changed: Callable[[], Awaitable[None]],
        heard: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
    ) -> None:
        """`heard` gets what `status` says after each look."""
        self._changed, self._heard = changed, heard
        self.box = new_box()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(min(max(self.box.next_s() - time.time(), _REST_S), _LOOK_S))
            try:
                if self.box.next_s() <= time.time():
                    if await asyncio.to_thread(self.box.look):
                        await self._changed()
                    self._tell()
            except Exception:
                log.exception("secrets could not be looked at; what is known is good on")

    def want(self, catalog: Catalog) -> None:
        self.box.want(catalog.secrets, stored_secrets(catalog))

    def keep(self, catalogs: Iterable[Catalog]) -> None:
        """Those of these alone: of what is served, and of what may be served again."""
        self.box.keep(frozenset().union(*map(stored_secrets, catalogs)))

    def status(self) -> list[dict[str, Any]]:
        return self.box.status()

    def close(self) -> None:
        self.box.close()

    def _tell(self) -> None:
        for gauge in (_GOOD, _UNTIL, _FAILURES):
            gauge.clear()
        for one in self.box.status():
            name = one["secret"]
            _GOOD.labels(name).set(one["state"] == "good")
            _UNTIL.labels(name).set(one["good_until_s"] or 0.0)
            _FAILURES.labels(name).set(one["failures"])
        self._heard(self.box.status())
