"""Calls that wait for a member, of all pools together: bounded, and not let go all at once."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Gauge

# Each holds its body here and in Envoy.
MOST_CALLS = 1_000
MOST_BYTES = 256 * 1024 * 1024
# Whoever is ready again is met by the first call at once, and by the others over so long.
SPREAD_S = 1.0
_BITS = MOST_CALLS.bit_length()
_WAITING = Gauge("modelbroker_calls_waiting", "Calls that wait for a member that takes calls again")


@dataclass(slots=True)
class Waiting:
    calls: int = 0
    bytes: int = 0

    def has_room(self, size: int) -> bool:
        """For one more call with a body of `size` bytes."""
        return self.calls < MOST_CALLS and self.bytes + size <= MOST_BYTES

    def enter(self, size: int) -> float:
        """How much later than others this call is let go, in s: 0 for the first, then 1/2, 1/4, 3/4, 1/8 …
        of the spread, so that few and many are spread evenly."""
        number = self.calls
        self.calls += 1
        self.bytes += size
        _WAITING.set(self.calls)
        mirrored = int(f"{number:0{_BITS}b}"[::-1], 2)
        return SPREAD_S * mirrored / (1 << _BITS)

    @property
    def share(self) -> float:
        """How much of its lag a call keeps that only looks: few look as often as they want, and many don't
        keep the broker busy by it."""
        return self.calls / MOST_CALLS

    def leave(self, size: int) -> None:
        self.calls -= 1
        self.bytes -= size
        _WAITING.set(self.calls)
