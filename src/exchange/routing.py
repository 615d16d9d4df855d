"""Where a call goes next: its first attempt, and each further one after a failure was handed back."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..core.call import Decision, Facts
from ..core.catalog import Member, Pool
from ..core.causes import Action, Cause
from ..core.errors import CallError, Unavailable
from ..core.trials import beside, is_made
from ..policy import Book, decide, preference
from ..policy.attempts import (
    MOST_ATTEMPTS,
    MOST_KEYED,
    Outlook,
    Takers,
    Tried,
    first_of_later,
    handed_back,
    later,
    sent,
    takers,
    tells,
    untried,
)
from ..policy.chances import chances
from ..policy.decide import decide_in
from ..policy.hedging import HedgeTally
from ..policy.seats import Plan
from .affinity import belongs, key_in
from .cheapest import ByCost
from .course import Course
from .inbound import Inbound
from .view import Routed, View

# Until a credential that was refused has given way to another, calls wait so long at most, and look so often.
# By the second time what it was is known, or another attempt is to show it.
_SWAP_MS, _SURE_MS, _SWAP_LOOK_S = 10_000, 500, 0.05


class Moment(NamedTuple):
    """Now: unix time, which the health book counts in, and the machine's monotonic clock."""

    unix_s: float
    monotonic_ms: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Nobody takes the call now: ask again after `wait_s`. `most_s`: how long it may wait from now on, as
    often as it is told so. `is_look`: what it waits for may be there at any moment, and nobody has to be
    spared then."""

    wait_s: float
    most_s: float
    is_look: bool = False


class Patience(NamedTuple):
    """Of one call, in ms: when it began and until when its caller waits (of the monotonic clock), how long it
    has waited for members already, and whether there is room for one more call that waits."""

    started_ms: int
    deadline_ms: float
    waited_ms: int = 0
    has_room: bool = True


class Narrowed(NamedTuple):
    """What budgets leave of a decision. `pool`: where the call was degraded to, "" where it was not;
    `without`: providers and members that it can't pay; `plan` knows where the member has to be known
    before the call is let go. `denial` is told where nobody is left."""

    plan: Plan
    pool: str = ""
    without: frozenset[str] = frozenset()
    denial: CallError | None = None


class Routing:
    """Of one call at one moment."""

    def __init__(
        self,
        view: View,
        book: Book,
        facts: Facts,
        request_id: str,
        moment: Moment,
        patience: Patience,
        hedges: HedgeTally,
        narrowed: Narrowed | None = None,
        ordered: str = "",
    ) -> None:
        """`ordered`: the pool of a call that is the broker's own errand."""
        self._view = view
        self._book = book
        self._facts = facts
        self._request_id = request_id
        self._moment = moment
        self._patience = patience
        self._hedges = hedges
        self._narrowed = narrowed
        self._ordered = ordered

    def first(self, decision: Decision, inbound: Inbound, body: bytes) -> Routed | Hold:
        """Envoy picks, unless the call belongs to a conversation that has its member."""
        names_member = False
        if self._narrowed is not None:
            decision = self._without(self._degraded(decision))
            names_member = self._names_member(decision)
        pool, outlook = self._pool(decision), self._outlook(decision)
        takes_all = not self._patience.waited_ms and not any(map(outlook.out_for_s, decision.eligible))
        by_cost = self._by_cost(pool, decision, inbound, body) if pool.routing.is_cheapest else None
        if takes_all and not names_member:
            # Nearly always: all of them take calls, so that their order means nothing.
            member, key = self._owner(decision, outlook, by_cost, inbound, body)
            routed = self._first_of(decision, pool, member, decision.eligible, key=key)
            if by_cost is None and self._book.eased.isdisjoint([m.id for m in decision.eligible]):
                return routed
            return self._with_chances(routed, decision.eligible, outlook, by_cost)
        order = by_cost.order if by_cost is not None else preference
        lasts_s = self._lasts_s(pool, (pool.name,))
        chosen = takers(decision.eligible, outlook, self._request_id, lasts_s, order)
        if not chosen.now:
            return self._hold(chosen, pool, decision, outlook, (), (pool.name,))
        available = decision._replace(eligible=chosen.now)
        member, key = self._owner(available, outlook, by_cost, inbound, body)
        is_news = self._patience.waited_ms > 0 or any(map(outlook.is_news, decision.eligible))
        if chosen.is_probe or (member is None and (is_news or names_member)):
            # Envoy leaves it out, or does not know yet whom to leave out and who is in again.
            member = chosen.now[0]
        routed = self._first_of(decision, pool, member, chosen.now, chosen.soon, key)
        able = chosen.now[:1] if chosen.is_probe else chosen.now
        return self._with_chances(routed, able, outlook, by_cost)

    def _with_chances(
        self, routed: Routed, able: Sequence[Member], outlook: Outlook, by_cost: ByCost | None
    ) -> Routed:
        """`able`: who takes the call. Nearly always weights alone decide, and that is told without this."""
        if by_cost is not None:
            able = by_cost.candidates(able, outlook)
        made = chances(routed.decision.eligible, able, outlook.eased_share_of)
        return routed._replace(chances=made)

    def _owner(
        self, decision: Decision, outlook: Outlook, by_cost: ByCost | None, inbound: Inbound, body: bytes
    ) -> tuple[Member | None, str]:
        """(the member for the first attempt, of those that take it, None: Envoy picks; the key of the call's
        conversation)."""
        if by_cost is not None:
            return by_cost.first(decision.eligible, outlook), by_cost.conversation
        owner = belongs(self._pool(decision), decision, self._facts, inbound.first, body, outlook.share_of)
        return (owner.member, owner.key) if owner is not None else (None, "")

    def _first_of(
        self,
        decision: Decision,
        pool: Pool,
        member: Member | None,
        now: Sequence[Member],
        soon: Sequence[Member] = (),
        key: str = "",
    ) -> Routed:
        """At `member`, or at whom of `now` Envoy picks: any of them is tried, and the others are left."""
        first = member or (now[0] if len(now) == 1 else min(now, key=_priority_of))
        others = [other for other in (*now, *soon) if other is not first]
        worth = self._worth(pool, decision.eligible, others, first, (), (pool.name,))
        hedge = self._hedge(pool, now) if member is None else 0
        return Routed(decision, pool, member, worth, 1, (pool.name,), hedge, key=key)

    def further(self, course: Course, inbound: Inbound, body: bytes) -> Routed | Hold:
        """After the last of `course.tried`. Calls of one conversation draw the same lots."""
        tried = course.failed()
        known = (self._facts, self._view.catalog, self._view.state)
        decision = decide_in(self._ordered, "", *known) if self._ordered else decide(*known)
        pools = tuple(map(self._still, course.pools))
        pool = self._pool(decision)
        if pools[-1] != pool.name:
            decision = decide_in(pools[-1], decision.rule, self._facts, self._view.catalog, self._view.state)
            pool = self._pool(decision)
        action = pool.action(tried[-1].cause)
        if not isinstance(action, Action):
            decision = decide_in(action, decision.rule, self._facts, self._view.catalog, self._view.state)
            pool, pools = self._pool(decision), (*pools, action)
        if self._narrowed is not None:
            decision = self._degraded(decision)
            if decision.pool != pools[-1]:
                pool, pools = self._pool(decision), (*pools, decision.pool)
            decision = self._without(decision)
        has_spare = any(member.provider in self._view.state.spare for member in decision.eligible[:1])
        members = untried(decision.eligible, tried, has_spare=has_spare)
        if not members and self._narrowed is not None and self._narrowed.denial is not None:
            raise self._narrowed.denial
        if action is Action.NEXT_PRIORITY:
            # Where there is none any more, it is too late for the member's own answer.
            members = later(members, _member(pool, tried[-1].member)) or members
        outlook = self._outlook(decision)
        key = key_in(pool, self._facts, inbound.first, body)
        lot = key.value if key else self._request_id
        by_cost = self._by_cost(pool, decision, inbound, body) if pool.routing.is_cheapest else None
        order = by_cost.order if by_cost is not None else preference
        chosen = takers(members, outlook, lot, self._lasts_s(pool, pools), order)
        if sent(tried) > self._budget(pools) or chosen.wait_s is None:
            raise _told(tried, decision, pools, outlook)
        if not chosen.now:
            return self._hold(chosen, pool, decision, outlook, tried, pools)
        if (wait_s := self._swap_s(members, tried, pools)) > 0:
            return Hold(wait_s, self._patience_s(pools), is_look=True)
        now = chosen.now
        if sent(tried) == self._budget(pools):
            # The last attempt is not for one more member of a level that fails, while there is another level.
            now = first_of_later(now, _member(pool, tried[-1].member), outlook)
        member, others = now[0], (*now[1:], *chosen.soon)
        worth = self._worth(pool, decision.eligible, others, member, tried, pools)
        return Routed(decision, pool, member, worth, len(tried) + 1, pools)

    def _still(self, name: str) -> str:
        """A candidate that an edit took out meanwhile leaves its calls to the pool beside which it was."""
        return beside(name) if is_made(name) and name not in self._view.catalog.pools else name

    def _swap_s(self, members: Sequence[Member], tried: Sequence[Tried], pools: Sequence[str]) -> float:
        """One member alone has refused a credential, which may be new, or the one before it: how long to wait
        for the other one. Not longer than its pool lets calls wait."""
        is_swap = tried[-1].cause is Cause.CREDENTIAL and [one.id for one in members] == [tried[-1].member]
        if not is_swap or not self._patience.has_room:
            return 0.0
        waited_ms, now_s = self._patience.waited_ms, self._moment.unix_s
        known = self._book.swaps.settled.get(members[0].provider)
        if known is not None and known.since_s <= now_s < known.until_s:
            began_s = now_s - (self._moment.monotonic_ms - self._patience.started_ms) / 1000
            has_turned = known.is_back and len(tried) == 1 and began_s < known.since_s
            if has_turned or waited_ms >= _SURE_MS * len(tried):
                return 0.0
        return min(_SWAP_LOOK_S, (_SWAP_MS - waited_ms) / 1000, self._patience_s(pools))

    def _degraded(self, decision: Decision) -> Decision:
        """In the pool that a budget says, where it says one: that is the operator's to say."""
        name = self._narrowed.pool if self._narrowed is not None else ""
        if not name or name == decision.pool:
            return decision
        return decide_in(name, decision.rule, self._facts, self._view.catalog, self._view.state)

    def _without(self, decision: Decision) -> Decision:
        """Without those that a budget can't pay."""
        narrowed = self._narrowed
        if narrowed is None or not narrowed.without:
            return decision
        left = tuple(
            member
            for member in decision.eligible
            if member.provider not in narrowed.without and member.id not in narrowed.without
        )
        if not left and narrowed.denial is not None:
            raise narrowed.denial
        return decision._replace(eligible=left)

    def _names_member(self, decision: Decision) -> bool:
        narrowed = self._narrowed
        if narrowed is None:
            return False
        caller = self._facts.caller
        return bool(narrowed.without) or narrowed.plan.depends_on_provider(caller, decision.pool)

    def _by_cost(self, pool: Pool, decision: Decision, inbound: Inbound, body: bytes) -> ByCost:
        key = key_in(pool, self._facts, inbound.first, body)
        costs = self._view.estimates.costs(self._facts, pool, decision.eligible, self._moment.unix_s)
        return ByCost(costs, pool, key.value if key else "", self._request_id)

    def _hedge(self, pool: Pool, now: Sequence[Member]) -> int:
        """May another member be tried beside the first? It is one of the budget's further attempts."""
        hedge = pool.hedge
        if hedge is None or not pool.failover or len(now) < 2 or self._ordered:
            return 0
        if not (self._facts.stream or hedge.reply_after_ms):
            return 0
        if not self._hedges.may(pool.name, hedge, self._request_id, self._moment.monotonic_ms / 1000):
            return 0
        first = min(map(_priority_of, now))
        return min(2, sum(1 for member in now if member.priority == first))

    def _pool(self, decision: Decision) -> Pool:
        return self._view.catalog.pools[decision.pool]

    def _outlook(self, decision: Decision) -> Outlook:
        return Outlook(self._book, self._pool(decision), self._moment.unix_s)

    def _patience_s(self, pools: Sequence[str]) -> float:
        """How long the call can still wait for a member: as its pool says, but no longer than all of it may
        take, nor than its caller waits."""
        patience, known = self._patience, self._view.catalog.pools
        deadline_ms = patience.deadline_ms
        if (first := known.get(pools[0])) is not None and first.timeouts.call_ms:
            deadline_ms = min(deadline_ms, patience.started_ms + first.timeouts.call_ms)
        left_ms = known[pools[-1]].timeouts.wait_ms - patience.waited_ms
        return max(0.0, min(left_ms, deadline_ms - self._moment.monotonic_ms)) / 1000

    def _lasts_s(self, pool: Pool, pools: Sequence[str]) -> float:
        """How long an attempt and the wait behind it may last: who will take calls by then may be next."""
        waits = pool.timeouts
        attempt_ms = waits.first_event_ms if self._facts.stream else waits.reply_ms
        return attempt_ms / 1000 + self._patience_s(pools)

    def _budget(self, pools: Sequence[str]) -> int:
        """Further attempts: those of the pool that the call was for, whatever others it enters."""
        first = self._view.catalog.pools.get(pools[0])
        return first.failover if first is not None else 0

    def _worth(
        self,
        pool: Pool,
        eligible: Sequence[Member],
        others: Sequence[Member],
        member: Member,
        tried: Sequence[Tried],
        pools: Sequence[str],
    ) -> tuple[Cause, ...]:
        """For an attempt at `member`, or at any of its priority: `others` take the call as well."""
        if len(tried) + 1 >= MOST_ATTEMPTS or (self._ordered and pool.is_made):
            return ()  # of a copy for one member its failure is all that is to be known
        return handed_back(
            pool.on,
            bool(others),
            bool(later(others, member)),
            len(eligible) == 1 and not tried,
            self._enters(pool, tried) if pool.on else frozenset(),
            bool(tried) and tells(tried),
            (sent(tried) if tried else 0) >= self._budget(pools),
            len(eligible) == 1 and len(tried) + 1 < MOST_KEYED and self._may_turn(member),
        )

    def _may_turn(self, member: Member) -> bool:
        """Does its provider have a credential behind the newest, that may be another matter to it?"""
        return member.provider in self._view.state.spare and member.id not in self._book.swaps.deaf

    def _enters(self, pool: Pool, tried: Sequence[Tried]) -> frozenset[str]:
        """Of the pools that this one sends calls on to, those that have somebody left for this call."""
        return frozenset(
            name for _, name in pool.on if isinstance(name, str) and self._can_enter(name, tried)
        )

    def _can_enter(self, name: str, tried: Sequence[Tried]) -> bool:
        try:
            decision = decide_in(name, "", self._facts, self._view.catalog, self._view.state)
        except CallError:
            return False
        return bool(untried(decision.eligible, tried))

    def _hold(
        self,
        chosen: Takers,
        pool: Pool,
        decision: Decision,
        outlook: Outlook,
        tried: Sequence[Tried],
        pools: Sequence[str],
    ) -> Hold:
        """Wait for who will be ready first, or say how long that will be."""
        wait_s, most_s = chosen.wait_s or 0.0, self._patience_s(pools)
        if wait_s <= most_s and self._patience.has_room:
            return Hold(wait_s, most_s)
        failed = {one.member: one.cause.value for one in tried}
        causes = {
            member.id: outlook.cause(member) if outlook.out_for_s(member) else failed.get(member.id, "")
            for member in decision.eligible
        }
        is_limited = all(cause == Cause.RATE_LIMIT.value for cause in causes.values())
        reasons = ", ".join(f"{name}: {cause}" for name, cause in causes.items() if cause)
        ready_s = max(1, math.ceil(wait_s))
        crowd = "" if self._patience.has_room else ", and too many calls wait already"
        raise Unavailable(
            429 if is_limited else 503,
            "pool_rate_limited" if is_limited else "no_member_ready",
            f"no member of the pool {pool.name} takes calls for a while ({reasons}); "
            f"the first is ready in {ready_s} s{crowd}",
            retry_after_s=ready_s,
            rule=decision.rule,
            pool=pool.name,
        )


_priority_of = operator.attrgetter("priority")


def _member(pool: Pool, ident: str) -> Member | None:
    return next((member for member in pool.members if member.id == ident), None)


_STATUS_OF = {Cause.RATE_LIMIT: 429, Cause.TIMEOUT: 504, Cause.FIRST_EVENT: 504, Cause.STALL: 504}


def _told(tried: Sequence[Tried], decision: Decision, pools: Sequence[str], outlook: Outlook) -> Unavailable:
    """Nobody is left: the whole story, for the last member's own words would be half of it. When somebody
    may be asked again is told where that is known of all."""
    story = ", ".join(f"{one.member or 'another one'}: {one.cause.value}" for one in tried)
    message = f"no member of the pool {pools[-1]} is left for this call ({story})"
    status = _STATUS_OF.get(tried[-1].cause, 503)
    ready_s = min(map(outlook.out_for_s, decision.eligible))
    return Unavailable(
        status,
        "no_member_left",
        message,
        retry_after_s=max(1, math.ceil(ready_s)) if ready_s else None,
        rule=decision.rule,
        pool=decision.pool,
    )
