"""What every Envoy is to have: the current snapshot, and those that calls still rest on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .overlay import Holders, Overlay, ShareOf, holders_of
from .session import Nack
from .snapshot import Snapshot, Union, Versioned, Versions

# Calls that were decided before an edit may retry this long after it: longer than any first-event timeout.
LINGER_S = 900.0
MAX_RETAINED = 64


@dataclass(frozen=True, slots=True)
class Refusal:
    """A snapshot that an Envoy would not take."""

    revision: str
    node: str
    nack: Nack


@dataclass(frozen=True, slots=True)
class Plan:
    """What `Store.commit` will make true: large ones are worked out beside the event loop."""

    basis: int
    now_s: float
    current: Snapshot
    retained: tuple[tuple[float, Snapshot], ...]  # (when it was replaced, snapshot), newest first
    target: Versions
    holders: Holders


class Store:
    """Pure state; times are seconds of any one monotonic clock, given by the caller. Only `plan` may be
    called from another thread than the rest."""

    def __init__(self) -> None:
        self._union = Union()
        self._members: dict[str, tuple[Versioned, frozenset[str]]] = {}  # of each cluster, for `plan` alone
        self._base: Versions | None = None  # the target as it is configured
        self._holders: Holders = {}
        self._overlay = Overlay()
        self._health: tuple[Collection[str], ShareOf] = ((), lambda pool, member: 1.0)
        self._commits = 0
        self._current: Snapshot | None = None
        self._good: Snapshot | None = None  # the last one that an Envoy took in full
        self._retained: tuple[tuple[float, Snapshot], ...] = ()
        self._routed = ""  # the last generation whose routes were sent: calls can have been decided by it
        self.target: Versions | None = None
        self.refusal: Refusal | None = None  # of the newest edit

    @property
    def current(self) -> Snapshot | None:
        return self._current

    def plan(self, snapshot: Snapshot, now_s: float) -> Plan:
        """How `snapshot` would be published."""
        basis, current, retained = self._commits, self._current, list(self._retained)
        # With other contents in the same generation (a rotated secret) nothing has to be kept of the older.
        if current is not None and current.generation == self._routed:
            retained.insert(0, (now_s, current))
        kept = [
            (since, old)
            for since, old in retained
            if now_s - since < LINGER_S and old.generation != snapshot.generation
        ][:MAX_RETAINED]
        target = self._union(snapshot, [old for _, old in kept])
        holders = holders_of(target, self._members)
        return Plan(basis, now_s, snapshot, tuple(kept), target, holders)

    def commit(self, plan: Plan, *, proven: bool = False) -> None:
        """Make a plan's snapshot what every Envoy is to have; a plan that was overtaken is made anew.
        `proven`: an Envoy had it in full before, so it is one to come back to."""
        if plan.basis != self._commits:
            plan = self.plan(plan.current, plan.now_s)
        self._commits += 1
        self.refusal = None
        self._current, self._retained = plan.current, plan.retained
        self._base, self._holders = plan.target, plan.holders
        self._lay_over()
        if proven:
            self._good, self._routed = plan.current, plan.current.generation

    def set_health(self, notable: Collection[str], share_of: ShareOf) -> bool:
        """Take what is known of members' health: `notable` are those of whom there is something to say. True
        where the target is another one."""
        before, self._health = self.target, (notable, share_of)
        self._lay_over()
        return self.target is not before

    def _lay_over(self) -> None:
        if self._base is None:
            return
        made = self._overlay(self._base, self._holders, *self._health)
        if self.target is None or any(made[of] != self.target[of] for of in made):
            self.target = made

    def routed(self) -> None:
        """Note that routes of the target were sent: from now on it lingers when it is replaced."""
        if self._current is not None and self._routed != self._current.generation:
            self._routed = self._current.generation
            self._commits += 1  # a plan that is being made does not know

    def accepted(self) -> bool:
        """Note that an Envoy has the current snapshot in full; True the first time."""
        self.routed()  # an Envoy may have had them from a control plane before this one
        if self._good is self._current:
            return False
        self._good = self._current
        self.refusal = None
        return True

    def concerns(self, nack: Nack) -> bool:
        """What was refused is a part of the target; else it is of a snapshot that was replaced already."""
        named = self.target[nack.type_url] if self.target else {}
        return any(
            name in named and named[name].version == version for name, version in nack.versions.items()
        )

    def refused(self, node: str, nack: Nack, now_s: float) -> Snapshot | None:
        """An Envoy refused a part: the last good snapshot is the target again, and is returned."""
        current, good = self._current, self._good
        if current is None:
            return None
        # What is refused first brings the rest along.
        refusal = self.refusal or Refusal(current.revision, node, nack)
        if good is not None and good is not current:
            # Nothing is kept of it: no call was decided by it, and a fresh Envoy would refuse it again.
            self._current = good
            self.commit(self.plan(good, now_s))
        else:
            good = None
        self.refusal = refusal
        return good

    def expired(self, now_s: float) -> Plan | None:
        """The plan to let go of what lingered long enough; None where there is nothing."""
        if self._current is None or all(now_s - since < LINGER_S for since, _ in self._retained):
            return None
        return self.plan(self._current, now_s)

    def generations(self) -> list[str]:
        """Generations that calls may still be decided by, the current one first."""
        current = [self._current.generation] if self._current else []
        return current + [old.generation for _, old in self._retained]
