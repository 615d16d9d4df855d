"""A configuration as calls see it: the catalog with what is known of keys and providers now."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from ..core.call import Caller, Decision, Surface
from ..core.catalog import Catalog, Member, Pool
from ..core.causes import Cause
from ..core.keys import (
    CACHE_HEADER,
    CLASS_HEADER,
    HEDGE_HEADER,
    class_name,
    hedge_name,
    member_key,
    pool_cluster,
)
from ..core.opened import Shared
from ..core.record import Eligible
from ..core.telemetry import Traces
from ..dialects import Upstream, client_dialect
from ..policy import State
from ..policy.caching import members_revision
from ..policy.ceilings import Ceilings
from ..policy.chances import chances
from ..policy.estimates import Estimates, asks_cost
from ..policy.identity import Identities, identities_of, uses_identities
from ..policy.seats import Plan
from .course import COURSE_HEADER
from .known import NOTHING_SAID, Said, known_of

# By when a stream has to have its first event, of the monotonic clock.
FIRST_EVENT_HEADER = "x-broker-first-event-by"
# What x-broker-owned says where the call itself holds ids of the account: nobody else can stand in for it.
BOUND = "bound"
# More than a configuration's ordinary traffic has.
_MOST_TARGETS = 20_000
# What Envoy is told of a single call beside what is the same for all calls with the same target.
_OWN_HEADERS = ("x-broker-request-id", "x-broker-model-span", "x-broker-suffix")


def told_of(eligible: tuple[Eligible, ...]) -> tuple[str, str]:
    """As the record's fact: records/entries.py reads it."""
    return "eligible", msgspec.json.encode([(one.member, one.chance) for one in eligible]).decode()


class Routed(NamedTuple):
    """One attempt. `member` None: Envoy picks among the eligible by weight. `handed_back`: the causes for
    which a failure comes back. `attempt` counts from 1. `hedge` 0: no other member is tried beside it;
    else so many attempts are for a level before the next one. `chances` None: weights alone decide. `key`:
    that of its conversation, "" where it belongs to none."""

    decision: Decision
    pool: Pool
    member: Member | None
    handed_back: tuple[Cause, ...]
    attempt: int
    pools: tuple[str, ...]
    hedge: int = 0
    chances: tuple[Eligible, ...] | None = None
    key: str = ""


class Target(NamedTuple):
    """Where Envoy is to send a decided call, and what the record is to say of it."""

    headers: Shared
    names: tuple[str, ...]  # of all headers that the broker sets; the time left is not among them
    pick: tuple[str, str]  # ("class", name) or ("member", key)
    facts: Shared


