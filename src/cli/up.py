"""`up`: a small supervisor over the control plane and Envoy (and, for a rehearsal, the simulators).

Whichever dies is started again with back-off, and that is said; all end with the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..core.catalog import Auth
from ..core.errors import Misconfigured
from ..core.problems import SettingsError
from ..envoyapi.loader import envoy_binary
from ..records.undecided import FILE_NAME as UNDECIDED_FILE
from ..xds.bootstrap import DRAIN_S, BootstrapOptions, bootstrap
from .console_link import link_of
from .envoy_admin import EnvoyAdmin, http_get_status
from .runtime import ANY_PROVIDER, Overrides, Ready, prepare
from .secrets import new_box
from .sources import Following, source_of
from .sourcing import Sourcing
from .watchdog import Patience, until_hung

log = logging.getLogger("modelbroker.up")

_BACKOFF_FIRST_S = 0.1
_BACKOFF_MOST_S = 5.0
_LIVED_S = 10.0  # a process that lived this long starts afresh without back-off
_START_TIMEOUT_S = 60.0
# Envoy's main thread answers; a large edit keeps it busy, and killing it breaks every call under way.
_ENVOY_PATIENCE = Patience(busy_s=60.0)
_CONTROL_PATIENCE = Patience()
_BACKLOG = 1024
# The path of a socket has 107 bytes at most (unix(7)), and ours stand in a folder of their own.
_MOST_TEMP = 107 - len("/modelbroker-12345678/envoy-admin.sock")
_LOGS_ARRIVE_S = 0.5  # Envoy sends them every 0.2 s
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class UpOptions:
    config: Path | str
    state_dir: Path
    port: int | None
    admin_port: int
    mock_providers: bool
    drain_timeout_s: float
    log_level: str
    greet_key: str | None = None
    following: Following = field(default_factory=Following)


def _at_start(options: UpOptions) -> Ready:
    """What the control plane will serve first: the source's word, or, where a commit is broken, what was
    live. Where it is a file, whoever starts this has just written it, and has to see that."""
    source = source_of(options.config, options.state_dir, options.following)
    sourcing = Sourcing(source, options.state_dir)

    # In a rehearsal no store or cloud is asked for what providers want. Simulators have no ports yet.
    mocks = {ANY_PROVIDER: "127.0.0.1:1"} if options.mock_providers else None
    overrides = Overrides(port=options.port, mocks=mocks)

    # The control plane asks stores and clouds, and tells of it: one that hangs is waited for there, and once.
    def ready_of(texts: Mapping[str, str]) -> Ready:
        return prepare(texts, overrides, os.environ, box=new_box(tells=False, asks=False))

    sourcing.first_look()
    try:
        return ready_of(sourcing.read())
    except (SettingsError, Misconfigured):
        known = sourcing.newest_of(ready_of) if source.every_s is not None else None
        if known is not None:
            return known
        raise


def run_up(options: UpOptions) -> int:
    """Serve until SIGTERM or SIGINT. SettingsError where the configuration is broken at the start."""
    ready = _at_start(options)
    listen = ready.catalog.listen
    _refuse_taken(listen.address, listen.port, "--port")
    _refuse_taken("127.0.0.1", options.admin_port, "--admin-port")
    for name in filter(None, (listen.tls_cert_file, listen.tls_key_file)):
        _refuse_unreadable(name)
    return asyncio.run(_Supervisor(options, ready).run())


def _refuse_taken(address: str, port: int, flag: str) -> None:
    """Say a taken port at once: Envoy would only log it. 0 is any free one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            message = f"can't listen on {address}:{port}: {error.strerror}; give another {flag}"
            raise Misconfigured(500, "address_in_use", message) from None


def _refuse_unreadable(name: str) -> None:
    """Say it at once: without its certificate there is no listener, and nothing would ever be ready."""
    try:
        Path(name).read_bytes()
    except OSError as error:
        raise Misconfigured(
            500, "certificate_unreadable", f"listen.tls: {name} can't be read: {error.strerror}"
        ) from None


def free_port(address: str) -> int:
    with held_port(address) as probe:
        port: int = probe.getsockname()[1]
        return port


