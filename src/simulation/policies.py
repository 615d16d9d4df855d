"""One configuration over recorded calls, in the order of time: what it would have made of each, with its
budgets, rate limits and cache as they stood by then."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..core.call import Decision, Facts
from ..core.catalog import Caching, Pool
from ..core.errors import CallError
from ..exchange.budgeting import Budgeting, Funds
from ..exchange.inbound import NO_HEADERS
from ..exchange.routing import Hold, Moment, Narrowed, Patience, Routing
from ..exchange.view import Routed, View
from ..policy import Book
from ..policy.budgets import Accounts, Ask, Spans, Used, Verdict
from ..policy.caching import CacheKey, Tenant, tenant_of, why_not
from ..policy.chances import chances
from ..policy.hedging import HedgeTally
from ..policy.kept import ENTRY_BYTES, Entry, Memory
from .deciding import UNKNOWN_CALLER, Deciding, Denied
from .facts import facts_of
from .recorded import Recorded
from .tried import Copied, Lot

MEMBER, CACHE, REFUSED = "member", "cache", "refused"
Shares = tuple[tuple[str, float], ...]
_PATIENT = Patience(0, float("inf"))


class Outcome(NamedTuple):
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

    def outcome(self, call: Recorded, decision: Decision, at_s: float) -> Outcome: ...


class Replay:
    """`outcome` of each call, in the order of time; `ended` once it is known what it used. `cost`: a
    configuration in which budgets matter is told what calls cost by `ended`."""

    def __init__(self, view: View, spans: Spans, *, keeps: bool = True) -> None:
        self._view = view
        self._deciding = Deciding(view, keeps=keeps)
        self._accounts = Accounts(spans)
        self._ends: list[tuple[float, int, str, Used]] = []
        self._book = Book()
        self._hedges = HedgeTally()
        self._known: dict[int, tuple[Decision, Outcome]] = {}
        self._routed: dict[tuple[int, str], tuple[Decision, Routed]] = {}
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

    @property
    def has_budgets(self) -> bool:
        return self._view.plan is not None

    def outcome(self, call: Recorded, at_s: float, decided: Decision | None = None) -> Outcome:
        """`decided`: where it goes already, by its arm."""
        self._settle(at_s)
        decision = decided or self._deciding.decision(call, at_s)
        if isinstance(decision, Denied):
            return Outcome(REFUSED, decision.rule, decision.pool, code=decision.code)
        if decided is None and decision.pool in self._tried and self.tries is not None:
            return self.tries.outcome(call, decision, at_s)
        pool = self._view.catalog.pools[decision.pool]
        misses = False
        if pool.cache is not None:
            found = self._in_cache(call, decision, pool, pool.cache, at_s)
            if isinstance(found, Outcome):
                return found
            misses = found
        caller = self._deciding.caller(call)
        plan = self._view.plan
        is_plain = not pool.routing.is_cheapest
        if caller is not None and plan is not None:
            depends = plan.depends_on_provider(caller, decision.pool)
            if depends or not is_plain or plan.seats(caller, decision.pool, ""):
                return self._paid(call, decision, at_s, misses, depends)
        if is_plain:
            known = self._known.get(id(decision))
            if known is None or known[0] is not decision:
                alone = Outcome(MEMBER, decision.rule, decision.pool, self._shares_of(decision))
                known = self._known[id(decision)] = decision, alone
            return known[1]._replace(misses=True) if misses else known[1]
        facts = self._facts(call)
        routed = self._route(call, decision, facts, at_s, None)
        return self._sent(routed, "", "", False, misses) if isinstance(routed, Routed) else _waits(decision)

    def ended(self, call: Recorded, outcome: Outcome, ends_s: float, used: Used) -> None:
        """A call that was let go: what it used, and when that is known."""
        if outcome.held:
            self._number += 1
            heapq.heappush(self._ends, (ends_s, self._number, call.request_id, used))
        self._hedges.ended(call.request_id, is_hedged=False)

    # -- for what is tried

    @property
    def view(self) -> View:
        return self._view

    @property
    def funds(self) -> Funds:
        return _Funds(self._accounts)

    def facts(self, call: Recorded) -> Facts:
        return self._facts(call)

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
        caller = self._deciding.caller(call)
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
        self, call: Recorded, decision: Decision, pool: Pool, caching: Caching, at_s: float
    ) -> Outcome | bool:
        """An answer; else whether the call is one whose reply may be kept."""
        caller = self._deciding.caller(call)
        if caller is None or call.cache_reason == "no-store":
            return False
        facts = self._facts(call)
        if why_not(facts, caching, call.request_bytes):
            return False
        tenant = tenant_of(caching.scope, caller)
        if tenant is None:
            return False
        if not call.fingerprint:
            self.unfingerprinted += 1
            return False
        entry = self._replies.get(_key(pool, tenant, call.fingerprint), at_s)
        if entry is None:
            return True
        shares = ((entry.member, 1.0),) if entry.member else ()
        return Outcome(CACHE, decision.rule, decision.pool, shares)

    # -- budgets

    def _paid(self, call: Recorded, decision: Decision, at_s: float, misses: bool, depends: bool) -> Outcome:
        plan = self._view.plan
        if plan is None:
            raise ValueError("there are no budgets")
        facts = self._facts(call)
        budgeting = Budgeting(self._view, plan, call.request_id, _Funds(self._accounts))

        def route(narrowed: Narrowed | None) -> Routed | Hold:
            if depends or (narrowed is not None and narrowed.without):
                return self._route(call, decision, facts, at_s, narrowed)
            return self._by_weight(call, decision, facts, at_s, narrowed)

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
        return sent._replace(misses=False) if sent.degraded_from else sent

    def _by_weight(
        self, call: Recorded, decision: Decision, facts: Facts, at_s: float, narrowed: Narrowed | None
    ) -> Routed | Hold:
        """The same for all calls of one decision, where neither what a call costs nor a hedge matters."""
        goes_to = narrowed.pool if narrowed is not None else ""
        pool = self._view.catalog.pools[goes_to or decision.pool]
        key = id(decision), goes_to
        known = self._routed.get(key)
        if known is not None and known[0] is decision:
            return known[1]
        routed = self._route(call, decision, facts, at_s, narrowed)
        # Of a pool that it was degraded to, who is eligible there is each call's own.
        is_own = not goes_to and not pool.routing.is_cheapest and pool.hedge is None
        if is_own and isinstance(routed, Routed):
            self._routed[key] = decision, routed
        return routed

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

    def _settle(self, at_s: float) -> None:
        """Calls that have ended by now are charged what they used."""
        ends = self._ends
        while ends and ends[0][0] <= at_s:
            _, _, request_id, used = heapq.heappop(ends)
            self._accounts.settle(request_id, lambda since, until, used=used: used)  # type: ignore[misc]

    def _facts(self, call: Recorded) -> Facts:
        return facts_of(call, self._view.catalog, self._deciding.caller(call))


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
