"""How long members take for calls that others had: learned from copies that shadows got.

A copy is sent behind its call, to a member that has few others: under another load, and seldom with a warm
prompt cache. So it tells how fast the member is with calls like these, not how fast it will be with all of
them; where calls by lot tell that, they are asked instead.
"""

from __future__ import annotations

import math
from typing import NamedTuple

Z = 1.959964


class Pace(NamedTuple):
    """A member takes `value` times as long as another one. `error`: relative standard error of that;
    `spread`: variance of one call's time beside it, to the square of the time there. By `calls`."""

    value: float
    error: float
    spread: float
    calls: int


class Paces:
    """Of two members, over calls that both had: ms there (x) and here (y)."""

    __slots__ = ("n", "x", "xx", "xy", "y", "yy")

    def __init__(self) -> None:
        self.n = 0
        self.x = self.y = self.xx = self.xy = self.yy = 0.0

    def add(self, x: float, y: float) -> None:
        self.n += 1
        self.x += x
        self.y += y
        self.xx += x * x
        self.xy += x * y
        self.yy += y * y

    def merge(self, other: Paces) -> None:
        for name in Paces.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def pace(self, least: int) -> Pace | None:
        """None: of too few."""
        if self.n < least or self.x <= 0 or self.y <= 0:
            return None
        r = self.y / self.x
        beside = max(0.0, self.yy - 2 * r * self.xy + r * r * self.xx)
        error = math.sqrt(beside * self.n / (self.n - 1)) / self.y
        return Pace(r, error, beside / self.xx, self.n)


class Foretold(NamedTuple):
    """A part of a call that goes where no call like it went: `share` of it would take `ms` there."""

    source: str
    member: str
    share: float
    was_ms: float
    pace: Pace


class Foretelling:
    """Sums of those. By pair: calls, shares, ms as they were, and squares of these."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], tuple[Pace, list[float]]] = {}

    def add(self, one: Foretold) -> None:
        key = one.source, one.member
        if (known := self._pairs.get(key)) is None:
            known = self._pairs[key] = one.pace, [0.0] * 4
        sums, scaled = known[1], one.share * one.was_ms
        for place, value in enumerate((1.0, one.share, scaled, scaled * one.was_ms)):
            sums[place] += value

    def merge(self, other: Foretelling) -> None:
        for key, (pace, sums) in other._pairs.items():
            mine = self._pairs.setdefault(key, (pace, [0.0] * 4))[1]
            for place, value in enumerate(sums):
                mine[place] += value

    @property
    def weight(self) -> float:
        """Calls."""
        return sum(sums[1] for _, sums in self._pairs.values())

    @property
    def worth(self) -> float:
        """No more calls than were copied."""
        return sum(min(sums[1], float(pace.calls)) for pace, sums in self._pairs.values())

    @property
    def total_ms(self) -> float:
        return sum(pace.value * sums[2] for pace, sums in self._pairs.values())

    @property
    def variance(self) -> float:
        """Of the total, if the same calls come again."""
        return sum(
            (pace.value * pace.error * sums[2]) ** 2 + pace.spread * sums[3]
            for pace, sums in self._pairs.values()
        )
