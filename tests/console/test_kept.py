"""Answers that are shown again for a while."""

from __future__ import annotations

import pytest
from modelbroker.console.kept import Kept


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.made = 0

    def make(self, takes_s: float) -> int:
        self.now_s += takes_s
        self.made += 1
        return self.made


def test_the_longer_it_took_the_longer_it_rests() -> None:
    clock = Clock()
    kept = Kept(lambda: clock.now_s)
    assert kept.get("a", 2.0, lambda: clock.make(0.01)) == 1
    clock.now_s += 1.9
    assert kept.get("a", 2.0, lambda: clock.make(3.0)) == 1
    clock.now_s += 0.2
    assert kept.get("a", 2.0, lambda: clock.make(3.0)) == 2
    clock.now_s += 59
    assert kept.get("a", 2.0, lambda: clock.make(0.0)) == 2
    clock.now_s += 2
    assert kept.get("a", 2.0, lambda: clock.make(0.0)) == 3


def test_only_so_many_are_kept_and_no_failure() -> None:
    clock = Clock()
    kept = Kept(lambda: clock.now_s)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", 2.0, lambda: 1 // 0)
    assert kept.get("a", 2.0, lambda: clock.make(0.0)) == 1
    for number in range(200):
        kept.get(number, 2.0, lambda: clock.make(0.0))
    assert kept.get("a", 2.0, lambda: clock.make(0.0)) == 202
    assert kept.get(199, 2.0, lambda: clock.make(0.0)) == 201
