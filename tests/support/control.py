"""A control plane alone, as `modelbroker serve` starts it: no Envoy is beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .authorities import for_the_product
from .waiting import wait_until
from .yamls import yaml_of


class Control:
    """`admin_url`: where its admin port is. `log` is all that it said."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self.state, self.process, self._log = folder / "state", process, log
        self.admin_url = ""

    def log(self) -> str:
        return self._log.read_text()

    def children(self, module: str) -> list[int]:
        """Processes of its own that run `module`."""
        return children_of(self.process.pid, module)


@contextlib.contextmanager
def control(
    folder: Path,
    config: Mapping[str, Any],
    *,
    admin: str = "127.0.0.1:0",
    environ: Mapping[str, str] | None = None,
) -> Iterator[Control]:
    """It runs, in a group of processes of its own, and answers; at the end it has ended."""
    (folder / "broker.yaml").write_text(yaml_of({"ledger": {"url": "none"}, **config}))
    log = folder / "serve.log"
    with tempfile.TemporaryDirectory() as sockets:  # a short path
        command = [sys.executable, "-m", "modelbroker.cli.main", "serve", "--port", "1"]
        command += ["--config", str(folder / "broker.yaml"), "--state-dir", str(folder / "state")]
        command += ["--xds", f"unix:{sockets}/x.sock", "--ext-proc", f"unix:{sockets}/e.sock"]
        said = {**for_the_product(os.environ), "KEY_OF_PROVIDERS": "sk-provider-secret", **(environ or {})}
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*command, "--admin", admin], stdout=file, stderr=file, env=said, start_new_session=True
            )
        made = Control(folder, process, log)

        def address() -> str:
            assert process.poll() is None, made.log()
            with contextlib.suppress(OSError):
                return (made.state / "console-address").read_text().strip()
            return ""

        try:
            made.admin_url = wait_until(address, 60)
            yield made
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def children_of(parent: int, module: str) -> list[int]:
    """Processes that have this parent and run `module`."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            its_parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if its_parent == parent and module in (folder / "cmdline").read_text():
                found.append(int(folder.name))
    return found
