"""The words of `console`. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from .ledger_parser import Commands, Make
from .options import config


def add(commands_of: Commands, make: Make) -> None:
    """`make` makes one command."""
    command = make(
        commands_of,
        "console",
        "print the link that logs in to the console of a broker on this machine",
        "  modelbroker console --config config/\n"
        "  modelbroker console --config config/ --state-dir /var/lib/modelbroker --admin http://127.0.0.1:8081",
    )
    config(command)
    command.add_argument(
        "--state-dir", type=Path, metavar="FOLDER", help="as the broker has it; default: likewise"
    )
    command.add_argument("--admin", metavar="URL", help="default: where that broker is, or was last")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from .console_link import print_link

    return print_link(options.config, options.state_dir, options.admin)
