"""What a drill of each name is: how long, at whom, with what pauses."""

from __future__ import annotations

from pathlib import Path

from .run import SCOPES, DrillOptions

_SECONDS = 2.0
_ACCEPTANCE_SECONDS = 0.5
_ACCEPTANCE_S = 120.0


def options_of(
    profile: str,
    *,
    config: Path,
    folder: Path,
    calls_per_second: float,
    seconds: float | None,
    pools: tuple[str, ...],
    faults: tuple[str, ...],
    scopes: tuple[str, ...],
    time_lapse: bool,
    format: str,
) -> DrillOptions:
    """`quick`, `usual`, `full` or `acceptance`; what is given for a single run goes over the profile."""
    usual = DrillOptions(
        config,
        folder,
        calls_per_second,
        seconds or _SECONDS,
        pools,
        faults,
        scopes or SCOPES,
        turns={"quick": "faults", "usual": "scopes"}.get(profile, "all"),
        time_lapse=time_lapse,
        format=format,
    )
    if profile != "acceptance":
        return usual
    return DrillOptions(
        config,
        folder,
        calls_per_second,
        seconds or _ACCEPTANCE_SECONDS,
        pools,
        faults,
        scopes or ("one", "provider", "pair"),
        turns="all",
        recovers=False,
        at_least_s=_ACCEPTANCE_S,
        largest_pool=not pools,
        time_lapse=time_lapse,
        format=format,
    )
