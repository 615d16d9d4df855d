"""Which faults strike whom: a catalog → the scenarios of a drill. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ..core.call import Caller, Facts, Surface
from ..core.catalog import Catalog, Member, Pool
from ..core.causes import Action
from ..core.errors import CallError
from ..core.keys import levels
from ..dialects import SURFACES
from ..policy import State, decide
from .faults import FAULTS, Fault, Kind

CALLER = "modelbroker-drill"
_EMBEDDINGS = "openai-embeddings"
# Enough extra time that what is found out by waiting is a small part of the whole.
_TIMES_WAITED = 6.0


@dataclass(frozen=True, slots=True)
class Ask:
    """A kind of call that the pool can serve, and the members (by id) that can serve it."""

    surface: str  # its name: openai-chat, openai-responses, openai-embeddings, anthropic-messages
    path: str
    stream: bool
    eligible: frozenset[str]

    def __str__(self) -> str:
        return f"{self.surface} ({'streamed' if self.stream else 'whole'})"


@dataclass(frozen=True, slots=True)
class Target:
    """Who is struck together: `scope` is `one`, `provider`, `pair` (of providers) or `all`."""

    scope: str
    members: frozenset[str]  # ids
    providers: frozenset[str]


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """What is drilled in a pool. `asks` are the calls, by turns; `served_first`: members that get traffic
    when all is well."""

    pool: Pool
    asks: tuple[Ask, ...]
    served_first: frozenset[str]

    @property
    def name(self) -> str:
        return self.pool.name

    @property
    def shortest_ms(self) -> int:
        waits = self.pool.timeouts
        return min(waits.first_event_ms, waits.reply_ms)

    @property
    def longest_ms(self) -> int:
        waits = self.pool.timeouts
        return max(waits.first_event_ms, waits.reply_ms)

    @property
    def weights(self) -> dict[str, float]:
        """Shares of those that are served first."""
        first = [m for m in self.pool.members if m.id in self.served_first]
        total = sum(member.weight for member in first) or 1
        return {member.id: member.weight / total for member in first}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault that strikes one target of one pool."""

    plan: PoolPlan
    fault: Fault
    target: Target

    def __str__(self) -> str:
        return f"{self.plan.name}: {self.fault.name} at {', '.join(sorted(self.target.members))}"

    def seconds(self, at_least: float) -> float:
        """How long the fault lasts: where it is noticed by waiting, several times the wait."""
        waits_ms = self.plan.longest_ms if self.fault.waits and self.fault.kind is Kind.BEFORE else 0
        return max(at_least, _TIMES_WAITED * waits_ms / 1000)

    def struck(self, ask: Ask) -> frozenset[str]:
        """The members that can't answer such a call well."""
        if self.fault.kind is Kind.HARMLESS or not self.fault.strikes(ask.stream):
            return frozenset()
        return self.target.members & ask.eligible

    def excuse(self, ask: Ask) -> str:
        """Why clients may see errors of such calls; "" where they may not."""
        struck = self.struck(ask)
        if not struck:
            return ""
        if self.fault.kind is Kind.AFTER:
            return "after-commit"
        if struck == ask.eligible:
            return "nobody-left"
        pool = self.plan.pool
        if any(pool.action(cause) is Action.CLIENT for cause in self.fault.causes):
            return "on-client"
        if len(struck) > pool.failover:
            return "failover"
        return ""

    @property
    def keeps_one(self) -> bool:
        """Is a healthy member left for every call, so that few attempts are promised?"""
        return all(
            (self.fault.kind is Kind.AFTER and self.struck(ask) != ask.eligible) or not self.excuse(ask)
            for ask in self.plan.asks
        )


def plan_pools(catalog: Catalog, names: Collection[str] = ()) -> tuple[tuple[PoolPlan, ...], tuple[str, ...]]:
    """The pools (all, or those of these names) with the calls that they can serve, and what is left out."""
    plans: list[PoolPlan] = []
    left_out: list[str] = []
    for pool in catalog.pools.values():
        if names and pool.name not in names:
            continue
        asks, cannot = _asks(catalog, pool)
        if not asks:
            left_out.append(f"pool {pool.name}: no kind of call is served there ({'; '.join(cannot)})")
            continue
        left_out += [f"pool {pool.name}: {why}" for why in cannot]
        reached = frozenset().union(*(ask.eligible for ask in asks))
        idle = [m.id for m in pool.members if m.id not in reached]
        if idle:
            left_out.append(f"pool {pool.name}: {', '.join(idle)}: can serve none of the drill's calls")
        plans.append(PoolPlan(pool, asks, _served_first(pool, asks)))
    return tuple(plans), tuple(left_out)


