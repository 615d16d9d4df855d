"""Processes of the measurement: what they cost, and how they are started and ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads, 0 when it is gone.

    The scheduler's own clock counts nanoseconds; `stat` counts ticks of 10 ms, too coarse for a slice at
    a low rate, and is what there is where the kernel keeps no such clock.
    """
    total_ns, found = 0, False
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            try:
                total_ns += int((thread / "schedstat").read_text().split()[0])
                found = True
            except (OSError, ValueError):
                continue
        if found:
            return total_ns / 1e9
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    except OSError:
        return 0.0


def tree(root: int) -> list[int]:
    """The process and all below it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def role(pid: int) -> str:
    """`envoy` or `python`: what a process of a proxy's counts as."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return "python"
    return "envoy" if Path(words[0]).name == "envoy" else "python"


def start(
    command: Sequence[str | Path],
    log: Path,
    environ: Mapping[str, str] | None = None,
    *,
    talks: bool = False,
) -> Child:
    """What it says goes to `log`; with `talks` its stdout is for `line` and `ask`."""
    pipe = subprocess.PIPE if talks else subprocess.DEVNULL
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=pipe,
            stdout=pipe if talks else output,
            stderr=output,
            env={**os.environ, **(environ or {})},
            start_new_session=True,
        )
    return Child(process, log)


def script(name: str, log: Path) -> Child:
    """One of the scripts beside this file, in this Python."""
    return start([sys.executable, HERE / name], log, talks=True)


class Failed(Exception):
    """The measurement can't go on; the text says why."""


class Child:
    """A process that talks in lines."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self._rest = b""

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, timeout_s: float) -> str:
        """The next line of its stdout. Failed where none comes."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(descriptor, 1 << 20) if ready else b""
            if not data:
                why = "ended" if ready else f"said nothing for {timeout_s:.0f} s"
                raise Failed(f"{self.process.args!r} {why}\n{self.tail()}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def ask(self, timeout_s: float, **command: Any) -> dict[str, Any]:
        """One JSON line there, one back."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.line(timeout_s))
        return answer

    def wait_until(self, holds: Callable[[], bool], timeout_s: float) -> None:
        """Failed where the process ends or the time is over before `holds`."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if self.process.poll() is not None or time.monotonic() > deadline:
                code = self.process.poll()
                why = f"did not serve in {timeout_s:.0f} s" if code is None else f"ended with code {code}"
                self.stop()
                raise Failed(f"{self.process.args!r} {why}\n{self.tail()}")
            time.sleep(0.02)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def stop(self, patience_s: float = 10) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
