"""Shadows and rollouts over recorded calls: whose a call is, which copies there are, and what they cost.

Copies are exact: which calls are copied is a lot over the call's id. Whose a call is in a rollout is a lot
over its session, of which a record holds a keyed hash alone. So a call of the same rollout is whose it was,
and what another stage makes of that follows, as far as it does; else it is a chance. Where a chance is, one
lot is drawn for what budgets and caches make of it, and its members and cost are those of both arms.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from ..core.call import Caller, Decision, Facts
from ..core.errors import CallError
from ..core.outcomes import OK
from ..core.trials import ALL_PPM, CANDIDATE, SHADOW, Rollout, Shadow
from ..exchange.budgeting import Budgeting
from ..exchange.inbound import NO_HEADERS
from ..exchange.routing import Hold, Moment, Narrowed, Patience, Routing
from ..exchange.trying import is_candidates, uncopied
from ..exchange.view import Routed
from ..policy import Book
from ..policy.decide import decide_in
from ..policy.hedging import HedgeTally
from ..policy.lots import is_drawn
from .arms import Arms, share_of_stage
from .learning import Learned
from .paces import Foretold
from .policies import MEMBER, Outcome, Replay
from .reckoning import BY_MEAN, Prompts, Reckoner
from .recorded import Recorded
from .stages import AT, RECORDED, Assumed
from .tried import OVER, PAUSED, SENT, UNFIT, Copied, Lot, Spent, mixed

_MOST_KEPT = 200_000
_MOST_PAUSE_S = 60.0  # as `trials.copies` has it
_PATIENT = Patience(0, float("inf"))


class _Part(NamedTuple):
    """A call's part in a rollout. `there`: how it is decided at the candidate; `goes_there`: the lot that was
    drawn."""

    rollout: Rollout
    stage: str
    chance: float
    share: float | None
    there: Decision
    goes_there: bool


class Trying:
    """Of one configuration. `outcome` is what becomes of a call whose pool has trials."""

    def __init__(self, replay: Replay, assumed: Mapping[str, Assumed], arms: Arms) -> None:
        self._replay = replay
        self._catalog = replay.view.catalog
        self._assumed = assumed
        self._arms = arms
        self._targets: dict[tuple[int, str, str], tuple[Decision, Decision | None]] = {}
        self._paused: dict[str, float] = {}  # shadow → until when
        self._book, self._hedges = Book(), HedgeTally()

    def outcome(self, call: Recorded, facts: Facts, decision: Decision, at_s: float) -> Outcome:
        part = self._part(call, decision, facts)
        decided = part.there if part is not None and part.goes_there else decision
        outcome = self._replay.outcome(call, at_s, decided)
        if part is not None:
            outcome = self._with_lot(outcome, decision, part)
        if outcome.kind == MEMBER:
            copies = self._copies(call, decision, outcome, facts, at_s)
            if copies:
                outcome = replace(outcome, copies=tuple(copies))
        return outcome

    # -- rollouts

    def _part(self, call: Recorded, decision: Decision, facts: Facts) -> _Part | None:
        rollout = self._catalog.trials[decision.pool].rollout
        assumed = self._assumed.get(rollout.name) if rollout is not None else None
        if rollout is None or assumed is None:
            return None
        stage = self._stage(call, decision, assumed)
        if stage is None:
            return None
        there = self._target(decision, rollout.target, facts, decision.rule)
        if there is None:
            return None
        is_its = call.rollout == rollout.name
        if assumed.how == RECORDED and is_its:
            had_it = call.arm == CANDIDATE
            goes_there = had_it and not self._was_out(call, decision, there)
            return _Part(rollout, stage, float(had_it), None, there, goes_there)
        share_ppm = _share_ppm(rollout, stage)
        if not share_ppm:
            return None
        if is_its:
            chance = chance_at(share_ppm / ALL_PPM, share_of_stage(call.stage), call.arm == CANDIDATE)
            salt = f"{rollout.name}\0{stage}"
            drawn = is_drawn(salt, call.conversation or call.request_id, round(chance * ALL_PPM))
        else:
            chance = share_ppm / ALL_PPM
            drawn = is_candidates(rollout, share_ppm, call.conversation or call.request_id)
        return _Part(rollout, stage, chance, share_ppm / ALL_PPM, there, drawn)

    def _stage(self, call: Recorded, decision: Decision, assumed: Assumed) -> str | None:
        """At which stage the call meets the rollout; None: at none."""
        if assumed.how == AT:
            return assumed.stage.name if assumed.stage is not None else None
        if assumed.how != RECORDED:
            return None
        name = assumed.rollout.name
        if call.rollout == name:
            return call.stage
        # Of the same pool's other calls the rollout had none: it was off, or they were nothing for it.
        return None if call.pool == decision.pool else self._arms.stage_at(name, call.at_ms)

    def _was_out(self, call: Recorded, decision: Decision, there: Decision) -> bool:
        """The candidate took no calls then: its pool's own members had this one."""
        had = {one.member for one in call.eligible}
        return had == {one.id for one in decision.eligible} != {one.id for one in there.eligible}

    def _with_lot(self, outcome: Outcome, decision: Decision, part: _Part) -> Outcome:
        candidate, stable = self._replay.shares_of(part.there), self._replay.shares_of(decision)
        may_mix = 0.0 < part.chance < 1.0
        if outcome.kind == MEMBER and not outcome.degraded_from:
            pools = [self._catalog.pools[name] for name in (decision.pool, part.there.pool)]
            may_mix &= not any(pool.cache is not None or pool.routing.is_cheapest for pool in pools)
            if part.goes_there:
                candidate = outcome.shares
            else:
                stable = outcome.shares
        else:
            may_mix = False
        lot = Lot(part.rollout.name, part.stage, part.chance, part.share, candidate, stable, may_mix)
        if may_mix:
            return replace(outcome, shares=mixed(part.chance, candidate, stable), lot=lot)
        return replace(outcome, lot=lot)

    # -- shadows

    def _copies(
        self, call: Recorded, decision: Decision, outcome: Outcome, facts: Facts, at_s: float
    ) -> list[Copied]:
        """As `exchange.trying.copies_of`."""
        found = []
        for shadow in self._shadows(call, decision):
            why = uncopied(self._replay.view, facts, shadow, outcome.pool, call.request_id)
            there = self._target(decision, shadow.target, facts, "") if why is None else None
            if there is not None:
                found.append(self._paid(call, shadow, there, facts, at_s))
            elif why is not None and why.code == "unfit":
                found.append(Copied(shadow.name, UNFIT))
        return found

    def _shadows(self, call: Recorded, decision: Decision) -> Iterable[Shadow]:
        trials = self._catalog.trials[decision.pool]
        yield from trials.shadows
        rollout = trials.rollout
        assumed = self._assumed.get(rollout.name) if rollout is not None else None
        if rollout is None or assumed is None:
            return
        name = self._stage(call, decision, assumed)
        stage = next((one for one in rollout.stages if one.name == name), None)
        if stage is not None and stage.shadow is not None:
            yield stage.shadow

    def _paid(self, call: Recorded, shadow: Shadow, there: Decision, facts: Facts, at_s: float) -> Copied:
        """By the shadow's own budget; where that has no room, it pauses as long as a live one does."""
        view, plan = self._replay.view, self._replay.view.plan
        chance = shadow.share_ppm / ALL_PPM
        if plan is None:
            return Copied(shadow.name, SENT, chance, self._replay.shares_of(there))
        if at_s < self._paused.get(shadow.name, 0.0):
            return Copied(shadow.name, PAUSED)
        caller = Caller(name=shadow.caller, agent=shadow.name, purpose=SHADOW)
        copied, copy_id = facts._replace(caller=caller), f"{call.request_id} {shadow.name}"
        budgeting = Budgeting(view, plan, copy_id, self._replay.funds)
        moment = Moment(at_s, int(at_s * 1000))
        about = (view, self._book, copied, copy_id, moment, _PATIENT, self._hedges)

        def route(narrowed: Narrowed | None) -> Routed | Hold:
            return Routing(*about, narrowed, shadow.target).first(there, NO_HEADERS, b"")

        try:
            routed = budgeting.next(route, copied, (), at_s)
        except CallError as error:
            if error.status == 429:
                self._paused[shadow.name] = at_s + min(error.retry_after_s or 1.0, _MOST_PAUSE_S)
            return Copied(shadow.name, OVER)
        if not isinstance(routed, Routed):
            return Copied(shadow.name, OVER)
        shares = self._replay.shares_of(routed.decision)
        if routed.chances is not None:
            shares = tuple([(one.member, one.chance) for one in routed.chances if one.chance > 0])
        return Copied(shadow.name, SENT, chance, shares, copy_id if self._replay.holds(copy_id) else "")

    def _target(self, decision: Decision, target: str, facts: Facts, rule: str) -> Decision | None:
        """How the call is decided there, the same for all calls of one decision; None: it can't take it."""
        key = id(decision), target, rule
        known = self._targets.get(key)
        if known is not None and known[0] is decision:
            return known[1]
        if len(self._targets) >= _MOST_KEPT:
            self._targets.clear()
        try:
            found = decide_in(target, rule, facts, self._catalog, self._replay.view.state)
        except CallError:
            found = None
        self._targets[key] = decision, found
        return found


