"""The words of `modelbroker audit`. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import argparse
import difflib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .ledger_parser import Commands, Make, check_order, moment_ms

_FILTERS = {
    "agent": "the agent that called",
    "user": "the user for whom it called; of an act: who did it",
    "caller": "the caller",
    "team": "the team",
    "customer": "the customer",
    "feature": "the feature",
    "tier": "the caller's tier",
    "pool": "the pool that answered",
    "member": "PROVIDER/MODEL that answered",
    "provider": "its provider",
    "model": "its model",
    "asked": "what the client asked for",
    "rule": "the rule that decided",
    "outcome": "ok, refused, error, client_gone or lost",
    "code": "the broker's code (docs/errors.md)",
    "purpose": "shadow, score or eval",
    "rollout": "the rollout that the call was part of",
    "act": "what was done to the broker, e.g. config.loaded (docs/audit.md)",
    "actor": "who acted: broker, edit, command, token or console (docs/audit.md)",
    "request-id": "the call's id",
}


def add(commands_of: Commands, make: Make) -> None:
    """`make` makes one command."""
    command = make(
        commands_of,
        "audit",
        "the chain of audit events: verify it, ask it, write it out",
        "  modelbroker audit verify --config config/\n"
        "  modelbroker audit query --config config/ --agent support-agent --since 24h\n"
        "  modelbroker audit checkpoint --config config/ >> /mnt/elsewhere/checkpoints.jsonl",
    )
    parts: Any = command.add_subparsers(title="what", metavar="WHAT", required=True)
    _verify(parts, make)
    _query(parts, make)
    _export(parts, make)
    checkpoint = make(
        parts,
        "checkpoint",
        "print the newest checkpoint, to be kept elsewhere: it shows later whether the chain's end was cut",
        "  modelbroker audit checkpoint --config config/ >> /mnt/elsewhere/checkpoints.jsonl",
    )
    _where(checkpoint)
    checkpoint.set_defaults(run=_run_checkpoint)
    key = make(
        parts,
        "key",
        "print the public key that the chain's newest checkpoint is signed with",
        "  modelbroker audit key --config config/ > audit.pub",
    )
    _where(key)
    key.set_defaults(run=_run_key)


def _verify(parts: Any, make: Make) -> None:
    command = make(
        parts,
        "verify",
        "find every changed, missing, reordered or doubled event, without the broker. 1: something was found",
        "  modelbroker audit verify --state-dir .modelbroker --public-key audit.pub\n"
        "  modelbroker audit verify --config config/ --since-checkpoint /mnt/elsewhere/checkpoints.jsonl",
    )
    _where(command)
    command.add_argument(
        "--public-key",
        action="append",
        default=[],
        metavar="KEY",
        help="who may have signed: 64 hex digits, or a file of them; may be given often; default: whoever "
        "the chain itself names",
    )
    command.add_argument(
        "--since-checkpoint",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="checkpoints that were kept elsewhere, a line each: they have to be in the chain",
    )
    command.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    command.set_defaults(run=_run_verify)


def _query(parts: Any, make: Make) -> None:
    command = make(
        parts,
        "query",
        "list events: calls, and acts on the broker",
        "  modelbroker audit query --config config/ --agent support-agent --since 24h\n"
        "  modelbroker audit query --config config/ --outcome refused --team sales --format json\n"
        "  modelbroker audit query --config config/ --act config.loaded --act config.refused --since 30d",
    )
    _where(command)
    _which(command)
    command.add_argument("--limit", type=_count, metavar="N", help="only the last so many")
    command.add_argument(
        "--format",
        choices=("table", "json"),
        default="table",
        help="json: a line each, as in the chain; default: table",
    )
    command.set_defaults(run=_run_query)


def _export(parts: Any, make: Make) -> None:
    command = make(
        parts,
        "export",
        "write events as JSON lines in a SIEM's form",
        "  modelbroker audit export --config config/ --form ocsf --since 7d --out week.jsonl\n"
        "  modelbroker audit export --config config/ --form ecs --team sales --out - | head",
    )
    _where(command)
    _which(command)
    command.add_argument("--form", choices=("ocsf", "ecs"), default="ocsf", help="default: ocsf")
    command.add_argument("--out", required=True, metavar="FILE", help="- for standard output")
    command.set_defaults(run=_run_export)


def _where(command: argparse.ArgumentParser) -> None:
    text = "the broker's configuration: its default state folder is meant"
    command.add_argument("--config", type=Path, metavar="PATH", help=text)
    command.add_argument("--state-dir", type=Path, metavar="DIR", help="the broker's state folder")


def _which(command: argparse.ArgumentParser) -> None:
    when = "7d, 24h, 90m ago, or a day or moment, UTC"
    command.add_argument("--since", type=_since, default=0, metavar="WHEN", help=f"{when}; default: all")
    command.add_argument("--until", type=_until, metavar="WHEN", help=f"{when}; a day ends it; default: now")
    for name, what in _FILTERS.items():
        many = "; may be given often"
        of = _one_of(name)
        command.add_argument(f"--{name}", type=of, action="append", metavar="VALUE", help=f"{what}{many}")


def _one_of(name: str) -> Callable[[str], str]:
    """Of some filters it is known what there is: another word would find nothing, and say nothing of it."""

    def one(text: str) -> str:
        known = _known(name)
        if known and text not in known:
            near = difflib.get_close_matches(text, known, n=1)
            right = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise argparse.ArgumentTypeError(f"there is no {text!r}; {right}")
        return text

    return one


def _known(name: str) -> tuple[str, ...]:
    # Records are much to load, and every command comes by here.
    from ..core.acts import ACTORS, WORDS
    from ..core.outcomes import ERROR, LOST, OK, REFUSED
    from ..core.record import CLIENT_GONE
    from ..core.traffic import EVAL
    from ..core.trials import SCORE, SHADOW

    known = {
        "outcome": (OK, REFUSED, ERROR, CLIENT_GONE, LOST),
        "purpose": (SHADOW, SCORE, EVAL),
        "act": tuple(WORDS),
        "actor": tuple(ACTORS),
    }
    return known.get(name, ())


def _since(text: str) -> int:
    return moment_ms(text, ends_day=False)


def _until(text: str) -> int:
    return moment_ms(text, ends_day=True)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of events: give e.g. 100")
    return int(text)


def _asked(options: argparse.Namespace) -> tuple[int, int, dict[str, list[str]]]:
    names = [name.replace("-", "_") for name in _FILTERS]
    where = {name: found for name in names if (found := getattr(options, name)) is not None}
    until_ms = options.until if options.until is not None else int(time.time() * 1000) + 1000
    check_order(options.since, until_ms)
    return options.since, until_ms, where


def _run_verify(options: argparse.Namespace) -> int:
    from .audit_commands import chain_folder, print_verified

    folder = chain_folder(options.config, options.state_dir)
    return print_verified(folder, options.public_key, options.since_checkpoint, options.format)


def _run_query(options: argparse.Namespace) -> int:
    from .audit_commands import chain_folder, print_events

    folder = chain_folder(options.config, options.state_dir)
    return print_events(folder, *_asked(options), options.limit, options.format)


def _run_export(options: argparse.Namespace) -> int:
    from .audit_commands import chain_folder, export_events

    folder = chain_folder(options.config, options.state_dir)
    return export_events(folder, *_asked(options), options.form, options.out)


def _run_checkpoint(options: argparse.Namespace) -> int:
    from .audit_commands import chain_folder, print_checkpoint

    return print_checkpoint(chain_folder(options.config, options.state_dir))


def _run_key(options: argparse.Namespace) -> int:
    from .audit_commands import chain_folder, print_key

    return print_key(chain_folder(options.config, options.state_dir))