def held_port(address: str) -> socket.socket:
    """Has a free port as long as it is open: nobody else is given it, and who sets SO_REUSEPORT, as Envoy
    does, can listen there all the same."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind((address, 0))
    except OSError:
        probe.close()
        raise
    return probe


def _port_of(held: socket.socket | None) -> int:
    port: int = held.getsockname()[1] if held is not None else 0
    return port


class _Supervisor:
    def __init__(self, options: UpOptions, ready: Ready) -> None:
        self._options = options
        self._stop = asyncio.Event()
        self._failed = False
        listen = ready.catalog.listen
        self._address = "127.0.0.1" if listen.address in ("localhost", "0.0.0.0") else listen.address  # noqa: S104
        # Every start of a child has to find the same ports, so free ones are chosen here and once, and held:
        # a simulator, or whoever asks for a free port while Envoy is started, would take them.
        self._held = None if listen.port else held_port(self._address)
        self._port = listen.port or _port_of(self._held)
        # A port of the configuration's own stays the configuration's to change.
        self._is_port_ours = options.port is not None or listen.port == 0
        self._admin_held = None if options.admin_port else held_port("127.0.0.1")
        self._admin_port = options.admin_port or _port_of(self._admin_held)
        self._is_tls = bool(listen.tls_cert_file)
        self._greets = bool(options.greet_key) and _digest(options.greet_key or "") in ready.view.callers
        self._a_pool = max(ready.catalog.pools.values(), key=lambda pool: len(pool.members)).name
        # Sockets live in a short path of their own: a unix socket's name may have 107 bytes.
        self._run_dir = _make_run_dir()
        self._xds = f"unix:{self._run_dir}/xds.sock"
        self._ext_proc = f"unix:{self._run_dir}/ext-proc.sock"
        # Held here, not by the control plane: while that one is started again, calls wait instead of failing.
        self._ext_proc_socket = _listening(self._ext_proc)
        self._stdout = os.dup(1)  # for the control plane, whose own is heard here
        self._envoy_admin = EnvoyAdmin(f"unix:{self._run_dir}/envoy-admin.sock")
        self._ejections = self._run_dir / "ejections.log"
        self._undecided = options.state_dir.absolute() / UNDECIDED_FILE
        self._mock_ports: dict[str, tuple[int, int]] | None = None  # each one's own, and its control's
        self._mock_specs = _mock_specs(ready) if options.mock_providers else {}

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        tasks: list[asyncio.Task[None]] = []
        try:
            if self._mock_specs:
                tasks.append(
                    asyncio.create_task(self._keep("simulators", self._mock_command, self._mock_said))
                )
                await self._until(lambda: self._mock_ports is not None, "the simulators")
            self._write_bootstrap()
            if self._admin_held is not None:
                self._admin_held.close()  # the control plane shares it with nobody
            tasks.append(asyncio.create_task(self._keep(*self._control_plane())))
            envoy = asyncio.create_task(self._keep(*self._envoy()))
            await self._until(self._is_serving, "Envoy")
            if not self._stop.is_set():
                scheme = "https" if self._is_tls else "http"
                log.info("admin http://127.0.0.1:%d/status", self._admin_port)
                log.info("console http://127.0.0.1:%d/console", self._admin_port)
                url = f"{scheme}://{self._host()}:{self._port}"
                print(f"ready {url}", flush=True)
                if self._greets and self._options.greet_key:
                    look = link_of(self._options.state_dir, f"http://127.0.0.1:{self._admin_port}")
                    print(greeting(url, self._options.greet_key, self._a_pool, look), flush=True)
            await self._stop.wait()
            await self._drain()
            envoy.cancel()
            await asyncio.gather(envoy, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ext_proc_socket.close()
            os.close(self._stdout)
            for held in (self._held, self._admin_held):
                if held is not None:
                    held.close()
            shutil.rmtree(self._run_dir, ignore_errors=True)
        return 1 if self._failed else 0

    def _host(self) -> str:
        return f"[{self._address}]" if ":" in self._address else self._address

    # -- children

    async def _keep(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        said: Callable[[str], None] | None = None,
        watched: tuple[Callable[[], bool], Patience] | None = None,
    ) -> None:
        """Run a child, and again whenever it ends or hangs, until this task is cancelled."""
        backoff_s = _BACKOFF_FIRST_S
        while True:
            started_s = time.monotonic()
            try:
                child = await self._spawn(name, command())
            except OSError as error:
                log.error("%s can't be started: %s; trying again in %.1f s", name, error, backoff_s)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)
                continue
            watchdog = asyncio.create_task(_kill_if_hung(name, child, *watched)) if watched else None
            try:
                await self._listen_to(child, said)
                code = await child.wait()
            except asyncio.CancelledError:
                await _end(child, self._options.drain_timeout_s)
                raise
            finally:
                if watchdog is not None:
                    watchdog.cancel()
            if time.monotonic() - started_s > _LIVED_S:
                backoff_s = _BACKOFF_FIRST_S
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            log.error("%s ended (%s): starting it again in %.1f s", name, how, backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_MOST_S)

    async def _spawn(self, name: str, command: Sequence[str]) -> asyncio.subprocess.Process:
        log.debug("starting %s: %s", name, " ".join(command))
        output = self._log_file() if name == "Envoy" else None
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output or asyncio.subprocess.PIPE,
                stderr=output,
                pass_fds=self._descriptors() if name == "control plane" else (),
                preexec_fn=_end_with_parent,
                start_new_session=True,  # Ctrl-C is for the supervisor, which drains first
            )
        finally:
            if output is not None:
                os.close(output)

    def _descriptors(self) -> tuple[int, int]:
        """What the control plane has of this process: the socket of ext_proc, and its standard output."""
        return self._ext_proc_socket.fileno(), self._stdout

    def _log_file(self) -> int:
        path = self._options.state_dir / "envoy.log"
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:  # better an Envoy without a log than none
            log.error("Envoy's log can't be written to %s: %s", path, error.strerror)
            return os.open(os.devnull, os.O_WRONLY)

    async def _listen_to(self, child: asyncio.subprocess.Process, said: Callable[[str], None] | None) -> None:
        if child.stdout is None:
            return
        async for line in child.stdout:
            if said is not None:
                said(line.decode("utf-8", "replace").strip())

    def _mock_said(self, line: str) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)
            ports = {name: (port, said["control"][name]) for name, port in said["ready"].items()}
            if self._mock_ports is None:
                for name, (port, control) in ports.items():
                    here = "http://127.0.0.1"
                    log.info("simulator of %s: %s:%d, control %s:%d", name, here, port, here, control)
            self._mock_ports = ports

    def _control_plane(self) -> tuple[Any, ...]:
        """What `_keep` wants to know of it. Its /healthz tells the truth about its event loop."""

        def answers() -> bool:
            return http_get_status("127.0.0.1", self._admin_port, "/healthz", is_tls=False) == 200

        return "control plane", self._control_command, None, (answers, _CONTROL_PATIENCE)

    def _envoy(self) -> tuple[Any, ...]:
        return "Envoy", self._envoy_command, None, (self._envoy_admin.answers, _ENVOY_PATIENCE)

    def _mock_command(self) -> Sequence[str]:
        # Ports that were given out once stay: Envoy and the control plane know them.
        return [
            *_this_program(),
            "mock",
            "--many",
            json.dumps([[name, None] for name in self._mock_specs]),
            "--many-scripts",
            json.dumps(self._mock_specs),
            "--many-ports",
            json.dumps(self._mock_ports or {}),
        ]

    def _control_command(self) -> Sequence[str]:
        command = [*_this_program(), "serve", "--config", str(self._options.config)]
        command += ["--state-dir", str(self._options.state_dir), *self._options.following.words()]
        if self._is_port_ours:
            command += ["--port", str(self._port)]
        command += ["--xds", self._xds, "--ext-proc", self._ext_proc]
        command += ["--ext-proc-fd", str(self._ext_proc_socket.fileno()), "--stdout-fd", str(self._stdout)]
        command += ["--admin", f"127.0.0.1:{self._admin_port}", "--log-level", self._options.log_level]
        command += ["--drain-timeout", str(self._options.drain_timeout_s)]
        command += ["--envoy-admin", self._envoy_admin.address, "--ejections", str(self._ejections)]
        command += ["--undecided", str(self._undecided)]
        if self._mock_ports is not None:
            for flag, which in (("--mock-providers", 0), ("--mock-controls", 1)):
                where = {name: f"127.0.0.1:{ports[which]}" for name, ports in self._mock_ports.items()}
                command += [flag, json.dumps(where)]
        return command

    def _envoy_command(self) -> Sequence[str]:
        # A new Envoy has ejected nobody yet.
        self._ejections.write_bytes(b"")
        with contextlib.suppress(OSError):
            self._undecided.parent.mkdir(parents=True, exist_ok=True)
            self._undecided.touch(mode=0o600)  # Envoy would let others read it
        return [
            str(envoy_binary()),
            *("-c", str(self._run_dir / "envoy.yaml")),
            *("--concurrency", str(max(1, (os.cpu_count() or 2) // 2))),
            *("--drain-time-s", str(DRAIN_S)),
            *("--drain-strategy", "immediate"),
            *("--log-level", "warning"),
            *("--file-flush-interval-msec", "100"),  # the default is 10 s
            "--disable-hot-restart",
        ]

    def _write_bootstrap(self) -> None:
        tree = bootstrap(
            BootstrapOptions(
                xds=self._xds,
                ext_proc=self._ext_proc,
                admin=self._envoy_admin.address,
                ejections=str(self._ejections),
            )
        )
        path = self._run_dir / "envoy.yaml"
        try:
            path.write_text(yaml.safe_dump(tree))
        except OSError as error:
            message = f"{path} can't be written: {error.strerror}; TMPDIR says where else it may be"
            raise Misconfigured(500, "run_dir", message) from None

    # -- start and end

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._stop.is_set() and not await asyncio.to_thread(holds):
            if time.monotonic() > deadline_s:
                log.error("%s did not get ready in %.0f s: see the log above", what, _START_TIMEOUT_S)
                self._failed = True
                self._stop.set()
                return
            await asyncio.sleep(0.02)

    def _is_serving(self) -> bool:
        return http_get_status(self._address, self._port, "/healthz", self._is_tls) == 200

    async def _drain(self) -> None:
        """No new connections, an end to idle ones, and time for the calls that are under way."""
        log.info("draining for up to %.0f s", self._options.drain_timeout_s)
        deadline_s = time.monotonic() + self._options.drain_timeout_s
        if not await asyncio.to_thread(self._envoy_admin.start_drain):
            return
        while time.monotonic() < deadline_s:
            if (active := await asyncio.to_thread(self._envoy_admin.active_calls)) == 0:
                # The last calls' access-log entries are still on their way to their records.
                await asyncio.sleep(_LOGS_ARRIVE_S)
                log.info("drained: no call was cut")
                return
            await asyncio.sleep(0.05)
        log.warning("the drain time is over: %s calls that are still under way are cut", active)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def greeting(url: str, key: str, pool: str, look: str) -> str:
    """Lines that work as pasted, for someone who sees the broker for the first time."""
    body = f'{{"model": "{pool}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    headers = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    client = f"openai.OpenAI(base_url='{url}/v1', api_key='{key}')"
    call = f"chat.completions.create(model='{pool}', messages=[{{'role': 'user', 'content': 'Hello'}}])"
    program = f"import openai; print({client}.{call}.choices[0].message.content)"
    return f"""
