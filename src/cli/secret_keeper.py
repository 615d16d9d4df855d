"""Secrets in stores and files, as the control plane keeps them: asked for again in time, and told of."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from prometheus_client import Gauge

from ..core.catalog import Catalog
from ..core.record import Observed
from ..policy.health import Swaps
from ..policy.holding import Settled
from .runtime import Ready
from .secrets import held_secrets, new_box

log = logging.getLogger("modelbroker.secrets")

_GOOD = Gauge("modelbroker_secret_good", "1 while there is a value that is good", ["secret"])
_UNTIL = Gauge(
    "modelbroker_secret_good_until_seconds", "Until when it is good if its store says no more", ["secret"]
)
_REFUSED = Gauge(
    "modelbroker_secret_refused",
    "1 while providers get the value before the newest, which they refuse",
    ["secret"],
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
        self._news = asyncio.Event()
        self._told: set[str] = set()  # of what there are metrics

    async def run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                wait_s = min(max(self.box.next_s() - time.time(), _REST_S), _LOOK_S)
                await asyncio.wait_for(self._news.wait(), wait_s)
            self._news.clear()
            try:
                if self.box.next_s() <= time.time() and await asyncio.to_thread(self.box.look):
                    await self._changed()
                self.tell()
            except Exception:
                log.exception("secrets could not be looked at; what is known is good on")

    def want(self, catalog: Catalog) -> None:
        self.box.want(catalog.secrets, held_secrets(catalog))

    def keep(self, catalogs: Iterable[Catalog]) -> None:
        """Those of these alone: of what is served, and of what may be served again."""
        self.box.keep(frozenset().union(*map(held_secrets, catalogs)))

    def in_effect(self, ready: Ready) -> Swaps:
        """An Envoy has all of it."""
        for name, credential in ready.resolved.credentials.items():
            if (ref := ready.catalog.providers[name].credential) is not None:
                self.box.in_effect(ref, credential)
        return self._swaps(ready.catalog)

    def refused(self, seen: Observed, catalog: Catalog) -> Swaps:
        """An attempt came back with its credential refused."""
        provider = catalog.providers.get(seen.member.partition("/")[0])
        ref = provider.credential if provider is not None else None
        if ref is not None and self.box.refused(ref, seen.member, seen.began_s):
            self._news.set()
        return self._swaps(catalog)

    def _swaps(self, catalog: Catalog) -> Swaps:
        settled: dict[str, Settled] = {}
        deaf: frozenset[str] = frozenset()
        for provider in catalog.providers.values():
            if provider.credential is not None:
                known, members = self.box.swap(provider.credential)
                deaf |= members
                if known is not None:
                    settled[provider.name] = known
        return Swaps(settled, deaf)

    def status(self) -> list[dict[str, Any]]:
        return self.box.status()

    def close(self) -> None:
        self.box.close()

    def tell(self) -> None:
        """In metrics, and to whoever hears of it."""
        told = self.box.status()
        self._heard(told)
        names = {one["secret"] for one in told}
        for name in self._told - names:
            for gauge in (_GOOD, _UNTIL, _REFUSED, _FAILURES):
                gauge.remove(name)
        self._told = names
        for one in told:
            name = one["secret"]
            _GOOD.labels(name).set(one["state"] != "missing")
            _REFUSED.labels(name).set(one["state"] == "refused")
            _UNTIL.labels(name).set(one["good_until_s"] or 0.0)
            _FAILURES.labels(name).set(one["failures"])
        self._heard(self.box.status())
