"""What the control plane asks of two configurations, and of another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from .runtime import Ready

_Result = TypeVar("_Result")


def on_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], _Result]) -> _Result:
    """`work`'s result, done by the loop's thread."""

    async def run() -> _Result:
        return work()

    return asyncio.run_coroutine_threadsafe(run(), loop).result(10)


def same(old: Ready, new: Ready) -> bool:
    """Nothing that is served differs: a comment was edited, or a file was touched."""
    return (
        old.snapshot.generation == new.snapshot.generation
        and old.resolved.credentials == new.resolved.credentials
        and old.resolved.callers == new.resolved.callers
        and old.resolved.ledger_url == new.resolved.ledger_url
        and old.resolved.cache_redis == new.resolved.cache_redis
        and old.redis_password == new.redis_password
        and (old.capture, old.capture_why) == (new.capture, new.capture_why)
        and (old.audit, old.audit_warnings) == (new.audit, new.audit_warnings)
    )


def unbuilt(ready: Ready, provider: str) -> str | None:
    built = ready.catalog.providers[provider].built
    return None if built else "this version does not speak its dialect yet"


def mended(before: Ready | None, after: Ready) -> list[str]:
    """Providers whose credential is another one now."""
    if before is None:
        return []
    old, new = before.resolved.credentials, after.resolved.credentials
    return [name for name in new if old.get(name) != new[name]]