@dataclass(frozen=True)
class View:
    """`callers`: SHA-256 hex digest of a key → who it stands for. `generation` names this view."""

    generation: str
    catalog: Catalog
    state: State
    callers: Mapping[str, Caller]
    # Name → caller, of those that have a key.
    callers_by_name: Mapping[str, Caller] = field(default_factory=dict, repr=False)
    estimates: Estimates = field(default_factory=Estimates, repr=False)
    ceilings: Ceilings = field(default_factory=Ceilings, repr=False)
    plan: Plan | None = None  # None: there are no budgets
    capture_is_out: bool = False  # its key or its store's URL can't be read: nothing is captured
    _targets: dict[tuple[object, ...], Target] = field(default_factory=dict, repr=False)
    _members: dict[str, str] = field(default_factory=dict, repr=False)  # pool → its members' revision

    @functools.cached_property
    def caches(self) -> bool:
        """Has a pool a cache?"""
        return any(pool.cache is not None for pool in self.catalog.pools.values())

    @functools.cached_property
    def captures(self) -> bool:
        """Are bodies of any calls captured?"""
        return bool(self.catalog.capture.rules) and not self.capture_is_out

    @functools.cached_property
    def traces(self) -> Traces | None:
        """How calls are traced; None: they are not."""
        return self.catalog.telemetry.traces

    @functools.cached_property
    def scores(self) -> bool:
        """Does the broker score answers of any rollout?"""
        return any(trials.is_scored for trials in self.catalog.trials.values())

    def members_revision(self, pool: Pool) -> str:
        """As the function of this name says; kept."""
        if (known := self._members.get(pool.name)) is None:
            known = self._members[pool.name] = members_revision(pool, self.catalog)
        return known

    @functools.cached_property
    def asks_cost(self) -> bool:
        """Does any rule want to know what a call would cost?"""
        return asks_cost(self.catalog)

    @functools.cached_property
    def identities(self) -> Identities:
        """Who is known by a token or certificate."""
        return identities_of(self.catalog)

    @functools.cached_property
    def uses_identities(self) -> bool:
        return uses_identities(self.catalog)

    def target(
        self,
        routed: Routed,
        surface: Surface,
        stream: bool,
        caller: Caller,
        *,
        rewrite: bool = False,
        binds: bool = False,
        bound: bool = False,
        adds_usage: bool = False,
        hides_usage: bool = False,
        cache: Said = NOTHING_SAID,
    ) -> Target:
        """Derived from the configuration and the caller alone; kept, since the same few come again and again.

        `rewrite`: the body can't pass even to a member of its own dialect. `binds`: the reply will hold what
        only its own account can use again. `bound`: the call holds ids of one account, with its name.
        `adds_usage`: a chat stream that does not say how it wants usage; `hides_usage`: one that wants none.
        `cache`: what the call has to do with its pool's cache.
        """
        traits = (rewrite, binds, bound, adds_usage, hides_usage)
        decision = routed.decision
        who = decision.eligible if routed.member is None else routed.member
        course = (who, routed.handed_back, routed.attempt, routed.hedge)
        key = (decision.pool, decision.rule, course, surface.name, stream, caller, traits, cache.header)
        if (target := self._targets.get(key)) is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            target = self._targets[key] = self._derive(routed, surface, stream, caller, *traits, cache)
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
        routed: Routed,
        surface: Surface,
        stream: bool,
        caller: Caller,
        rewrite: bool,
        binds: bool,
        bound: bool,
        adds_usage: bool,
        hides_usage: bool,
        cache: Said,
    ) -> Target:
        dialect, decision, pool = surface.dialect, routed.decision, routed.pool
        wait_ms = pool.timeouts.first_event_ms if stream else pool.timeouts.reply_ms
        headers = [
            ("x-broker-attempt", str(routed.attempt)),
            ("x-broker-cluster", pool_cluster(pool, self.catalog.limits)),
            ("x-broker-dialect", dialect),
            ("x-broker-pool", decision.pool),
            ("x-broker-revision", decision.revision),
            ("x-broker-surface", surface.name),
            ("x-broker-wait-ms", str(wait_ms)),
            ("accept-encoding", "identity"),
        ]
        if routed.hedge:
            headers[1] = ("x-broker-cluster", hedge_name(pool, self.catalog.limits))
            headers += [(HEDGE_HEADER, str(routed.hedge)), (CLASS_HEADER, self._pick(routed)[1])]
        if routed.handed_back:
            headers.append(("x-broker-handback", ",".join(cause.value for cause in routed.handed_back)))
        facts = [
            ("dialect", dialect),
            ("pool", decision.pool),
            ("revision", decision.revision),
        ]
        if routed.attempt == 1:
            facts.append(told_of(chances(decision.eligible, decision.eligible)))
        if routed.hedge:
            facts.append(("hedge", "1"))
        if decision.rule:
            facts.append(("rule", decision.rule))
        if stream:
            headers.append(("x-broker-stream", dialect))
            facts.append(("stream", "1"))
            if pool.guard == "full":
                headers.append(("x-broker-guard", "1"))
        owned = surface.operation == "chat" and (bound or self._names_owners(pool, dialect, binds))
        if rewrite or owned:
            headers.append(("x-broker-rewrite", "1"))
        if owned:
            headers.append(("x-broker-owned", BOUND if bound else "1"))
        if stream and (adds_usage or hides_usage):
            headers.append(("x-broker-usage", "strip" if hides_usage else pool.usage_event))
        if cache.header:
            headers.append((CACHE_HEADER, cache.header))
        facts += cache.facts + known_of(caller)
        names = (*_OWN_HEADERS, *(name for name, _ in headers))
        if routed.handed_back:
            names += (COURSE_HEADER,)
        if stream:
            names += (FIRST_EVENT_HEADER,)
        return Target(Shared(headers), names, self._pick(routed), Shared(facts))

    def _pick(self, routed: Routed) -> tuple[str, str]:
        if routed.member is not None:
            return "member", self._key(routed.pool, routed.member)
        return "class", class_name(self._key(routed.pool, member) for member in routed.decision.eligible)

    def _key(self, pool: Pool, member: Member) -> str:
        provider = self.catalog.providers[member.provider]
        signing = self.state.signing.get(member.provider, "")
        return member_key(provider, member, self.catalog.limits, pool.timeouts, signing)
