"""What the control plane says of itself: to people, probes, the fleet and Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..xds.server import XdsServer
from .certificates import served_warnings
from .envoy_admin import EnvoyAdmin
from .health import HealthKeeper
from .metrics import Served
from .readiness import not_set_up
from .runtime import Ready
from .sourcing import Sourcing
from .status import PoolsShown, shown_members

if TYPE_CHECKING:
    from .control import ServeOptions


class Now(NamedTuple):
    """What is loaded, what some Envoy has in full, why the configuration on the disk is not the one that is
    served ("" where it is), and since when (unix time) it is loaded."""

    ready: Ready | None
    served: Ready | None
    error: str
    loaded_at_s: float


class Answers:
    """`parts`: what else stands in `/status`, by its name. From any thread, but `forget`."""

    def __init__(
        self,
        options: ServeOptions,
        xds: XdsServer,
        sourcing: Sourcing,
        health: HealthKeeper,
        now: Callable[[], Now],
        parts: Mapping[str, Callable[[], Any]],
    ) -> None:
        self._options, self._xds, self._sourcing, self._health = options, xds, sourcing, health
        self._now, self._parts = now, parts
        self._pools: tuple[Ready, PoolsShown] | None = None

    def status(self, *, asks_envoy: bool = False) -> dict[str, Any]:
        """What `GET /status` answers. `asks_envoy`: with Envoy's own words of each member, which takes long
        where there are many."""
        now = self._now()
        refusal = self._xds.store.refusal
        return {
            **self.in_short(),
            "loaded_at": now.loaded_at_s,
            "warnings": _warnings(now.ready, time.time()) if now.ready else [],
            "refused_by_envoy": (
                {"revision": refusal.revision, "node": refusal.node, "error": refusal.nack.error}
                if refusal
                else None
            ),
            "simulators": self._simulators(),
            **{name: part() for name, part in self._parts.items()},
            "members": shown_members(self._health, time.time()),
            "pools": self._pools_of(now.ready, asks_envoy),
        }

    def in_short(self) -> dict[str, Any]:
        """What the fleet hears of it."""
        ready, served, error, _ = self._now()
        return {
            "revision": ready.catalog.revision if ready else None,
            "serving": served.catalog.revision if served else None,
            "in_effect": self._in_effect(),
            "error": error or None,
            "envoys": self._xds.nodes(),
            **self._sourcing.status(served.texts if served else None),
        }

    def forget(self, members: Sequence[str]) -> list[str]:
        """What members said counts no longer; of all of them where none is named. LookupError where one is
        not configured. On the event loop."""
        ready = self._now().ready
        pools = ready.catalog.pools.values() if ready else ()
        configured = {member.id for pool in pools for member in pool.members}
        if unknown := [name for name in members if name not in configured]:
            raise LookupError(f"no pool has a member {unknown[0]!r}")
        return self._health.acquit(members or sorted(configured))

    def as_served(self) -> Served | None:
        """For the metrics."""
        now = self._now()
        if now.ready is None:
            return None
        out, in_effect = not_set_up(now.ready), self._in_effect()
        return Served(now.ready.catalog, out, in_effect, now.error, now.loaded_at_s)

    def _in_effect(self) -> bool:
        nodes = self._xds.nodes()
        return bool(nodes) and all(node["synced"] for node in nodes)

    def _simulators(self) -> dict[str, dict[str, str]]:
        """In a rehearsal: where the simulators are. Script and journal are on their own ports too."""
        mocks, controls = self._options.overrides.mocks or {}, self._options.mock_controls
        return {
            name: {"url": f"http://{where}", "control": f"http://{controls.get(name, where)}"}
            for name, where in mocks.items()
        }

    def _pools_of(self, ready: Ready | None, asks_envoy: bool) -> msgspec.Raw:
        if ready is None:
            return msgspec.Raw(b"[]")
        known = self._pools
        if known is None or known[0] is not ready:
            shown = PoolsShown(ready.catalog.pools, ready.catalog.limits, not_set_up(ready))
            known = self._pools = ready, shown
        address = self._options.envoy_admin
        hosts = EnvoyAdmin(address).hosts() if asks_envoy and address else None
        return known[1].text(self._health, hosts)


def _warnings(ready: Ready, now_s: float) -> list[str]:
    return [*ready.warnings, *served_warnings(ready.certificates, now_s)]
