"""`traffic stats`, `export` and `import`; and how other commands get at a configuration's captured calls."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..core.acts import TRAFFIC_EXPORTED, TRAFFIC_IMPORTED, Detail
from ..core.catalog import Catalog
from ..core.errors import Misconfigured
from ..core.traffic import Sample, Where
from ..dialects import BUILT, DEVIATIONS, KNOWN
from ..policy.redaction import Redaction, cleaned
from ..settings import load
from ..traffic.lines import line_of, taken
from ..traffic.place import default_url
from ..traffic.store import StoreError, TrafficStore
from ..traffic.stores import open_store
from ..traffic.write import redaction_of
from .capture import settings_of
from .ledger_access import Progress, moment
from .outputs import tell_of, written
from .secrets import asked_box
from .state import state_folder_of
from .status_table import aligned

_AT_ONCE = 200
_MOST_TOLD = 20  # of bad lines
Chosen = tuple[float, float, Where]


@dataclass(frozen=True, slots=True)
class Opened:
    """`redaction` is what the configuration says of bodies that are written."""

    store: TrafficStore
    catalog: Catalog
    redaction: Redaction


@contextlib.contextmanager
def opened(config: Path, state_dir: Path | None, *, creates: bool = False) -> Iterator[Opened]:
    """Misconfigured where there is no store, or nobody gets at it."""
    catalog = load(config, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog
    if not catalog.capture.is_set:
        message = "the configuration has no section `capture`: it says where captured calls are kept, and how"
        raise Misconfigured(500, "no_capture", message)
    capture = catalog.capture
    box = asked_box(catalog, capture.secret, capture.key, *capture.old_keys)
    settings, why = settings_of(capture, os.environ, box)
    if settings is None:
        raise Misconfigured(500, "no_capture", why)
    url = settings.url or default_url(state_folder_of(state_dir, config))
    try:
        with open_store(url, [bytes.fromhex(key) for key in settings.keys], creates=creates) as store:
            yield Opened(store, catalog, redaction_of(settings))
    except StoreError as error:
        raise Misconfigured(500, "traffic_away", f"the store of traffic can't be asked: {error}") from None


def print_stats(config: Path, state_dir: Path | None, chosen: Chosen, format: str) -> int:
    with opened(config, state_dir) as found:
        stats, place = found.store.stats(*chosen), found.store.place
    if format == "json":
        print(
            json.dumps(
                {"store": place, **asdict(replace(stats, by={k: dict(v) for k, v in stats.by.items()}))}
            )
        )
        return 0
    if not stats.samples or stats.first_s is None or stats.last_s is None:
        print(f"{place}: no captured call")
        return 0
    ends = (moment(int(at_s * 1000), "seconds") for at_s in (stats.first_s, stats.last_s))
    print(f"{place}: {stats.samples} captured calls, {stats.bytes} bytes, {' to '.join(ends)}")
    rows: list[tuple[str, ...]] = [("by", "value", "calls")]
    for name, counts in stats.by.items():
        for value, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
            rows.append((name, value or "-", str(count)))
    for line in aligned(rows):
        print(line)
    return 0


def run_export(
    config: Path, state_dir: Path | None, chosen: Chosen, limit: int | None, seed: str | None, out: str
) -> int:
    progress, count = Progress(), 0
    with opened(config, state_dir) as found, written(out, private=True) as file:
        try:
            for sample in found.store.read(*chosen, limit, seed):
                file.write(line_of(sample))
                count += 1
                progress.say(f"{count} calls")
        finally:  # who breaks it off has read some of them
            tell_of(found.catalog, config, state_dir, TRAFFIC_EXPORTED, {"name": out, "calls": count})
    progress.end()
    print(f"{count} calls exported", file=sys.stderr)
    return 0


def run_import(config: Path, state_dir: Path | None, files: Sequence[str], dialect: str) -> int:
    progress = Progress()
    count = fresh = bad = 0
    left_out: dict[str, tuple[int, str]] = {}  # what → how often, and where first
    with opened(config, state_dir, creates=True) as found:
        for name in files:
            batch: list[Sample] = []
            for number, line in _lines(name):
                try:
                    one = taken(line, time.time(), dialect)
                    batch.append(cleaned(one.sample, found.redaction))
                except ValueError as error:
                    bad += 1
                    if bad <= _MOST_TOLD:
                        print(f"{name}:{number}: {error}", file=sys.stderr)
                    continue
                count += 1
                for what in one.left_out:
                    often, first = left_out.get(what, (0, f"{name}:{number}"))
                    left_out[what] = often + 1, first
                if len(batch) >= _AT_ONCE:
                    fresh += found.store.put(batch)
                    batch = []
                    progress.say(f"{count} calls")
            fresh += found.store.put(batch)
        details: dict[str, Detail] = {"name": ", ".join(files)[:500], "calls": fresh}
        tell_of(found.catalog, config, state_dir, TRAFFIC_IMPORTED, details)
    progress.end()
    if bad > _MOST_TOLD:
        print(f"… and {bad - _MOST_TOLD} lines more", file=sys.stderr)
    for what, (often, first) in left_out.items():
        told = (
            f"{first}: {what}: taken without it{f', and so in {often - 1} lines more' if often > 1 else ''}"
        )
        print(f"warning: {told}", file=sys.stderr)
    print(f"{fresh} calls imported, {count - fresh} were there already, {bad} bad lines", file=sys.stderr)
    return 1 if bad else 0


def _lines(name: str) -> Iterator[tuple[int, bytes]]:
    try:
        with contextlib.ExitStack() as stack:
            file = sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise Misconfigured(500, "no_import", f"{name} can't be read: {error.strerror}") from None
