"""What every Envoy is to have: the current snapshot, and those that calls still rest on."""

from __future__ import annotations

from dataclasses import dataclass

from .session import Nack, Session
from .snapshot import Snapshot, Versions, routes_generation, union

# Calls that were decided before an edit may retry this long after it: longer than any first-event timeout.
LINGER_S = 900.0
MAX_RETAINED = 64


@dataclass(frozen=True, slots=True)
class Refusal:
    """A snapshot that an Envoy would not take."""

    revision: str
    node: str
    nack: Nack


class Store:
    """Pure state; times are seconds of any one monotonic clock, given by the caller."""

    def __init__(self) -> None:
        self._current: Snapshot | None = None
        self._good: Snapshot | None = None  # the last one that an Envoy took in full
        self._retained: list[tuple[float, Snapshot]] = []  # (when it was replaced, snapshot), newest first
        self.target: Versions | None = None
        self.refusal: Refusal | None = None

    @property
    def current(self) -> Snapshot | None:
        return self._current

    def publish(self, snapshot: Snapshot, now_s: float) -> None:
        """Make `snapshot` what every Envoy is to have."""
        if self._current is not None and snapshot.generation == self._current.generation:
            # Same routing, other contents (a rotated secret): nothing has to be kept of the older one.
            self._current = snapshot
        else:
            if self._current is not None:
                self._retained.insert(0, (now_s, self._current))
            self._current = snapshot
        self._retained = [
            (since, old) for since, old in self._retained if old.generation != snapshot.generation
        ]
        self._merge(now_s)

    def accepted(self, session: Session) -> bool:
        """Note that an Envoy has the current snapshot in full; True the first time."""
        current = self._current
        if current is None or session.acked_routes != routes_generation(current.resources):
            return False
        if self._good is current:
            return False
        self._good = current
        self.refusal = None
        return True

    def refused(self, node: str, nack: Nack, now_s: float) -> Snapshot | None:
        """An Envoy refused a part: the last good snapshot is the target again, and is returned."""
        current, good = self._current, self._good
        if current is None:
            return None
        self.refusal = Refusal(current.revision, node, nack)
        if good is None or good is current:
            return None
        self.publish(good, now_s)
        return good

    def expire(self, now_s: float) -> bool:
        """Let go of what lingered long enough; True where that changed the target."""
        keep = [(since, old) for since, old in self._retained if now_s - since < LINGER_S][:MAX_RETAINED]
        if len(keep) == len(self._retained):
            return False
        self._retained = keep
        self._merge(now_s)
        return True

    def generations(self) -> list[str]:
        """Generations that calls may still be decided by, the current one first."""
        current = [self._current.generation] if self._current else []
        return current + [old.generation for _, old in self._retained]

    def _merge(self, now_s: float) -> None:
        self._retained = [(s, old) for s, old in self._retained if now_s - s < LINGER_S][:MAX_RETAINED]
        if self._current is not None:
            self.target = union(self._current, [old for _, old in self._retained])
