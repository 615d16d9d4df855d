"""`simulate`: what another configuration would have made of recorded calls."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..budgets.calendars import spans
from ..core.catalog import Catalog
from ..core.errors import Misconfigured
from ..core.prices import PriceBook
from ..dialects import BUILT, DEVIATIONS, KNOWN
from ..ledger.recorded import recorded
from ..policy.ceilings import Ceilings
from ..policy.estimates import Estimates
from ..policy.seats import Plan
from ..records.file import FILE_NAME
from ..settings import PriceList, compile_texts, price_book, read_files
from ..simulation.deciding import view_of
from ..simulation.figures import figures
from ..simulation.gates import Gate
from ..simulation.learning import Learned, Learner
from ..simulation.policies import Replay
from ..simulation.reckoning import Reckoner
from ..simulation.recorded import Recorded
from ..simulation.run import History, Policy, Run
from .ledger_access import Progress, moment, opened
from .prices import price_list_or_warning
from .simulate_report import FORMATS
from .simulate_source import Spool, from_file, from_journal, spooled
from .state import state_folder_of

# The words of --where, with what of a call they are.
WHERE: Mapping[str, str] = {
    **{
        name: name
        for name in (
            *("team", "customer", "feature", "agent", "user", "caller", "tier", "pool", "rule"),
            *("dialect", "outcome", "code", "revision", "member"),
        )
    },
    "asked": "model",
}


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    config: Path
    against: Path | None
    state_dir: Path | None
    traffic: Path | None
    write_traffic: Path | None
    since_ms: int
    until_ms: int
    where: Mapping[str, tuple[str, ...]]
    gates: tuple[Gate, ...] = ()
    format: str = "table"


@dataclass(frozen=True, slots=True)
class _Configured:
    catalog: Catalog
    book: PriceBook


def run_simulation(options: SimulateOptions) -> int:
    """0: done; 1: a gate fails. Misconfigured or SettingsError where it can't be done."""
    price_list = price_list_or_warning()
    new = _compiled(options.config)
    old = _compiled(options.against) if options.against is not None else None
    progress = Progress()
    learner = Learner()
    members: set[str] = set()

    def learn(call: Recorded) -> None:
        learner.take(call)
        members.update([tried.member for tried in call.attempts])

    with _calls(options, progress) as calls, _out(options.write_traffic) as out:
        spool = spooled(calls, learn, out)
    with contextlib.closing(spool):
        if not spool.calls:
            span = f"{moment(options.since_ms, 'seconds')} to {moment(options.until_ms, 'seconds')}"
            raise Misconfigured(500, "no_traffic", f"no call was recorded in {span}: give another --since")
        tree = _simulated(spool, new, old, learner.learned(), members, price_list, options, progress)
    progress.end()
    judged = [(gate, *gate.judge(tree["total"])) for gate in options.gates]
    tree["gates"] = [{"text": gate.text, "fails": fails, "found": found} for gate, fails, found in judged]
    print(FORMATS[options.format](tree) if options.format != "json" else json.dumps(tree, indent=2))
    return 1 if any(fails for _, fails, _ in judged) else 0


def _simulated(
    spool: Spool,
    new: Catalog,
    old: Catalog | None,
    learned: Learned,
    members: set[str],
    price_list: PriceList | None,
    options: SimulateOptions,
    progress: Progress,
) -> dict[str, Any]:
    policy = _policy(_priced(new, members, price_list), learned)
    against = _priced(old, members, price_list) if old is not None else None
    history: History | Policy
    if against is not None:
        history = _policy(against, learned)
    else:
        history = History(Reckoner(_priced(new, members, price_list).book, learned))
    run = Run(history, policy, _meant(options.where))
    for number, call in enumerate(spool):
        run.take(call)
        if number % 2_000 == 0:
            progress(number, spool.calls)
    if not run.result.calls:
        said = " ".join(f"{name}={value}" for name, values in options.where.items() for value in values)
        raise Misconfigured(500, "no_traffic", f"none of {spool.calls} recorded calls has {said}")
    tree = figures(run.result, learned)
    tree["new"] = {"config": str(options.config), "revision": new.revision}
    tree["old"] = {
        "config": str(options.against) if options.against is not None else None,
        "revision": old.revision if old is not None else None,
    }
    tree["where"] = {name: list(values) for name, values in options.where.items()}
    tree["notes"] = _notes(tree, run, policy)
    return tree


