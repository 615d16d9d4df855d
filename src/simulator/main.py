"""Simulators in the foreground: one by hand, or many for a rehearsal."""

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from .script import Dialect, Script, ScriptError, read_script
from .server import Simulator


def run_mock(
    dialect: Dialect | None,
    host: str,
    port: int,
    script_path: Path | None,
    tls: tuple[Path, Path] | None = None,
    name: str = "mock",
    control_port: int | None = None,
) -> int:
    """Serves one simulator until SIGTERM or SIGINT; the exit code.

    Says `ready URL` on stdout once it listens. SIGHUP reads the script file again; a bad one is told on
    stderr and changes nothing. `tls` is the certificate chain's and the key's PEM file.
    """
    try:
        script = read_script(script_path) if script_path is not None else Script()
        context = _tls_context(*tls) if tls is not None else None
        return _run(
            _serve_one(Simulator(name, dialect, host, port, script, context, control_port), script_path)
        )
    except ScriptError as error:
        return _complain(*error.problems)
    except OSError as error:
        return _complain(f"cannot listen on {host}:{port}: {_reason(error)}")


def run_many(
    specs: Sequence[tuple[str, Dialect | None]],
    host: str = "127.0.0.1",
    scripts: dict[str, Script] | None = None,
    ports: dict[str, tuple[int, int]] | None = None,
) -> int:
    """Serves several simulators, each on its own port, until SIGTERM or SIGINT; the exit code.

    `ports`: name → its port and its control's; the others get free ones.

    Says one line of JSON on stdout once all listen: `{"ready": {NAME: PORT}, "control": {NAME: PORT}}`. The
    control ports answer while a simulator refuses connections.
    """
    names = [name for name, _ in specs]
    if len(set(names)) != len(names):
        return _complain("two simulators have the same name")
    try:
        simulators = []
        for name, dialect in specs:
            port, control = (ports or {}).get(name, (0, 0))
            script = (scripts or {}).get(name)
            simulators.append(Simulator(name, dialect, host, port, script, None, control))
        return _run(_serve_many(simulators))
    except ScriptError as error:
        return _complain(*error.problems)
    except OSError as error:
        return _complain(f"cannot listen on {host}: {_reason(error)}")


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop
    except ImportError:  # no uvloop on Windows
        return asyncio.run(work)
    return uvloop.run(work)


async def _serve_one(simulator: Simulator, script_path: Path | None) -> int:
    stopped = _stop_event()
    async with simulator:
        if script_path is not None and hasattr(signal, "SIGHUP"):
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, _reload, simulator, script_path)
        print(f"ready {simulator.base_url}", flush=True)
        await stopped.wait()
    return 0


async def _serve_many(simulators: Sequence[Simulator]) -> int:
    stopped = _stop_event()
    async with contextlib.AsyncExitStack() as stack:
        for simulator in simulators:
            await stack.enter_async_context(simulator)
        ready = {s.name: s.port for s in simulators}
        print(
            json.dumps({"ready": ready, "control": {s.name: s.control_port for s in simulators}}), flush=True
        )
        await stopped.wait()
    return 0


def _stop_event() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stopped.set)
    return stopped


def _reload(simulator: Simulator, path: Path) -> None:
    try:
        simulator.set_script(read_script(path))
    except ScriptError as error:
        _complain(*error.problems, "the script was not changed")


def _tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ScriptError([f"{cert}, {key}: cannot use as certificate and key: {_reason(error)}"]) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: OSError) -> str:
    # asyncio and ssl word some of these at length; the system's own words are the plainer ones.
    return os.strerror(error.errno) if error.errno and not isinstance(error, ssl.SSLError) else str(error)


def _complain(*lines: str) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return 1
