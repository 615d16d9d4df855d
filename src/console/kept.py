"""Answers that took long, kept for a while: however many look, they are asked for only so often."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

Made = TypeVar("Made")
_TIMES = 20  # a twentieth of the time at most goes into making it
_MOST = 200


class _Place:
    def __init__(self) -> None:
        self.lock = Lock()
        self.until_s = 0.0
        self.made: Any = None


class Kept:
    """From any thread. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places: dict[Hashable, _Place] = {}
        self._lock = Lock()

    def get(self, key: Hashable, least_s: float, make: Callable[[], Made]) -> Made:
        """What `make` gave at most `least_s` ago, or longer if it took long. What it raises is not kept."""
        with self._lock:
            place = self._places.get(key)
            if place is None:
                if len(self._places) >= _MOST:
                    self._places.pop(next(iter(self._places)))
                place = self._places[key] = _Place()
        with place.lock:
            began_s = self._clock()
            if began_s >= place.until_s:
                place.made = make()
                ended_s = self._clock()
                place.until_s = ended_s + max(least_s, _TIMES * (ended_s - began_s))
            made: Made = place.made
            return made
