"""Recorded calls under an old and a new policy, call by call in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from ..core.outcomes import OK
from ..core.trials import CANDIDATE, SHADOW
from ..policy.budgets import Used as Charged
from .learning import Learned
from .policies import CACHE, MEMBER, REFUSED, Outcome, Replay, Shares
from .reckoning import BY_MEAN, Prompts, Reckoned, Reckoner
from .recorded import Recorded
from .stages import assumed_of
from .sums import Both, Side
from .trial_sums import TriedSums
from .trials import CopyCosts, Together, Trying, Weighing, weighing
from .tried import Lot, Spent

BY = ("team", "customer", "feature")
_MOST_GROUPS = 50_000
_MOST_MOVES = 10_000
OTHERS = "(others)"
# How long a call is taken to last of which nothing is recorded.
_LASTS_S = 1.0
NO_STAGES: Mapping[str, str] = MappingProxyType({})


class Judged(msgspec.Struct, frozen=True, gc=False):
    """A call under one policy. `nano` None: unknown. `parts`: (whose usage, at whom, nano-dollars of the
    prompt and of the answer). `is_same`: the members have the chances that they had."""

    outcome: Outcome
    is_same: bool
    nano: float | None
    variance: float = 0.0
    by_mean: float = 0.0
    parts: tuple[tuple[str, str, float, float], ...] = ()
    tokens: float = 0.0
    weighing: Weighing | None = None  # where a rollout was or is, or copies tell of members
    copies: tuple[Spent, ...] = ()


class Move(NamedTuple):
    old_rule: str
    old_pool: str
    new_rule: str
    new_pool: str


def chances_of(call: Recorded) -> Shares:
    return tuple([(one.member, one.chance) for one in call.eligible if one.chance > 0])


def as_recorded(call: Recorded) -> Outcome:
    """What did become of it."""
    told = (call.degraded_from, call.budget)
    lot = None
    if call.rollout:
        arm = chances_of(call)
        lot = Lot(call.rollout, call.stage, float(call.arm == CANDIDATE), None, arm, arm)
    if call.was_refused or (not call.attempts and not call.was_hit and call.status >= 400):
        return Outcome(REFUSED, call.rule, call.pool, (), call.code, *told, lot=lot)
    if call.was_hit:
        shares: Shares = ((call.member, 1.0),) if call.member else ()
        return Outcome(CACHE, call.rule, call.pool, shares)
    return Outcome(MEMBER, call.rule, call.pool, chances_of(call), "", *told, lot=lot)


class History:
    """The policy by which the calls were recorded. `reckoner`: for those whose cost was not reckoned then."""

    def __init__(self, reckoner: Reckoner) -> None:
        self._reckoner = reckoner

    def judge(self, call: Recorded, at_s: float) -> Judged:
        return Judged(as_recorded(call), True, self.cost(call))

    def cost(self, call: Recorded) -> int | None:
        nano = call.cost.total if call.cost is not None else None
        if nano is None and call.is_known:
            nano = self._reckoner.as_recorded(call)
        return nano


class Policy:
    """Another one, over the same calls."""

    def __init__(
        self,
        replay: Replay,
        reckoner: Reckoner,
        learned: Learned,
        stages: Mapping[str, str] = NO_STAGES,
    ) -> None:
        """`stages`: of rollouts, by name, where something is said of them. ValueError: not to be met."""
        self.replay = replay
        self.reckoner = reckoner
        self._learned = learned
        self._prompts = Prompts()
        catalog = replay.view.catalog
        self.tries = bool(catalog.trials)
        if self.tries:
            replay.tries = Trying(replay, assumed_of(catalog, stages, learned.arms), learned.arms)
        self._together = Together()
        self._copy_costs = CopyCosts(reckoner, learned.spread)
        self.unconversed = (
            0  # calls that move and were read from a provider's cache, of no known conversation
        )

    def judge(self, call: Recorded, at_s: float) -> Judged:
        if not call.is_known:  # the broker could not read it, or the record is of an older broker
            nano = call.cost.total if call.cost is not None else None
            return Judged(as_recorded(call), True, nano)
        outcome = self.replay.outcome(call, at_s)
        if outcome.kind != MEMBER:
            return Judged(outcome, False, 0.0)
        is_same = self._is_same(call, outcome)
        judged = self._as_it_was(call, outcome) if is_same else self._elsewhere(call, outcome, at_s)
        if call.conversation:
            first = call.first_member
            sent = ((first, 1.0),) if is_same and first else _kept_by(outcome)
            self._prompts.sent(call.conversation, sent, at_s)
        ends_s = call.started_s + call.duration_ms / 1000 if call.attempts else at_s + _LASTS_S
        if outcome.held:
            is_known = judged.nano is not None
            spent = Charged(round(judged.nano or 0.0), round(judged.tokens), is_known, is_known)
            self.replay.ended(call, outcome, ends_s, spent)
        if outcome.misses and (call.cache in ("stored", "hit", "joined") or call.was_refused):
            self.replay.keep(call, outcome, ends_s)
        if call.rollout or outcome.lot is not None or outcome.copies or (self._learned.paces and not is_same):
            return self._tried(call, judged, at_s, ends_s)
        return judged

    def _tried(self, call: Recorded, judged: Judged, at_s: float, ends_s: float) -> Judged:
        """With what rollouts and shadows make of it."""
        outcome = judged.outcome
        spent = tuple([self._copy_costs.spent(call, copy, at_s) for copy in outcome.copies])
        for one in spent:
            if one.copy.held:
                is_known = one.nano is not None
                charged = Charged(round(one.nano or 0.0), round(judged.tokens), is_known, is_known)
                self.replay.spends(one.copy.held, ends_s, charged)
        return replace(judged, weighing=weighing(call, outcome, self._learned), copies=spent)

    def _is_same(self, call: Recorded, outcome: Outcome) -> bool:
        if not call.attempts:
            return False
        chances = chances_of(call)
        if outcome.shares == chances:
            return True
        usual = self._learned.usual_chances(call)
        return usual is not call.eligible and outcome.shares == tuple(
            [(one.member, one.chance) for one in usual if one.chance > 0]
        )

    def _as_it_was(self, call: Recorded, outcome: Outcome) -> Judged:
        """At the member that had it. In a pool of several it is another one's luck the next time."""
        nano = self.reckoner.as_recorded(call)
        used = call.usage
        variance = 0.0
        if len(outcome.shares) > 1 and nano and used is not None:
            other = 1.0 - sum([share * share for _, share in outcome.shares])
            prompts, answers = self._learned.spread(used.member)
            lots = 2 * self._learned.lot_variance(call.eligible) + prompts + answers
            variance = other * lots * nano * nano
        tokens = used.usage.prompt + used.usage.output if used is not None else 0
        return Judged(outcome, True, nano, variance, tokens=tokens)

    def _elsewhere(self, call: Recorded, outcome: Outcome, at_s: float) -> Judged:
        used = call.usage
        if used is not None and used.usage.cache_read and not call.conversation:
            self.unconversed += 1
        total = square = variance = by_mean = tokens = 0.0
        parts: list[tuple[str, str, float, float]] = []
        costs: dict[str, float] = {}
        for member, share in outcome.shares:
            cold = 0.0
            if call.conversation and used is not None and used.usage.cache_read:
                cold = self._prompts.cold(call.conversation, member, at_s)
            found = self.reckoner.at(call, used, member, at_s, cold)
            if found is None:
                return Judged(outcome, False, None)
            costs[member] = found.total
            total += share * found.total
            square += share * found.total * found.total
            tokens += share * found.tokens
            if found.source != member:
                variance += share * self._noise(found, member)
                parts.append((found.source, member, share * found.prompt, share * found.answer))
                if found.source == BY_MEAN:
                    by_mean += share * found.total
        variance += max(0.0, square - total * total)
        if outcome.lot is not None:
            variance += self._together.beyond(call, outcome.lot, costs)
        return Judged(outcome, False, total, variance, by_mean, tuple(parts), tokens)

    def _noise(self, found: Reckoned, member: str) -> float:
        """Of what one call costs at a member that did not have it."""
        prompts, answers = self._learned.spread(member)
        return 2 * (prompts * found.prompt**2 + answers * found.answer**2)


