"""What is tried beside pools, as the control plane keeps it: shadows and rollouts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ..core.trials import Shadow
from ..exchange.trying import NOWHERE, Copy, Standing
from .runtime import Ready
from .shadow import CopyKeeper


class TrialKeeper:
    """`run` keeps all of it going until it is cancelled. What calls ask of it never waits."""

    def __init__(self, elsewhere: str = "") -> None:
        self._copies = CopyKeeper(elsewhere)

    @property
    def standings(self) -> Mapping[str, Standing]:
        return NOWHERE

    def offer(self, copy: Copy) -> None:
        self._copies.offer(copy)

    def missed(self, shadow: Shadow) -> None:
        self._copies.missed(shadow)

    def configured(self, ready: Ready) -> None:
        self._copies.configured(ready.catalog)

    def status(self) -> dict[str, Any]:
        return {"shadows": self._copies.status()}

    async def run(self) -> None:
        await asyncio.gather(self._copies.run())

    async def close(self) -> None:
        await self._copies.close()
