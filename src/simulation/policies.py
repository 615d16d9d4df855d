"""One configuration over recorded calls, in the order of time: what it would have made of each, with its
budgets, rate limits and cache as they stood by then."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec.structs import replace

from ..core.call import Caller, Decision, Facts, Surface
from ..core.catalog import Caching, Pool
from ..core.errors import CallError
from ..exchange.budgeting import Budgeting, Funds
from ..exchange.inbound import NO_HEADERS
from ..exchange.routing import Hold, Moment, Narrowed, Patience, Routing
from ..exchange.view import Routed, View
from ..policy import Book
from ..policy.budgets import GRANTED, Accounts, Ask, Seat, Spans, Used, Verdict
from ..policy.caching import CacheKey, Tenant, tenant_of, why_not
from ..policy.chances import chances
from ..policy.hedging import HedgeTally
from ..policy.kept import ENTRY_BYTES, Entry, Memory
from ..policy.seats import Plan, claims_of
from .deciding import MOST_KEPT, UNKNOWN_CALLER, Deciding, Denied, Kind, Who
from .recorded import Recorded
from .tried import Copied, Lot

MEMBER, CACHE, REFUSED = "member", "cache", "refused"
Shares = tuple[tuple[str, float], ...]
_PATIENT = Patience(0, float("inf"))


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a call. `shares`: how likely each member is to have its first attempt, those with a
    chance alone; of an answer from the cache whose reply it was. `held`: budgets hold something for it."""

    kind: str
    rule: str = ""
    pool: str = ""
    shares: Shares = ()
    code: str = ""
    degraded_from: str = ""
    budget: str = ""
    held: bool = False
    misses: bool = False  # its reply is to be kept, if it can be
    lot: Lot | None = None  # of a call that is part of a rollout
    copies: tuple[Copied, ...] = ()  # for shadows


class Tries(Protocol):
    """What becomes of a call whose pool has a rollout or shadows: simulation.trials.Trying."""

    def outcome(self, call: Recorded, facts: Facts, decision: Decision, at_s: float) -> Outcome: ...


_NOWHERE = Outcome(REFUSED)


@dataclass(slots=True)
class _Way:
    """What is the same for all calls of one decision. `usual`: where they go by weight alone; None: that is
    each call's own. `routed` and `paid`: the same where budgets are asked and have room, once it is known."""

    decision: Decision
    pool: Pool
    usual: Outcome | None
    routed: Routed | None = None
    paid: Outcome = _NOWHERE


