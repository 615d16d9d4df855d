"""`modelbroker gate`: is a change of the configuration good to be live? `check`, `diff` and `simulate` in one
report, with one exit code."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..changes import changes
from ..core.errors import Misconfigured
from ..core.problems import SettingsError
from .check import judge, of_files
from .diff import as_markdown, json_of, markdown_of, text_of
from .outputs import written
from .prices import price_list_or_warning
from .printed import printed
from .runtime import Overrides, Ready, prepare
from .secrets import new_box
from .shortened import MOST_BYTES, shortened
from .simulate import SimulateOptions, simulated
from .simulate_report import FORMATS
from .sources import texts_of


@dataclass(frozen=True, slots=True)
class GateOptions:
    """`simulation`: where recorded calls are; None: nothing is simulated. `longest`: of Markdown, in bytes;
    0: as long as it is."""

    old: str
    new: str
    config: Path | str | None
    state_dir: Path | None
    simulation: SimulateOptions | None
    format: str = "text"
    out: str = "-"
    with_envoy: bool = True
    longest: int = MOST_BYTES


@dataclass(slots=True)
class _Report:
    old: Ready | None = None
    new: Ready | None = None
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # that OLD has not
    simulated: dict[str, Any] | None = None

    @property
    def fails(self) -> bool:
        gates = self.simulated["gates"] if self.simulated is not None else ()
        return bool(self.errors) or any(gate["fails"] for gate in gates)


def run_gate(options: GateOptions) -> int:
    """0: it may be live; 1: it may not, and the report says why. Misconfigured where the recorded calls can't
    be read, or OLD is nothing at all."""
    report = _Report()
    old_texts = texts_of(options.old, options.config, options.state_dir)
    price_list = price_list_or_warning()
    now_s = int(time.time())

    def ready_of(texts: Mapping[str, str]) -> Ready:
        # Where a pull request is looked at, secrets are none of its business: no store is asked for any.
        box = new_box(tells=False, asks=False)
        return prepare(texts, Overrides(), os.environ, price_list=price_list, priced_at_s=now_s, box=box)

    try:
        report.old = ready_of(old_texts)
    except (SettingsError, Misconfigured):
        report.old = None  # what is live can't have been this: the new one may be the one that mends it
    try:
        new_texts = texts_of(options.new, options.config, options.state_dir)
        report.new = ready_of(new_texts)
        judge(report.new, with_envoy=options.with_envoy, is_here=False)
        report.errors, mild = of_files(report.new, now_s, is_here=False)
    except SettingsError as error:
        report.errors = [str(problem) for problem in error.problems]
    except Misconfigured as error:
        report.errors = error.message.splitlines()
    else:
        known: list[str] = []
        if report.old is not None:
            known = [*report.old.compile_warnings, *of_files(report.old, now_s, is_here=False)[1]]
        said = {_without_place(warning) for warning in known}
        warnings = (*report.new.compile_warnings, *mild)
        report.warnings = [one for one in warnings if _without_place(one) not in said]
        if options.simulation is not None and report.old is not None:
            report.simulated = simulated(options.simulation, [new_texts, old_texts])
    with written(options.out) as file:
        file.write((printed(_FORMATS[options.format](report, options)) + "\n").encode())
    return 1 if report.fails else 0


def _without_place(warning: str) -> str:
    """`a.yaml:3: pools[0]: …` without its file and line, which another line above it changes."""
    return warning.split(": ", 1)[-1]


# -- the report


def _title(report: _Report) -> str:
    if report.errors:
        return "this configuration can't be live"
    return "this change may not go live" if report.fails else "this change may go live"


def _diffed(report: _Report) -> tuple[Any, tuple[str, str]] | None:
    old, new = report.old, report.new
    if old is None or new is None or report.errors:
        return None
    found = changes(old.catalog, new.catalog, old.prices, new.prices, at_s=int(time.time()))
    return found, (old.catalog.revision, new.catalog.revision)


def _notes(report: _Report, options: GateOptions) -> Iterator[str]:
    if report.old is None:
        yield f"{options.old} is no good configuration: there is nothing to compare with"
    elif report.simulated is None and not report.errors:
        yield "nothing is simulated: give recorded calls with --traffic"


def _text(report: _Report, options: GateOptions) -> str:
    lines = [_title(report).capitalize()]
    lines += [f"error: {error}" for error in report.errors]
    lines += [f"warning: {warning}" for warning in report.warnings]
    if (diffed := _diffed(report)) is not None:
        lines += ["", text_of(*diffed)]
    if report.simulated is not None:
        lines += ["", FORMATS["table"](report.simulated)]
    lines += ["", *_notes(report, options)]
    return "\n".join(lines).rstrip()


def _markdown(report: _Report, options: GateOptions) -> str:
    parts = [f"## {'❌' if report.fails else '✅'} {_title(report).capitalize()}"]
    if report.errors:
        fence = "`" * 3
        while any(fence in error for error in report.errors):
            fence += "`"
        parts.append("\n".join((f"{fence}text", *report.errors, fence)))
    if report.warnings:
        parts.append("\n".join(f"- ⚠️ {as_markdown(warning)}" for warning in report.warnings))
    if (diffed := _diffed(report)) is not None:
        parts.append(f"### What is different\n\n{markdown_of(*diffed)}")
    if report.simulated is not None:
        parts.append(FORMATS["markdown"](report.simulated))
    if notes := "\n".join(f"- {as_markdown(note)}" for note in _notes(report, options)):
        parts.append(notes)
    # What is spelled out is longer: it is spelled before it is measured.
    how = "The same command with `--format text` says all."
    return shortened([printed(part) for part in parts], options.longest, how)


def _json(report: _Report, options: GateOptions) -> str:
    diffed = _diffed(report)
    tree = {
        "passes": not report.fails,
        "errors": report.errors,
        "warnings": report.warnings,
        "diff": json.loads(json_of(*diffed)) if diffed is not None else None,
        "simulated": report.simulated,
        "notes": list(_notes(report, options)),
    }
    return json.dumps(tree, ensure_ascii=False, indent=2)


_FORMATS = {"text": _text, "markdown": _markdown, "json": _json}
