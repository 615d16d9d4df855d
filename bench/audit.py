"""What the chain of audit events costs: to make it, to verify it, to ask it.

    .venv/bin/python bench/audit.py [EVENTS ...]

By default of 100,000 and of 1,000,000 calls. What makes events is this process; `verify` and `query` are the
commands as one types them, their start included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
from ledger import record
from modelbroker.audit.follow import Follower
from modelbroker.audit.reports import Settings
from modelbroker.audit.store import FOLDER, segments
from modelbroker.journal.writing import CALLS
from report import table

_AT_ONCE = 50_000
_QUERIES = {
    "query --customer: a fiftieth of the calls, the last 100": ("--customer", "customer-7", "--limit", "100"),
    "query --caller: one that never called": ("--caller", "nobody"),
    "query --request-id": ("--request-id", "0190a5d3c4b27cde8f0123456789abcd"),
}


# A process that is small itself: the most memory that a child ever had is told with its parent's at the fork.
_METER = """
import json, resource, subprocess, sys, time
began_s = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([time.perf_counter() - began_s, used.ru_utime + used.ru_stime, used.ru_maxrss, code]))
"""


class Took(NamedTuple):
    wall_s: float
    cpu_s: float
    memory_mib: int


def make(folder: Path, count: int) -> Took:
    """A journal of so many calls, and its chain; the latter is measured."""
    began_ms = int(time.time() * 1000)
    encoder = msgspec.json.Encoder()
    with (folder / CALLS).open("wb") as file:
        for first in range(0, count, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, count))
            file.write(encoder.encode_lines([record(number, began_ms) for number in numbers]))
    follower = Follower(Settings(folder=str(folder), version="bench"))
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    while follower.step():
        pass
    follower.close()
    assert follower.taken == count
    return Took(time.perf_counter() - wall_s, time.process_time() - cpu_s, 0)


def run(folder: Path, *words: str) -> Took:
    command = [sys.executable, "-m", "modelbroker.cli.main", "audit", *words, "--state-dir", str(folder)]
    told = subprocess.run([sys.executable, "-c", _METER, *command], check=True, stdout=subprocess.PIPE).stdout
    wall_s, cpu_s, memory_kib, code = json.loads(told)
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    return Took(wall_s, cpu_s, memory_kib // 1024)


def main() -> int:
    counts = [int(word) for word in sys.argv[1:]] or [100_000, 1_000_000]
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="modelbroker-bench-") as name:
            folder = Path(name)
            made = make(folder, count)
            size = sum(path.stat().st_size for _, path in segments(folder / FOLDER))
            per_event = f"{made.cpu_s / count * 1e6:.0f} µs of CPU and {size // count} bytes an event"
            rows.append((f"{count:,}", "made", f"{made.wall_s:.1f} s", f"{made.cpu_s:.1f} s", per_event))
            works = {"verify": ("verify",), **{what: ("query", *words) for what, words in _QUERIES.items()}}
            for what, words in works.items():
                took = run(folder, *words)
                told = (f"{took.wall_s:.1f} s", f"{took.cpu_s:.1f} s", f"{took.memory_mib} MiB")
                rows.append((f"{count:,}", what, *told))
    print(table(("events", "work", "time", "CPU", "most memory"), rows, markdown=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
