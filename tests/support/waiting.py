"""Waiting for what will be: a condition is looked at again and again, and never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(holds: Callable[[], Found], timeout_s: float = 30, every_s: float = 0.0) -> Found:
    """What `holds` gives once it is true in the sense of `if`; AssertionError when that does not come. It is
    asked every `every_s` at most."""
    began_s = time.monotonic()
    while not (found := holds()):
        assert time.monotonic() < began_s + timeout_s, f"waited {timeout_s} s in vain"
        time.sleep(max(every_s, pause_s(began_s)))
    return found


def pause_s(began_s: float) -> float:
    """Until the next look, of a wait since `began_s` (time.monotonic()). Looks take time from what
    is awaited, so the longer a wait, the fewer there are."""
    return min(0.05, max(0.01, (time.monotonic() - began_s) / 40))
