"""What traces, audit events and both cost a call: CPU of all of a broker's processes, to the last span sent
and the last event written. (Metrics are always on: what they cost a call is in `./dev bench --micro`.)

    .venv/bin/python bench/watching.py [ROUNDS] [SECONDS]

By default eight rounds of two seconds. Four brokers run side by side on one upstream, and take turns: those
that are not asked are idle. Each turn ends when what it left is through, so that nobody works off a
neighbour's time. Ratios are taken within a round. Whole calls of 1 KB, 16 at a time.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import processes
from report import table
from targets import KEY, TheBroker

CONNECTIONS = 16
_START_S, _DRAIN_S = 30.0, 60.0
_PARTS = {
    "modelbroker.telemetry.follow": "spans and logs",
    "modelbroker.audit.follow": "audit events",
    "envoy": "Envoy",
}
CONTROL = "control plane"


class Watched(TheBroker):
    """`more`: sections of the configuration."""

    def __init__(self, name: str, upstream: int, folder: Path, **more: Any) -> None:
        self.name, self._more = name, more
        super().__init__(upstream, folder)

    def config(self, upstream: int) -> dict[str, Any]:
        return super().config(upstream) | self._more

    def cpu(self) -> dict[str, float]:
        """Seconds of the processor so far, by what a process is for."""
        spent: dict[str, float] = defaultdict(float)
        for pid in self.pids():
            spent[_part(pid)] += processes.cpu_seconds(pid)
        return spent

    def drain(self) -> None:
        """Wait until every record is where it is to go."""

        def is_through(status: dict[str, Any]) -> bool:
            children = [status[name] for name in ("telemetry", "audit") if status[name]["state"] != "off"]
            sinks = status["audit"].get("sinks") or []
            return not any(one["behind_bytes"] for one in children) and not any(s["behind"] for s in sinks)

        self._broker.wait_for(is_through, _DRAIN_S)


def _part(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        for word in words:
            if part := _PARTS.get(word) or _PARTS.get(Path(word).name):
                return part
    return CONTROL


def turn(target: Watched, load: processes.Child, seconds: float) -> dict[str, float]:
    """µs of CPU a call, by what for."""
    before = target.cpu()
    opened = load.ask(
        60, do="open", port=target.port, connections=CONNECTIONS, size=1024, stream=False, spaced=False,
        key=KEY, fresh=False,
    )  # fmt: skip
    told = load.ask(seconds + 30, do="run", seconds=seconds, rate=0)
    load.ask(30, do="close")
    if opened["errors"] or told["errors"]:
        raise processes.Failed(f"{target.name}: {[*opened['examples'], *told['examples']]}")
    target.drain()
    calls = told["calls"] + CONNECTIONS
    after = target.cpu()
    return {part: (after[part] - before.get(part, 0.0)) / calls * 1e6 for part in after}


def main() -> int:
    words = [*sys.argv[1:], "", ""]
    rounds, seconds = int(words[0] or 8), float(words[1] or 2)
    with tempfile.TemporaryDirectory(prefix="modelbroker-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)

        def script(what: str) -> processes.Child:
            child = processes.script(what, folder / f"{what}.log")
            stack.callback(child.stop)
            return child

        upstream = int(script("upstream.py").line(_START_S))
        collector = int(script("collector.py").line(_START_S))
        load = script("load.py")
        spans = {
            "telemetry": {
                "otlp": {"endpoint": f"http://127.0.0.1:{collector}", "protocol": "http"},
                "traces": "on",
                "logs": "on",
            }
        }
        events = {"audit": {"sinks": [{"name": "disk", "file": {"path": str(folder / "events.jsonl")}}]}}
        kinds = {
            "neither": {},
            "traces and logs": spans,
            "audit, one sink": events,
            "both": spans | events,
        }
        targets = []
        for number, (kind, more) in enumerate(kinds.items()):
            (own := folder / str(number)).mkdir()
            targets.append(Watched(kind, upstream, own, **more))
            stack.callback(targets[-1].stop)
        for target in targets:
            turn(target, load, seconds / 4)  # warms up
        taken: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for number in range(rounds):
            at = number % len(targets)
            for target in (*targets[at:], *targets[:at]):
                taken[target.name].append(turn(target, load, seconds))
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    show(taken)
    return 0


def show(taken: dict[str, list[dict[str, float]]]) -> None:
    parts = [CONTROL, *reversed(_PARTS.values())]
    base = [sum(one.values()) for one in taken["neither"]]
    rows = []
    for kind, seen in taken.items():
        ratios = [sum(one.values()) / plain for one, plain in zip(seen, base, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        each = [f"{statistics.median(one.get(part, 0.0) for one in seen):.0f}" for part in parts]
        rows.append((kind, *each, f"{statistics.median(sum(one.values()) for one in seen):.0f}", spread))
    print(
        table(("what is on", *(f"{part} µs" for part in parts), "together µs", "times neither"), rows, True)
    )


if __name__ == "__main__":
    sys.exit(main())