Key to use: {key}

curl {url}/v1/chat/completions {headers} -d '{body}'

{sys.executable} -c "{program}"

Console: {look}

Edit the configuration while it runs; Ctrl-C ends it.
"""


def _mock_specs(ready: Ready) -> dict[str, dict[str, Any]]:
    """Name → script of a simulator a provider, and of one for those that an edit may add. Who is called
    without a key in earnest is in a rehearsal too."""
    providers = ready.catalog.providers
    built = {name: provider.auth is not Auth.NONE for name, provider in providers.items() if provider.built}
    return {name: {} if has_key else {"require_key": False} for name, has_key in built.items()} | {
        ANY_PROVIDER: {"require_key": False}
    }


def _this_program() -> list[str]:
    return [sys.executable, "-m", "modelbroker.cli.main"]


def _make_run_dir() -> Path:
    """In TMPDIR; where its name is too long for sockets, in /tmp."""
    try:
        temp = tempfile.gettempdir()
        where = temp if len(os.fsencode(temp)) <= _MOST_TEMP else "/tmp"  # noqa: S108
        return Path(tempfile.mkdtemp(prefix="modelbroker-", dir=where))
    except OSError as error:
        message = f"there is no folder for sockets: {error.strerror or error}; TMPDIR says where it may be"
        raise Misconfigured(500, "run_dir", message) from None


def _listening(address: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(address.removeprefix("unix:"))
    listening.listen(_BACKLOG)
    return listening


async def _kill_if_hung(
    name: str, child: asyncio.subprocess.Process, answers: Callable[[], bool], patience: Patience
) -> None:
    silent_s = await until_hung(child.pid, answers, patience)
    log.error("%s lives and has not answered for %.0f s: it is killed", name, silent_s)
    with contextlib.suppress(ProcessLookupError):
        child.kill()


async def _end(child: asyncio.subprocess.Process, patience_s: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), patience_s + 2)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


_LIBC = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """In the child, before exec: the kernel ends it when the supervisor is gone, however that went."""
    with contextlib.suppress(AttributeError):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
