"""A simulation's two steps, for processes of their own or for this one: read and learn; decide again."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from ..budgets.calendars import spans
from ..core.catalog import Catalog
from ..core.trials import is_one_of
from ..dialects import BUILT, DEVIATIONS, KNOWN
from ..policy.ceilings import Ceilings
from ..policy.estimates import Estimates
from ..policy.seats import Plan
from ..settings import compile_texts, price_book
from ..simulation.buckets import BUCKETS
from ..simulation.deciding import view_of
from ..simulation.learning import Learned, Learner
from ..simulation.policies import Replay
from ..simulation.reckoning import Reckoner
from ..simulation.recorded import Recorded
from ..simulation.run import History, Policy, Result
from ..simulation.run import Run as Simulation
from .prices import price_list_here
from .simulate_source import Heard, Run, Source, Spool, in_order

Done = TypeVar("Done")
# Calls that wait to be sorted, of all buckets together.
_SORTED = 20_000


@dataclass(slots=True)
class Read:
    """`buckets`: number → the runs that hold its calls, and how many these are."""

    learner: Learner
    members: set[str] = field(default_factory=set)
    buckets: dict[int, tuple[list[Run], int]] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        return sum(calls for _, calls in self.buckets.values())

    def merge(self, other: Read) -> None:
        self.learner.merge(other.learner)
        self.members |= other.members
        for number, (runs, calls) in other.buckets.items():
            had, before = self.buckets.get(number, ([], 0))
            self.buckets[number] = [*had, *runs], before + calls


def read(
    source: Source,
    buckets: Mapping[str, int] | None,
    folder: str,
    heard: Heard | None = None,
    out: IO[bytes] | None = None,
) -> Read:
    """`folder`: where calls wait. `out` gets them as lines."""
    done = Read(Learner())
    spools: dict[int, Spool] = {}
    encoder = msgspec.json.Encoder()
    take, members, size = done.learner.take, done.members, _SORTED // (BUCKETS if buckets else 1)
    for call in source.read(heard or _unheard):
        take(call)
        for tried in call.attempts:
            if tried.member not in members:
                members.add(tried.member)
        number = buckets.get(call.caller, 0) if buckets else 0
        if (spool := spools.get(number)) is None:
            spool = spools[number] = Spool(Path(folder) / f"{source.first}-{number}", run=size)
        spool.add(call)
        if out is not None:
            out.write(encoder.encode(call) + b"\n")
    for number, spool in spools.items():
        spool.close()
        done.buckets[number] = spool.runs, spool.calls
    done.learner.forget()
    return done


def compiled(texts: Mapping[str, str]) -> Catalog:
    return compile_texts(texts, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration as text, since it goes to other processes, and the members that had the calls: they
    have prices as well as its own. `stages`: what is said of its rollouts."""

    texts: Mapping[str, str]
    members: frozenset[str]
    stages: Mapping[str, str] = field(default_factory=dict)

    def policy(self, learned: Learned) -> Policy:
        catalog = compiled(self.texts)
        models = {(m.provider, m.model) for pool in catalog.pools.values() for m in pool.members}
        for member in self.members:
            provider, _, model = member.partition("/")
            if provider in catalog.providers:
                models.add((provider, model))
        book = price_book(catalog.providers, models, catalog.prices, price_list_here()[0])
        view = view_of(
            catalog,
            estimates=Estimates(book),
            ceilings=Ceilings(book),
            plan=Plan(catalog.budgets) if catalog.budgets else None,
        )
        return Policy(Replay(view, spans), Reckoner(book, learned), learned, self.stages)


@dataclass(slots=True)
class Decided:
    """`kept_bytes`: the most that NEW's and OLD's caches held; `is_full`: one of them had to drop replies."""

    result: Result
    unfingerprinted: int = 0
    unconversed: int = 0
    kept_bytes: tuple[int, int] = (0, 0)
    is_full: bool = False

    def merge(self, other: Decided) -> None:
        self.result.merge(other.result)
        self.unfingerprinted += other.unfingerprinted
        self.unconversed += other.unconversed
        self.kept_bytes = (self.kept_bytes[0] + other.kept_bytes[0], self.kept_bytes[1] + other.kept_bytes[1])
        self.is_full = self.is_full or other.is_full


def decide_again(
    buckets: Sequence[Sequence[Run]],
    new: Configured,
    old: Configured | None,
    learned: Learned,
    where: Mapping[str, tuple[str, ...]],
    heard: Callable[[int], None] | None = None,
) -> Decided:
    """Each bucket in the order of time. `where`: field of a call → its values. `heard`: so many more; without
    it others do the same for other buckets, and all is in vain once a cache is full."""
    policy = new.policy(learned)
    before = old.policy(learned) if old is not None else None
    run = Simulation(before or History(policy.reckoner), policy, _meant(where))
    replays = (policy.replay, before.replay if before is not None else None)
    for runs in buckets:
        for number, call in enumerate(in_order(list(runs)), 1):
            run.take(call)
            if number % 2_000 == 0:
                if heard is not None:
                    heard(2_000)
                elif any(replay is not None and replay.is_full for replay in replays):
                    return Decided(run.result, is_full=True)
    return Decided(
        run.result,
        policy.replay.unfingerprinted,
        policy.unconversed,
        (replays[0].kept_bytes, replays[1].kept_bytes if replays[1] is not None else 0),
        any(replay is not None and replay.is_full for replay in replays),
    )


def shared_out(buckets: Mapping[int, tuple[list[Run], int]], workers: int) -> list[list[list[Run]]]:
    """The largest first, each to who has least."""
    shares: list[list[list[Run]]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for runs, calls in sorted(buckets.values(), key=lambda one: -one[1]):
        least = loads.index(min(loads))
        shares[least].append(runs)
        loads[least] += calls
    return [share for share in shares if share]


@contextlib.contextmanager
def processes(count: int) -> Iterator[Callable[[Callable[..., Done], Sequence[tuple[Any, ...]]], list[Done]]]:
    """What runs a function with each of some arguments: side by side, or here where there is one."""
    if count < 2:
        yield lambda what, arguments: [what(*one) for one in arguments]
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(count, context, _collect_rarely) as pool:
        yield lambda what, arguments: [
            done.result() for done in [pool.submit(what, *one) for one in arguments]
        ]


def _collect_rarely() -> None:
    """Tens of thousands of calls are there at once, and hardly a cycle: to look for some costs a tenth."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def _meant(where: Mapping[str, tuple[str, ...]]) -> Callable[[Recorded], bool] | None:
    if not where:
        return None
    wanted = [(name, frozenset(values)) for name, values in where.items() if name != "pool"]
    pools = frozenset(where.get("pool", ()))
    return lambda call: (
        all(getattr(call, name) in values for name, values in wanted)
        and (not pools or is_one_of(call.pool, pools))
    )


def _unheard(done: int, of: int) -> None:
    """Nobody looks."""
