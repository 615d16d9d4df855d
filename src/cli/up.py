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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import Misconfigured
from ..envoyapi.loader import envoy_binary
from ..xds.bootstrap import DRAIN_S, BootstrapOptions, bootstrap
from .envoy_admin import EnvoyAdmin, http_get_status
from .following import Following
from .ports import held_port, port_of, refuse_taken
from .start import Chosen, Start, Wanted, encoded, received
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
_UNDECIDED_FILE = "undecided.jsonl"


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


def run_up(options: UpOptions) -> int:
    """Serve until SIGTERM or SIGINT: 0. 1 where it can't be served: the control plane has said why."""
    refuse_taken("127.0.0.1", options.admin_port, "--admin-port")
    return asyncio.run(_Supervisor(options).run())


def _refuse_unreadable(name: str) -> None:
    """Say it at once: without its certificate there is no listener, and nothing would ever be ready."""
    try:
        Path(name).read_bytes()
    except OSError as error:
        raise Misconfigured(
            500, "certificate_unreadable", f"listen.tls: {name} can't be read: {error.strerror}"
        ) from None


class _Supervisor:
    def __init__(self, options: UpOptions) -> None:
        self._options = options
        self._stop = asyncio.Event()
        self._failed = False
        # Every start of a child has to find the same ports, so free ones are chosen here and once, and held:
        # a simulator, or whoever asks for a free port while Envoy is started, would take them.
        self._held: socket.socket | None = None
        self._admin_held = None if options.admin_port else held_port("127.0.0.1")
        self._admin_port = options.admin_port or port_of(self._admin_held)
        # Sockets live in a short path of their own: a unix socket's name may have 107 bytes.
        self._run_dir = _make_run_dir()
        self._xds = f"unix:{self._run_dir}/xds.sock"
        self._ext_proc = f"unix:{self._run_dir}/ext-proc.sock"
        # Held here, not by the control plane: while that one is started again, calls wait instead of failing.
        self._ext_proc_socket = _listening(self._ext_proc)
        self._stdout = os.dup(1)  # for the control plane, whose own is heard here
        self._envoy_admin = EnvoyAdmin(f"unix:{self._run_dir}/envoy-admin.sock")
        self._ejections = self._run_dir / "ejections.log"
        self._undecided = options.state_dir.absolute() / _UNDECIDED_FILE
        self._mock_ports: dict[str, tuple[int, int]] | None = None  # each one's own, and its control's
        # What the configuration says: known once the control plane has told it.
        self._start = Start("", 0, (), greets=False, a_pool="", mocks={})
        self._address, self._port, self._is_port_ours = "", 0, False

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        tasks: list[asyncio.Task[None]] = []
        try:
            control_plane = await self._begin(tasks)
            if control_plane is not None:
                tasks.append(asyncio.create_task(self._keep(*self._control_plane(), first=control_plane)))
                await self._serve()
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

    async def _begin(self, tasks: list[asyncio.Task[None]]) -> asyncio.subprocess.Process | None:
        """The first control plane, which goes on once it has told what the configuration says and the rest is
        there. None where all ends here: it has said why, or there was a signal."""
        ours, its = socket.socketpair()
        with ours:
            with its:
                command = self._control_command(its.fileno())
                child = await self._spawn("control plane", command, its.fileno())
            try:
                key, options = self._options.greet_key, self._options
                greets = hashlib.sha256(key.encode()).hexdigest() if key else ""
                _tell(ours, Wanted(options.port, options.mock_providers, greets))
                self._write_bootstrap()
                if (start := await self._hear(ours)) is not None:
                    self._take(start)
                    if start.mocks:
                        keep = self._keep("simulators", self._mock_command, self._mock_said)
                        tasks.append(asyncio.create_task(keep))
                        await self._until(lambda: self._mock_ports is not None, "the simulators")
                    self._let_go_on(ours)
                    return child
            except BaseException:
                await _end(child, 0)
                raise
        await self._ended_early(child)
        return None

    async def _hear(self, connection: socket.socket) -> Start | None:
        hearing = asyncio.create_task(asyncio.to_thread(received, connection, Start))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((hearing, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._stop.is_set():
            connection.shutdown(socket.SHUT_RDWR)
        return await hearing

    async def _ended_early(self, child: asyncio.subprocess.Process) -> None:
        if self._stop.is_set():
            await _end(child, 0)
            return
        self._failed = True
        if (code := await child.wait()) < 0:
            how = signal.Signals(-code).name
            log.error("the control plane ended (signal %s) before it had read the configuration", how)

    def _take(self, start: Start) -> None:
        """What the configuration says. Misconfigured where it can't be."""
        options = self._options
        refuse_taken(start.address, start.port, "--port")
        for name in start.tls_files:
            _refuse_unreadable(name)
        self._start = start
        self._address = "127.0.0.1" if start.address in ("localhost", "0.0.0.0") else start.address  # noqa: S104
        self._held = None if start.port else held_port(self._address)
        self._port = start.port or port_of(self._held)
        # A port of the configuration's own stays the configuration's to change.
        self._is_port_ours = options.port is not None or start.port == 0

    def _let_go_on(self, connection: socket.socket) -> None:
        if self._admin_held is not None:
            self._admin_held.close()  # the control plane shares it with nobody
        mocks, controls = self._mock_places(0), self._mock_places(1)
        _tell(connection, Chosen(self._port if self._is_port_ours else None, mocks or None, controls))

    async def _serve(self) -> None:
        envoy = asyncio.create_task(self._keep(*self._envoy()))
        await self._until(self._is_serving, "Envoy")
        if not self._stop.is_set():
            self._say_ready()
        await self._stop.wait()
        await self._drain()
        envoy.cancel()
        await asyncio.gather(envoy, return_exceptions=True)

    def _say_ready(self) -> None:
        admin = f"http://127.0.0.1:{self._admin_port}"
        log.info("admin %s/status", admin)
        log.info("console %s/console", admin)
        url = f"{'https' if self._start.is_tls else 'http'}://{self._host()}:{self._port}"
        print(f"ready {url}", flush=True)
        if self._start.greets and self._options.greet_key:
            from .console_link import link_of

            look = link_of(self._options.state_dir, admin)
            print(greeting(url, self._options.greet_key, self._start.a_pool, look), flush=True)

    def _host(self) -> str:
        return f"[{self._address}]" if ":" in self._address else self._address

    # -- children

    async def _keep(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        said: Callable[[str], None] | None = None,
        watched: tuple[Callable[[], bool], Patience] | None = None,
        *,
        first: asyncio.subprocess.Process | None = None,
    ) -> None:
        """Run a child, and again whenever it ends or hangs, until this task is cancelled. `first` runs
        already."""
        backoff_s = _BACKOFF_FIRST_S
        while True:
            started_s = time.monotonic()
            try:
                child = first or await self._spawn(name, command())
                first = None
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

    async def _spawn(self, name: str, command: Sequence[str], *more: int) -> asyncio.subprocess.Process:
        log.debug("starting %s: %s", name, " ".join(command))
        output = self._log_file() if name == "Envoy" else None
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output or asyncio.subprocess.PIPE,
                stderr=output,
                pass_fds=(*self._descriptors(), *more) if name == "control plane" else (),
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
            json.dumps([[name, None] for name in self._start.mocks]),
            "--many-scripts",
            json.dumps(self._start.mocks),
            "--many-ports",
            json.dumps(self._mock_ports or {}),
        ]

    def _control_command(self, start_fd: int | None = None) -> Sequence[str]:
        """With `start_fd` it asks there for what is not known yet."""
        command = [*_this_program(), "serve", "--config", str(self._options.config)]
        command += ["--state-dir", str(self._options.state_dir), *self._options.following.words()]
        command += ["--xds", self._xds, "--ext-proc", self._ext_proc]
        command += ["--ext-proc-fd", str(self._ext_proc_socket.fileno()), "--stdout-fd", str(self._stdout)]
        command += ["--admin", f"127.0.0.1:{self._admin_port}", "--log-level", self._options.log_level]
        command += ["--drain-timeout", str(self._options.drain_timeout_s)]
        command += ["--envoy-admin", self._envoy_admin.address, "--ejections", str(self._ejections)]
        command += ["--undecided", str(self._undecided)]
        if start_fd is not None:
            return [*command, "--start-fd", str(start_fd)]
        if self._is_port_ours:
            command += ["--port", str(self._port)]
        for flag, which in (("--mock-providers", 0), ("--mock-controls", 1)):
            if places := self._mock_places(which):
                command += [flag, json.dumps(places)]
        return command

    def _mock_places(self, which: int) -> dict[str, str]:
        """Simulator → where its provider's side (0) or its control (1) is; {} where there are none."""
        return {name: f"127.0.0.1:{ports[which]}" for name, ports in (self._mock_ports or {}).items()}

    def _envoy_command(self) -> Sequence[str]:
        # A new Envoy has ejected nobody yet.
        self._ejections.write_bytes(b"")
        with contextlib.suppress(OSError):
            self._undecided.parent.mkdir(parents=True, exist_ok=True)
            self._undecided.touch(mode=0o600)  # Envoy would let others read it
        return [
            str(envoy_binary()),
            *("-c", str(self._run_dir / "envoy.json")),
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
        path = self._run_dir / "envoy.json"
        try:
            path.write_text(json.dumps(tree))
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
        return http_get_status(self._address, self._port, "/healthz", self._start.is_tls) == 200

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


def _tell(connection: socket.socket, message: Wanted | Chosen) -> None:
    """Who has ended is told nothing: that is seen where it is waited for."""
    with contextlib.suppress(OSError):
        connection.sendall(encoded(message))


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