class Replay:
    """`outcome` of each call, in the order of time; `ended` once it is known what it used. `cost`: a
    configuration in which budgets matter is told what calls cost by `ended`."""

    def __init__(self, view: View, spans: Spans, *, keeps: bool = True) -> None:
        self._view = view
        self._deciding = Deciding(view, keeps=keeps)
        self._keeps = keeps
        self._accounts = Accounts(spans, tells=False)
        self._ends: list[tuple[float, int, str, Used]] = []
        self._book = Book()
        self._hedges = HedgeTally()
        self._may_hedge = any(pool.hedge is not None for pool in view.catalog.pools.values())
        self._ways: dict[int, _Way] = {}
        self._shares: dict[tuple[str, ...], Shares] = {}
        self._replies = Memory(view.catalog.cache.bytes)
        self._number = 0
        self._tried = view.catalog.trials
        self.tries: Tries | None = None  # None: trials are not replayed
        self.kept_bytes = 0  # the most that the cache held
        self.unfingerprinted = 0  # calls of a pool with a cache of which no fingerprint was recorded

    @property
    def is_full(self) -> bool:
        """The cache had to drop replies."""
        return self._replies.evicted > 0

    def outcome(self, call: Recorded, at_s: float, decided: Decision | None = None) -> Outcome:
        """`decided`: where it goes already, by its arm."""
        ends = self._ends
        while ends and ends[0][0] <= at_s:  # charged what they used
            _, _, request_id, used = heapq.heappop(ends)
            self._accounts.close(request_id, used)
        who = self._deciding.who(call)
        caller = who.caller
        if caller is None:
            return Outcome(REFUSED, code=UNKNOWN_CALLER)
        kind = self._deciding.kind(call, who, at_s)
        decision = kind.decision
        if isinstance(decision, Denied):
            return Outcome(REFUSED, decision.rule, decision.pool, code=decision.code)
        if decided is not None:
            decision = decided
        elif decision.pool in self._tried and self.tries is not None:
            return self.tries.outcome(call, kind.facts_of(call, caller), decision, at_s)
        way = self._way(decision)
        misses = False
        if way.pool.cache is not None:
            found = self._in_cache(call, way, way.pool.cache, kind.facts_of(call, caller), at_s)
            if isinstance(found, Outcome):
                return found
            misses = found
        if self._view.plan is not None:
            seats = _seats(self._view.plan, who, caller, decision.pool)
            if seats is None or seats or way.usual is None:
                return self._paid(call, way, self._view.plan, kind, caller, seats, at_s, misses)
        if way.usual is None:
            routed = self._route(call, decision, kind.facts_of(call, caller), at_s, None)
            if not isinstance(routed, Routed):
                return _waits(decision)
            return self._sent(routed, "", "", False, misses)
        return replace(way.usual, misses=True) if misses else way.usual

    def _way(self, decision: Decision) -> _Way:
        way = self._ways.get(id(decision))
        if way is None or way.decision is not decision:
            if len(self._ways) >= MOST_KEPT:
                self._ways.clear()
            pool, usual = self._view.catalog.pools[decision.pool], None
            if not pool.routing.is_cheapest:
                usual = Outcome(MEMBER, decision.rule, decision.pool, self._shares_of(decision))
            way = self._ways[id(decision)] = _Way(decision, pool, usual)
        return way

    def ended(self, call: Recorded, outcome: Outcome, ends_s: float, used: Used) -> None:
        """A call that was let go: what it used, and when that is known."""
        if outcome.held:
            self._number += 1
            heapq.heappush(self._ends, (ends_s, self._number, call.request_id, used))
        if self._may_hedge:
            self._hedges.ended(call.request_id, is_hedged=False)

    # -- for what is tried

    @property
    def view(self) -> View:
        return self._view

    @property
    def funds(self) -> Funds:
        return _Funds(self._accounts)

    def shares_of(self, decision: Decision) -> Shares:
        """By weight."""
        return self._shares_of(decision)

    def holds(self, request_id: str) -> bool:
        """Do budgets hold something for it?"""
        return request_id in self._accounts.held

    def spends(self, request_id: str, ends_s: float, used: Used) -> None:
        """What is held for it is charged then."""
        self._number += 1
        heapq.heappush(self._ends, (ends_s, self._number, request_id, used))

    def keep(self, call: Recorded, outcome: Outcome, from_s: float) -> None:
        """Its reply is kept for others."""
        pool = self._view.catalog.pools[outcome.pool]
        caller = self._deciding.who(call).caller
        if pool.cache is None or caller is None or not call.fingerprint:
            return
        tenant = tenant_of(pool.cache.scope, caller)
        if tenant is not None:
            until_s = from_s + pool.cache.ttl_ms / 1000
            entry = _Sized(
                *("", "", True, "", b"", call.member, call.request_id, from_s, until_s),
                length=call.response_bytes,
            )
            self._replies.put(_key(pool, tenant, call.fingerprint), entry)
            self.kept_bytes = max(self.kept_bytes, self._replies.bytes)

    # -- the cache

    def _in_cache(
        self, call: Recorded, way: _Way, caching: Caching, facts: Facts, at_s: float
    ) -> Outcome | bool:
        """An answer; else whether the call is one whose reply may be kept."""
        if call.cache_reason == "no-store" or why_not(facts, caching, call.request_bytes):
            return False
        tenant = tenant_of(caching.scope, facts.caller)
        if tenant is None:
            return False
        if not call.fingerprint:
            self.unfingerprinted += 1
            return False
        entry = self._replies.get(_key(way.pool, tenant, call.fingerprint), at_s)
        if entry is None:
            return True
        shares = ((entry.member, 1.0),) if entry.member else ()
        return Outcome(CACHE, way.decision.rule, way.decision.pool, shares)

    # -- budgets

    def _paid(
        self,
        call: Recorded,
        way: _Way,
        plan: Plan,
        kind: Kind,
        caller: Caller,
        seats: tuple[Seat, ...] | None,
        at_s: float,
        misses: bool,
    ) -> Outcome:
        # A user's conversations may have a member of their own, which is cheaper than the dearest.
        usual = way.routed if way.pool.affinity is None or not caller.user else None
        if seats and usual is not None and self._has_room(call, usual, kind, seats, at_s):
            return replace(way.paid, misses=True) if misses else way.paid
        decision, facts = way.decision, kind.facts_of(call, caller)
        budgeting = Budgeting(self._view, plan, call.request_id, _Funds(self._accounts))

        def route(narrowed: Narrowed | None) -> Routed | Hold:
            routed = self._route(call, decision, facts, at_s, narrowed)
            is_all = narrowed is None or not (narrowed.pool or narrowed.without)
            if self._keeps and seats and is_all and isinstance(routed, Routed):
                self._learn(way, routed)
            return routed

        try:
            routed = budgeting.next(route, facts, (), at_s)
        except CallError as error:
            budget = error.budget or budgeting.budget
            return Outcome(
                REFUSED,
                error.rule,
                error.pool,
                code=error.code,
                degraded_from=budgeting.degraded_from,
                budget=budget,
            )
        if not isinstance(routed, Routed):
            return _waits(decision)
        is_held = call.request_id in self._accounts.held
        sent = self._sent(routed, budgeting.degraded_from, budgeting.budget, is_held, misses)
        return replace(sent, misses=False) if sent.degraded_from else sent

    def _has_room(
        self, call: Recorded, routed: Routed, kind: Kind, seats: tuple[Seat, ...], at_s: float
    ) -> bool:
        """As Budgeting begins; nearly always that is all, and the call's amounts are held."""
        facts = kind.facts
        size = _Size(
            facts.surface, call.context_tokens or 0, call.max_output_tokens, facts.audio, call.choices
        )
        members, ceilings = routed.decision.eligible, self._view.ceilings
        claims, untold = claims_of(seats, size, members, ceilings, at_s, 1, routed.pools)
        return not untold and self._accounts.reserve(Ask(call.request_id, claims, at_s)).outcome == GRANTED

    def _learn(self, way: _Way, routed: Routed) -> None:
        """It is the same for all calls of one decision, where Envoy picks by weight and no hedge is near."""
        if way.usual is not None and way.pool.hedge is None and routed.member is None:
            way.routed, way.paid = routed, self._sent(routed, "", "", True, False)

    def _shares_of(self, decision: Decision) -> Shares:
        key = (decision.pool, *[member.id for member in decision.eligible])
        if (found := self._shares.get(key)) is None:
            found = self._shares[key] = _shares(decision)
        return found

    def _sent(self, routed: Routed, degraded_from: str, budget: str, held: bool, misses: bool) -> Outcome:
        decision = routed.decision
        if routed.chances is not None:
            shares = tuple([(one.member, one.chance) for one in routed.chances if one.chance > 0])
        else:
            shares = self._shares_of(decision)
        return Outcome(MEMBER, decision.rule, decision.pool, shares, "", degraded_from, budget, held, misses)

    def _route(
        self, call: Recorded, decision: Decision, facts: Facts, at_s: float, narrowed: Narrowed | None
    ) -> Routed | Hold:
        moment = Moment(at_s, int(at_s * 1000))
        routing = Routing(
            self._view, self._book, facts, call.request_id, moment, _PATIENT, self._hedges, narrowed
        )
        return routing.first(decision, NO_HEADERS, b"")