def _asks(catalog: Catalog, pool: Pool) -> tuple[tuple[Ask, ...], list[str]]:
    """Whole and streamed calls of every dialect, by turns; embeddings where the pool has no conversations.
    And why there are no others."""
    asks: list[Ask] = []
    cannot: list[str] = []
    for surface in SURFACES:
        if surface.operation == "chat" or (surface.operation == "embed" and not asks):
            try:
                decision = decide(_facts(pool, surface), catalog, State())
            except CallError as error:
                cannot.append(f"{surface.name}: {error.message}")
                continue
            eligible = frozenset(member.id for member in decision.eligible)
            streams = (False, True) if surface.operation == "chat" else (False,)
            asks += [Ask(surface.name, surface.path, stream, eligible) for stream in streams]
    # That a pool for vectors has no conversations is as it should be, and the other way round too.
    is_other = asks[0].surface == _EMBEDDINGS if asks else None
    told = [why for why in cannot if is_other is None or why.startswith(_EMBEDDINGS) is is_other]
    return tuple(asks), told


def _facts(pool: Pool, surface: Surface) -> Facts:
    return Facts(Caller(name=CALLER), surface, pool.name, context_tokens=20, max_output_tokens=1000)


def _served_first(pool: Pool, asks: tuple[Ask, ...]) -> frozenset[str]:
    first: set[str] = set()
    for ask in asks:
        able = [member for member in pool.members if member.id in ask.eligible and member.weight]
        if able:
            first.update(member.id for member in levels(able)[0])
    return frozenset(first)


def targets(plan: PoolPlan, catalog: Catalog, fault: Fault) -> Iterator[Target]:
    """Who this fault strikes, each set of members once: single members, whole providers, pairs of providers
    and all. What fails with its connection takes all members of the provider along."""
    able = frozenset().union(*(ask.eligible for ask in plan.asks if fault.strikes(ask.stream)))
    members = [member for member in plan.pool.members if member.id in able]
    by_provider: dict[str, frozenset[str]] = {}
    for member in members:
        by_provider[member.provider] = by_provider.get(member.provider, frozenset()) | {member.id}
    seen: set[frozenset[str]] = set()
    wholes = list(by_provider.values())
    singles = [_alike(member, members, catalog) for member in members]
    every = frozenset(member.id for member in members)
    candidates = [("all", every)]
    candidates += [("one", ids) for ids in singles if not fault.whole_provider or ids in wholes]
    candidates += [("provider", ids) for ids in wholes]
    candidates += [("pair", a | b) for a, b in itertools.combinations(wholes, 2)]
    chosen: list[Target] = []
    for scope, ids in candidates:
        if ids and ids not in seen:
            seen.add(ids)
            providers = frozenset(m.provider for m in members if m.id in ids)
            chosen.append(Target(scope, ids, providers))
    order = ("one", "provider", "pair", "all")
    yield from sorted(chosen, key=lambda target: order.index(target.scope))


def _alike(member: Member, members: list[Member], catalog: Catalog) -> frozenset[str]:
    """The member with those that ask the same provider for the same model under another name."""
    own = catalog.providers[member.provider].own_model(member.model)
    return frozenset(
        other.id
        for other in members
        if other.provider == member.provider
        and catalog.providers[other.provider].own_model(other.model) == own
    )


def scenarios(
    plans: Collection[PoolPlan],
    catalog: Catalog,
    faults: Collection[Fault] = FAULTS,
    scopes: Collection[str] = ("one", "provider", "pair", "all"),
) -> Iterator[Scenario]:
    for plan in plans:
        for fault in faults:
            if any(fault.strikes(ask.stream) for ask in plan.asks):
                for target in targets(plan, catalog, fault):
                    if target.scope in scopes:
                        yield Scenario(plan, fault, target)


def in_turn(chosen: Collection[Scenario], *, each_scope: bool = True) -> Iterator[Scenario]:
    """A short drill: of each fault in each pool one scenario of every scope (or one in all), another one each
    time, so that over all faults every member and every pair has its turn."""
    turns: Counter[tuple[str, str]] = Counter()

    def kind(scenario: Scenario) -> tuple[str, str, str]:
        scope = scenario.target.scope if each_scope else ""
        return scenario.plan.name, scenario.fault.name, scope

    for (pool, _, scope), group in itertools.groupby(chosen, kind):
        same = list(group)
        yield same[turns[pool, scope] % len(same)]
        turns[pool, scope] += 1
