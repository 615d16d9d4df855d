"""Real servers under tests: PostgreSQL, Redis and Prometheus from the system's packages, each in a temporary
folder of its own, as children of the test run; and moto for S3. `postgres`, `redis` and `s3` are fixtures of
the whole run (conftest.py).

Where the programs are not installed the tests that need them fail, and say what to install.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from .waiting import wait_until

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
# The kernel ends a child with the *thread* that started it: this one lives as long as the test run.
_STARTER = ThreadPoolExecutor(1, "servers")
_START_S = 60


class Postgres:
    """A PostgreSQL that listens on a Unix socket alone. `new_database()`: the URL of an empty one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        self._user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        folder.chmod(0o755)
        made = [program("initdb", "postgresql"), "-D", str(self._data), "-U", "postgres"]
        self._start([*made, "-A", "trust", "-E", "UTF8", "--no-sync"]).wait(_START_S)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def new_database(self) -> str:
        import psycopg

        if self.is_down:  # a test that failed left it so
            self.start()
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        return self.url(name)

    def new_schema(self) -> str:
        """As good as a database of one's own, and made in a moment."""
        import psycopg

        if self.is_down:
            self.start()
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[call-overload]
        return f"{self.url()}&options=-csearch_path%3D{name}"

    def start(self) -> None:
        """And wait until it takes connections."""
        settings = ("listen_addresses=", "fsync=off", "max_connections=50", "shared_buffers=32MB")
        command = [program("postgres", "postgresql"), "-D", str(self._data), "-k", str(self._folder)]
        command += [word for setting in settings for word in ("-c", setting)]
        self._process = self._start(command)
        ready = [program("pg_isready", "postgresql"), "-q", "-U", "postgres", "-h", str(self._folder)]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, _START_S)

    @property
    def is_down(self) -> bool:
        return self._process is None

    def kill(self) -> None:
        """kill -9 of all of its processes, as if the machine had lost its power."""
        assert self._process is not None
        pids = [self._process.pid, *_children(self._process.pid)]
        for pid in pids:  # the postmaster first: it would start others in their place
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids[1:]))
        self._process = None

    def freeze(self, *, thaws: bool = False) -> None:
        """None of its processes does anything, and connections stay; `thaws`: they go on."""
        assert self._process is not None
        for pid in (self._process.pid, *_children(self._process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT if thaws else signal.SIGSTOP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_START_S)
            self._process = None

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return _popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                user=self._user.pw_uid if self._user else None,
                group=self._user.pw_gid if self._user else None,
                extra_groups=() if self._user else None,
            )


class Redis:
    """A Redis that keeps nothing on the disk. `url` is by TCP, `unix_url` by a Unix socket; both stay the
    same over `kill` and `start`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = folder / "redis.sock"
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.unix_url = f"unix://{self._socket}?db=0"

    def start(self) -> None:
        """And wait until it answers."""
        command = [program("redis-server", "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = _popen(command, stdout=log, stderr=log, cwd=self._folder)
        wait_until(self._answers, _START_S)

    def kill(self) -> None:
        """kill -9: all that it held is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self.kill()

    def _answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
        return False


class Prometheus:
    """`with Prometheus(config) as prometheus:`; `config` is its configuration, `files` what else is in the
    same folder."""

    def __init__(self, config: Mapping[str, Any], files: Mapping[str, str]) -> None:
        self._config = config
        self._files = files
        self._folder = Path(tempfile.mkdtemp(prefix="mb-server-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Prometheus:
        for name, text in self._files.items():
            (self._folder / name).write_text(text)
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(dict(self._config)))
        for _ in range(5):  # somebody else may have taken the port meanwhile
            if self._starts():
                return self
        pytest.fail((self._folder / "log").read_text())

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer of its HTTP API."""
        url = f"{self.url}/api/v1/{path}?{urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {query}: {error.read().decode()}") from None

    def values(self, expression: str) -> list[float]:
        """Of an instant query, NaN among them."""
        found = self.get("query", query=expression)
        return [float(one["value"][1]) for one in found["result"]]

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        alerts = self.get("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def _starts(self) -> bool:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [program("prometheus", "prometheus"), f"--web.listen-address=127.0.0.1:{port}"]
        command += ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
        with (self._folder / "log").open("ab") as log:
            process = self._process = _popen(command, stdout=log, stderr=log, cwd=self._folder)
        wait_until(lambda: process.poll() is not None or self._is_ready(), _START_S)
        return process.poll() is None

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
            return True
        return False


class S3:
    """A server that speaks S3, in this process. What it has stays over `stop` and `start`, and so does its
    port. Its credentials are `keys`."""

    keys = MappingProxyType({"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"})

    def __init__(self) -> None:
        self._port = 0
        self._server: ThreadedMotoServer | None = None
        self._numbers = itertools.count(1)

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        _, self._port = self._server.get_host_and_port()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def client(self) -> Any:
        keys = {name.lower(): value for name, value in self.keys.items()}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **keys)

    def new_bucket(self) -> str:
        """The URL of a folder in an empty one, as `capture.store` takes it."""
        if self._server is None:  # a test that failed left it so
            self.start()
        name = f"traffic-{next(self._numbers)}"
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}/captured?endpoint={self.endpoint}&region=us-east-1"


def _popen(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    options |= {"stdin": subprocess.DEVNULL, "preexec_fn": _end_with_parent}
    return _STARTER.submit(lambda: subprocess.Popen(command, **options)).result()


def program(name: str, package: str) -> str:
    """The newest of that name; Debian has PostgreSQL's beside the path."""
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    found = str(newest) if newest is not None else shutil.which(name)
    if not found:
        pytest.fail(f"{name} is not installed: `apt-get install {package}` (tests run against the real one)")
    return found


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _end_with_parent() -> None:
    """In the child, before exec: it ends with the test run, however that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Not pytest's: the path of a Unix socket may have 107 bytes, and another user must get there."""
    folder = Path(tempfile.mkdtemp(prefix="mb-server-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with _folder() as folder:
        server = Postgres(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    with _folder() as folder:
        server = Redis(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    server = S3()
    server.start()
    yield server
    server.stop()
