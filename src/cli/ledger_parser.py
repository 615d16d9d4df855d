"""The words of the commands that ask the ledger. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

# As ledger.questions has them; tests/cli/test_ledger.py holds the two together.
OF_TIME = ("hour", "day", "month")
FILTERS = (
    *("team", "customer", "feature", "agent", "user", "caller", "tier", "pool", "rule"),
    *("dialect", "outcome", "code", "revision", "purpose", "rollout", "arm", "stage"),
    *("asked", "member", "provider", "model"),
)
_DEFAULT_DAYS = 30
_FORMATS = ("csv", "jsonl", "parquet")
_HELP = {
    "asked": "what clients asked for in `model`: a member's model, an alias or a pool",
    "member": "PROVIDER/MODEL",
    "pool": "also those of its rollout's candidate, which are in POOL~PROVIDER/MODEL",
    "purpose": "`shadow`: copies of clients' calls; `score`: questions to judges; '' is clients' calls",
    "model": "of the member that was called; what clients asked for is --asked",
}
_AGO = re.compile(r"([0-9]{1,6})([mhdw])")
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Make = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add(commands_of: Commands, make: Make) -> None:
    """`make` makes one command."""
    _spend(commands_of, make)
    _reconcile(commands_of, make)
    _reprice(commands_of, make)
    _export(commands_of, make)


def _spend(commands_of: Commands, make: Make) -> None:
    command = make(
        commands_of,
        "spend",
        "say what calls cost, by team, model, customer or any other of their dimensions",
        "  modelbroker spend --config config/ --by team,model --since 7d\n"
        "  modelbroker spend --config config/ --by customer,feature --since 2026-11-01 --format csv\n"
        "  modelbroker spend --config config/ --by day --team search --failovers\n"
        "  modelbroker spend --config config/ --by team --as anthropic/claude-haiku-4-5",
    )
    where(command)
    command.add_argument(
        "--by",
        type=_dimensions,
        default=(),
        metavar="WORDS",
        help=f"groups, with commas between them: {', '.join((*FILTERS, *OF_TIME))}; default: all in one",
    )
    span(command)
    filters(command)
    command.add_argument(
        "--failovers", action="store_true", help="also what attempts in vain and hedges cost"
    )
    command.add_argument(
        "--as", dest="as_member", default="", metavar="MEMBER", help="also what it would have cost there"
    )
    command.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    command.set_defaults(run=_run_spend)


def _reconcile(commands_of: Commands, make: Make) -> None:
    command = make(
        commands_of,
        "reconcile",
        "hold a provider's invoice, or export of usage, against the ledger, by day and model",
        "  modelbroker reconcile --config config/ --provider anthropic claude_api_cost_2026_11.csv\n"
        "  modelbroker reconcile --config config/ --provider openai completions_usage.csv --format json\n"
        "  modelbroker reconcile --config config/ --provider in-house bill.csv \\\n"
        "      --columns day=Date,model=Model,cost=Amount --time-zone Europe/Berlin",
    )
    where(command)
    command.add_argument("--provider", required=True, help="as the configuration names it")
    command.add_argument(
        "--columns",
        type=_columns,
        metavar="NAME=COLUMN,…",
        help="of a form that is not known: day, model, cost (dollars), input, cache_read, cache_write_5m, "
        "cache_write_1h, output; or prompt, which is input with what was cached",
    )
    command.add_argument(
        "--model",
        action="append",
        type=_renamed,
        default=[],
        metavar="THEIRS=OURS",
        help="a model's name on the invoice, and as members name it; may be given often",
    )
    command.add_argument(
        "--time-zone", type=_zone, default="UTC", metavar="ZONE", help="of its days; default: UTC"
    )
    command.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    command.add_argument(
        "invoice", type=Path, metavar="FILE.csv", help="from OpenAI, Anthropic, AWS or others"
    )
    command.set_defaults(run=_run_reconcile)


def _reprice(commands_of: Commands, make: Make) -> None:
    command = make(
        commands_of,
        "reprice",
        "reckon what old calls cost again, by the prices that are known today",
        "  modelbroker reprice --config config/ --since 2026-10-01 --dry-run\n"
        "  modelbroker reprice --config config/ --since 90d --model claude-opus-4-7",
    )
    where(command)
    span(command)
    filters(command)
    command.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    command.set_defaults(run=_run_reprice)


def _export(commands_of: Commands, make: Make) -> None:
    command = make(
        commands_of,
        "export",
        "write calls, or their attempts, to a file",
        "  modelbroker export --config config/ --since 2026-11-01 --until 2026-11-30 --out november.csv\n"
        "  modelbroker export --config config/ --table attempts --format parquet --out attempts.parquet",
    )
    where(command)
    span(command)
    filters(command)
    command.add_argument("--table", choices=("calls", "attempts"), default="calls", help="default: calls")
    command.add_argument(
        "--format", choices=_FORMATS, help="default: by the name of the file; on standard output csv"
    )
    command.add_argument("--out", required=True, metavar="FILE", help="- for standard output")
    command.set_defaults(run=_run_export)


def where(command: argparse.ArgumentParser) -> None:
    """Whose ledger."""
    command.add_argument(
        "--config", type=Path, required=True, metavar="PATH", help="a YAML file, or a folder of them"
    )
    command.add_argument(
        "--state-dir", type=Path, help="that of the broker; default: one for this configuration"
    )


def span(command: argparse.ArgumentParser, default: str = f"{_DEFAULT_DAYS}d") -> None:
    ago = "7d, 24h, 90m ago, or a day or moment, UTC"
    command.add_argument(
        "--since",
        type=_since,
        metavar="WHEN",
        help=f"{ago}; default: {default}",
        default=default,
    )
    command.add_argument("--until", type=_until, metavar="WHEN", help=f"{ago}; a day ends it; default: now")


def filters(command: argparse.ArgumentParser) -> None:
    """An option for each dimension."""
    group = command.add_argument_group("only calls that have this", "Each may be given often: any of them.")
    for name in FILTERS:
        group.add_argument(f"--{name}", action="append", default=[], metavar="WORD", help=_HELP.get(name))


def check_order(since_ms: float, until_ms: float) -> None:
    """Misconfigured where nothing can lie between the two."""
    from ..core.errors import Misconfigured
    from .ledger_access import moment

    if since_ms >= until_ms:
        since, until = (moment(int(at_ms), "seconds") for at_ms in (since_ms, until_ms))
        message = f"--since ({since}) is not before --until ({until}): no call lies between them"
        raise Misconfigured(500, "bad_span", message)


def question_of(options: argparse.Namespace) -> dict[str, object]:
    """The fields of a `ledger.questions.Question`."""
    until_ms = options.until if options.until is not None else int(time.time() * 1000) + 1
    check_order(options.since, until_ms)
    return {
        "by": getattr(options, "by", ()),
        "since_ms": options.since,
        "until_ms": until_ms,
        "where": {name: tuple(values) for name in FILTERS if (values := getattr(options, name, []))},
    }


def _run_spend(options: argparse.Namespace) -> int:
    from ..ledger.questions import Question
    from .spend import SpendOptions, print_spend

    question = Question(**question_of(options))  # type: ignore[arg-type]
    return print_spend(
        SpendOptions(
            options.config,
            options.state_dir,
            question,
            options.failovers,
            options.as_member,
            options.format,
        )
    )


def _run_reconcile(options: argparse.Namespace) -> int:
    from .reconcile import ReconcileOptions, print_reconciled

    return print_reconciled(
        ReconcileOptions(
            options.config,
            options.state_dir,
            options.provider,
            options.invoice,
            options.time_zone,
            options.columns,
            dict(options.model),
            options.format,
        )
    )


def _run_reprice(options: argparse.Namespace) -> int:
    from ..ledger.questions import Question
    from .reprice import RepriceOptions, print_repriced

    question = Question(**question_of(options))  # type: ignore[arg-type]
    return print_repriced(RepriceOptions(options.config, options.state_dir, question, options.dry_run))


def _run_export(options: argparse.Namespace) -> int:
    from ..ledger.questions import Question
    from .reprice import ExportOptions, run_export

    question = Question(**question_of(options))  # type: ignore[arg-type]
    how = options.format or _format_of(options.out)
    return run_export(
        ExportOptions(options.config, options.state_dir, question, options.table, how, options.out)
    )


def _format_of(out: str) -> str:
    """By the name of the file."""
    from ..core.errors import Misconfigured

    ending = "csv" if out == "-" else Path(out).suffix.removeprefix(".")
    if ending not in _FORMATS:
        right = "give --format, or a name that ends in .csv, .jsonl or .parquet"
        raise Misconfigured(500, "no_export", f"{out!r} does not say what it is to be: {right}")
    return ending


def _columns(text: str) -> dict[str, str]:
    from ..ledger.invoices import columns_of

    try:
        return columns_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _renamed(text: str) -> tuple[str, str]:
    theirs, separator, ours = text.rpartition("=")
    if not separator or not theirs or not ours:
        raise argparse.ArgumentTypeError(
            f"{text!r}: give THEIRS=OURS, e.g. 'Claude Opus 4.7=claude-opus-4-7'"
        )
    return theirs, ours


def _zone(text: str) -> object:
    from zoneinfo import ZoneInfo

    try:
        return UTC if text == "UTC" else ZoneInfo(text)  # that one is there on every machine
    except (ValueError, OSError, LookupError):
        raise argparse.ArgumentTypeError(f"there is no time zone {text!r}: give e.g. Europe/Berlin") from None


def _dimensions(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    known = (*FILTERS, *OF_TIME)
    for word in words:
        if word not in known:
            raise argparse.ArgumentTypeError(
                f"there is no {word!r} to group by; there are {', '.join(known)}"
            )
    return tuple(dict.fromkeys(words))


def _since(text: str) -> int:
    return moment_ms(text, ends_day=False)


def _until(text: str) -> int:
    return moment_ms(text, ends_day=True)


def moment_ms(text: str, *, ends_day: bool) -> int:
    if found := _AGO.fullmatch(text):
        return int((time.time() - int(found[1]) * _UNITS_S[found[2]]) * 1000)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        right = "give e.g. 7d, 2026-06-01 or 2026-06-01T18:00 (UTC)"
        raise argparse.ArgumentTypeError(f"{text!r} is no time: {right}") from None
    if ends_day and _DAY.fullmatch(text):
        at += timedelta(days=1)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
