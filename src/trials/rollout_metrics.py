"""What Prometheus is told of rollouts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from prometheus_client import Counter, Gauge

from ..core.trials import ALL_PPM, Rollout
from ..policy.rollout import State, number_of, stage_of

STAGE = Gauge("modelbroker_rollout_stage", "The number of a rollout's stage; -1: rolled back", ["rollout"])
SHARE = Gauge("modelbroker_rollout_share", "The candidate's part of the sessions, 0 to 1", ["rollout"])
CALLS = Counter("modelbroker_rollout_calls", "Calls that counted, by arm", ["rollout", "arm", "result"])
EVENTS = Counter("modelbroker_rollout_events", "Steps of rollouts", ["rollout", "event"])
AWAY = Gauge("modelbroker_rollout_redis_away", "1 while what other brokers see is not known")
IS_BEHIND = Gauge(
    "modelbroker_rollout_behind",
    "1 while the fleet has another candidate than this configuration",
    ["rollout"],
)


def show(rollout: Rollout, state: State) -> None:
    """Where it stands."""
    STAGE.labels(rollout.name).set(number_of(rollout, state) if state.is_on else -1)
    share = stage_of(rollout, state).share_ppm if state.is_on else 0
    SHARE.labels(rollout.name).set(share / ALL_PPM)


def forget(names: Iterable[str]) -> None:
    """Of rollouts that the configuration no longer has."""
    for name in names:
        for metric in (STAGE, SHARE, IS_BEHIND):
            with contextlib.suppress(KeyError):
                metric.remove(name)
