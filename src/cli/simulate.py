"""`simulate`: what another configuration would have made of recorded calls."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from ..core.catalog import Catalog
from ..core.errors import Misconfigured
from ..journal.writing import CALLS
from ..ledger.place import default_url
from ..simulation.buckets import buckets_of
from ..simulation.figures import figures
from ..simulation.gates import Gate
from ..simulation.learning import Learned
from ..simulation.stages import assumed_of, stages_said
from ..simulation.trial_figures import Sides, rollout_figures, shadow_figures
from .ledger_access import Progress, moment, opened
from .outputs import written
from .prices import price_list_or_warning
from .secrets import asked_box, ledger_url_of
from .simulate_report import FORMATS, amount
from .simulate_source import Source
from .simulate_trials import trial_notes
from .simulate_work import Configured, Decided, compiled, decide_again, processes, read, shared_out
from .sources import read_texts
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
    config: Path | str
    against: Path | str | None
    state_dir: Path | None
    traffic: Path | None
    write_traffic: Path | None
    since_ms: int
    until_ms: int
    where: Mapping[str, tuple[str, ...]]
    gates: tuple[Gate, ...] = ()
    format: str = "table"
    processes: int = 1
    stages: tuple[str, ...] = ()


def run_simulation(options: SimulateOptions) -> int:
    """0: done; 1: a gate fails. Misconfigured or SettingsError where it can't be done."""
    price_list_or_warning()
    tree = simulated(
        options, [read_texts(one) for one in (options.config, options.against) if one is not None]
    )
    print(FORMATS[options.format](tree) if options.format != "json" else json.dumps(tree, indent=2))
    return 1 if any(gate["fails"] for gate in tree["gates"]) else 0


def simulated(options: SimulateOptions, texts: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """All figures, and what becomes of the gates. `texts`: of NEW, and of OLD where there is one."""
    new, old = compiled(texts[0]), compiled(texts[1]) if len(texts) > 1 else None
    source = _source(options, old or new)
    with _worded():
        stages = stages_said(new, options.stages)
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="modelbroker-simulate-") as folder:
        decided, learned = _decided(source, texts, (new, old or new), options, progress, folder, stages)
    progress.end()
    if not decided.result.calls:
        said = " ".join(f"{name}={value}" for name, values in options.where.items() for value in values)
        raise Misconfigured(500, "no_traffic", f"none of the recorded calls has {said}")
    tree = figures(decided.result, learned)
    tree["new"] = {"config": str(options.config), "revision": new.revision}
    tree["old"] = {
        "config": str(options.against) if options.against is not None else None,
        "revision": old.revision if old is not None else None,
    }
    sides = Sides(
        (new, assumed_of(new, stages, learned.arms)),
        (old, assumed_of(old, {}, learned.arms)) if old is not None else None,
        is_whole=not options.where,
    )
    tree["rollouts"] = rollout_figures(decided.result.tried, sides, learned)
    tree["shadows"] = shadow_figures(decided.result.tried, sides, learned)
    tree["where"] = {name: list(values) for name, values in options.where.items()}
    tree["notes"] = _notes(tree, decided, bool(new.budgets))
    judged = [(gate, *gate.judge(tree["total"])) for gate in options.gates]
    tree["gates"] = [{"text": gate.text, "fails": fails, "found": found} for gate, fails, found in judged]
    return tree


