"""`modelbroker`: the commands. Exit codes: 0 done, 1 the job failed, 2 bad use."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..core.errors import Misconfigured
from ..core.problems import SettingsError
from . import (
    audit_parser,
    commands,
    console_parser,
    eval_parser,
    ledger_parser,
    revision_parser,
    rollout_parser,
    simulate_parser,
    traffic_parser,
)
from .options import admin_commands, admin_url, admin_urls, commanded, config, config_place, config_source
from .printed import printing

MOCK_DIALECTS = (
    "openai",
    "openai-chat",
    "openai-responses",
    "openai-embeddings",
    "anthropic-messages",
    "bedrock-converse",
    "gemini",
)


_UNITS_S = {"s": 1, "m": 60, "h": 3600}


@printing()
def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    options = parser.parse_args(argv)
    logging.basicConfig(
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        code: int = options.run(options)
        return code
    except SettingsError as error:
        print(error, file=sys.stderr)
    except Misconfigured as error:
        print(f"modelbroker: {error.message}", file=sys.stderr)
    except BrokenPipeError:  # `modelbroker … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        pass
    return 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modelbroker", description="A broker between agents and models, on Envoy."
    )
    parser.add_argument("--version", action="version", version=f"modelbroker {__version__}")
    commands_of = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _up(commands_of)
    _serve(commands_of)
    _bootstrap(commands_of)
    _check(commands_of)
    _explain(commands_of)
    _prices(commands_of)
    ledger_parser.add(commands_of, _command)
    traffic_parser.add(commands_of, _command)
    audit_parser.add(commands_of, _command)
    simulate_parser.add(commands_of, _command)
    revision_parser.add(commands_of, _command)
    console_parser.add(commands_of, _command)
    _mock(commands_of)
    _status(commands_of)
    _budgets(commands_of)
    _forget(commands_of)
    rollout_parser.add(commands_of, _command)
    _drill(commands_of)
    eval_parser.add(commands_of, _command)
    return parser


def _command(
    commands_of: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str, examples: str
) -> argparse.ArgumentParser:
    command = commands_of.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="default: info"
    )
    return command


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 (any free one) to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give seconds, e.g. 10 or 2.5s")
    return value


def _heap(text: str) -> int:
    """Bytes; an Envoy with less than 64 MiB would refuse every call."""
    if not text.isdecimal() or int(text) < 64 << 20:
        raise argparse.ArgumentTypeError(f"{text!r} is no heap: give bytes, at least 67108864 (64 MiB)")
    return int(text)


def _duration(text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
    try:
        value = float(number) * _UNITS_S[unit]
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time up to a day: give e.g. 90s, 30m or 2h")
    return value


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: give calls a second, e.g. 100")
    return value


def _address(text: str) -> str:
    host, separator, port = text.rpartition(":")
    if text.startswith("unix:/") or (separator and host and port.isdecimal() and int(port) < 65536):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no address: give HOST:PORT or unix:/PATH (from the root)")


def _control_addresses(command: argparse.ArgumentParser) -> None:
    """Where control plane and Envoy meet: the same words in `serve` and `bootstrap`."""
    kinds = "HOST:PORT or unix:/PATH"
    for name, what, default in (
        ("--xds", "configuration and access logs", "127.0.0.1:18000"),
        ("--ext-proc", "decisions about calls", "127.0.0.1:18001"),
    ):
        text = f"{what}: {kinds}; default: {default}"
        command.add_argument(name, type=_address, default=default, metavar="ADDRESS", help=text)


def _ejections(command: argparse.ArgumentParser) -> None:
    """Where Envoy writes and the control plane reads: the same file in `serve` and `bootstrap`."""
    text = "file in which Envoy writes whom it takes out of a pool, on a disk that both have; default: none"
    command.add_argument("--ejections", type=Path, metavar="FILE", help=text)


def _mocks(text: str) -> dict[str, str]:
    if not text.startswith("{"):
        return {"*": _address(text)}
    try:
        return {str(name): _address(str(where)) for name, where in json.loads(text).items()}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None


def _up(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "up",
        "run the control plane and Envoy in the foreground",
        "  modelbroker up --config config/\n  modelbroker up --config broker.yaml --mock-providers --port 0\n"
        "  modelbroker up --config git+https://HOST/REPOSITORY.git@main#subdirectory=config",
    )
    config_source(command)
    command.add_argument("--port", type=_port, help="instead of listen.port; 0: any free one")
    command.add_argument("--admin-port", type=_port, default=8081, help="default: 8081; 0: any free one")
    command.add_argument(
        "--state-dir", type=Path, help="default: one for this configuration, in ~/.local/state"
    )
    command.add_argument(
        "--mock-providers", action="store_true", help="put simulators in the places of all providers"
    )
    command.add_argument(
        "--drain-timeout", type=_seconds, default=10.0, metavar="S", help="for calls at the end; default: 10"
    )
    command.add_argument("--greet", metavar="KEY", help="print lines to paste that call with this key")
    command.set_defaults(run=commands.up)


def _serve(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "serve",
        "run the control plane alone, for an Envoy beside it",
        "  modelbroker serve --config config/ --xds unix:/run/modelbroker/xds.sock \\\n"
        "      --ext-proc unix:/run/modelbroker/ext-proc.sock",
    )
    config_source(command)
    command.add_argument("--port", type=_port, help="instead of listen.port")
    _control_addresses(command)
    command.add_argument(
        "--admin",
        type=_address,
        default="127.0.0.1:8081",
        metavar="ADDRESS",
        help="/status, /metrics and probes; default: 127.0.0.1:8081",
    )
    command.add_argument(
        "--state-dir", type=Path, help="default: one for this configuration, in ~/.local/state"
    )
    command.add_argument(
        "--drain-timeout", type=_seconds, default=10.0, metavar="S", help="for calls at the end; default: 10"
    )
    command.add_argument("--address", help="instead of listen.address, e.g. 0.0.0.0 in a container")
    command.add_argument(
        "--mock-providers",
        type=_mocks,
        metavar="WHERE",
        help="a simulator (HOST:PORT) in the places of all providers, or JSON: provider → HOST:PORT",
    )
    command.add_argument(
        "--envoy-admin",
        type=_address,
        metavar="ADDRESS",
        help="where Envoy's own admin interface is, for /status?envoy: HOST:PORT or unix:/PATH",
    )
    _ejections(command)
    command.add_argument(
        "--undecided",
        type=Path,
        metavar="FILE",
        help="file in which Envoy writes of calls for which no member was asked, so that those which come "
        "while this process is away have records; on a disk that both have; default: none",
    )
    command.add_argument(
        "--listener",
        type=_address,
        metavar="HOST:PORT",
        help="where `listen` is reached from here, for copies of calls (docs/shadow.md); default: here",
    )
    admin_commands(command)
    command.add_argument("--ext-proc-fd", type=int, help=argparse.SUPPRESS)  # `up` holds the socket
    command.add_argument("--stdout-fd", type=int, default=1, help=argparse.SUPPRESS)  # that of `up`
    command.add_argument("--start-fd", type=int, help=argparse.SUPPRESS)  # `up` chooses ports
    # `up` knows them; /status says them.
    command.add_argument("--mock-controls", type=_mocks, default={}, help=argparse.SUPPRESS)
    command.add_argument(
        "--ext-proc-transport",
        choices=("http2", "grpc"),
        default="http2",
        help="http2: our own, fast; grpc: grpc.aio, many times slower; default: http2",
    )
    command.set_defaults(run=commands.serve)


def _bootstrap(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "bootstrap",
        "print the Envoy bootstrap that goes with `serve`",
        "  modelbroker bootstrap > envoy.yaml\n"
        "  envoy -c envoy.yaml --drain-strategy immediate --drain-time-s 7200",
    )
    _control_addresses(command)
    command.add_argument(
        "--envoy-admin",
        type=_address,
        default="127.0.0.1:9901",
        metavar="ADDRESS",
        help="Envoy's own admin interface; default: 127.0.0.1:9901",
    )
    _ejections(command)
    command.add_argument("--node-id", default="modelbroker-envoy", help="default: modelbroker-envoy")
    command.add_argument(
        "--max-heap",
        type=_heap,
        default=4 << 30,
        metavar="BYTES",
        help="of memory, above which Envoy refuses new calls; below its container's limit; default: 4 GiB",
    )
    command.set_defaults(run=commands.print_bootstrap)


def _check(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "check",
        "validate a configuration: all errors at once, with file and line",
        "  modelbroker check config/",
    )
    command.add_argument(
        "path",
        type=config_place,
        metavar="PATH",
        help="a YAML file, a folder of them, or git+URL@REF#subdirectory=FOLDER",
    )
    command.add_argument("--no-envoy", action="store_true", help="don't let Envoy judge the result")
    command.set_defaults(run=commands.check)


def _explain(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "explain",
        "say what would become of a call, without sending anything",
        "  modelbroker explain --config config/ --header 'x-api-key=KEY' body.json\n"
        "  modelbroker explain --config config/ --caller demo --path /v1/messages body.json",
    )
    config(command)
    command.add_argument("--header", action="append", default=[], metavar="K=V", help="may be given often")
    command.add_argument("--path", default="", help="e.g. /v1/responses; default: guessed from the body")
    command.add_argument("--caller", default="", help="the caller's name, instead of a key in a header")
    command.add_argument(
        "--claims",
        default="",
        metavar="JSON",
        help="of a good token, with its `iss`, instead of a key",
    )
    command.add_argument(
        "--certificate", default="", metavar="ID", help="the SPIFFE ID in the client's certificate"
    )
    command.add_argument(
        "--request-id",
        default="",
        metavar="ID",
        help="draw the lots of this call: of capture, shadows, rollouts",
    )
    command.add_argument("--assume-credentials", action="store_true", help="as if every key were there")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("body", metavar="BODY.json", help="the request's body; - for standard input")
    command.set_defaults(run=commands.explain)


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        right = "give e.g. 2026-06-01 or 2026-06-01T18:00 (UTC)"
        raise argparse.ArgumentTypeError(f"{text!r} is no date: {right}") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _prices(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "prices",
        "say what each member costs, since when, and where that is said",
        "  modelbroker prices --config config/\n  modelbroker prices --config config/ claude --at 2026-06-01",
    )
    config(command)
    command.add_argument("--at", type=_moment, metavar="DATE", help="a day, or a moment, UTC; default: now")
    command.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    command.add_argument(
        "model", nargs="?", default="", metavar="MODEL", help="a part of PROVIDER/MODEL, or a pattern"
    )
    command.set_defaults(run=commands.prices)


def _status(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "status",
        "say what a running broker serves, and which members are out, why and until when",
        "  modelbroker status\n  modelbroker status --admin http://127.0.0.1:8081 --format json\n"
        "  modelbroker status --fleet    what each broker serves, and who is behind",
    )
    admin_urls(command)
    command.add_argument("--fleet", action="store_true", help="of all brokers that share a Redis")
    command.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    command.set_defaults(run=commands.status)


def _budgets(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "budgets",
        "say where a running broker's budgets and rate limits stand",
        "  modelbroker budgets\n  modelbroker budgets team-daily --format json",
    )
    admin_url(command)
    command.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    command.add_argument("budget", nargs="*", metavar="BUDGET", help="default: all")
    command.set_defaults(run=commands.budgets)


def _forget(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "forget",
        "let members have calls again whatever they said: a quota was raised, a key mended",
        "  modelbroker forget openai/gpt-5-thinking\n  modelbroker forget    # all of them",
    )
    commanded(command)
    command.add_argument("members", nargs="*", metavar="MEMBER", help="PROVIDER/MODEL; default: all")
    command.set_defaults(run=commands.forget)


def _mock(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "mock",
        "run a simulated provider, which misbehaves on command",
        "  modelbroker mock --dialect anthropic-messages --port 9001\n"
        "  modelbroker mock --port 9001 --script faults.yaml\n"
        "  curl -X PUT --data-binary @faults.yaml http://127.0.0.1:9001/script",
    )
    command.add_argument("--dialect", choices=MOCK_DIALECTS, help="answer this one alone; default: all")
    command.add_argument(
        "--name",
        default="mock",
        help="its account: it refuses signatures made under another name; default: mock",
    )
    command.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    command.add_argument("--port", type=_port, default=0, help="default: any free one")
    command.add_argument("--script", type=Path, metavar="FILE", help="answers and faults, YAML or JSON")
    command.add_argument("--control-port", type=_port, help="journal and script on a port without faults")
    command.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM")
    command.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    command.add_argument("--many", metavar="JSON", help=argparse.SUPPRESS)  # `up` starts all in one process
    command.add_argument("--many-scripts", metavar="JSON", default="{}", help=argparse.SUPPRESS)
    command.add_argument("--many-ports", metavar="JSON", default="{}", help=argparse.SUPPRESS)
    command.set_defaults(run=commands.mock)


def _drill(commands_of: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = _command(
        commands_of,
        "drill",
        "let simulated members fail in every way, and hold what clients see against what is promised",
        "  modelbroker drill --config config/ --profile quick     each fault once in each pool\n"
        "  modelbroker drill --config config/ --profile full      at every member and pair\n"
        "  modelbroker drill --config config/ --only refused status-529 --pool reasoning-tier\n"
        "  modelbroker drill --config config/ --soak 30m          load, edits, faults: memory, records",
    )
    command.add_argument(
        "--config", type=Path, required=True, metavar="PATH", help="a YAML file, or a folder of them"
    )
    command.add_argument(
        "--profile",
        choices=("quick", "usual", "full", "acceptance"),
        default="usual",
        help="quick: each fault once in each pool, at another target each time; usual: at one member, one "
        "pair and all; full: at every member and pair; acceptance: two minutes without a pause, in the "
        "largest pool; default: usual",
    )
    command.add_argument(
        "--calls-per-second", type=_rate, default=100.0, metavar="N", help="of the load; default: 100"
    )
    command.add_argument("--seconds", type=_duration, metavar="N", help="of each fault; default: 2")
    command.add_argument("--pool", nargs="+", default=[], metavar="NAME", help="these alone; default: all")
    command.add_argument("--only", nargs="+", default=[], metavar="FAULT", help="these faults alone")
    command.add_argument(
        "--scope",
        nargs="+",
        default=[],
        choices=("one", "provider", "pair", "all"),
        help="who is struck together: one member, a provider's members, two providers', all; default: each",
    )
    command.add_argument(
        "--real-times",
        action="store_true",
        help="keep the configuration's timeouts and ejection times: long ones make the drill long",
    )
    command.add_argument(
        "--soak", type=_duration, metavar="TIME", help="in place of the drill: so long, e.g. 30m"
    )
    command.add_argument(
        "--format", choices=("table", "json", "markdown"), default="table", help="default: table"
    )
    command.add_argument(
        "--folder", type=Path, metavar="PATH", help="keep the broker's log and records here; default: nowhere"
    )
    command.set_defaults(run=commands.drill)


if __name__ == "__main__":
    sys.exit(main())
