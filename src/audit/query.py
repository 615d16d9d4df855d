"""Questions to the chain: which events there are of a caller, a team, an act … Found by their bytes.

Values stand in lines as JSON spells them, so a block of lines that does not hold one's spelling holds no
event with it, and is not decoded. Memory is bounded by one block.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from .chain import Line, read
from .store import lines_in, segments

# Filters of commands, by the names of an event's fields.
FILTERS = (
    *("agent", "user", "caller", "team", "customer", "feature", "tier", "pool", "member", "provider"),
    *("model", "asked", "rule", "outcome", "code", "purpose", "rollout", "act", "actor", "request_id"),
)
_BLOCK_BYTES = 1 << 20


def events(
    folder: Path, since_ms: int, until_ms: int, where: Mapping[str, Sequence[str]]
) -> Iterator[tuple[int, bytes, Line]]:
    """(seq, the line, decoded) of those that began at `since_ms` or later and before `until_ms`, and of which
    each field of `where` has one of the values; in the order of the chain. What is no line is left out:
    `verify` tells of it."""
    needles = _needles(where)
    there = segments(folder)
    for at, (_, path) in enumerate(there):
        # What was written before `since_ms` is older; a segment's first line says when it was opened.
        with contextlib.suppress(FileNotFoundError):  # it was too old meanwhile
            if at + 1 < len(there) and _opened_ms(there[at + 1][1]) < since_ms:
                continue
            for raw in _candidates(path, needles):
                line = _read(raw)
                if line is None or not since_ms <= line.event.at_ms < until_ms:
                    continue
                if all(getattr(line.event, name) in values for name, values in where.items()):
                    yield line.seq, raw, line


def _read(raw: bytes) -> Line | None:
    try:
        return read(raw)
    except ValueError:
        return None


def _needles(where: Mapping[str, Sequence[str]]) -> list[list[bytes]]:
    """For each field, how it stands in a line; fields without a value stand in none."""
    return [
        [b'"' + name.encode() + b'":' + msgspec.json.encode(value) for value in values]
        for name, values in where.items()
        if all(values)
    ]


def _candidates(path: Path, needles: list[list[bytes]]) -> Iterator[bytes]:
    """Whole lines that hold one of each field's spellings, and perhaps more."""
    if not needles:
        with path.open("rb") as file:
            yield from lines_in(file)
        return
    for block in _blocks(path):
        # The rarest field is not known: the first one leads, the others are looked for in its lines.
        first, rest = needles[0], needles[1:]
        if not all(any(needle in block for needle in one) for one in needles):
            continue
        for line in _lines_with(block, first):
            if all(any(needle in line for needle in one) for one in rest):
                yield line


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, about a MiB of them each."""
    left = b""
    with path.open("rb") as file:
        while data := file.read(_BLOCK_BYTES):
            end = data.rfind(b"\n") + 1
            if not end:
                left += data
                continue
            yield left + data[:end]
            left = data[end:]


def _lines_with(block: bytes, needles: Sequence[bytes]) -> Iterator[bytes]:
    if len(needles) > 1:
        yield from (line for line in block.splitlines() if any(needle in line for needle in needles))
        return
    at = 0
    while (found := block.find(needles[0], at)) >= 0:
        start, end = block.rfind(b"\n", 0, found) + 1, block.find(b"\n", found)
        yield block[start:end]
        at = end + 1


def _opened_ms(path: Path) -> int:
    with path.open("rb") as file:
        for raw in lines_in(file):
            if (line := _read(raw)) is not None:
                return line.event.at_ms
            break
    return 1 << 62  # nobody knows: look into what stands before it
