"""What is tried beside a pool's own members: shadows, and rollouts, as a configuration says them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # a catalog holds trials
    from collections.abc import Collection

    from .catalog import Condition

# What a call is for, where it is no client's: a copy of one, or a question to who scores answers.
SHADOW, SCORE = "shadow", "score"
# Whose a call is in a rollout.
STABLE, CANDIDATE = "stable", "candidate"
ALL_PPM = 1_000_000
# Copies of a shadow under way together, and how long each may take, where nothing else is said.
COPIES, COPY_MS = 16, 120_000
# What stands in the names of pools that the broker makes itself, and in no other's.
MADE = "~"


def candidate_pool(pool: str, member_id: str) -> str:
    """The name of the pool that the broker makes for one member that is tried beside `pool`."""
    return f"{pool}{MADE}{member_id}"


def is_made(pool: str) -> bool:
    """Has the broker made this pool itself? Then nobody can ask for it."""
    return MADE in pool


def made_beside(pools: Collection[str]) -> tuple[str, ...]:
    """How the names of all pools begin that the broker makes beside these. Whoever asks for calls of a pool
    means those of its candidates as well; who names such a pool means that one alone."""
    return tuple(f"{pool}{MADE}" for pool in pools if pool and not is_made(pool))


def beside(pool: str) -> str:
    """The pool beside which the broker made this one; itself, where it did not."""
    return pool.partition(MADE)[0]


def is_one_of(pool: str, pools: Collection[str]) -> bool:
    """Does somebody who asks for calls of `pools` mean those of this one?"""
    return pool in pools or beside(pool) in pools


@dataclass(frozen=True, slots=True)
class Shadow:
    """Calls of `pool` are also sent to `target` (a pool; one member has a pool of its own): those for which
    all of `conditions` hold, `share_ppm` of a million of them, at most `concurrency` at a time, each for at
    most `timeout_ms`. `to` is how the configuration names the target. `name` is unique."""

    name: str
    pool: str
    target: str
    to: str
    share_ppm: int
    conditions: tuple[Condition, ...] = ()
    concurrency: int = COPIES
    timeout_ms: int = COPY_MS
    rollout: str = ""  # the rollout whose stage it is, where it is one's

    @property
    def caller(self) -> str:
        """Who calls, in records and budgets."""
        return f"{SHADOW}:{self.pool}"


@dataclass(frozen=True, slots=True)
class Gates:
    """How much worse a candidate may be, at most, at `confidence_ppm`; None: that is not looked at.

    `errors_ppm` and `quality_ppm`: parts of a million of its calls, and of a score between 0 and 1.
    `latency_ppm`, `first_event_ppm` (95th percentiles) and `cost_ppm` (a call on average): parts of a million
    of the stable arm's."""

    confidence_ppm: int = 950_000
    errors_ppm: int | None = 20_000
    quality_ppm: int | None = None
    latency_ppm: int | None = None
    first_event_ppm: int | None = None
    cost_ppm: int | None = None


@dataclass(frozen=True, slots=True)
class Scorer:
    """How good answers are. `said` are its words as JSON, as suites of evaluations have them; `pool` is whom
    it asks, "" where it asks nobody."""

    name: str
    kind: str
    pool: str
    said: str


@dataclass(frozen=True, slots=True)
class Scores:
    """So many parts of a million of each arm's calls are scored `by` these. `name` is unique: the rollout's,
    or that of a stage that has its own."""

    name: str
    pool: str
    by: tuple[Scorer, ...]
    share_ppm: int

    @property
    def caller(self) -> str:
        """Who asks judges, in records and budgets."""
        return f"{SCORE}:{self.pool}"

    @property
    def asks(self) -> tuple[str, ...]:
        """The pools that are asked."""
        return tuple(sorted({one.pool for one in self.by if one.pool}))


class ToScore(NamedTuple):
    """Of one call whose answer is to be scored: by which Scores, in which rollout, and whose it is. `first`:
    the id of the client's own call. `is_pair`: its copy is scored with it."""

    scores: Scores
    rollout: str
    arm: str
    first: str
    is_pair: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """`share_ppm` of the sessions are the candidate's for `hold_ms` or longer, and until it has had
    `min_calls`. What is not decided after `limit_ms` is rolled back. With a `shadow` no session is: the
    candidate gets copies."""

    name: str
    share_ppm: int
    hold_ms: int
    min_calls: int
    limit_ms: int
    gates: Gates
    shadow: Shadow | None = None
    scores: Scores | None = None  # None: nobody scores its calls but who posts scores


@dataclass(frozen=True, slots=True)
class Rollout:
    """Calls of `pool` go to `target`, the candidate, stage by stage. `name` is unique; another one begins
    anew."""

    name: str
    pool: str
    target: str
    to: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Trials:
    """What is tried beside one pool."""

    shadows: tuple[Shadow, ...] = ()
    rollout: Rollout | None = None

    @property
    def is_scored(self) -> bool:
        """Does the broker score answers, at any stage?"""
        rollout = self.rollout
        return rollout is not None and any(stage.scores is not None for stage in rollout.stages)
