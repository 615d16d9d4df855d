"""Waiting for what will be: a condition is looked at again and again, and never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_until(holds: Callable[[], Found], timeout_s: float = 30, every_s: float = 0.01) -> Found:
    """What `holds` gives once it is true in the sense of `if`; AssertionError when that does not come."""
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain"
        time.sleep(every_s)
    return found
