"""Answers of the ledger that are shown again for a while: the longer one took, the longer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

_LEAST_S, _TIMES, _MOST = 2.0, 20.0, 32


class Resting(Generic[Answer]):
    """From any thread. An answer takes a twentieth of one core at most, however often somebody looks."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._lock = Lock()
        self._kept: OrderedDict[Hashable, tuple[float, Answer]] = OrderedDict()  # until when it is good

    def get(self, key: Hashable, make: Callable[[], Answer]) -> Answer:
        """Raises what `make` does; then nothing is kept."""
        began_s = self._now_s()
        with self._lock:
            until_s, *found = self._kept.get(key, (0.0,))
        if found and began_s < until_s:
            return found[0]
        answer = make()
        ended_s = self._now_s()
        with self._lock:
            self._kept[key] = ended_s + max(_LEAST_S, _TIMES * (ended_s - began_s)), answer
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return answer
