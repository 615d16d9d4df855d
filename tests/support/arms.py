"""Rollouts in a test's own process: their configuration, a clock, and records of calls."""

from __future__ import annotations

from typing import Any

from modelbroker.core.prices import Cost
from modelbroker.core.record import Record
from modelbroker.core.trials import ALL_PPM, CANDIDATE, STABLE, Gates, Rollout, Stage


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def rollout(to: str = "a/m", hold_ms: int = 1_000, **gates: Any) -> Rollout:
    said = Gates(errors_ppm=300_000, **gates)
    stages = tuple(
        Stage(f"{share / 10_000:g}%", share, hold_ms, 20, 3_600_000, said) for share in (100_000, ALL_PPM)
    )
    return Rollout("r", "chat", f"chat~{to}", to, stages)


def record(clock: Clock, number: int, arm: str, *, failed: bool = False, **more: Any) -> Record:
    fields: dict[str, Any] = {
        "request_id": f"{arm}-{number}-{clock.now_s}",
        "started_s": clock.now_s,
        "duration_ms": 100.0,
        "first_byte_ms": 50.0,
        "status": 500 if failed else 200,
        "method": "POST",
        "path": "/v1/messages",
        "pool": "chat~a/m" if arm == CANDIDATE else "chat",
        "outcome": "error" if failed else "ok",
        "attempts_made": 1,
        "cost": Cost(1_000, {}, ()),
        "rollout": "r",
        "arm": arm,
        "stage": "10%",
        **more,
    }
    return Record(**fields)


def calls(clock: Clock, count: int, stage: str, **more: Any) -> list[Record]:
    return [record(clock, n, arm, stage=stage, **more) for n in range(count) for arm in (STABLE, CANDIDATE)]
