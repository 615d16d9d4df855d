"""What a record costs the ledger's follower: CPU and time, from the journal's line to the committed row.

    .venv/bin/python bench/ledger.py [URL]

Without a URL into SQLite in a temporary folder; `postgresql://…` names an empty database. CPU is this
process's own, without the database's where that is another process.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import msgspec
from modelbroker.core.ids import RANDOM_BYTES, request_id_of
from modelbroker.core.prices import Cost
from modelbroker.core.record import Attempt, Record
from modelbroker.core.usage import EXACT, Usage
from modelbroker.journal.writing import CALLS
from modelbroker.ledger.follow import Follower
from modelbroker.ledger.place import default_url
from modelbroker.ledger.reports import Settings

RECORDS = 50_000


def record(number: int, now_ms: int) -> Record:
    """A call as most are: one attempt that went well."""
    usage = Usage(1_000, cache_read=200, cache_write_5m=50, output=100, reasoning=20)
    cost = Cost(4_747_500, {"input": 3_000_000, "cache_read": 60_000, "output": 1_687_500})
    at_s = (now_ms + number) / 1000
    attempt = Attempt("anthropic/claude-opus-4-7", 200, 812.4, 410.2, details="via_upstream", started_s=at_s)
    attempt.usage, attempt.usage_state, attempt.cost = usage, EXACT, cost
    made = Record(
        request_id_of(now_ms + number, number.to_bytes(RANDOM_BYTES)),
        at_s,
        815.1,
        412.9,
        200,
        "POST",
        "/v1/messages",
    )
    for name, value in (
        ("team", "search"),
        ("caller", "support-bot"),
        ("customer", f"customer-{number % 50}"),
    ):
        setattr(made, name, value)
    made.dialect, made.model, made.pool, made.member = "anthropic-messages", "tier", "tier", attempt.member
    made.outcome, made.details, made.revision, made.attempts_made = "ok", "via_upstream", "0" * 12, 1
    made.usage, made.usage_state, made.cost, made.attempts = usage, EXACT, cost, (attempt,)
    return made


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="modelbroker-bench-") as name:
        folder = Path(name)
        now_ms = int(time.time() * 1000)
        data = msgspec.json.Encoder().encode_lines([record(n, now_ms) for n in range(RECORDS)])
        (folder / CALLS).write_bytes(data)
        url = sys.argv[1] if len(sys.argv) > 1 else default_url(folder)
        follower = Follower(Settings(name, url))
        follower.step()  # connects, makes the schema
        taken, cpu_s, wall_s = follower.taken, time.process_time(), time.perf_counter()
        while follower.step():
            pass
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        follower.close()
        count = follower.taken - taken
        size = (folder / "ledger.db").stat().st_size if url == default_url(folder) else 0
    print(
        f"{count} records of {len(data) // RECORDS} bytes: {cpu_s / count * 1e6:.0f} µs of CPU each, ", end=""
    )
    print(
        f"{count / wall_s:.0f} a second",
        f"; {size // RECORDS} bytes each in the database" if size else "",
        sep="",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
