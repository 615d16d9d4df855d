"""The control plane's side of shadows: the process that sends copies is kept alive, fed, and ended."""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec

from ..core.catalog import Catalog
from ..core.trials import Shadow
from ..exchange.trying import Copy
from ..metrics import Up
from ..trials.copies import Address, Copies, Waiting
from ..trials.frames import Report, frame
from .fed import FedKeeper, address_of

log = logging.getLogger("modelbroker.shadow")

_UP = Up("modelbroker_shadow_up", "1 while copies of calls can be sent")


def shadows_of(catalog: Catalog) -> dict[str, Shadow]:
    """All that there are, by name; those of rollouts among them."""
    found: dict[str, Shadow] = {}
    for trials in catalog.trials.values():
        found |= {shadow.name: shadow for shadow in trials.shadows}
        for stage in trials.rollout.stages if trials.rollout is not None else ():
            if stage.shadow is not None:
                found[stage.shadow.name] = stage.shadow
    return found


class CopyKeeper(FedKeeper):
    """`offer` never waits and never fails."""

    def __init__(self, elsewhere: str = "") -> None:
        super().__init__("modelbroker.trials.sender", "the sender of copies", log, _UP)
        self._elsewhere = elsewhere
        self._copies = Copies()
        self._at = Address("127.0.0.1", 0, False)
        self._shadows: dict[str, Shadow] = {}

    def configured(self, catalog: Catalog) -> None:
        before, self._shadows = self._shadows, shadows_of(catalog)
        self._at = address_of(catalog.listen, self._elsewhere)
        self._copies.forget(self._shadows.__contains__)
        if bool(before) != bool(self._shadows):
            self._changed.set()

    def offer(self, copy: Copy) -> None:
        if self._copies.offer(Waiting(time.monotonic(), copy.shadow, copy.path, copy.headers, copy.body)):
            self.pump_soon()

    def missed(self, shadow: Shadow) -> None:
        self._copies.unfit(shadow)

    def status(self) -> dict[str, Any]:
        shown = self._copies.shown()
        return {name: {"to": one.to, **shown.get(name, {})} for name, one in sorted(self._shadows.items())}

    def _is_wanted(self) -> bool:
        return bool(self._shadows)

    def _due(self) -> list[bytes]:
        due = self._copies.due(time.monotonic(), self._at)
        return [piece for head, body in due for piece in frame(head, body)]

    def _heard(self, line: bytes) -> None:
        self._copies.over(msgspec.json.decode(line, type=Report), time.monotonic())

    def _gone(self) -> None:
        self._copies.lost()
