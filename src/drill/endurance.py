"""A soak's samples and counts, held against what is promised. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .calls import Processes

MOST_MB_PER_H = 20.0
# What allocators keep back and give back within minutes: growth of less says nothing.
NOISE_MB = 8.0
# At rest a process has its own files and its connections to the broker's other parts alone. A connection
# more, or a log that is being turned over, may be in some looks and not in others; one that stays with each
# edit or fault is over this after five of them, in a soak of a minute too.
MOST_DESCRIPTORS = 4
WARM_UP_SHARE, WARM_UP_MOST_S = 1 / 3, 600.0


@dataclass(frozen=True, slots=True)
class Sample:
    """`at_s`: seconds since the load began. `at_rest`: no call was under way, and connections of clients and
    to providers were closed: what a process had then was its own."""

    at_s: float
    processes: Processes
    at_rest: bool = False


@dataclass(frozen=True, slots=True)
class Trend:
    """One process, behind the warm-up. `descriptors`: the least at rest, of the first and of the last quarter
    of such samples; None where there are too few to say."""

    process: str
    first_mb: float
    last_mb: float
    slope_mb_per_h: float
    grown_mb: float
    descriptors: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Soak:
    """`errors`: that clients saw; `unforeseen`: of them those with a healthy member left. `lost`: calls
    without a record; `doubled`: with several. `stuck_edits`: that did not come into effect."""

    seconds: float
    calls: int
    errors: int
    unforeseen: int
    lost: int
    doubled: int
    edits: int
    stuck_edits: int
    faults: int
    trends: tuple[Trend, ...]
    example: str = ""


def trends(samples: Sequence[Sample], seconds: float) -> tuple[Trend, ...]:
    """Of each process that was there all the time."""
    from_s = min(WARM_UP_MOST_S, WARM_UP_SHARE * seconds)
    warm = [sample for sample in samples if sample.at_s >= from_s]
    names = set[str]().union(*(sample.processes.memory_mb for sample in warm))
    return tuple(_trend(name, warm) for name in sorted(names))


def _trend(name: str, samples: Sequence[Sample]) -> Trend:
    mine = [sample for sample in samples if name in sample.processes.memory_mb]
    points = [(sample.at_s, sample.processes.memory_mb[name]) for sample in mine]
    slope = slope_of(points)
    lasted_s = points[-1][0] - points[0][0]
    return Trend(name, points[0][1], points[-1][1], slope * 3600, slope * lasted_s, _floors(name, mine))


def _floors(name: str, samples: Sequence[Sample]) -> tuple[int, int] | None:
    """Connections come and go with calls: at rest alone it shows what stays. A process may be busy with
    closing yet, so it is the least of several times."""
    counts = [sample.processes.descriptors[name] for sample in samples if sample.at_rest]
    quarter = max(1, len(counts) // 4)
    if len(counts) < 2 * quarter:
        return None
    return min(counts[:quarter]), min(counts[-quarter:])


def slope_of(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line that lies nearest to (x, y) by least squares; 0 where there is none."""
    count = len(points)
    middle_x = sum(x for x, _ in points) / count if count else 0.0
    middle_y = sum(y for _, y in points) / count if count else 0.0
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def as_csv(samples: Sequence[Sample]) -> str:
    """All samples, a line a process: for those who want to see the curve."""
    lines = ["at_s,process,memory_mb,descriptors,at_rest"]
    for sample in samples:
        for name, memory_mb in sorted(sample.processes.memory_mb.items()):
            descriptors = sample.processes.descriptors.get(name, 0)
            lines.append(f"{sample.at_s:.1f},{name},{memory_mb:.2f},{descriptors},{sample.at_rest:d}")
    return "\n".join(lines) + "\n"


def broken(soak: Soak) -> list[str]:
    """Every promise that was not kept, in words."""
    wrong = []
    if soak.unforeseen:
        wrong.append(f"{soak.unforeseen} errors reached clients with a healthy member left: {soak.example}")
    if soak.lost or soak.doubled:
        wrong.append(f"{soak.lost} calls left no record, {soak.doubled} left more than one")
    if soak.stuck_edits:
        wrong.append(f"{soak.stuck_edits} of {soak.edits} edits did not come into effect")
    for trend in soak.trends:
        if trend.slope_mb_per_h > MOST_MB_PER_H and trend.grown_mb > NOISE_MB:
            wrong.append(
                f"{trend.process} grows by {trend.slope_mb_per_h:.0f} MB/h ({trend.grown_mb:.0f} MB so far), "
                f"and {MOST_MB_PER_H:.0f} are allowed"
            )
        if trend.descriptors is not None and trend.descriptors[1] - trend.descriptors[0] > MOST_DESCRIPTORS:
            first, last = trend.descriptors
            wrong.append(f"{trend.process} has {last} file descriptors at rest where it had {first}")
    return wrong


def as_json(soak: Soak, notes: Sequence[str]) -> str:
    wrong = broken(soak)
    tree: Mapping[str, object] = {
        **dataclasses.asdict(soak),
        "notes": list(notes),
        "broken": wrong,
        "passed": not wrong,
    }
    return json.dumps(tree, indent=2)


_HEADS = ("process", "MB first", "MB last", "slope MB/h", "descriptors at rest", "last")


def as_text(soak: Soak, notes: Sequence[str], *, markdown: bool) -> str:
    cells = [list(_HEADS), *(_cells(trend) for trend in soak.trends)]
    if markdown:
        cells.insert(1, ["---", *["--:"] * (len(_HEADS) - 1)])
        lines = ["| " + " | ".join(line) + " |" for line in cells]
    else:
        widths = [max(len(line[n]) for line in cells) for n in range(len(_HEADS))]
        lines = [
            "  ".join(c.ljust(widths[n]) if n == 0 else c.rjust(widths[n]) for n, c in enumerate(line))
            for line in cells
        ]
    wrong = broken(soak)
    return "\n".join(
        [
            *lines,
            "",
            f"{soak.calls} calls in {soak.seconds:.0f} s with {soak.edits} edits and {soak.faults} faults: "
            f"{soak.errors} errors, {soak.unforeseen} of them not foreseen; {soak.lost} records lost, "
            f"{soak.doubled} doubled.",
            *(f"note: {note}" for note in notes),
            *(f"broken: {why}" for why in wrong),
            *([] if wrong else ["All promises were kept."]),
        ]
    )


def _cells(trend: Trend) -> list[str]:
    first, last = ("-", "-") if trend.descriptors is None else map(str, trend.descriptors)
    return [
        trend.process,
        f"{trend.first_mb:.1f}",
        f"{trend.last_mb:.1f}",
        f"{trend.slope_mb_per_h:+.1f}",
        first,
        last,
    ]
