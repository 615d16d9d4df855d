"""`modelbroker serve` and an Envoy of its own beside it, as two containers run: nobody supervises them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelbroker.cli.ports import free_port
from modelbroker.envoyapi.loader import envoy_binary

from .authorities import for_the_product
from .waiting import wait_until
from .yamls import yaml_of

_PROGRAM = [sys.executable, "-m", "modelbroker.cli.main"]


class Pair:
    """`with Pair(folder, config) as pair:`; `xds` and `ext_proc` are where the control plane listens, and
    `envoy_asks` where Envoy looks for the two, if that is elsewhere."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        *,
        xds: str = "",
        ext_proc: str = "",
        envoy_asks: tuple[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._config = folder / "broker.yaml"
        self._config.write_text(yaml_of(config))
        self._addresses = (xds or f"unix:{folder}/x.sock", ext_proc or f"unix:{folder}/e.sock")
        self._envoy_asks = envoy_asks or self._addresses
        self._port, self._admin_port = free_port("127.0.0.1"), free_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self._port}"
        self.admin_url = f"http://127.0.0.1:{self._admin_port}"
        self.control: subprocess.Popen[bytes] | None = None
        self.envoy: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Pair:
        try:
            self.start_control()
            self._start_envoy()
            wait_until(self.is_ready, 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.envoy, self.control):
            if process is not None:
                process.kill()
                process.wait()

    def start_control(self) -> None:
        command = [*_PROGRAM, "serve", "--config", str(self._config), "--port", str(self._port)]
        command += ["--xds", self._addresses[0], "--ext-proc", self._addresses[1]]
        command += ["--admin", f"127.0.0.1:{self._admin_port}", "--state-dir", str(self.folder / "state")]
        command += ["--undecided", str(self.folder / "undecided.jsonl")]
        environ = {**for_the_product(os.environ), "KEY_OF_PROVIDERS": "sk-provider-secret"}
        with (self.folder / "serve.log").open("ab") as log:
            self.control = subprocess.Popen(command, stdout=log, stderr=log, env=environ)

    def _start_envoy(self) -> None:
        command = [*_PROGRAM, "bootstrap", "--xds", self._envoy_asks[0], "--ext-proc", self._envoy_asks[1]]
        command += ["--envoy-admin", f"unix:{self.folder}/a.sock"]
        bootstrap = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
        (self.folder / "envoy.yaml").write_bytes(bootstrap)
        command = [str(envoy_binary()), "-c", str(self.folder / "envoy.yaml"), "--concurrency", "1"]
        command += ["--drain-strategy", "immediate", "--disable-hot-restart", "--log-level", "warning"]
        command += ["--file-flush-interval-msec", "100"]
        with (self.folder / "envoy.log").open("ab") as log:
            self.envoy = subprocess.Popen(command, stdout=log, stderr=log)

    def kill_control(self) -> None:
        assert self.control is not None
        self.control.kill()
        self.control.wait()

    def is_ready(self) -> bool:
        """The control plane says that its Envoy has the configuration."""
        try:
            with urllib.request.urlopen(f"{self.admin_url}/status", timeout=15) as reply:
                return bool(json.load(reply)["in_effect"])
        except (OSError, urllib.error.URLError):
            return False