def _share_ppm(rollout: Rollout, stage: str) -> int:
    """Of a stage that a configuration does not have any more, as it is called."""
    known = next((one.share_ppm for one in rollout.stages if one.name == stage), None)
    return known if known is not None else round(share_of_stage(stage) * ALL_PPM)


def chance_at(share: float, before: float, was_candidates: bool) -> float:
    """That a session is the candidate's where `share` of them are, as far as that follows from whose it was
    where `before` of them were: with a larger share those and more are."""
    if was_candidates:
        return 1.0 if share >= before else share / before
    return 0.0 if share <= before else (share - before) / (1.0 - before)


class Weighing(NamedTuple):
    """`weight`: how much likelier the call's member is than it was, before arms were drawn; `untried`: how
    likely it goes where it could not have gone, and nothing tells how long it would take there. What copies
    tell of that: until its end, and of streams to the first event."""

    weight: float
    untried: float
    whole: tuple[Foretold, ...] = ()
    first: tuple[Foretold, ...] = ()


def weighing(call: Recorded, outcome: Outcome, learned: Learned) -> Weighing | None:
    """None: its arm is what it was, and nothing is to be weighed for it."""
    lot = outcome.lot
    if lot is not None and lot.share is None:
        return None
    goes = dict(lot.whole if lot is not None else outcome.shares)
    had = learned.arms.chances_of(call) if call.rollout else None
    if had is None:
        had = {one.member: one.chance for one in call.eligible if one.chance > 0}
    chance = had.get(call.first_member, 0.0)
    weight = goes.get(call.first_member, 0.0) / chance if chance else 0.0
    untried = {member: share for member, share in goes.items() if not had.get(member)}
    if not untried or not learned.paces:
        return Weighing(weight, sum(untried.values()))
    return _foretold(call, weight, untried, learned)


