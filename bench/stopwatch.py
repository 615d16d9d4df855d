"""µs of CPU of a function of ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def timed(work: Callable[[], Any], seconds: float, rounds: int) -> float:
    """µs of CPU a call: the least of the rounds, each of about so many seconds. Neighbours on the machine
    take caches and clock, and so can only add."""
    loops = 1
    while (took := _once(work, loops)) < min(0.02, seconds) and loops < 1 << 24:
        loops *= 2
    loops = max(1, round(loops * seconds / took))
    return min(_once(work, loops) / loops for _ in range(rounds)) * 1e6


def _once(work: Callable[[], Any], loops: int) -> float:
    """CPU seconds: what others take of the machine meanwhile is not in them."""
    started = time.process_time()
    for _ in range(loops):
        work()
    return time.process_time() - started