class _Size(msgspec.Struct, frozen=True, gc=False):
    """A call's, as policy.ceilings asks for it."""

    surface: Surface
    context_tokens: int
    max_output_tokens: int | None
    audio: bool
    choices: int


def _seats(plan: Plan, who: Who, caller: Caller, pool: str) -> tuple[Seat, ...] | None:
    """In budgets; None: they depend on who answers."""
    try:
        return who.seats[pool]
    except KeyError:
        depends = plan.depends_on_provider(caller, pool)
        found = who.seats[pool] = None if depends else plan.seats(caller, pool, "")
        return found


class _Funds:
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def reserve(self, ask: Ask) -> Verdict | None:
        return self._accounts.reserve(ask)

    def holds(self, request_id: str, account: str) -> bool:
        return self._accounts.holds(request_id, account)


def _shares(decision: Decision) -> Shares:
    made = chances(decision.eligible, decision.eligible)
    return tuple((one.member, one.chance) for one in made if one.chance > 0)


def _waits(decision: Decision) -> Outcome:
    """Nobody takes calls: that does not come about where all members are taken to be well."""
    return Outcome(REFUSED, decision.rule, decision.pool, code="no_member_ready")


@dataclass(slots=True)
class _Sized(Entry):
    """A reply of which only its size is known."""

    length: int = 0

    @property
    def size(self) -> int:
        return self.length + ENTRY_BYTES


def _key(pool: Pool, tenant: Tenant, fingerprint: str) -> CacheKey:
    return CacheKey(tenant, repr((fingerprint, pool.name, tenant.scope, tenant.names)).encode())


__all__ = ["CACHE", "MEMBER", "REFUSED", "UNKNOWN_CALLER", "Outcome", "Replay", "Shares"]
