"""The words of `simulate`. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import ledger_parser
from .ledger_parser import Commands, Make
from .options import config_place

if TYPE_CHECKING:
    from .simulate import SimulateOptions

_FORMATS = ("table", "json", "markdown", "html")
_DEFAULT_SINCE = "7d"


def add(commands_of: Commands, make: Make) -> None:
    """`make` makes one command."""
    command = make(
        commands_of,
        "simulate",
        "decide recorded calls again by another configuration: what would move, and what it would cost",
        "  modelbroker simulate --config new.yaml --against broker.yaml --since 7d\n"
        "  modelbroker simulate --config new.yaml --against old.yaml --where team=sales --format markdown\n"
        "  modelbroker simulate --config new.yaml --traffic calls.jsonl --since 90d \\\n"
        "      --fail-if 'cost > +5%' --fail-if 'latency > +200ms' --fail-if 'refusals > 1%'",
    )
    command.add_argument(
        "--config",
        type=config_place,
        required=True,
        metavar="NEW",
        help="the new configuration: a file, a folder, or git+URL@REF#subdirectory=FOLDER",
    )
    command.add_argument(
        "--against",
        type=config_place,
        metavar="OLD",
        help="the old one: its ledger is read, and calls are decided again by it as well; default: NEW's "
        "ledger, and what became of the calls",
    )
    command.add_argument(
        "--state-dir", type=Path, help="that of the broker; default: one for OLD, else for NEW"
    )
    command.add_argument(
        "--traffic", type=Path, metavar="FILE", help="records to take in place of a ledger: a calls.jsonl"
    )
    command.add_argument(
        "--write-traffic",
        type=Path,
        metavar="FILE",
        help="also write what was taken, for --traffic",
    )
    conditions(command)
    command.add_argument("--format", choices=_FORMATS, default="table", help="default: table")
    command.set_defaults(run=_run)


def conditions(command: argparse.ArgumentParser) -> None:
    """Which recorded calls are decided again, and what of it must not be."""
    ledger_parser.span(command, default=_DEFAULT_SINCE)
    command.add_argument(
        "--where",
        action="append",
        type=_where,
        default=[],
        metavar="NAME=WORD",
        help="figures of these calls alone (all are replayed): team, customer, feature, agent, user, caller, "
        "tier, pool, rule, member, dialect, outcome, code, revision, asked; may be given often",
    )
    command.add_argument(
        "--fail-if",
        action="append",
        type=_gate,
        default=[],
        metavar="CONDITION",
        help="end with 1 where it is so, or where nobody can tell: e.g. 'cost > +5%%', 'latency > +200ms', "
        "'refusals > 1%%'; of cost, first_event, latency, refusals, degradations, cache_hits, moved",
    )
    command.add_argument(
        "--rollout-stage",
        action="append",
        default=[],
        metavar="[ROLLOUT=]STAGE",
        help="where NEW's rollouts are: a stage's name or number, `recorded` or `off`; default: as recorded "
        "calls were part of it, and where none was, at 100%%; may be given often",
    )
    command.add_argument(
        "--processes", type=int, choices=range(1, 9), metavar="N", help="for much traffic; default: 2"
    )


def _where(text: str) -> tuple[str, str]:
    from .simulate import WHERE

    name, separator, value = text.partition("=")
    if not separator or name not in WHERE:
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=WORD; names are {', '.join(WHERE)}")
    return name, value


def _gate(text: str) -> object:
    from ..simulation.gates import gate_of

    try:
        return gate_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(options: argparse.Namespace) -> int:
    from .simulate import run_simulation

    return run_simulation(options_of(options, options.config, options.against))


def options_of(
    options: argparse.Namespace, config: Path | str, against: Path | str | None
) -> SimulateOptions:
    """What the words say, of these configurations."""
    from .simulate import SimulateOptions

    where: dict[str, tuple[str, ...]] = {}
    for name, value in options.where:
        where[name] = (*where.get(name, ()), value)
    until_ms = options.until if options.until is not None else int(time.time() * 1000) + 1
    ledger_parser.check_order(options.since, until_ms)
    return SimulateOptions(
        config,
        against,
        options.state_dir,
        options.traffic,
        getattr(options, "write_traffic", None),
        options.since,
        until_ms,
        where,
        tuple(options.fail_if),
        options.format,
        options.processes or min(2, os.cpu_count() or 1),
        tuple(options.rollout_stage),
    )