@dataclass(slots=True)
class Result:
    """`groups` by the words of BY."""

    groups: dict[tuple[str, ...], Both] = field(default_factory=dict)
    tried: TriedSums = field(default_factory=TriedSums)
    moves: dict[Move, int] = field(default_factory=dict)
    codes: dict[tuple[str, str], int] = field(default_factory=dict)  # (code before, code now) of refusals
    calls: int = 0
    undecidable: int = 0  # calls whose facts are not in the record
    first_ms: int = 1 << 62
    last_ms: int = 0

    def merge(self, other: Result) -> None:
        for key, both in other.groups.items():
            self.groups.setdefault(key, Both()).merge(both)
        self.tried.merge(other.tried)
        for move, calls in other.moves.items():
            self.moves[move] = self.moves.get(move, 0) + calls
        for codes, calls in other.codes.items():
            self.codes[codes] = self.codes.get(codes, 0) + calls
        self.calls += other.calls
        self.undecidable += other.undecidable
        self.first_ms = min(self.first_ms, other.first_ms)
        self.last_ms = max(self.last_ms, other.last_ms)


class Run:
    """`take` each call in the order of time. `is_meant`: those that figures are about; the others only use up
    budgets, and fill the cache."""

    def __init__(
        self, old: History | Policy, new: Policy, is_meant: Callable[[Recorded], bool] | None = None
    ) -> None:
        self._old = old
        self._new = new
        self._is_meant = is_meant
        self._tries = any(isinstance(one, Policy) and one.tries for one in (old, new))
        self.result = Result()

    def take(self, call: Recorded) -> tuple[Judged, Judged] | None:
        if call.purpose:
            if call.purpose == SHADOW and self._is_meant is None and isinstance(self._old, History):
                self.result.tried.recorded(call, self._old.cost(call))
            return None
        at_ms = call.at_ms
        at_s = call.started_s or at_ms / 1000
        old = self._old.judge(call, at_s)
        new = self._new.judge(call, at_s)
        if self._is_meant is not None and not self._is_meant(call):
            return old, new
        result = self.result
        result.calls += 1
        if at_ms < result.first_ms:
            result.first_ms = at_ms
        if at_ms > result.last_ms:
            result.last_ms = at_ms
        result.undecidable += not call.is_known
        key = (call.team, call.customer, call.feature)
        both = result.groups.get(key)
        if both is None:
            if len(result.groups) >= _MOST_GROUPS:
                key = (OTHERS,) * 3
            both = result.groups.setdefault(key, Both())
        self._count(call, old, new, both)
        return old, new

    def _count(self, call: Recorded, old: Judged, new: Judged, both: Both) -> None:
        both.calls += 1
        both.streams += call.stream
        _add(both.old, call, old)
        _add(both.new, call, new)
        if call.rollout or self._tries:
            self.result.tried.count(call, old, new)
        if old.nano is not None and new.nano is not None:
            both.old_both += old.nano
            both.new_both += new.nano
        was, now = old.outcome, new.outcome
        if was is now:
            return
        rule = was.rule != now.rule
        pool = was.pool != now.pool and not (new.is_same and call.attempts_made > 1)
        member = _moved_share(call, old, new)
        kind = was.kind != now.kind
        if not (rule or pool or member or kind or was.code != now.code):
            return
        both.moved += 1
        both.moved_rule += rule
        both.moved_pool += pool
        both.moved_member += member
        result = self.result
        if rule or pool or kind:
            move = Move(was.rule, _place(was), now.rule, _place(now))
            if move in result.moves or len(result.moves) < _MOST_MOVES:
                result.moves[move] = result.moves.get(move, 0) + 1
        if was.code != now.code:
            codes = (was.code, now.code)
            result.codes[codes] = result.codes.get(codes, 0) + 1