def _decided(
    source: Source,
    texts: Sequence[Mapping[str, str]],
    catalogs: tuple[Catalog, Catalog],
    options: SimulateOptions,
    progress: Progress,
    folder: str,
    stages: Mapping[str, str],
) -> tuple[Decided, Learned]:
    """In two processes where there is much. `texts`, `catalogs`: of NEW and OLD."""
    buckets = buckets_of(catalogs)
    count = options.processes
    parts = source.parts(1 if options.write_traffic is not None else count)
    with processes(len(parts)) as each:
        if len(parts) > 1:
            found = each(read, [(part, buckets, folder) for part in parts])
        else:
            with _out(options.write_traffic) as out:
                found = [read(parts[0], buckets, folder, progress, out)]
        known = found[0]
        for more in found[1:]:
            known.merge(more)
        if not known.calls:
            raise Misconfigured(500, "no_traffic", _nothing_in(source))
        learned = known.learner.learned()
        with _worded():
            assumed_of(catalogs[0], stages, learned.arms)
        members = frozenset(known.members)
        asked = (
            Configured(texts[0], members, stages),
            Configured(texts[1], members) if len(texts) > 1 else None,
            learned,
            {WHERE[name]: values for name, values in options.where.items()},
        )
        shares = shared_out(known.buckets, len(parts))
        if len(shares) > 1:
            made = each(decide_again, [(share, *asked) for share in shares])
            for more_decided in made[1:]:
                made[0].merge(more_decided)
            rooms = [catalog.cache.bytes for catalog in catalogs]
            kept = zip(made[0].kept_bytes, rooms, strict=True)
            if not made[0].is_full and all(held <= room for held, room in kept):
                return made[0], learned
    # As one: what a full cache drops depends on all calls.
    together = [[run for runs, _ in known.buckets.values() for run in runs]]
    counted = itertools.count(2_000, 2_000)
    return decide_again(together, *asked, lambda _: progress(next(counted), known.calls)), learned


def _nothing_in(source: Source) -> str:
    """Why there is no call: no record, or none of this time."""
    span = f"{moment(source.since_ms, 'seconds')} to {moment(source.until_ms, 'seconds')}"
    if source.kind != "file":
        return f"no call was recorded in {span}: give another --since"
    ends: tuple[int, int] | None = None
    for call in replace(source, since_ms=0, until_ms=1 << 62).read(lambda *_: None):
        ends = min(ends[0], call.at_ms) if ends else call.at_ms, max(ends[1] if ends else 0, call.at_ms)
    if ends is None:
        return f"{source.place} has no records: give a file of records (calls.jsonl)"
    held = " to ".join(moment(at_ms, "seconds") for at_ms in ends)
    return f"{source.place} has no call in {span}, but from {held}: give another --since or --until"


@contextlib.contextmanager
def _worded() -> Iterator[None]:
    """What is said of stages can't be met: that is the user's to know."""
    try:
        yield
    except ValueError as error:
        raise Misconfigured(500, "bad_stage", str(error)) from None


def _source(options: SimulateOptions, catalog: Catalog) -> Source:
    span = options.since_ms, options.until_ms
    if options.traffic is not None:
        return Source("file", str(options.traffic), *span)
    config = options.against or options.config
    folder = state_folder_of(options.state_dir, config)
    if catalog.ledger.is_on:
        with opened(config, options.state_dir):  # which brings it up to date, or says what is wrong
            url, _ = ledger_url_of(catalog.ledger, os.environ, asked_box(catalog, catalog.ledger.secret))
        return Source("ledger", url or default_url(folder), *span)
    if not (folder / CALLS).exists():
        message = (
            f"there are no records in {folder}: say --state-dir, as the broker does, or give --traffic FILE"
        )
        raise Misconfigured(500, "no_traffic", message)
    return Source("journal", str(folder), *span)


def _out(path: Path | None) -> contextlib.AbstractContextManager[IO[bytes] | None]:
    """Calls name users and customers: nobody else reads it."""
    return contextlib.nullcontext() if path is None else written(str(path.absolute()), private=True)


def _notes(tree: dict[str, Any], decided: Decided, has_budgets: bool) -> list[str]:
    """What is assumed, and what is not known."""
    result, total = decided.result, tree["total"]
    notes = []
    if result.undecidable:
        notes.append(
            f"{result.undecidable} calls stay as they were: their facts are not recorded (the broker could "
            "not read them, or an older one wrote the record)"
        )
    if lacking := decided.unfingerprinted:
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
            f"{amount('cost', total['cost']['assumed'])} of the new cost, beyond its interval"
        )
    if total["cost"]["by_mean"]:
        notes.append(
            f"{amount('cost', total['cost']['by_mean'])} of the new cost are for calls that used nothing, or "
            "did not tell what: the member's mean stands for them"
        )
    notes += trial_notes(tree, amount)
    if has_budgets:
        notes.append("budgets and rate limits begin empty")
    if decided.unconversed:
        notes.append(
            f"of {decided.unconversed} calls that move and were read from a provider's cache it is not "
            "known which conversation they are of: they are taken to be read from one there, too"
        )
    return notes
