"""What calls come to under two policies: running sums, of which all figures and intervals are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from ..stats import Interval, Weighted, WeightedSums
from .learning import Learned
from .paces import Foretelling, Foretold

# Two-sided 95 %.
Z = 1.959964
# A larger part of calls that the old policy never sent where the new one would is too large for a latency.
MOST_UNTRIED = 0.05
LEAST_EFFECTIVE = 30.0


class Weighed:
    """Of a quantity that calls had, weighed by how much likelier the policy's lots are than those that were
    drawn. `n` calls, sums of weights and of weights with the quantity."""

    _sums = ("n", "w", "ww", "wwy", "wwyy", "wy", "wyy")
    __slots__ = ("foretold", *_sums)

    def __init__(self) -> None:
        self.foretold: Foretelling | None = None  # of calls that go where none like them went
        self.n = 0
        self.w = self.ww = self.wy = self.wyy = self.wwy = self.wwyy = 0.0

    def add(self, weight: float, value: float) -> None:
        self.n += 1
        self.w += weight
        self.ww += weight * weight
        scaled = weight * value
        self.wy += scaled
        self.wyy += scaled * value
        self.wwy += weight * scaled
        self.wwyy += scaled * scaled

    def merge(self, other: Weighed) -> None:
        for name in Weighed._sums:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.foretold is not None:
            self.foretold = self.foretold or Foretelling()
            self.foretold.merge(other.foretold)

    def foretell(self, one: Foretold) -> None:
        self.foretold = self.foretold or Foretelling()
        self.foretold.add(one)

    @property
    def foretold_share(self) -> float:
        """Of the calls that the mean is of."""
        weight = self.foretold.weight if self.foretold is not None else 0.0
        return weight / (self.w + weight) if weight else 0.0

    def again(self) -> Weighted | None:
        """The self-normalised mean; `low` to `high` holds what is met if the same calls come again and have
        their own luck, in 95 of 100 cases. None where there is nothing."""
        if self.foretold is not None and self.foretold.weight:
            return self._with_foretold(self.foretold)
        return self._again()

    def _again(self) -> Weighted | None:
        sums = WeightedSums(self.n, self.w, self.ww, self.wy, self.wwy, self.wwyy, binary=False)
        found = sums.estimate()
        if found is None:
            return None
        interval, mean = found.interval, found.interval.value
        spread = max(0.0, self.wyy / self.w - mean * mean) / self.n
        half = math.hypot((interval.high - interval.low) / 2, Z * math.sqrt(spread))
        return Weighted(Interval(max(0.0, mean - half), mean, mean + half, self.n), found.effective_n)

    def _with_foretold(self, foretold: Foretelling) -> Weighted | None:
        """Both together, each by how many calls it stands for."""
        weight, total_ms, square, worth = self.w, self.wy, 0.0, 0.0
        own = self._again() if self.w > 0 else None
        if own is not None:
            half = (own.interval.high - own.interval.low) / 2
            square, worth = (self.w * half) ** 2, own.effective_n
            if self.w > MOST_UNTRIED * (self.w + foretold.weight) and worth < LEAST_EFFECTIVE:
                return own  # too few of them for their part
        weight, total_ms = weight + foretold.weight, total_ms + foretold.total_ms
        mean = total_ms / weight
        half = math.sqrt(square + Z * Z * foretold.variance) / weight
        interval = Interval(max(0.0, mean - half), mean, mean + half, self.n)
        return Weighted(interval, worth + foretold.worth)


class Priced(Protocol):
    """What is known of a call's cost beside its amount: as run.Judged has it, and tried.Spent."""

    @property
    def variance(self) -> float: ...
    @property
    def by_mean(self) -> float: ...
    @property
    def parts(self) -> tuple[tuple[str, str, float, float], ...]: ...