def _kept_by(outcome: Outcome) -> Shares:
    """Whose providers have its prompt now."""
    lot = outcome.lot
    return lot.sticky if lot is not None and lot.is_mixed else outcome.shares


def _place(outcome: Outcome) -> str:
    """Where a call goes, in a word for people."""
    if outcome.kind == REFUSED:
        where = f"{outcome.pool}, " if outcome.pool else ""
        return f"{where}refused: {outcome.code}" if outcome.code else f"{where}refused"
    return outcome.pool if outcome.kind == MEMBER else f"{outcome.pool} (cache)"


def _moved_share(call: Recorded, old: Judged, new: Judged) -> float:
    """How likely the call has another member."""
    if old.outcome.kind != MEMBER or new.outcome.kind != MEMBER or (old.is_same and new.is_same):
        return 0.0
    was = dict(old.outcome.shares)
    return max(0.0, 1.0 - sum(min(share, was.get(member, 0.0)) for member, share in new.outcome.shares))


def _add(side: Side, call: Recorded, judged: Judged) -> None:
    outcome = judged.outcome
    kind = outcome.kind
    if judged.nano is None:
        side.unknown += 1
    else:
        side.pay(judged, judged.nano)
    if kind == REFUSED:
        side.refused += 1
        return
    if outcome.degraded_from:
        side.degraded += 1
    if kind == CACHE:
        side.hits += 1
        return
    side.sent += 1
    first = call.first_member
    if judged.weighing is not None:
        weighing = judged.weighing
        weight = weighing.weight
        side.untried += weighing.untried
        for one in weighing.whole:
            side.whole.foretell(one)
        for one in weighing.first:
            side.first.foretell(one)
        for member, share in ((first, 1.0),) if judged.is_same else outcome.shares:
            side.members[member] = side.members.get(member, 0.0) + share
    elif judged.is_same:
        weight = 1.0
        if first:
            side.members[first] = side.members.get(first, 0.0) + 1.0
    else:
        weight = 0.0
        had = dict(chances_of(call)) if first else {}
        for member, share in outcome.shares:
            side.members[member] = side.members.get(member, 0.0) + share
            chance = had.get(member, 0.0)
            if not chance:
                side.untried += share
            elif member == first:
                weight = share / chance
    if first and call.outcome == OK:
        if weight:
            side.whole.add(weight, call.duration_ms)
        if weight and call.stream and call.first_byte_ms is not None:
            side.first.add(weight, call.first_byte_ms)
