"""A configuration as calls see it: the catalog with what is known of keys and providers now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.call import Caller, Decision
from ..core.catalog import Catalog, Member
from ..core.keys import class_name, levels, member_key, pool_cluster
from ..policy import State


@dataclass(frozen=True, slots=True)
class Target:
    """Where Envoy is to send a decided call."""

    cluster: str
    class_name: str
    first_level: int  # so many attempts stay on the first level
    retries: int  # further attempts after the first
    first_event_ms: int
    reply_ms: int


@dataclass(frozen=True)
class View:
    """`callers`: SHA-256 hex digest of a key → who it stands for. `generation` names this view."""

    generation: str
    catalog: Catalog
    state: State
    callers: Mapping[str, Caller]
    _targets: dict[tuple[str, tuple[Member, ...]], Target] = field(default_factory=dict, repr=False)

    def target(self, decision: Decision) -> Target:
        """Derived from the decision alone; kept, since the same few come again and again."""
        key = (decision.pool, decision.eligible)
        if (target := self._targets.get(key)) is None:
            target = self._targets[key] = self._derive(decision)
        return target

    def _derive(self, decision: Decision) -> Target:
        pool, limits = self.catalog.pools[decision.pool], self.catalog.limits
        keys = (
            member_key(self.catalog.providers[m.provider], m.model, limits, pool.timeouts.connect_ms)
            for m in decision.eligible
        )
        return Target(
            cluster=pool_cluster(pool, limits),
            class_name=class_name(keys),
            first_level=_stay(decision),
            # Another attempt is for another member; who is alone is tried once more, since a connection
            # that the provider had just closed is no answer.
            retries=min(decision.failover, max(1, len(decision.eligible) - 1)),
            first_event_ms=pool.timeouts.first_event_ms,
            reply_ms=pool.timeouts.reply_ms,
        )


def _stay(decision: Decision) -> int:
    """As many attempts as the first level has members, but never the last one while there is a next level:
    few attempts must not all be spent on members that fail, or are ejected."""
    by_level = levels(decision.eligible)
    members = len(by_level[0])
    return members if len(by_level) == 1 else max(1, min(members, decision.failover))