class Side:
    """Of one policy."""

    __slots__ = (
        "by_mean",
        "cost",
        "degraded",
        "first",
        "hits",
        "members",
        "refused",
        "sent",
        "tokens",
        "unknown",
        "untried",
        "variance",
        "whole",
    )

    def __init__(self) -> None:
        self.sent = self.refused = self.degraded = self.hits = (
            0  # calls: to members, …, answered by the cache
        )
        self.cost = 0.0  # nano-dollars, of calls of which it is known
        self.unknown = 0  # calls of which it is not
        self.variance = 0.0
        self.by_mean = 0.0  # of `cost`, where a mean stands for what the call used
        self.untried = 0.0  # calls at members that the old policy never tried for them
        self.whole = Weighed()  # ms
        self.first = Weighed()  # ms, of streams
        # (whose usage, at which member) → nano-dollars of prompts and answers
        self.tokens: dict[tuple[str, str], list[float]] = {}
        self.members: dict[str, float] = {}  # expected calls

    def pay(self, one: Priced, nano: float) -> None:
        """A call whose cost is known."""
        self.cost += nano
        self.variance += one.variance
        self.by_mean += one.by_mean
        for source, member, prompt, answer in one.parts:
            if source:
                sums = self.tokens.setdefault((source, member), [0.0, 0.0])
                sums[0] += prompt
                sums[1] += answer

    def merge(self, other: Side) -> None:
        for name in (
            "sent",
            "refused",
            "degraded",
            "hits",
            "cost",
            "unknown",
            "variance",
            "by_mean",
            "untried",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.whole.merge(other.whole)
        self.first.merge(other.first)
        for pair, (prompt, answer) in other.tokens.items():
            sums = self.tokens.setdefault(pair, [0.0, 0.0])
            sums[0] += prompt
            sums[1] += answer
        for member, calls in other.members.items():
            self.members[member] = self.members.get(member, 0.0) + calls

    def cost_interval(self, learned: Learned) -> Interval:
        """Of what is known: what is met if the same calls come again. What is assumed is not in its width."""
        variance = self.variance
        for (source, member), (prompt, answer) in self.tokens.items():
            prompts, answers = learned.ratios(source, member)
            variance += (prompt * prompts.error) ** 2 + (answer * answers.error) ** 2
        half = Z * math.sqrt(variance)
        return Interval(max(0.0, self.cost - half), self.cost, self.cost + half, self.sent)

    def assumed(self, learned: Learned) -> float:
        """Nano-dollars of calls whose tokens at their member are not known: as many are assumed."""
        return sum(
            prompt + answer
            for (source, member), (prompt, answer) in self.tokens.items()
            if learned.ratios(source, member)[1].how == "unknown"
        )

    @property
    def untried_share(self) -> float:
        return self.untried / self.sent if self.sent else 0.0

    def latency(self, weighed: Weighed) -> Weighted | None:
        """Milliseconds. None: not enough overlap, or no call."""
        if self.untried_share > MOST_UNTRIED:
            return None
        found = weighed.again()
        return found if found is not None and found.effective_n >= LEAST_EFFECTIVE else None


class Both:
    """Of a group of calls. `streams`: how many are; `moved…`: how many change; `old_both`, `new_both`: the
    cost of those of which it is known on both sides."""

    __slots__ = (
        "calls",
        "moved",
        "moved_member",
        "moved_pool",
        "moved_rule",
        "new",
        "new_both",
        "old",
        "old_both",
        "streams",
    )

    def __init__(self) -> None:
        self.calls = self.streams = self.moved = self.moved_rule = self.moved_pool = 0
        self.moved_member = 0.0
        self.old_both = self.new_both = 0.0
        self.old, self.new = Side(), Side()

    def merge(self, other: Both) -> None:
        for name in (
            *("calls", "streams", "moved", "moved_rule", "moved_pool", "moved_member"),
            *("old_both", "new_both"),
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.old.merge(other.old)
        self.new.merge(other.new)


def rolled_up(groups: Mapping[tuple[str, ...], Both], place: int | None) -> dict[str, Both]:
    """By one of the words of the groups' names; None: all in one."""
    found: dict[str, Both] = {}
    for key, both in groups.items():
        found.setdefault("" if place is None else key[place], Both()).merge(both)
    return found
