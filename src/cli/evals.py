"""`modelbroker eval`: runs of suites, and what became of them."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from .. import __version__
from ..core.catalog import Catalog
from ..core.errors import Misconfigured
from ..core.traffic import Sample
from ..dialects import BUILT, DEVIATIONS, KNOWN
from ..drill.rehearsal import run_to_end
from ..evals.cases import Case, NoCase, case_of_line, case_of_sample, stratified
from ..evals.custom import function_named
from ..evals.figures import Results, results_of
from ..evals.folder import Meta, RunFolder, is_run, meta_of, read_run, redact_of
from ..evals.kept import keep, kept_of
from ..evals.redacting import redact_with
from ..evals.report import About, html_of, table_of, tree_of
from ..evals.runner import INTERRUPTED, Evaluation, Options, finished, runs_in
from ..evals.suite import Suite, read_suite
from ..evals.verdicts import BETTER, NOT_WORSE
from ..settings import Problem, SettingsError, compile_texts, read_files
from ..settings.values import duration_text
from .ledger_access import Progress, take_journals
from .state import state_folder_of
from .status_table import aligned

_MOST_SHOWN = 5


def run_suite(options: argparse.Namespace) -> int:
    _check_extra()
    text = _read(options.suite)
    config, texts, catalog = _configuration(options, text)
    suite = read_suite(str(options.suite), text, catalog)
    for problem in suite.warnings:
        _warn(str(problem))
    all_texts = {"": texts, **_others(suite, options.suite.parent)}
    for scorer in suite.scorers:
        if scorer.kind == "python":
            function_named(scorer.function or "")
    mocks = _mocks(options.mock_providers)
    path, is_new = _place(options, suite)
    progress = Progress()
    with RunFolder.opened(path) as folder:
        capture = catalog.capture
        folder.redact = redact_with(capture.patterns, capture.custom)
        if is_new:
            _begin(folder, suite, text, config, catalog, options)
        else:
            (path / "suite.yaml").write_text(text, encoding="utf-8")
            print(f"going on with {path}", file=sys.stderr)
        evaluation = Evaluation(folder, read_run(path), Options(all_texts, mocks, progress.say, _warn))
        try:
            run_to_end(evaluation.go())
        except (Misconfigured, KeyboardInterrupt):
            if evaluation.ended != INTERRUPTED:
                raise
            print("\ninterrupted: the same command goes on with it", file=sys.stderr)
        finally:
            progress.end()
            if evaluation.ended:
                folder.say(finished(meta_of(path), evaluation))
    take_journals(sorted(path.glob("brokers/*/state")), catalog, config, options.state_dir)
    results = _results(path)
    about = _about(path, evaluation.why)
    _print(results, about, options.format)
    _keep(path, results, about, state_folder_of(options.state_dir, config), options)
    if options.format == "table":
        print(f"\nmodelbroker eval report {path.name} writes the report; all is in {path}")
    if not read_run(path).outcomes:
        print("modelbroker: no candidate has answered anything: nothing was compared", file=sys.stderr)
        return 1
    return _code(results, options.fail_unless) if evaluation.ended != INTERRUPTED else 1


def _keep(path: Path, results: Results, about: About, folder: Path, options: argparse.Namespace) -> None:
    """For the console of the broker that has this state folder, where there is one."""
    if not results.run.outcomes or (options.state_dir is None and not folder.is_dir()):
        return
    meta = meta_of(path)
    is_mocked = options.mock_providers is not None
    one = kept_of(
        tree_of(results, about),
        at_s=meta.started_s,
        ended_s=meta.ended_s,
        mocked=is_mocked,
        folder=str(path.absolute()),
    )
    try:
        keep(folder, one)
    except OSError as error:
        _warn(f"the console will not know of this run: {error}")


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _code(results: Results, wanted: str | None) -> int:
    good = {None: None, "better": {BETTER}, "not-worse": {BETTER, NOT_WORSE}}[wanted]
    if good is None:
        return 0
    bad = [f"{name} is {one.word}" for name, one in results.verdicts.items() if one.word not in good]
    if bad:
        print(f"modelbroker: --fail-unless {wanted}: {', '.join(bad)}", file=sys.stderr)
    return int(bool(bad))


def write_report(options: argparse.Namespace) -> int:
    path = _found(options)
    results, about = _results(path), _about(path)
    if options.format == "table":
        text = "\n".join(table_of(results, about))
    elif options.format == "json":
        text = json.dumps(tree_of(results, about), indent=2)
    else:
        text = html_of(results, about, redact_of(meta_of(path)))
    out = options.out or (path / "report.html" if options.format == "html" else None)
    if out is None or str(out) == "-":
        print(text)
        return 0
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise Misconfigured(500, "no_file", f"{out} can't be written: {error.strerror}") from None
    print(out)
    return 0


def show_run(options: argparse.Namespace) -> int:
    path = _found(options)
    _print(_results(path), _about(path), options.format)
    return 0


def list_runs(options: argparse.Namespace) -> int:
    rows = []
    for path in runs_in(_base(options)):
        meta, run = meta_of(path), read_run(path)
        asked = len({case for case, _ in run.outcomes})
        cost = sum(one.cost if one.cost is not None else one.known for one in run.billed.values())
        rows.append(
            {
                "run": path.name,
                "suite": meta.suite,
                "at": _at(meta.started_s),
                "ended": meta.ended or "under way, or killed",
                "asked": asked,
                "cases": len(run.cases),
                "cost_nano": cost,
            }
        )
    if options.format == "json":
        print(json.dumps(rows, indent=2))
    elif not rows:
        print(f"no run in {_base(options)}")
    else:
        table = [("RUN", "SUITE", "AT", "ENDED", "CASES", "COST")]
        for row in rows:
            cases, cost_text = f"{row['asked']}/{row['cases']}", f"${int(str(row['cost_nano'])) / 1e9:.4f}"
            table.append(
                (str(row["run"]), str(row["suite"]), str(row["at"]), str(row["ended"]), cases, cost_text)
            )
        print("\n".join(aligned(table)))
    return 0


def _check_extra() -> None:
    """Before money is spent on figures that nobody can make."""
    missing = [name for name in ("numpy", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        message = f"evaluations need {' and '.join(missing)}: pip install 'modelbroker[evals]'"
        raise Misconfigured(500, "missing_extra", message)


# -- what is run


def _read(path: Path) -> str:
    return "\n".join(read_files(path).values()) if not path.is_dir() else _no_file(path)


def _no_file(path: Path) -> str:
    raise SettingsError([Problem(str(path), 0, "", "is a folder", "give the suite's file")])


def _configuration(options: argparse.Namespace, text: str) -> tuple[Path, Mapping[str, str], Catalog]:
    said = options.config
    if said is None:
        try:
            tree = yaml.safe_load(text)
        except yaml.YAMLError:
            tree = None
        name = tree.get("config") if isinstance(tree, dict) else None
        if not isinstance(name, str):
            read_suite(str(options.suite), text)  # what is wrong with it comes first
            right = "say --config PATH, or `config: PATH` in the suite"
            raise SettingsError(
                [Problem(str(options.suite), 1, "config", "there is no configuration", right)]
            )
        said = options.suite.parent / name
    texts = read_files(said)
    return said, texts, _compiled(texts)


def _compiled(texts: Mapping[str, str]) -> Catalog:
    return compile_texts(texts, dialects=KNOWN, built=BUILT, deviations=DEVIATIONS).catalog


def _others(suite: Suite, folder: Path) -> dict[str, Mapping[str, str]]:
    found: dict[str, Mapping[str, str]] = {}
    for one in suite.candidates:
        if one.config and one.config not in found:
            texts = read_files(folder / one.config)
            _compiled(texts)
            found[one.config] = texts
    return found


def _mocks(said: str | None) -> Mapping[str, Any] | None:
    if said is None:
        return None
    if not said:
        return {"strict": False}
    from ..simulator.script import ScriptError, read_script

    try:
        read_script(Path(said))
    except ScriptError as error:
        raise Misconfigured(500, "bad_script", str(error)) from None
    tree: Mapping[str, Any] = yaml.safe_load(Path(said).read_text(encoding="utf-8")) or {}
    return tree


def _place(options: argparse.Namespace, suite: Suite) -> tuple[Path, bool]:
    """The last run of the same suite that is not through, else a new one."""
    base = _base(options)
    for path in reversed(runs_in(base)):
        meta = meta_of(path)
        is_same = meta.digest == suite.digest and meta.suite == suite.name
        if is_same and not options.new and meta.ended not in ("through", "decided"):
            return path, False
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in suite.name)[:60]
    name = f"{safe}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    path = base / name
    count = 2
    while path.exists():
        path, count = base / f"{name}.{count}", count + 1
    return path, True


def _begin(
    folder: RunFolder,
    suite: Suite,
    text: str,
    config: Path,
    catalog: Catalog,
    options: argparse.Namespace,
) -> None:
    left_out: Counter[str] = Counter()
    if suite.data.file is not None:
        cases = list(_of_file(options.suite.parent / suite.data.file))
    else:
        cases = list(_of_samples(_samples(suite, catalog, config, options), left_out))
    drawn = stratified(cases, suite.data.sample, suite.data.strata, suite.data.seed)
    if not drawn:
        told = "; ".join(f"{count} were left out: {why}" for why, count in left_out.items())
        message = f"there is no case to ask: {_nothing_in(suite)}{f': {told}' if told else ''}"
        raise Misconfigured(500, "no_cases", message)
    meta = Meta(suite.name, str(options.suite.absolute()), suite.digest, time.time(), config=str(config))
    meta.patterns = list(catalog.capture.patterns)
    meta.custom = [list(one) for one in catalog.capture.custom]
    meta.left_out, meta.version = dict(left_out), __version__
    folder.begin(meta, text, drawn)


def _nothing_in(suite: Suite) -> str:
    traffic = suite.data.traffic
    if traffic is None:
        return f"{suite.data.file} (`data.file`) holds none"
    has = "".join(f" with {name}={' or '.join(values)}" for name, values in traffic.where.items())
    return f"no captured call of a client{has} in the last {duration_text(traffic.since)} (`data.traffic`)"


def _of_file(path: Path) -> Iterator[Case]:
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    if not path.is_file():
        raise SettingsError(
            [Problem(str(path), 0, "", "there is no such file", "give a file of cases (JSON Lines)")]
        )
    lines = "\n".join(read_files(path).values()).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            case = case_of_line(line, number)
        except NoCase as error:
            problems.append(Problem(str(path), number, "", str(error), "see docs/evals.md"))
            continue
        if case.id in seen:
            wrong = f"the id {case.id} stands already at line {seen[case.id]}"
            problems.append(Problem(str(path), number, "id", wrong, "give each its own"))
            continue
        seen[case.id] = number
        yield case
    if problems:
        raise SettingsError(problems[:20])


def _of_samples(samples: Iterable[Sample], left_out: Counter[str]) -> Iterator[Case]:
    for sample in samples:
        try:
            yield case_of_sample(sample)
        except NoCase as error:
            left_out[str(error)] += 1


def _samples(suite: Suite, catalog: Catalog, config: Path, options: argparse.Namespace) -> Iterator[Sample]:
    """Of clients' own calls; many more than are drawn, so that each stratum is there."""
    from .traffic import opened

    said = suite.data.traffic
    if said is None:
        return
    until_s = time.time()
    where = {"purpose": [""], **said.where}
    with opened(config, options.state_dir) as found:
        yield from found.store.read(
            until_s - said.since / 1000.0, until_s, where, suite.data.sample * 20, str(suite.data.seed)
        )


