"""What recorded calls tell of members: how many tokens one of them counts and writes where another one has
the same calls, and how likely each was to have them.

Members are compared on calls that both could have had: in each set of eligible members with their chances,
who had a call was a lot. So what they read and wrote there differs by the member alone, and by chance. The
arms of a rollout are such a lot, too. A call that two members really had (a shadow, a hedge, a failure behind
the last word of usage) is a pair.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from ..core.outcomes import OK
from ..core.usage import EXACT, Usage
from .arms import Arms
from .paces import Pace, Paces
from .recorded import Chance, Recorded
from .tokens import Sums

# Of calls that wait for their shadow's record.
_MOST_WAITING = 50_000
_MOST_SETS = 20_000
# Fewer calls of a member tell nothing of it.
LEAST_CALLS = 8
_LEAST_PAIRS = 20


class Ratio(NamedTuple):
    """So many times as many. `error`: relative standard error. `how`: `same`: the same model; `pairs`,
    `lots`: measured; `unknown`: never seen, and 1 is assumed. `calls`: by so many."""

    value: float
    error: float
    how: str
    calls: int = 0


SAME = Ratio(1.0, 0.0, "same")
UNKNOWN = Ratio(1.0, 0.0, "unknown")


class _Pairs:
    """Of two members, over calls that both had."""

    __slots__ = ("n", "p", "w")

    def __init__(self) -> None:
        self.n = 0
        self.p = [0.0] * 5  # sums of x, y, xx, xy, yy
        self.w = [0.0] * 5

    def add(self, one: Usage, other: Usage) -> None:
        self.n += 1
        for sums, x, y in ((self.p, one.prompt, other.prompt), (self.w, one.output, other.output)):
            for place, value in enumerate((x, y, x * x, x * y, y * y)):
                sums[place] += value

    def merge(self, other: _Pairs) -> None:
        self.n += other.n
        self.p = [one + more for one, more in zip(self.p, other.p, strict=True)]
        self.w = [one + more for one, more in zip(self.w, other.w, strict=True)]

    def ratios(self) -> tuple[Ratio, Ratio]:
        return self._ratio(self.p), self._ratio(self.w)

    def _ratio(self, sums: list[float]) -> Ratio:
        x, y, xx, xy, yy = sums
        if x <= 0 or y <= 0:
            return UNKNOWN
        r = y / x
        variance = max(0.0, yy - 2 * r * xy + r * r * xx) / (self.n - 1) * self.n
        return Ratio(r, math.sqrt(variance) / y, "pairs", self.n)


class Had(msgspec.Struct, frozen=True, gc=False):
    """What a call used at a member, and its times (`_times`)."""

    member: str
    usage: Usage
    times: tuple[float, float | None] | None


def _times(call: Recorded) -> tuple[float, float | None] | None:
    """Of a call that one attempt answered well: ms until its end and, of a stream, to its first event."""
    if call.attempts_made != 1 or call.outcome != OK:
        return None
    return call.duration_ms, call.first_byte_ms if call.stream else None


def _known(sums: tuple[Paces, Paces]) -> tuple[Pace | None, Pace | None]:
    return sums[0].pace(_LEAST_PAIRS), sums[1].pace(_LEAST_PAIRS)


class Learner:
    """`take` every record; then `learned`."""

    def __init__(self) -> None:
        self.arms = Arms()
        # Those whose members had them by lot; what is known of all the others is under ().
        self._sets: dict[tuple[Chance, ...], dict[str, Sums]] = {}
        self._pairs: dict[tuple[str, str], _Pairs] = {}
        self._paces: dict[tuple[str, str], tuple[Paces, Paces]] = {}
        self._waiting: OrderedDict[str, Had] = OrderedDict()
        self._early: OrderedDict[str, list[Had]] = OrderedDict()  # copies that ended before their call did
        self._chances: dict[tuple[str, str, tuple[Chance, ...]], int] = {}

    def take(self, call: Recorded) -> None:
        used = call.usage
        if len(call.attempts) > 1:
            exact = [one for one in call.attempts if one.usage is not None and one.usage_state == EXACT]
            if len(exact) > 1:
                self._pair(exact[0].member, exact[0].usage, exact[-1].member, exact[-1].usage)
        if call.shadow_of:
            if used is not None:
                self._copied(call.shadow_of, Had(used.member, used.usage, _times(call)))
            return
        if call.purpose:
            return
        if call.rollout:
            self.arms.take(call)
        eligible = call.eligible
        if eligible:
            key = (call.revision, call.pool, eligible)
            seen = self._chances.get(key, 0)
            if seen or len(self._chances) < _MOST_SETS:
                self._chances[key] = seen + 1
        if used is None or call.was_hit:
            return
        had = self._waiting[call.request_id] = Had(used.member, used.usage, _times(call))
        if self._early and (copies := self._early.pop(call.request_id, None)):
            for copy in copies:
                self._both(had, copy)
        if len(self._waiting) > _MOST_WAITING:
            self._waiting.popitem(last=False)
        sums = self._sums_for(eligible if call.attempts_made == 1 and len(eligible) > 1 else (), used.member)
        cost = float(call.cost.total or 0) if call.cost is not None else 0.0
        usage = used.usage
        sums.add(float(call.context_tokens or 0), float(usage.prompt), float(usage.output), cost)

    def _sums_for(self, eligible: tuple[Chance, ...], member: str) -> Sums:
        of_set = self._sets.get(eligible)
        if of_set is None:
            if len(self._sets) >= _MOST_SETS:
                of_set = self._sets.setdefault((), {})
            else:
                of_set = self._sets[eligible] = {}
        if (sums := of_set.get(member)) is None:
            sums = of_set[member] = Sums()
        return sums

    def _pair(self, one: str, usage: Usage | None, other: str, usage_there: Usage | None) -> None:
        if one == other or usage is None or usage_there is None:
            return
        self._pairs.setdefault((one, other), _Pairs()).add(usage, usage_there)
        self._pairs.setdefault((other, one), _Pairs()).add(usage_there, usage)

    def _copied(self, shadow_of: str, copy: Had) -> None:
        if (was := self._waiting.get(shadow_of)) is not None:
            self._both(was, copy)
            return
        self._early.setdefault(shadow_of, []).append(copy)
        if len(self._early) > _MOST_WAITING:
            self._early.popitem(last=False)

    def _both(self, had: Had, copy: Had) -> None:
        self._pair(had.member, had.usage, copy.member, copy.usage)
        if had.times is not None and copy.times is not None and had.member != copy.member:
            paces = self._paces.setdefault((had.member, copy.member), (Paces(), Paces()))
            for sums, was, there in zip(paces, had.times, copy.times, strict=True):
                if was is not None and there is not None:
                    sums.add(was, there)

    def forget(self) -> None:
        """Calls whose shadows may still come: there is nothing more."""
        self._waiting.clear()
        self._early.clear()

    def merge(self, other: Learner) -> None:
        """What another one has learned of other calls."""
        self.arms.merge(other.arms)
        for eligible, members in other._sets.items():
            mine = self._sets.setdefault(eligible, {})
            for name, sums in members.items():
                mine.setdefault(name, Sums()).merge(sums)
        for pair, pairs in other._pairs.items():
            self._pairs.setdefault(pair, _Pairs()).merge(pairs)
        for pair, paces in other._paces.items():
            for had, more in zip(self._paces.setdefault(pair, (Paces(), Paces())), paces, strict=True):
                had.merge(more)
        for key, calls in other._chances.items():
            self._chances[key] = self._chances.get(key, 0) + calls

    def learned(self) -> Learned:
        members: dict[str, Sums] = {}
        for of_set in self._sets.values():
            for name, sums in of_set.items():
                members.setdefault(name, Sums()).merge(sums)
        usual: dict[tuple[str, str, tuple[str, ...]], tuple[Chance, ...]] = {}
        for (revision, pool, eligible), _ in sorted(self._chances.items(), key=lambda one: -one[1]):
            usual.setdefault((revision, pool, tuple([one.member for one in eligible])), eligible)
        by_lot = {eligible: of_set for eligible, of_set in self._sets.items() if eligible}
        sets = [*by_lot.values(), *self.arms.sets()]
        return Learned(members, sets, self._pairs, usual, by_lot, self.arms.without_lots(), self._paces)


class Learned:
    """Pure, but for what it keeps to be fast."""

    def __init__(
        self,
        members: Mapping[str, Sums],
        sets: list[dict[str, Sums]],
        pairs: Mapping[tuple[str, str], _Pairs],
        usual: Mapping[tuple[str, str, tuple[str, ...]], tuple[Chance, ...]],
        by_set: Mapping[tuple[Chance, ...], dict[str, Sums]],
        arms: Arms,
        paces: Mapping[tuple[str, str], tuple[Paces, Paces]],
    ) -> None:
        self.arms = arms
        self.paces = {pair: found for pair, sums in paces.items() if (found := _known(sums))[0] is not None}
        self.members = members
        self._sets = sets
        self._pairs = pairs
        self._usual = usual
        self._by_set = by_set
        self._ratios: dict[tuple[str, str], tuple[Ratio, Ratio]] = {}
        self._lots: dict[tuple[Chance, ...], float] = {}
        self._spread: dict[str, tuple[float, float]] = {}

    def usual_chances(self, call: Recorded) -> tuple[Chance, ...]:
        """Those that its set of members has as a rule: with others a member was out, or came back."""
        key = (call.revision, call.pool, tuple([one.member for one in call.eligible]))
        return self._usual.get(key, call.eligible)

    def ratios(self, one: str, other: str) -> tuple[Ratio, Ratio]:
        """(tokens of prompts, tokens of answers): of `other` to those of `one`."""
        key = (one, other)
        if (found := self._ratios.get(key)) is None:
            found = self._ratios[key] = self._find(one, other)
        return found

    def _find(self, one: str, other: str) -> tuple[Ratio, Ratio]:
        if one.partition("/")[2] == other.partition("/")[2]:
            return SAME, SAME
        paired = self._pairs.get((one, other))
        if paired is not None and paired.n >= _LEAST_PAIRS:
            return paired.ratios()
        prompts, answers = _Means(), _Means()
        for members in self._sets:
            a, b = members.get(one), members.get(other)
            if a is None or b is None or a.n < LEAST_CALLS or b.n < LEAST_CALLS:
                continue
            weight = a.n * b.n / (a.n + b.n)
            estimate = (a.e + b.e) / (a.n + b.n)
            calls = a.n + b.n
            prompts.add(
                *(weight, a.per_estimate * estimate, a.prompt_variance / a.n),
                *(b.per_estimate * estimate, b.prompt_variance / b.n, calls),
            )
            answers.add(
                *(weight, a.written, a.written_variance / a.n),
                *(b.written, b.written_variance / b.n, calls),
            )
        return prompts.ratio(), answers.ratio()

    def lot_variance(self, eligible: tuple[Chance, ...]) -> float:
        """Of what a call of this set costs, by who has it alone: relative to its mean, squared."""
        if (found := self._lots.get(eligible)) is None:
            sums = self._by_set.get(eligible, {})
            known = [(one.chance, s.k / s.n) for one in eligible if (s := sums.get(one.member)) and s.n]
            mean = sum(chance * cost for chance, cost in known)
            square = sum(chance * cost * cost for chance, cost in known)
            found = max(0.0, square / (mean * mean) - 1.0) if mean else 0.0
            self._lots[eligible] = found
        return found

    def spread(self, member: str) -> tuple[float, float]:
        """Relative variances of a prompt's tokens (beside what is estimated) and of an answer's: of their
        mean squares, so that over all calls, each by its size, they come to what was seen. (Of the mean's
        square, a few large calls would count for all.)"""
        if (found := self._spread.get(member)) is None:
            sums = self.members.get(member)
            if sums is None or sums.n < LEAST_CALLS:
                known = [self.spread(name) for name, one in self.members.items() if one.n >= LEAST_CALLS]
                found = (max((s[0] for s in known), default=0.0), max((s[1] for s in known), default=1.0))
            else:
                found = (
                    sums.prompt_variance * sums.n / sums.pp if sums.pp else 0.0,
                    sums.written_variance * sums.n / sums.ww if sums.ww else 0.0,
                )
            self._spread[member] = found
        return found


class _Means:
    """Of two members, over sets of calls."""

    __slots__ = ("a", "av", "b", "bv", "calls")

    def __init__(self) -> None:
        self.a = self.av = self.b = self.bv = 0.0
        self.calls = 0.0

    def add(self, weight: float, a: float, av: float, b: float, bv: float, calls: float) -> None:
        self.a += weight * a
        self.av += weight * weight * av
        self.b += weight * b
        self.bv += weight * weight * bv
        self.calls += calls

    def ratio(self) -> Ratio:
        if self.a <= 0 or self.b <= 0:
            return UNKNOWN
        error = math.sqrt(self.av / self.a**2 + self.bv / self.b**2)
        return Ratio(self.b / self.a, error, "lots", round(self.calls))
