"""What a simulation costs: time, CPU and memory of `modelbroker simulate` over so many records.

    .venv/bin/python bench/simulate.py [RECORDS] [--ledger]

By default a million lines of a journal; with --ledger the same out of SQLite. The new configuration has
rules, a budget, rate limits and a cache. Making the records is not measured.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from modelbroker.core.ids import RANDOM_BYTES, request_id_of
from modelbroker.core.prices import Cost
from modelbroker.core.record import Attempt, Eligible, Record
from modelbroker.core.usage import EXACT, Usage
from modelbroker.journal.writing import CALLS
from modelbroker.ledger.follow import Follower
from modelbroker.ledger.place import default_url
from modelbroker.ledger.reports import Settings

BEGUN_MS = 1_790_000_000_000
SPAN_MS = 7 * 86_400_000
TEAMS = [f"team-{number}" for number in range(20)]
MEMBERS = ("a/large", "b/large", "b/small")
CHANCES = ((0.7, 0.3), (1.0,))


def config(new: bool) -> dict[str, Any]:
    def pool(name: str, *members: tuple[str, int], **more: Any) -> dict[str, Any]:
        listed = [dict(zip(("provider", "model"), m.split("/"), strict=True)) for m, _ in members]
        return {
            "name": name,
            "members": [{**m, "weight": w} for m, (_, w) in zip(listed, members, strict=True)],
        } | more

    return {
        "providers": [
            {
                "name": name,
                "dialect": "openai-chat",
                "base_url": "http://127.0.0.1:1/v1",
                "credential": {"env": "K"},
            }
            for name in ("a", "b")
        ],
        "facts": {"headers": {"task": "x-task"}},
        "callers": [
            {"name": team, "key": {"sha256": f"{n:064x}"}, "team": team} for n, team in enumerate(TEAMS)
        ],
        "pools": [
            pool("main", ("a/large", 70), ("b/large", 30)),
            pool("cheap", ("b/small", 1)),
            pool("kept", ("a/large", 70), ("b/large", 30), cache={"scope": "team"}),
        ],
        "rules": [
            {"match": {"context.tokens": ">20k"}, "pool": "main"},
            {"match": {"team": TEAMS[: 5 if new else 1], "stream": False}, "pool": "cheap"},
        ],
        "prices": [
            {
                "provider": m.split("/")[0],
                "model": m.split("/")[1],
                "input": i,
                "cache_read": i / 10,
                "output": 5 * i,
            }
            for m, i in zip(MEMBERS, (3, 3, 1), strict=True)
        ],
        "budgets": [
            {
                "name": "team",
                "by": "team",
                "amount": "$2000",
                "per": "day",
                "at": [{"90%": {"degrade": "cheap"}}, {"100%": "deny"}],
            }
        ],
        "rate_limits": [{"name": "calls", "by": "caller", "calls": "600/m"}],
    }


def records(count: int) -> Iterator[Record]:
    draw = random.Random(1)
    for number in range(count):
        at_ms = BEGUN_MS + number * SPAN_MS // count
        kept = draw.random() < 0.2
        team = draw.choice(TEAMS)
        cheap = team == TEAMS[0] and not kept
        member = "b/small" if cheap else draw.choices(MEMBERS[:2], CHANCES[0])[0]
        prompt, written = int(draw.lognormvariate(7, 1)) + 1, int(draw.lognormvariate(5, 0.8)) + 1
        usage = Usage(prompt, output=written)
        cost = Cost(prompt * 3_000 + written * 15_000, {"input": prompt * 3_000, "output": written * 15_000})
        made = Record(
            request_id_of(at_ms, number.to_bytes(RANDOM_BYTES)),
            at_ms / 1000,
            written * 10.0,
            400.0,
            200,
            "POST",
            "/v1/chat/completions",
        )
        made.caller = made.team = team
        made.customer, made.feature = f"customer-{number % 50}", ("search", "chat")[number % 2]
        made.dialect, made.model = "openai-chat", "kept" if kept else "main"
        made.rule, made.pool, made.member = "", "cheap" if cheap else made.model, member
        made.stream = draw.random() < 0.5
        made.outcome, made.revision, made.attempts_made = "ok", "0" * 12, 1
        made.usage, made.usage_state, made.cost = usage, EXACT, cost
        made.eligible = (
            (Eligible("b/small", 1.0),)
            if cheap
            else tuple(Eligible(m, c) for m, c in zip(MEMBERS[:2], CHANCES[0], strict=True))
        )
        made.context_tokens, made.holds = prompt, ("tools",) if number % 3 else ()
        if kept:
            made.cache, made.fingerprint = "stored", f"{draw.randrange(2_000):016x}"
        attempt = Attempt(member, 200, made.duration_ms, 400.0, started_s=at_ms / 1000)
        attempt.usage, attempt.usage_state, attempt.cost = usage, EXACT, cost
        made.attempts = (attempt,)
        yield made


def main() -> int:
    count = int(next((word for word in sys.argv[1:] if word.isdigit()), "1000000"))
    with tempfile.TemporaryDirectory(prefix="modelbroker-bench-") as name:
        folder = Path(name)
        journal, encoder = folder / CALLS, msgspec.json.Encoder()
        with journal.open("wb") as file:
            for record in records(count):
                file.write(encoder.encode(record) + b"\n")
        for which in ("old", "new"):
            (folder / f"{which}.yaml").write_text(yaml.safe_dump(config(which == "new")))
        source = ["--traffic", str(journal)]
        if "--ledger" in sys.argv:
            follower = Follower(Settings(name, default_url(folder), 0))
            while follower.step():
                pass
            follower.close()
            source = ["--state-dir", name]
        command = [
            sys.executable,
            "-m",
            "modelbroker.cli.main",
            "simulate",
            "--config",
            str(folder / "new.yaml"),
        ]
        began_s = time.perf_counter()
        ran = subprocess.run(
            [*command, *source, "--since", "2020-01-01", "--format", "json"],
            check=True,
            capture_output=True,
            text=True,
        )
        took_s = time.perf_counter() - began_s
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = json.loads(ran.stdout)["total"]
    print(f"{total['calls']} calls, {total['moved']['new']} move: {took_s:.1f} s", end=", ")
    print(
        f"{used.ru_utime + used.ru_stime:.1f} s of CPU, at most {used.ru_maxrss // 1024} MiB in one process"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
