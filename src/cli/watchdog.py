"""Notices a process that lives and does not answer: one that hangs serves no more than one that is dead."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_EVERY_S = 0.5
_FAILED = 3  # one unanswered question may be ours: this process, too, can be stopped for a while
_IDLE_SHARE = 0.02  # of a processor: a process that waits for nothing but a probe takes less


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a process may be silent while it takes no time of the processor (it hangs), while it works (a
    large edit may keep it busy), and before it has answered at all."""

    idle_s: float = 5.0
    busy_s: float = 20.0
    start_s: float = 60.0


def is_hung(patience: Patience, silent_s: float, cpu_s: float | None, has_answered: bool) -> bool:
    """`cpu_s`: the processor's time that it took while it was silent; None where nobody knows."""
    if not has_answered:
        return silent_s >= max(patience.start_s, patience.busy_s)
    is_idle = cpu_s is not None and cpu_s < _IDLE_SHARE * silent_s
    return silent_s >= (patience.idle_s if is_idle else patience.busy_s)


async def until_hung(pid: int, answers: Callable[[], bool], patience: Patience) -> float:
    """Ask again and again, in a thread; how long (s) the process has been silent when it is given up."""
    since_s, cpu_then_s = time.monotonic(), cpu_time_s(pid)
    failed, has_answered = 0, False
    while True:
        if await asyncio.to_thread(answers):
            since_s, cpu_then_s = time.monotonic(), cpu_time_s(pid)
            failed, has_answered = 0, True
        else:
            failed += 1
            silent_s, cpu_now_s = time.monotonic() - since_s, cpu_time_s(pid)
            cpu_s = None if cpu_now_s is None or cpu_then_s is None else cpu_now_s - cpu_then_s
            if failed >= _FAILED and is_hung(patience, silent_s, cpu_s, has_answered):
                return silent_s
        await asyncio.sleep(_EVERY_S)


def cpu_time_s(pid: int) -> float | None:
    """What a process took of the processor so far, in seconds; None where that can't be known.

    Source: proc(5), /proc/PID/stat, fields 14 and 15 in clock ticks.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