def _foretold(call: Recorded, weight: float, untried: Mapping[str, float], learned: Learned) -> Weighing:
    """With what copies of other calls tell."""
    source, left = call.first_member, 0.0
    whole: list[Foretold] = []
    first: list[Foretold] = []
    is_timed = call.outcome == OK and call.attempts_made == 1
    for member, share in untried.items():
        paces = learned.paces.get((source, member))
        if paces is None or paces[0] is None or (call.stream and paces[1] is None):
            left += share
            continue
        if is_timed:
            whole.append(Foretold(source, member, share, call.duration_ms, paces[0]))
            if call.stream and call.first_byte_ms is not None and paces[1] is not None:
                first.append(Foretold(source, member, share, call.first_byte_ms, paces[1]))
    return Weighing(weight, left, tuple(whole), tuple(first))


class Together:
    """Calls of one conversation have one lot: so their costs go up and down together."""

    def __init__(self) -> None:
        self._sums: OrderedDict[str, float] = OrderedDict()

    def beyond(self, call: Recorded, lot: Lot, costs: Mapping[str, float]) -> float:
        """The variance that the call adds beyond its own. `costs`: what it would cost, by member."""
        if not call.conversation or not lot.is_mixed:
            return 0.0
        there, here = (sum(share * costs[name] for name, share in arm) for arm in (lot.candidate, lot.stable))
        before = self._sums.pop(call.conversation, 0.0)
        self._sums[call.conversation] = before + there - here
        if len(self._sums) > _MOST_KEPT:
            self._sums.popitem(last=False)
        return lot.chance * (1.0 - lot.chance) * 2.0 * before * (there - here)


class CopyCosts:
    """What copies cost, call by call in the order of time."""

    def __init__(self, reckoner: Reckoner, spread: Callable[[str], tuple[float, float]]) -> None:
        self._reckoner = reckoner
        self._spread = spread
        self._prompts: dict[str, Prompts] = {}

    def spent(self, call: Recorded, copy: Copied, at_s: float) -> Spent:
        if copy.result != SENT:
            return Spent(copy)
        total = variance = by_mean = square = 0.0
        parts: list[tuple[str, str, float, float]] = []
        for member, share in copy.shares:
            found = self._reckoner.at(call, call.usage, member, at_s, self._cold(call, copy, member, at_s))
            if found is None:
                return Spent(copy)
            total += share * found.total
            square += share * found.total * found.total
            if found.source != member:
                prompts, answers = self._spread(member)
                variance += 2 * share * (prompts * found.prompt**2 + answers * found.answer**2)
                parts.append((found.source, member, share * found.prompt, share * found.answer))
                by_mean += share * found.total if found.source == BY_MEAN else 0.0
        if call.conversation:
            self._prompts[copy.shadow].sent(call.conversation, copy.shares, at_s)
        # Other ids, other lots: here and then.
        variance += max(0.0, square - total * total) + 2 * (1.0 - copy.chance) * square
        return Spent(copy, total, variance, by_mean, tuple(parts))

    def _cold(self, call: Recorded, copy: Copied, member: str, at_s: float) -> float:
        """Copies of a conversation's calls find its prompt where an earlier one was copied."""
        prompts = self._prompts.setdefault(copy.shadow, Prompts())
        used = call.usage
        if used is None or not used.usage.cache_read:
            return 0.0
        return prompts.cold(call.conversation, member, at_s) if call.conversation else 1.0 - copy.chance
