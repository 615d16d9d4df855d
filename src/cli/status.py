"""`GET /status` as far as it is about members: what weight each has now, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..core.catalog import Limits, Member, Pool
from ..core.keys import pool_cluster
from ..policy import Effect
from .envoy_admin import EnvoyHost
from .health import HealthKeeper

NotSetUp = Callable[[str], str | None]  # why a provider can serve no call at all


class PoolsShown:
    """The part of the status that is large, and for nearly all pools the same until the next edit."""

    def __init__(self, pools: Mapping[str, Pool], limits: Limits, not_set_up: NotSetUp) -> None:
        self._pools = pools
        self._limits = limits
        self._not_set_up = not_set_up
        self._texts = {name: msgspec.json.encode(self._pool(pool, None)) for name, pool in pools.items()}
        self._users: dict[str, list[str]] = {}
        for name, pool in pools.items():
            for member in pool.members:
                self._users.setdefault(member.id, []).append(name)

    def text(
        self, keeper: HealthKeeper, hosts: Mapping[tuple[str, str], EnvoyHost] | None = None
    ) -> msgspec.Raw:
        """JSON: the pools. `hosts`: (cluster, member) → what Envoy itself says, where it was asked."""
        if hosts is not None:
            shown = [self._pool(pool, keeper, hosts) for pool in self._pools.values()]
            return msgspec.Raw(msgspec.json.encode(shown))
        changed = {name for member in keeper.notable() for name in self._users.get(member, ())}
        texts = [
            msgspec.json.encode(self._pool(self._pools[name], keeper)) if name in changed else text
            for name, text in self._texts.items()
        ]
        return msgspec.Raw(b"[" + b",".join(texts) + b"]")

    def _pool(
        self,
        pool: Pool,
        keeper: HealthKeeper | None,
        hosts: Mapping[tuple[str, str], EnvoyHost] | None = None,
    ) -> Any:
        members = [self._member(pool, member, keeper) for member in pool.members]
        if hosts is not None:
            cluster = pool_cluster(pool, self._limits)
            for shown in members:
                shown["envoy"] = hosts.get((cluster, shown["id"]))
        return {"name": pool.name, "members": members}

    def _member(self, pool: Pool, member: Member, keeper: HealthKeeper | None) -> dict[str, Any]:
        effect = keeper.effect(pool.name, member.id) if keeper is not None else Effect("well", 1.0)
        out = self._not_set_up(member.provider)
        is_out = out is not None or effect.state in ("out", "ejected")
        return {
            "id": member.id,
            "weight": member.weight,
            "priority": member.priority,
            "out": out,
            "weight_in_effect": 0 if is_out else round(member.weight * effect.share, 2),
            **({"state": "not-set-up"} if out is not None else shown_effect(effect)),
        }


def shown_members(keeper: HealthKeeper, now_s: float) -> dict[str, Any]:
    """What is known of members wherever they are used: of those that failed or said something."""
    shown = {}
    for name, standing in sorted(keeper.book.standings.copy().items()):
        effect = keeper.book.effect(name, now_s, ramp_s=keeper.most_ramp_s)
        if effect.state != "well" or standing.last is not None:
            failed = {"failures_in_a_row": standing.failures, "last_error": standing.last}
            shown[name] = shown_effect(effect) | failed
    return shown


def shown_effect(effect: Effect) -> dict[str, Any]:
    if effect.state == "well":
        return {"state": "well"}
    return {
        "state": effect.state,
        "share": effect.share,
        "until_s": effect.until_s,
        "cause": effect.cause,
        "asked_for_longer": effect.capped,
    }
