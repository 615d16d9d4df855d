"""The whole product under test: `modelbroker up` with the real Envoy, as a user starts it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .authorities import for_the_product
from .simulators import SimulatorHandle, Simulators
from .waiting import pause_s
from .yamls import yaml_of

START_TIMEOUT_S = 120
KEY = "mb-test-key"
# Key id and secret with which requests to simulated Bedrock are signed.
AWS_KEYS = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
_AUTHS = {
    "anthropic-messages": "x-api-key",
    "gemini": "x-goog-api-key",
    "bedrock-converse": "aws-sigv4",
}
# What a simulator's base URL has behind its host, for each dialect that providers speak.
BASES = {
    "anthropic-messages": "",
    "openai-chat": "/v1",
    "openai-responses": "/v1",
    "bedrock-converse": "",
    "gemini": "/v1beta",
}
KEY_SHA256 = hashlib.sha256(KEY.encode()).hexdigest()


def provider(name: str, port: int, dialect: str | list[str], path: str = "") -> dict[str, Any]:
    """A provider entry that points at a simulator; its key is in the environment."""
    entry: dict[str, Any] = {
        "name": name,
        "dialect": dialect,
        "base_url": f"http://127.0.0.1:{port}{path}",
        "auth": _AUTHS.get(str(dialect), "bearer"),
        "credential": {"env": "KEY_OF_PROVIDERS"},
    }
    if dialect == "bedrock-converse":
        entry |= {"credential": {"env": "AWS_KEYS_OF_PROVIDERS"}, "region": "us-east-1"}
    return entry


def one_a_dialect(sims: Iterable[SimulatorHandle], dialects: Iterable[str]) -> list[dict[str, Any]]:
    """A provider entry `<simulator>-<dialect>` for each simulator and dialect."""
    return [
        provider(f"{sim.name}-{dialect}", sim.port, dialect, "" if dialect == "anthropic-messages" else "/v1")
        for sim in sims
        for dialect in dialects
    ]


def one_pool_each(sims: Simulators, models: Mapping[str, str]) -> dict[str, Any]:
    """A configuration with a provider for each dialect of `models`, at the simulator of that name, and a pool
    `pool-<dialect>` that has it alone: what the client gets is what this one said."""
    return {
        "providers": [provider(name, sims[name].port, name, BASES[name]) for name in models],
        "callers": [{"name": "tester", "key": {"sha256": KEY_SHA256}}],
        "pools": [
            {
                "name": f"pool-{name}",
                "failover": "none",
                "ejection": "off",
                "members": [{"provider": name, "model": model}],
            }
            for name, model in models.items()
        ],
    }


class Broker:
    """`with Broker(tmp_path, config) as broker:`; `config` is the YAML as a dict, or text.

    `url` is the front door, `admin_url` the admin port. `edit(config)` replaces the file at once. Unless it
    `may_be_refused`, Envoy has to take all that it is sent. Without `with_ledger` a `config` that says
    nothing of a ledger has none: its process is a good part of what a test costs. With a `source` the broker
    is given that in place of the file.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any] | str,
        *,
        arguments: tuple[str, ...] = (),
        keeps_port: bool = False,
        environ: Mapping[str, str] | None = None,
        may_be_refused: bool = False,
        with_ledger: bool = False,
        source: str = "",
    ) -> None:
        self.folder = folder
        self._with_ledger = with_ledger
        self._source = source
        self.config_dir = folder / "config"
        self.config_dir.mkdir(parents=True, exist_ok=True)
        self.write(config)
        self._arguments = arguments
        self._keeps_port = keeps_port
        self._may_be_refused = may_be_refused
        self._environ = {
            **for_the_product(os.environ),
            "KEY_OF_PROVIDERS": "sk-provider-secret",
            "AWS_KEYS_OF_PROVIDERS": AWS_KEYS,
            **(environ or {}),
        }
        self.process: subprocess.Popen[str] | None = None
        self._run_dirs: set[str] = set()
        self.url = ""
        self.events: list[str] = []
        self.log_path = folder / "broker.log"

    # -- configuration

    def write(self, config: Mapping[str, Any] | str) -> None:
        """Replace the configuration's file atomically, as editors and deploys do."""
        if isinstance(config, Mapping) and not self._with_ledger:
            config = {**config, "ledger": config.get("ledger", {"url": "none"})}
        text = config if isinstance(config, str) else yaml_of(config)
        fresh = self.config_dir / ".broker.yaml.new"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.config_dir / "broker.yaml")

    def edit(self, config: Mapping[str, Any] | str, timeout_s: float = 60) -> str:
        """Replace the file and wait until the result is in effect; the new revision."""
        before = self.status()["revision"]
        self.write(config)
        self.wait_for(lambda s: s["revision"] != before and s["serving"] == s["revision"], timeout_s)
        revision: str = self.status()["revision"]
        return revision

    # -- life

    def __enter__(self) -> Broker:
        self.start()
        return self

    def start(self) -> None:
        command = [sys.executable, "-m", "modelbroker.cli.main", "up"]
        command += ["--config", self._source or str(self.config_dir)]
        command += ["--admin-port", "0", "--state-dir", str(self.folder / "state")]
        if "--port" not in self._arguments and not self._keeps_port:
            command += ["--port", "0"]
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(
                [*command, *self._arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environ,
                start_new_session=True,
            )
        line = self._first_line()
        if not line.startswith("ready "):
            self.stop()
            raise AssertionError(f"up said {line!r}\n{self.log()}")
        self.url = line.split()[1]
        # The log goes on over several starts.
        admin = next(text for text in reversed(self.log().splitlines()) if "admin http" in text)
        self.admin_url = admin.split("admin ")[1].removesuffix("/status")
        self.note_run_dir()

    def _first_line(self) -> str:
        """The first line on stdout, "" if the process ended or took too long. Audit events may stand before
        it: they are in `events`."""
        assert self.process is not None and self.process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        stdout = self.process.stdout

        def read() -> None:
            while (line := stdout.readline()).startswith("{"):
                self.events.append(line)
            lines.put(line)

        threading.Thread(target=read, daemon=True).start()
        try:
            return lines.get(timeout=START_TIMEOUT_S)
        except queue.Empty:
            return ""

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        if kind is None and not self._may_be_refused:
            assert "Envoy refused" not in self.log()
        if kind is None:
            assert "Traceback" not in self.log(), self.log()

    def left_behind(self) -> list[str]:
        """Processes and socket folders of this broker that are still there; to be asked when it has ended."""
        found = [folder for folder in self._run_dirs if Path(folder).exists()]
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
                    if words and (str(self.config_dir) in words or any(d in words for d in self._run_dirs)):
                        found.append(f"{folder.name}: {words}")
        return found

    def note_run_dir(self) -> None:
        """Remember the folder of its sockets, which Envoy's command line names."""
        for pid in self.child_pids("envoy"):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            self._run_dirs.add(str(Path(words[words.index("-c") + 1]).parent))

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"up did not end in {timeout_s} s\n{self.log()}") from None

    # -- looking at it

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def status(self) -> dict[str, Any]:
        """`GET /status`; {} while the control plane is away."""
        try:
            with urllib.request.urlopen(f"{self.admin_url}/status", timeout=15) as reply:
                status: dict[str, Any] = json.load(reply)
                return status
        except OSError:
            return {}

    def forget(self) -> None:
        """What members said in a test before this one is nothing to it; Envoy has that too at the end."""

        def post() -> None:
            request = urllib.request.Request(f"{self.admin_url}/forget", method="POST")
            urllib.request.urlopen(request, timeout=10).close()

        def is_told() -> bool:
            with urllib.request.urlopen(f"{self.admin_url}/status?envoy", timeout=10) as reply:
                pools = json.load(reply)["pools"]
            hosts = [member["envoy"] for pool in pools for member in pool["members"]]
            return all(host["healthy"] for host in hosts if host is not None)

        began_s = posted_s = time.monotonic()
        post()
        while not is_told():
            now_s = time.monotonic()
            assert now_s < began_s + 30, "Envoy does not hear that members are well"
            if now_s > posted_s + 0.5:  # the last attempt of the test before was told of after the first time
                post()
                posted_s = now_s
            time.sleep(0.002)

    def metrics(self, name: str, *, labels: bool = True) -> dict[str, float]:
        """Labels → value of one metric, as Prometheus gets it; `labels`: whether it has any."""
        begins = f"{name}{{" if labels else f"{name} "
        with urllib.request.urlopen(f"{self.admin_url}/metrics", timeout=15) as reply:
            lines = [line for line in reply.read().decode().splitlines() if line.startswith(begins)]
        return {line.removeprefix(name).rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def wait_for(self, holds: Callable[[dict[str, Any]], bool], timeout_s: float = 60) -> dict[str, Any]:
        """The first status for which `holds`; AssertionError when it does not come."""
        began_s = time.monotonic()
        while time.monotonic() < began_s + timeout_s:
            status = self.status()
            if status and holds(status):
                return status
            time.sleep(pause_s(began_s))
        raise AssertionError(f"waited {timeout_s} s in vain; the status is {self.status()}\n{self.log()}")

    def kept_revisions(self) -> int:
        """How many that were live are in the state folder."""
        return len(list((self.folder / "state" / "revisions").glob("[0-9]*")))

    def child_pids(self, name: str) -> list[int]:
        """Children of `up` whose command line holds `name` (`envoy`, `serve`, `mock`)."""
        assert self.process is not None
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                words = (folder / "cmdline").read_bytes().decode().split("\0")
            except (OSError, ValueError):
                continue
            if parent == self.process.pid and any(Path(word).name == name for word in words):
                found.append(int(folder.name))
        return found
