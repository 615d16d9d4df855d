"""The words of `modelbroker eval …`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
MakeCommand: TypeAlias = Callable[[Commands, str, str, str], argparse.ArgumentParser]


def add(commands_of: Commands, make: MakeCommand) -> None:
    command = make(
        commands_of,
        "eval",
        "compare models, pools and configurations on real cases",
        "  modelbroker eval run suite.yaml --config config/\n  modelbroker eval report --format html",
    )
    verbs = command.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _run(verbs, make)
    _report(verbs, make)
    _show(verbs, make)
    _list(verbs, make)


def _runs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--runs",
        type=Path,
        metavar="PATH",
        help="where runs are kept; default: ~/.local/state/modelbroker/evals",
    )


def _which(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "run_name", nargs="?", metavar="RUN", help="a run's name or folder; default: the last one"
    )


def _run(verbs: Commands, make: MakeCommand) -> None:
    command = make(
        verbs,
        "run",
        "put a suite's cases to its candidates, or go on with the last run of it",
        "  modelbroker eval run suite.yaml --config config/\n"
        "  modelbroker eval run suite.yaml --mock-providers answers.yaml --new",
    )
    command.add_argument("suite", type=Path, metavar="SUITE.yaml", help="docs/evals.md has all of its fields")
    command.add_argument(
        "--config", type=Path, metavar="PATH", help="the broker's configuration; default: the suite's"
    )
    _runs(command)
    command.add_argument("--new", action="store_true", help="begin anew, though there is a run to go on with")
    command.add_argument(
        "--mock-providers",
        nargs="?",
        const="",
        metavar="SCRIPT",
        help="simulators in the places of all providers, with this script",
    )
    command.add_argument(
        "--state-dir",
        type=Path,
        metavar="PATH",
        help="of the broker whose traffic and ledger it is; as for up",
    )
    command.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    command.add_argument(
        "--fail-unless",
        choices=("better", "not-worse"),
        metavar="VERDICT",
        help="exit 1 unless every candidate is that: better, or not-worse (better counts)",
    )
    command.set_defaults(run=_call("run_suite"))


def _report(verbs: Commands, make: MakeCommand) -> None:
    command = make(
        verbs,
        "report",
        "write the report of a run",
        "  modelbroker eval report\n"
        "  modelbroker eval report support-20261129-101500 --format json --out report.json",
    )
    _which(command)
    _runs(command)
    command.add_argument("--format", choices=("html", "json", "table"), default="html", help="default: html")
    command.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="- for standard output; default: report.html in the run's folder, else standard output",
    )
    command.set_defaults(run=_call("write_report"))


def _show(verbs: Commands, make: MakeCommand) -> None:
    command = make(verbs, "show", "print the figures of a run", "  modelbroker eval show")
    _which(command)
    _runs(command)
    command.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    command.set_defaults(run=_call("show_run"))


def _list(verbs: Commands, make: MakeCommand) -> None:
    command = make(verbs, "list", "list runs", "  modelbroker eval list")
    _runs(command)
    command.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    command.set_defaults(run=_call("list_runs"))


def _call(name: str) -> Callable[[argparse.Namespace], int]:
    """Imports only what is used."""

    def run(options: argparse.Namespace) -> int:
        from . import evals

        code: int = getattr(evals, name)(options)
        return code

    return run
