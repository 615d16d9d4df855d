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
        and old.resolved.state == new.resolved.state
        and old.resolved.callers == new.resolved.callers
        and old.resolved.ledger_url == new.resolved.ledger_url
        and old.resolved.cache_redis == new.resolved.cache_redis
        and old.redis_password == new.redis_password
        and (old.capture, old.capture_why) == (new.capture, new.capture_why)
        and (old.telemetry, old.telemetry_why) == (new.telemetry, new.telemetry_why)
        and (old.content, old.content_why) == (new.content, new.content_why)
        and (old.audit, old.audit_warnings) == (new.audit, new.audit_warnings)
        and (old.console, old.console_warnings) == (new.console, new.console_warnings)
    )


def is_equal(old: Ready, new: Ready) -> bool:
    """Envoy would say the same of both: what it knows of secrets it takes, whatever they are."""
    return old.texts == new.texts and old.snapshot.generation == new.snapshot.generation


def not_set_up(ready: Ready) -> Callable[[str], str | None]:
    """Provider → why it can serve no call at all; None where it can."""
    out, providers = ready.resolved.state.providers_out, ready.catalog.providers

    def why(name: str) -> str | None:
        unbuilt = None if providers[name].built else "this version does not speak its dialect yet"
        return out.get(name) or unbuilt

    return why


def mended(before: Ready | None, after: Ready) -> list[str]:
    """Providers whose credential is another one now."""
    if before is None:
        return []
    old, new = before.resolved.credentials, after.resolved.credentials
    return [name for name in new if old.get(name) != new[name]]
