"""The words of `diff`, `history` and `rollback`. Nothing heavy is imported before they run."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.errors import Misconfigured
from . import simulate_parser
from .ledger_parser import Commands, Make
from .options import admin_url, commanded, config_place, token_of
from .shortened import LEAST_BYTES, MOST_BYTES

_FORMATS = ("text", "markdown", "json")
_WHAT = "a file or a folder, git+URL@REF#subdirectory=FOLDER, COMMIT:FOLDER in this repository, or a revision"


def add(commands_of: Commands, make: Make) -> None:
    """`make` makes one command."""
    _diff(commands_of, make)
    _gate(commands_of, make)
    _history(commands_of, make)
    _rollback(commands_of, make)


def _diff(commands_of: Commands, make: Make) -> None:
    command = make(
        commands_of,
        "diff",
        "say in words what is different between two configurations, and for whom",
        "  modelbroker diff config/ new-config/\n"
        "  modelbroker diff origin/main:config config/ --format markdown\n"
        "  modelbroker diff 3f9c2a7be012 config/ --config config/    a revision that was live here",
    )
    command.add_argument("old", metavar="OLD", help=_WHAT)
    command.add_argument("new", metavar="NEW", help="likewise")
    _whose(command)
    command.add_argument("--format", choices=_FORMATS, default="text", help="default: text")
    command.add_argument("--out", default="-", metavar="FILE", help="default: standard output")
    command.add_argument("--exit-code", action="store_true", help="exit with 1 where something is different")
    command.set_defaults(run=_run_diff)


def _gate(commands_of: Commands, make: Make) -> None:
    command = make(
        commands_of,
        "gate",
        "say whether a change of the configuration may go live: check, diff and simulate in one report",
        "  modelbroker gate origin/main:config config/\n"
        "  modelbroker gate origin/main:config config/ --traffic week.jsonl --fail-if 'cost > +5%' \\\n"
        "      --format markdown --out gate.md",
    )
    command.add_argument("old", metavar="OLD", help=_WHAT)
    command.add_argument("new", metavar="NEW", help="likewise")
    _whose(command)
    command.add_argument(
        "--traffic", type=Path, metavar="FILE", help="records to simulate with: a calls.jsonl; default: none"
    )
    simulate_parser.conditions(command)
    command.add_argument("--no-envoy", action="store_true", help="don't let Envoy judge the result")
    command.add_argument("--format", choices=_FORMATS, default="text", help="default: text")
    command.add_argument("--out", default="-", metavar="FILE", help="default: standard output")
    command.add_argument(
        "--longest",
        type=_bytes,
        default=MOST_BYTES,
        metavar="BYTES",
        help="of --format markdown; 0: as long as it is; default: 65536, the longest comment on GitHub",
    )
    command.set_defaults(run=_run_gate)


def _bytes(text: str) -> int:
    if not text.isdecimal() or 0 < int(text) < LEAST_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is no length: give {LEAST_BYTES} or more, or 0 for any")
    return int(text)


def _whose(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", type=config_place, metavar="PATH", help="of the broker whose revisions are meant"
    )
    command.add_argument("--state-dir", type=Path, help="its state folder, where it was given one")


def _run_diff(options: argparse.Namespace) -> int:
    from .diff import run_diff

    return run_diff(options)


def _history(commands_of: Commands, make: Make) -> None:
    command = make(
        commands_of,
        "history",
        "say which configurations were live at a running broker: since when, by whom, from which commit",
        "  modelbroker history\n  modelbroker history --format json",
    )
    admin_url(command)
    command.add_argument("--limit", type=_lines, default=20, metavar="N", help="lines at most; default: 20")
    command.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    command.set_defaults(run=_run_history)


def _lines(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines: give 1 or more")
    return int(text)


def _rollback(commands_of: Commands, make: Make) -> None:
    command = make(
        commands_of,
        "rollback",
        "serve a configuration again that was live before, until the source says something new",
        "  modelbroker rollback                  the one before\n"
        "  modelbroker rollback 3f9c2a7be012     a revision, a commit, or #12, as `history` says them\n"
        "  modelbroker rollback --hold           whatever the source says, until it is released\n"
        "  modelbroker rollback --release        what the source says now",
    )
    commanded(command)
    command.add_argument("revision", nargs="?", default="", metavar="REV", help="default: the one before")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--hold", action="store_true", help="also over edits and commits, until `--release`")
    how.add_argument("--release", action="store_true", help="end the rollback")
    command.add_argument(
        "--within",
        type=float,
        default=30.0,
        metavar="S",
        help="wait so long for it to be in effect; default: 30",
    )
    command.set_defaults(run=_run_rollback)


def _run_history(options: argparse.Namespace) -> int:
    from .history import print_history

    return print_history(options.admin, options.format, options.limit)


def _run_rollback(options: argparse.Namespace) -> int:
    from ..audit.acts import os_user
    from .history import release, roll_back

    admin, by, token, within_s = options.admin, os_user(), token_of(options), options.within
    if options.release:
        return release(admin, by=by, token=token, within_s=within_s)
    return roll_back(admin, options.revision, holds=options.hold, by=by, token=token, within_s=within_s)


def _run_gate(options: argparse.Namespace) -> int:
    from .gate import GateOptions, run_gate

    simulation = simulate_parser.options_of(options, options.new, options.old) if options.traffic else None
    if simulation is None and options.fail_if:
        raise Misconfigured(500, "no_traffic", "--fail-if needs recorded calls: give --traffic FILE")
    return run_gate(
        GateOptions(
            options.old,
            options.new,
            options.config,
            options.state_dir,
            simulation,
            options.format,
            options.out,
            not options.no_envoy,
            options.longest,
        )
    )