def _policy(found: _Configured, learned: Learned) -> Policy:
    catalog, book = found.catalog, found.book
    view = view_of(
        catalog,
        estimates=Estimates(book),
        ceilings=Ceilings(book),
        plan=Plan(catalog.budgets) if catalog.budgets else None,
    )
    return Policy(Replay(view, spans), Reckoner(book, learned), learned)


def _compiled(path: Path) -> Catalog:
    return compile_texts(read_files(path), dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog


def _priced(catalog: Catalog, members: set[str], price_list: PriceList | None) -> _Configured:
    """With the prices of its own members, and of those that had the calls."""
    models = {(m.provider, m.model) for pool in catalog.pools.values() for m in pool.members}
    for member in members:
        provider, _, model = member.partition("/")
        if provider in catalog.providers:
            models.add((provider, model))
    return _Configured(catalog, price_book(catalog.providers, models, catalog.prices, price_list))


def _meant(where: Mapping[str, tuple[str, ...]]) -> Callable[[Recorded], bool] | None:
    if not where:
        return None
    wanted = [(WHERE[name], frozenset(values)) for name, values in where.items()]
    return lambda call: all(getattr(call, name) in values for name, values in wanted)


@contextlib.contextmanager
def _calls(options: SimulateOptions, progress: Progress) -> Iterator[Iterator[Recorded]]:
    since, until = options.since_ms, options.until_ms
    if options.traffic is not None:
        yield from_file(options.traffic, since, until, progress)
        return
    config = options.against or options.config
    catalog = _compiled(config)
    if catalog.ledger.is_on:
        with opened(config, options.state_dir) as found:
            yield recorded(found.ledger, since, until)
        return
    folder = state_folder_of(options.state_dir, config)
    if not (folder / FILE_NAME).exists():
        message = (
            f"there are no records in {folder}: say --state-dir, as the broker does, or give --traffic FILE"
        )
        raise Misconfigured(500, "no_traffic", message)
    yield from_journal(folder, since, until, progress)


def _private(path: str, flags: int) -> int:
    """Calls name users and customers."""
    return os.open(path, flags, 0o600)


@contextlib.contextmanager
def _out(path: Path | None) -> Iterator[IO[bytes] | None]:
    if path is None:
        yield None
        return
    try:
        with io.FileIO(path, "w", opener=_private) as raw, io.BufferedWriter(raw) as file:
            yield file
    except OSError as error:
        raise Misconfigured(500, "bad_traffic", f"{path} can't be written: {error.strerror}") from None


def _notes(tree: dict[str, Any], run: Run, policy: Policy) -> list[str]:
    """What is assumed, and what is not known."""
    result, total = run.result, tree["total"]
    notes = []
    if result.undecidable:
        notes.append(
            f"{result.undecidable} calls stay as they were: their facts are not recorded (the broker could "
            "not read them, or an older one wrote the record)"
        )
    if lacking := policy.replay.unfingerprinted:
        notes.append(
            f"{lacking} calls come into a pool with a cache, and it is not known which of them are equal: "
            "they count as misses"
        )
    if total["cost"]["unknown"]:
        notes.append(
            f"the cost of {total['cost']['unknown']} calls is not known: they are in no sum of dollars"
        )
    if total["cost"]["assumed"]:
        pairs = [f"{one['from']} → {one['to']}" for one in tree["tokens"] if one["how"] == "unknown"]
        notes.append(
            f"no call was seen at both of {', '.join(pairs[:5])}: as many tokens are assumed, for "
            f"${_dollars(total['cost']['assumed'])} of the new cost, beyond its interval"
        )
    if total["cost"]["by_mean"]:
        notes.append(
            f"${_dollars(total['cost']['by_mean'])} of the new cost are for calls that used nothing, or did "
            "not tell what: the member's mean stands for them"
        )
    if policy.replay.has_budgets:
        notes.append("budgets and rate limits begin empty")
    if result.calls and policy.unconversed:
        notes.append(
            f"of {policy.unconversed} calls that move and were read from a provider's cache it is not "
            "known which conversation they are of: they are taken to be read from one there, too"
        )
    return notes


def _dollars(nano: int) -> str:
    return f"{nano / 1e9:.4f}"
