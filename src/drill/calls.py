"""What is known of a drill's calls: as their clients saw them, and as the broker recorded them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .scenarios import Ask
from .wire import Seen


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its client saw it. `phase`: what the drill did when it was due. Times in seconds of the
    load's own clock; `ended_s` - `due_s` is what the client waited."""

    number: int
    pool: str
    ask: Ask
    phase: str
    due_s: float
    ended_s: float
    seen: Seen
    status: int
    member: str
    attempts: int  # by the reply's header; 0 where none came
    request_id: str
    shown: str = ""  # of a reply that is not good: how it looks

    @property
    def ms(self) -> float:
        return (self.ended_s - self.due_s) * 1000

    def story(self) -> str:
        """For people: which call, and what its client got."""
        who = f"request {self.request_id}" if self.request_id else f"call {self.number}"
        words = [f"{who}, {self.ask}: {self.seen.end}, status {self.status}"]
        if self.seen.code:
            words.append(f"code {self.seen.code}")
        if self.member:
            words.append(f"from {self.member}")
        words.append(f"after {self.attempts} attempts and {self.ms:.0f} ms")
        return ", ".join(words) + (f": {self.shown}" if self.shown else "")


@dataclass(frozen=True, slots=True)
class Kept:
    """A call's line in calls.jsonl."""

    request_id: str
    status: int
    attempts_made: int
    attempts_listed: int
    member: str
    code: str


@dataclass(frozen=True, slots=True)
class Processes:
    """Of one moment: resident memory in MB and open file descriptors, by process."""

    memory_mb: Mapping[str, float]
    descriptors: Mapping[str, int]
