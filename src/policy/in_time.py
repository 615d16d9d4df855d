"""An end to what a user's expressions take: Python's `re` may search for ever, and lets nothing else run
meanwhile, so that no other thread could end it. It looks for signals alone."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

# Of one sample, for all of its redaction.
REDACTED_WITHIN_S = 5.0


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """TimeoutError where it takes longer. In the main thread alone, and not within itself."""
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError


def hint_of(custom: tuple[tuple[str, str], ...]) -> str:
    """Where to look, by the names of one's own expressions."""
    names = ", ".join([name for name, _ in custom])
    return f": look at `redact.custom` ({names})" if names else ""
