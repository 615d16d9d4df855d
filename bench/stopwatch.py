"""µs of CPU of a function of ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any


def timed(works: Sequence[Callable[[], Any]], seconds: float, rounds: int) -> list[float]:
    """µs of CPU a call of each: the least of the rounds, each of about so many seconds. Neighbours take
    caches and clock, and so can only add; the works take turns, so that a quiet moment is for all of them."""
    loops = [_loops(work, seconds) for work in works]
    least = [float("inf")] * len(works)
    for _ in range(rounds):
        for at, work in enumerate(works):
            least[at] = min(least[at], _once(work, loops[at]) / loops[at])
    return [took * 1e6 for took in least]


def _loops(work: Callable[[], Any], seconds: float) -> int:
    loops = 1
    while (took := _once(work, loops)) < seconds / 4 and loops < 1 << 24:
        loops *= 2
    return max(1, round(loops * seconds / took))


def _once(work: Callable[[], Any], loops: int) -> float:
    """CPU seconds: what others take of the machine meanwhile is not in them."""
    started = time.process_time()
    for _ in range(loops):
        work()
    return time.process_time() - started
