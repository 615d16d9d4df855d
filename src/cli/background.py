"""Work that goes on for as long as the control plane does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("modelbroker")


def watched(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task of it. One that fails is said: nobody waits for its end before the broker's own."""
    task = asyncio.create_task(work, name=getattr(work, "__qualname__", repr(work)))
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        told = "%s failed: what it does is not done until the control plane is started again"
        log.error(told, task.get_name(), exc_info=error)
