"""The words of `modelbroker traffic`. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..core.traffic import FILTERS, NOT_KNOWN
from .ledger_parser import Commands, Make, check_order, moment_ms, where

_DIALECTS = ("openai-chat", "openai-responses", "openai-embeddings", "anthropic-messages")


def add(commands_of: Commands, make: Make) -> None:
    """`make` makes one command."""
    command = make(
        commands_of,
        "traffic",
        "captured calls: how many there are, out to a file, in from one",
        "  modelbroker traffic stats --config config/ --since 7d\n"
        "  modelbroker traffic export --config config/ --where team=sales --sample 500 --out sales.jsonl\n"
        "  modelbroker traffic import --config config/ other-tools-log.jsonl",
    )
    parts: Any = command.add_subparsers(title="what", metavar="WHAT", required=True)
    stats = make(
        parts,
        "stats",
        "say how many calls are captured, and of what",
        "  modelbroker traffic stats --config config/ --where pool=reasoning-tier --format json",
    )
    _which(stats)
    stats.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    stats.set_defaults(run=_run_stats)
    export = make(
        parts,
        "export",
        "write captured calls as JSON lines",
        "  modelbroker traffic export --config config/ --since 7d --where team=sales --out sales.jsonl\n"
        "  modelbroker traffic export --config config/ --sample 200 --seed a --out - | head",
    )
    _which(export)
    many = export.add_mutually_exclusive_group()
    many.add_argument("--limit", type=_count, metavar="N", help="the first so many")
    many.add_argument("--sample", type=_count, metavar="N", help="so many, drawn by lot")
    export.add_argument("--seed", default="modelbroker", metavar="TEXT", help="another one: another draw")
    export.add_argument("--out", required=True, metavar="FILE", help="- for standard output")
    export.set_defaults(run=_run_export)
    taken = make(
        parts,
        "import",
        "take calls from files of JSON lines: exported ones, recorded exchanges, other tools' logs",
        "  modelbroker traffic import --config config/ sales.jsonl\n"
        "  modelbroker traffic import --config config/ --dialect openai-chat logs-of-november.jsonl",
    )
    where(taken)
    taken.add_argument("--dialect", choices=_DIALECTS, default="", help="of lines that do not say theirs")
    taken.add_argument("files", nargs="+", metavar="FILE.jsonl", help="- for standard input")
    taken.set_defaults(run=_run_import)


def _which(command: argparse.ArgumentParser) -> None:
    where(command)
    when = "7d, 24h, 90m ago, or a day or moment, UTC"
    command.add_argument("--since", type=_since, metavar="WHEN", help=f"{when}; default: all")
    command.add_argument("--until", type=_until, metavar="WHEN", help=f"{when}; a day ends it; default: now")
    command.add_argument(
        "--where",
        action="append",
        type=_filter,
        default=[],
        metavar="NAME=VALUE",
        help="only calls that have this; may be given often; a pool's calls are also those of its rollout's "
        f"candidate: {', '.join(FILTERS)}",
    )


def _since(text: str) -> float:
    return moment_ms(text, ends_day=False) / 1000


def _until(text: str) -> float:
    return moment_ms(text, ends_day=True) / 1000


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of calls: give e.g. 500")
    return int(text)


def _filter(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or name not in FILTERS:
        raise argparse.ArgumentTypeError(
            f"{text!r}: give NAME=VALUE, e.g. team=sales; names are {', '.join(FILTERS)}"
        )
    if name == "stream" and value not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}: stream is true or false")
    if name == "status" and value != NOT_KNOWN and not (value.isdecimal() and int(value)):
        raise argparse.ArgumentTypeError(f"{text!r}: status is a number, e.g. 200, or {NOT_KNOWN}")
    return name, value


def _chosen(options: argparse.Namespace) -> tuple[float, float, dict[str, list[str]]]:
    asked: dict[str, list[str]] = {}
    for name, value in options.where:
        asked.setdefault(name, []).append(value)
    until_s = options.until if options.until is not None else time.time() + 1
    check_order((options.since or 0.0) * 1000, until_s * 1000)
    return options.since or 0.0, until_s, asked


def _run_stats(options: argparse.Namespace) -> int:
    from .traffic import print_stats

    return print_stats(options.config, options.state_dir, _chosen(options), options.format)


def _run_export(options: argparse.Namespace) -> int:
    from .traffic import run_export

    limit = options.sample or options.limit
    seed = options.seed if options.sample else None
    return run_export(options.config, options.state_dir, _chosen(options), limit, seed, options.out)


def _run_import(options: argparse.Namespace) -> int:
    from .traffic import run_import

    return run_import(options.config, options.state_dir, options.files, options.dialect)