# -- what became of it


def _base(options: argparse.Namespace) -> Path:
    if options.runs is not None:
        given: Path = options.runs
        return given
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "modelbroker" / "evals"


def _found(options: argparse.Namespace) -> Path:
    base, name = _base(options), options.run_name
    if name is None:
        runs = runs_in(base)
        if not runs:
            raise Misconfigured(
                500, "no_run", f"there is no run in {base}: `modelbroker eval run SUITE.yaml`"
            )
        return max(runs, key=lambda path: meta_of(path).started_s)
    for path in (base / name, Path(name)):
        if is_run(path):
            return path
    names = ", ".join(path.name for path in runs_in(base)[-_MOST_SHOWN:]) or "none"
    raise Misconfigured(500, "no_run", f"there is no run {name} in {base}; the last ones are {names}")


def _results(path: Path) -> Results:
    _check_extra()
    return results_of(read_run(path))


def _about(path: Path, why: str = "") -> About:
    meta = meta_of(path)
    return About(
        path.name,
        _at(meta.started_s),
        meta.version,
        meta.configs or {},
        meta.price_revision,
        meta.left_out or {},
        why,
    )


def _at(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _print(results: Results, about: About, how: str) -> None:
    if how == "json":
        print(json.dumps(tree_of(results, about), indent=2))
    else:
        print("\n".join(table_of(results, about)))
