"""The broker under drill: `up --mock-providers` as a child, with its simulators, records and processes."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from ..core.catalog import Auth, Catalog
from ..core.errors import Misconfigured
from .calls import Kept, Processes
from .faults import Simulated
from .wire import number_in, number_of_feature

log = logging.getLogger("modelbroker.drill")

_START_S = 90.0
_ASK_S = 20.0
_END_S = 20.0
_ADMIN = re.compile(r"admin (http://\S+)/status")
Result = TypeVar("Result")


class _Line(msgspec.Struct):
    """What of a record is held against the call; the rest of the line is not read."""

    request_id: str
    status: int
    feature: str
    attempts_made: int
    attempts: list[msgspec.Raw]
    member: str = ""
    code: str = ""


@dataclass(slots=True)
class Records:
    """calls.jsonl, read as it grows and over its turns. `kept`: number of the call → its lines."""

    path: Path
    kept: dict[int, list[Kept]] = field(default_factory=dict)
    lines: int = 0
    _inode: int = 0
    _offset: int = 0
    _decoder: msgspec.json.Decoder[_Line] = field(default_factory=lambda: msgspec.json.Decoder(_Line))

    def read(self) -> None:
        """Takes in what was written since."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            return
        if self._inode and inode != self._inode:  # it was turned over: the rest is in the file before it
            self._read_from(self.path.with_name(self.path.name + ".1"))
            self._offset = 0
        self._inode = inode
        self._read_from(self.path)

    def _read_from(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
            end = data.rfind(b"\n") + 1
            self._offset += end
            for line in data[:end].splitlines():
                self._take(line)

    def _take(self, line: bytes) -> None:
        record = self._decoder.decode(line)
        number = number_of_feature(record.feature)
        if number is None:
            return
        self.lines += 1
        kept = Kept(
            record.request_id,
            record.status,
            record.attempts_made,
            len(record.attempts),
            record.member,
            record.code,
        )
        self.kept.setdefault(number, []).append(kept)


class Rehearsal:
    """`async with running(…) as rehearsal`."""

    def __init__(self, url: str, admin_url: str, process: asyncio.subprocess.Process, folder: Path) -> None:
        where = urlsplit(url)
        self.host, self.port = where.hostname or "127.0.0.1", where.port or 80
        self.admin_url, self._process = admin_url, process
        self.records = Records(folder / "state" / "calls.jsonl")
        self.config = folder / "config"
        # Number of the call → how many times the simulators were asked, and for which models.
        self.arrivals: Counter[int] = Counter()
        self._controls: dict[str, str] = {}
        self._simulated: dict[str, Simulated] = {}
        self._seen: dict[str, int] = {}

    async def find_simulators(self, catalog: Catalog, more: Mapping[str, Any] | None = None) -> None:
        """And tell all of them to answer well. `more` goes into all of their scripts."""
        status = json.loads(await _ask("GET", f"{self.admin_url}/status"))
        self._controls = {name: where["control"] for name, where in status["simulators"].items()}
        providers = catalog.providers
        self._simulated = {
            name: Simulated(name, name in providers and providers[name].auth is not Auth.NONE, more or {})
            for name in self._controls
        }
        await self.heal()

    def simulated(self, provider: str) -> Simulated:
        """KeyError where no simulator stands in the provider's place."""
        return self._simulated[provider]

    def has_simulator(self, provider: str) -> bool:
        return provider in self._simulated

    async def tell_all(self, script: Mapping[str, Any]) -> None:
        """Replace the scripts of all simulators that there are. OSError: one refuses it, and why."""
        status = json.loads(await _ask("GET", f"{self.admin_url}/status"))
        for where in (status.get("simulators") or {}).values():
            await _ask("PUT", f"{where['control']}/script", json.dumps(script).encode())

    async def tell(self, provider: str, script: Mapping[str, Any]) -> None:
        """Replace a simulator's script."""
        body = json.dumps(script).encode()
        await _ask("PUT", f"{self._controls[provider]}/script", body)

    async def heal(self, providers: Iterable[str] | None = None) -> None:
        """These (all) answer well again."""
        names = self._simulated if providers is None else providers
        await asyncio.gather(*(self.tell(name, self._simulated[name].healthy()) for name in names))

    async def hang_up(self) -> None:
        """All providers close their connections and take no more, until `heal`."""
        refusing = {name: {**each.healthy(), "refuse": True} for name, each in self._simulated.items()}
        await asyncio.gather(*(self.tell(name, script) for name, script in refusing.items()))

    async def read_journals(self) -> None:
        """Adds what simulators received since to `arrivals`."""
        for name, control in self._controls.items():
            text = await _ask("GET", f"{control}/journal?since={self._seen.get(name, 0)}")
            for entry in json.loads(text):
                self._seen[name] = entry["n"]
                number = number_in(entry["body"] or "")
                if number is not None:
                    self.arrivals[number] += 1

    async def status(self) -> dict[str, Any]:
        """`GET /status`; {} while the control plane is away."""
        try:
            status: dict[str, Any] = json.loads(await _ask("GET", f"{self.admin_url}/status"))
            return status
        except (OSError, ValueError):
            return {}

    def processes(self) -> Processes:
        """The broker's own: Envoy and the control plane, not the simulators."""
        memory: dict[str, float] = {}
        descriptors: dict[str, int] = {}
        for name, pid in _children(self._process.pid).items():
            with contextlib.suppress(OSError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                descriptors[name] = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - only the count
                memory[name] = pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        return Processes(memory, descriptors)


async def to_its_end_or_interruption(work: Coroutine[Any, Any, None]) -> bool:
    """Whether it came to its end. The first Ctrl-C ends `work` alone: what is known by then is told."""
    try:
        await work
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        log.info("ended before it was through: once more ends it without a result")
        return False
    return True


def run_to_end(work: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run`, which SIGTERM ends as Ctrl-C does: the broker must not be left behind. Misconfigured
    where it went away by itself."""

    async def main() -> Result:
        task = asyncio.current_task()
        if task is not None:
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise Misconfigured(500, "drill_failed", "the drill was ended before it was through") from None
    except OSError as error:
        message = f"the broker under drill, or a simulator, does not answer any more: {error}"
        raise Misconfigured(500, "drill_failed", message) from None


@contextlib.asynccontextmanager
async def running(files: Mapping[str, str], folder: Path, *, mocks: bool = True) -> AsyncIterator[Rehearsal]:
    """The broker with this configuration (name → text), in `folder`; with `mocks` at simulated providers.
    Misconfigured: it does not start."""
    config = folder / "config"
    config.mkdir(parents=True)
    for name, text in files.items():
        (config / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "modelbroker.cli.main", "up", "--config", str(config)]
    command += ["--state-dir", str(folder / "state"), "--port", "0", "--admin-port", "0"]
    command += ["--drain-timeout", "1", *(["--mock-providers"] if mocks else [])]
    log_path = folder / "broker.log"
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            process_group=0,  # a terminal's Ctrl-C is for the drill, which ends the broker in its time
            preexec_fn=_ends_with_parent,
        )
    try:
        url = await _ready(process)
        admin = _ADMIN.search(log_path.read_text(encoding="utf-8", errors="replace"))
        if not url or admin is None:
            raise Misconfigured(500, "drill_failed", f"the broker did not start:\n{_tail(log_path)}")
        yield Rehearsal(url, admin[1], process, folder)
    finally:
        await _end(process)


def _ends_with_parent() -> None:
    """A broker whose drill was killed would go on for ever (Linux: prctl(2), PR_SET_PDEATHSIG)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)


async def _ready(process: asyncio.subprocess.Process) -> str:
    """The URL after `ready`; "" where the broker ended or took too long."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    with contextlib.suppress(TimeoutError):
        line = await asyncio.wait_for(process.stdout.readline(), _START_S)
        words = line.decode("utf-8", "replace").split()
        if len(words) == 2 and words[0] == "ready":
            return words[1]
    return ""


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _END_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


def _children(parent: int) -> dict[str, int]:
    """What `up` runs, `Envoy` and `control plane`, by name → process id (Linux)."""
    found: dict[str, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except (OSError, ValueError):
            continue
        if "serve" in words:
            found["control plane"] = int(folder.name)
        elif Path(words[0]).name.startswith("envoy"):
            found["Envoy"] = int(folder.name)
    return found


async def _ask(method: str, url: str, body: bytes = b"") -> bytes:
    """One plain HTTP request on loopback; the body of its 200. OSError for all else."""
    where = urlsplit(url)
    path = f"{where.path}?{where.query}" if where.query else where.path
    head = f"{method} {path} HTTP/1.1\r\nhost: {where.netloc}\r\nconnection: close\r\n"
    head += f"content-length: {len(body)}\r\n\r\n"
    try:
        async with asyncio.timeout(_ASK_S):
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            try:
                writer.write(head.encode() + body)
                answer = await reader.read()
            finally:
                writer.close()
    except TimeoutError:
        raise OSError(f"{method} {url}: no answer") from None
    top, _, content = answer.partition(b"\r\n\r\n")
    if b" 200 " not in top.split(b"\r\n")[0] + b" ":
        raise OSError(f"{method} {url}: {answer[:500].decode('utf-8', 'replace')}")
    return _dechunked(content) if b"chunked" in top.lower() else content


def _dechunked(data: bytes) -> bytes:
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size.partition(b";")[0] or b"0", 16)
        if not length:
            break
        whole, data = whole + data[:length], data[length + 2 :]
    return whole
