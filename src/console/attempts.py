"""Who tries tokens: how many may be tried, and how many of those that fail are told."""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

_MINUTE_S = 60.0
MOST, MOST_OF_ALL = 10, 100  # within a minute: of one address, of all


class Window:
    """`most` within a minute."""

    def __init__(self, most: int) -> None:
        self._came_s: deque[float] = deque(maxlen=most)

    def is_full(self, now_s: float) -> bool:
        return len(self._came_s) == self._came_s.maxlen and now_s - self._came_s[0] < _MINUTE_S

    def take(self, now_s: float) -> None:
        self._came_s.append(now_s)


class _Line(Window):
    """Of logins that take turns: `most` of the last minute without a wait, then one each `every_s`."""

    def __init__(self, most: int, every_s: float) -> None:
        super().__init__(most)
        self._every_s = every_s
        self._free_s = 0.0

    def wait_s(self, now_s: float) -> float:
        return max(self._free_s - now_s, 0.0) if self.is_full(now_s) else 0.0

    def wait(self, now_s: float, wait_s: float) -> None:
        self.take(now_s)
        self._free_s = max(self._free_s, now_s + wait_s + self._every_s)


One = TypeVar("One", bound=Window)


class _Addresses(Generic[One]):
    """One for each address; of many, for those that came last."""

    _MOST = 1_000

    def __init__(self, make: Callable[[], One]) -> None:
        self._make = make
        self._known: dict[str, One] = {}

    def of(self, peer: str) -> One:
        return self._known.get(_address(peer)) or self._make()

    def keep(self, peer: str, one: One) -> None:
        address = _address(peer)
        if address not in self._known and len(self._known) >= self._MOST:
            self._known.pop(next(iter(self._known)))
        self._known[address] = one


class Attempts:
    """Logins take turns where there are many of them: from one address, or from all. Nobody is kept out for
    others' failures, since a right token is checked as a wrong one is; but how many can be tried is bounded.
    From any thread."""

    EVERY_S, EVERY_OF_ALL_S = 0.1, 0.01  # one so often, behind MOST and MOST_OF_ALL without any wait
    LONGEST_S = 5.0  # who would wait longer is to come again

    def __init__(self) -> None:
        self._all = _Line(MOST_OF_ALL, self.EVERY_OF_ALL_S)
        self._lines = _Addresses(lambda: _Line(MOST, self.EVERY_S))
        self._lock = Lock()

    def wait_s(self, peer: str, now_s: float) -> float | None:
        """In how many seconds this login is checked; None: too many wait already."""
        with self._lock:
            line = self._lines.of(peer)
            wait_s = max(line.wait_s(now_s), self._all.wait_s(now_s))
            if wait_s > self.LONGEST_S:
                return None
            self._lines.keep(peer, line)
            line.wait(now_s, wait_s)
            self._all.wait(now_s, wait_s)
            return wait_s


class Sparing:
    """Whoever shows wrong tokens fills no disk, and silences nobody at another address. From any thread."""

    def __init__(self) -> None:
        self._all = Window(MOST_OF_ALL)
        self._windows = _Addresses(lambda: Window(MOST))
        self._lock = Lock()

    def told(self, peer: str, now_s: float) -> str | None:
        """What is to be said besides when this failure is told; None: it is not told."""
        with self._lock:
            window = self._windows.of(peer)
            if window.is_full(now_s) or self._all.is_full(now_s):
                return None
            self._windows.keep(peer, window)
            window.take(now_s)
            self._all.take(now_s)
            is_last = window.is_full(now_s) or self._all.is_full(now_s)
            return "; of more within a minute nothing is told" if is_last else ""


def _address(peer: str) -> str:
    """Whom a try is counted for: who has one address of IPv6 has the 2^64 beside it, and who is on this
    machine has all of its own."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return "" if address.is_loopback else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
        address = address.ipv4_mapped
    return "" if address.is_loopback else str(address)
