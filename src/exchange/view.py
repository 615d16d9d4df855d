"""A configuration as calls see it: the catalog with what is known of keys and providers now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.call import Caller, Decision, Surface
from ..core.catalog import Catalog, Member, Pool
from ..core.keys import class_name, levels, member_key, pool_cluster
from ..dialects import Upstream, client_dialect
from ..policy import State

# What x-broker-owned says where the call itself holds ids of the account: nobody else can stand in for it.
BOUND = "bound"
# What Envoy is told of a single call beside what is the same for all calls with the same target.
_OWN_HEADERS = ("x-broker-request-id", "x-broker-model-span", "x-broker-suffix")


@dataclass(frozen=True, slots=True)
class Target:
    """Where Envoy is to send a decided call, and what the record is to say of it."""

    headers: tuple[tuple[str, str], ...]
    names: tuple[str, ...]  # of all headers that the broker sets, those of a single call too
    class_name: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class View:
    """`callers`: SHA-256 hex digest of a key → who it stands for. `generation` names this view."""

    generation: str
    catalog: Catalog
    state: State
    callers: Mapping[str, Caller]
    _targets: dict[tuple[object, ...], Target] = field(default_factory=dict, repr=False)

    def target(
        self,
        decision: Decision,
        surface: Surface,
        stream: bool,
        *,
        rewrite: bool = False,
        binds: bool = False,
        bound: bool = False,
        adds_usage: bool = False,
    ) -> Target:
        """Derived from the configuration alone; kept, since the same few come again and again.

        `rewrite`: the body can't pass even to a member of its own dialect. `binds`: the reply will hold what
        only its own account can use again. `bound`: the call holds ids of one account, with its name.
        `adds_usage`: a chat stream that does not say how it wants usage.
        """
        traits = (rewrite, binds, bound, adds_usage)
        key = (decision.pool, decision.rule, decision.eligible, surface.name, stream, traits)
        if (target := self._targets.get(key)) is None:
            target = self._targets[key] = self._derive(decision, surface, stream, *traits)
        return target

    def _names_owners(self, pool: Pool, dialect: str, binds: bool) -> bool:
        """Has the pool several accounts of the client's dialect, so that what one of them issues has to say
        whose it is? Who is eligible for this one call, or has a weight, can be another one at the next."""
        providers = self.catalog.providers
        own = [member for member in pool.members if dialect in providers[member.provider].dialects]
        if len({member.provider for member in own}) < 2:
            return False
        return binds or any(self._binds_unasked(member, dialect) for member in own)

    def _binds_unasked(self, member: Member, dialect: str) -> bool:
        provider = self.catalog.providers[member.provider]
        model = provider.own_model(member.model)
        upstream = Upstream(provider.name, dialect, model, deviations=provider.deviations)
        return client_dialect(dialect).binds_unasked(upstream)

    def _derive(
        self,
        decision: Decision,
        surface: Surface,
        stream: bool,
        rewrite: bool,
        binds: bool,
        bound: bool,
        adds_usage: bool,
    ) -> Target:
        dialect = surface.dialect
        pool, limits = self.catalog.pools[decision.pool], self.catalog.limits
        keys = (
            member_key(
                self.catalog.providers[m.provider],
                m,
                limits,
                pool.timeouts.connect_ms,
                self.state.signing.get(m.provider, ""),
            )
            for m in decision.eligible
        )
        # Another attempt is for another member; who is alone is tried once more, since a connection
        # that the provider had just closed is no answer.
        retries = min(decision.failover, max(1, len(decision.eligible) - 1))
        per_try_ms = pool.timeouts.first_event_ms if stream else pool.timeouts.reply_ms
        headers = [
            ("x-broker-cluster", pool_cluster(pool, limits)),
            ("x-broker-dialect", dialect),
            ("x-broker-levels", str(_stay(decision))),
            ("x-broker-pool", decision.pool),
            ("x-broker-revision", decision.revision),
            ("x-broker-surface", surface.name),
            ("x-envoy-max-retries", str(retries)),
            ("x-envoy-upstream-rq-per-try-timeout-ms", str(per_try_ms)),
            ("accept-encoding", "identity"),
        ]
        facts = [
            ("dialect", dialect),
            ("pool", decision.pool),
            ("revision", decision.revision),
        ]
        if decision.rule:
            facts.append(("rule", decision.rule))
        if stream:
            headers.append(("x-broker-stream", dialect))
            facts.append(("stream", "1"))
        owned = surface.operation == "chat" and (bound or self._names_owners(pool, dialect, binds))
        if rewrite or owned:
            headers.append(("x-broker-rewrite", "1"))
        if owned:
            headers.append(("x-broker-owned", BOUND if bound else "1"))
        if adds_usage and stream:
            headers.append(("x-broker-usage", pool.usage_event))
        names = (*_OWN_HEADERS, *(name for name, _ in headers))
        return Target(tuple(headers), names, class_name(keys), tuple(facts))


def _stay(decision: Decision) -> int:
    """As many attempts as the first level has members, but never the last one while there is a next level:
    few attempts must not all be spent on members that fail, or are ejected."""
    by_level = levels(decision.eligible)
    members = len(by_level[0])
    return members if len(by_level) == 1 else max(1, min(members, decision.failover))
