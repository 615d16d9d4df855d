"""What each command does. Heavy imports stay inside: `--help` and `mock` need no gRPC."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import Misconfigured
from .collection import no_collection
from .options import following_of, token_of
from .start import Chosen
from .state import state_folder


def up(options: argparse.Namespace) -> int:
    with no_collection():  # what is imported stays
        from .up import UpOptions, run_up

    with state_folder(options.state_dir, options.config, "up") as folder:
        return run_up(
            UpOptions(
                config=options.config,
                state_dir=folder,
                port=options.port,
                admin_port=options.admin_port,
                mock_providers=options.mock_providers,
                drain_timeout_s=options.drain_timeout,
                log_level=options.log_level,
                greet_key=options.greet,
                following=following_of(options),
            )
        )


def serve(options: argparse.Namespace) -> int:
    with no_collection():
        from .control import ControlPlane, ServeOptions
        from .runtime import Overrides
        from .sources import source_of

    async def main(state_dir: Path, start: Chosen) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        serve_options = ServeOptions(
            source=source_of(options.config, state_dir, following_of(options)),
            state_dir=state_dir,
            xds=options.xds,
            ext_proc=options.ext_proc,
            admin=options.admin,
            overrides=Overrides(options.address, start.port, start.mocks, options.undecided),
            drain_timeout_s=options.drain_timeout,
            ext_proc_fd=options.ext_proc_fd,
            stdout_fd=options.stdout_fd,
            transport=options.ext_proc_transport,
            mock_controls=start.controls,
            envoy_admin=options.envoy_admin or "",
            ejections=options.ejections,
            listener=options.listener or "",
            admin_commands=options.admin_commands,
        )
        await ControlPlane(serve_options).run(
            stop, lambda admin: print(f"listening admin http://{admin}", flush=True)
        )

    import uvloop

    # A configuration is compiled in a thread beside the one that serves calls: at Python's own 5 ms a turn
    # each call would wait for several of them.
    sys.setswitchinterval(0.0005)
    # A supervisor that was killed is gone a moment before its control plane is.
    patience_s = 0.0 if options.start_fd is None else 5.0
    with state_folder(options.state_dir, options.config, "serve", patience_s) as folder:
        if options.start_fd is None:
            start = Chosen(options.port, options.mock_providers, options.mock_controls)
        else:
            from .first_start import chosen

            start = chosen(options.start_fd, options.config, folder, following_of(options))
        uvloop.run(main(folder, start))
    return 0


def print_bootstrap(options: argparse.Namespace) -> int:
    import yaml

    from ..xds.bootstrap import BootstrapOptions, bootstrap

    tree = bootstrap(
        BootstrapOptions(
            xds=options.xds,
            ext_proc=options.ext_proc,
            admin=options.envoy_admin,
            node_id=options.node_id,
            ejections=str(options.ejections or ""),
            max_heap_bytes=options.max_heap,
        )
    )
    print(yaml.safe_dump(tree, sort_keys=False), end="")
    return 0


def check(options: argparse.Namespace) -> int:
    from .check import check_path

    return check_path(options.path, with_envoy=not options.no_envoy)


def explain(options: argparse.Namespace) -> int:
    from .explain import Question, explain_call

    try:
        body = sys.stdin.buffer.read() if options.body == "-" else Path(options.body).read_bytes()
    except OSError as error:
        raise Misconfigured(
            500, "no_body", f"the body {options.body} can't be read: {error.strerror}"
        ) from None
    headers = []
    for header in options.header:
        name, separator, value = header.partition("=")
        if not separator or not name:
            print(f"modelbroker explain: --header {header!r}: give NAME=VALUE", file=sys.stderr)
            return 2
        headers.append((name.strip().lower(), value))
    question = Question(
        headers,
        body,
        options.path,
        options.caller,
        options.assume_credentials,
        options.claims,
        options.certificate,
        options.request_id,
    )
    return explain_call(options.config, question, options.json)


def prices(options: argparse.Namespace) -> int:
    from .prices import print_prices

    return print_prices(options.config, options.model, options.at, options.format)


def budgets(options: argparse.Namespace) -> int:
    from .budgets import print_budgets

    return print_budgets(options.admin, options.budget, options.format)


def status(options: argparse.Namespace) -> int:
    from .options import asked_urls
    from .status_table import print_status

    urls = asked_urls(options)
    if options.fleet:
        from .fleet_table import print_fleet

        return print_fleet(urls, options.format)
    if len(urls) > 1:
        raise Misconfigured(500, "no_status", "several --admin are for --fleet")
    return print_status(urls[0], options.format)


def forget(options: argparse.Namespace) -> int:
    from .status_table import ask_to_forget

    return ask_to_forget(options.admin, options.members, token_of(options))


def mock(options: argparse.Namespace) -> int:
    from ..simulator.main import run_many, run_mock
    from ..simulator.script import parse_script

    if options.many:
        specs = [(name, dialect) for name, dialect in json.loads(options.many)]
        given = json.loads(options.many_scripts)
        scripts = {name: parse_script(json.dumps(script), name) for name, script in given.items()}
        return run_many(specs, scripts=scripts, ports=json.loads(options.many_ports))
    if bool(options.tls_cert) != bool(options.tls_key):
        print("modelbroker mock: --tls-cert and --tls-key go together", file=sys.stderr)
        return 2
    tls = (options.tls_cert, options.tls_key) if options.tls_cert else None
    with contextlib.suppress(KeyboardInterrupt):
        return run_mock(
            options.dialect,
            options.host,
            options.port,
            options.script,
            tls,
            options.name,
            options.control_port,
        )
    return 0


def drill(options: argparse.Namespace) -> int:
    from ..drill.profiles import options_of
    from ..drill.run import run_drill
    from ..drill.soak import SoakOptions, run_soak

    with _folder(options.folder) as folder:
        if options.soak:
            return run_soak(
                SoakOptions(
                    config=options.config,
                    folder=folder,
                    seconds=options.soak,
                    calls_per_second=options.calls_per_second,
                    pools=tuple(options.pool),
                    time_lapse=not options.real_times,
                    format=options.format,
                )
            )
        return run_drill(
            options_of(
                options.profile,
                config=options.config,
                folder=folder,
                calls_per_second=options.calls_per_second,
                seconds=options.seconds,
                pools=tuple(options.pool),
                faults=tuple(options.only),
                scopes=tuple(options.scope),
                time_lapse=not options.real_times,
                format=options.format,
            )
        )


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """A new folder: `given`, which is kept, or one that goes at the end."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="modelbroker-drill-") as made:
            yield Path(made)
        return
    if given.exists() and any(given.iterdir()):
        raise Misconfigured(500, "folder_in_use", f"{given} is not empty: give another --folder")
    given.mkdir(parents=True, exist_ok=True)
    yield given
