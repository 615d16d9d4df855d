"""Parts of a running broker that tests kill."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from .broker import Broker
from .waiting import wait_until


def kill(broker: Broker, name: str) -> None:
    """And wait for the one that comes in its place."""
    old = broker.child_pids(name)
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: broker.child_pids(name) not in ([], old))


def follower_of(broker: Broker) -> int | None:
    """The id of the process that feeds its ledger."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if "modelbroker.ledger.follow" in words and str(broker.folder / "state") in words:
                return int(folder.name)
    return None


def writer_of(broker: Broker) -> int | None:
    """The id of the process that writes its captured calls."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if "modelbroker.traffic.write" in words and str(broker.folder / "state") in words:
                return int(folder.name)
    return None


def child_of_control(broker: Broker, module: str) -> int:
    """The id of the process of that module that is a child of its control plane; 0: there is none."""
    (control,) = broker.child_pids("serve")
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            if parent == control and module in words:
                return int(folder.name)
    return 0


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
