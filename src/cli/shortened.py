"""Markdown that is to be no longer than a comment may be. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Of a comment on GitHub. Counted in bytes: no host counts less than characters, and none more.
MOST_BYTES = 65_536
LEAST_BYTES = 2_048  # in less than this nothing of a report can be said
_FENCE = re.compile(r"`{3,}")
_OPENS, _CLOSES = "<details>", "</details>"


def shortened(parts: Sequence[str], most: int, how: str) -> str:
    """`parts` with an empty line between them, less than `most` bytes of them (0: however many). What is
    short stays whole, what is long shares the rest, line by line. What is left out is said in its place and
    at the end; `how` says how all of it can be seen."""
    text = "\n\n".join(parts)
    if not most or _size(text) < most:  # a file ends with one more
        return text
    # How many lines is not known before: as if they were a thousand million.
    last = _last(10**9, most, how)
    shares = _shares([_size(part) for part in parts], most - 1 - _size(last) - 2 * len(parts))
    cut = [_cut(part, share) for part, share in zip(parts, shares, strict=True)]
    left_out = sum(count for _, count in cut)
    return "\n\n".join([*(said for said, _ in cut if said), _last(left_out, most, how)])


def _last(lines: int, most: int, how: str) -> str:
    return f"**{_lines(lines)} left out**, for this is to be {most:,} bytes at most. {how}"


def _shares(sizes: Sequence[int], room: int) -> list[int]:
    """What each may have of `room`: the same, where it wants that much."""
    shares, left = [0] * len(sizes), len(sizes)
    for at in sorted(range(len(sizes)), key=lambda at: sizes[at]):
        shares[at] = min(sizes[at], max(room, 0) // left)
        room, left = room - shares[at], left - 1
    return shares


def _cut(part: str, most: int) -> tuple[str, int]:
    """(as many of its lines as there is room for, how many are left out). One that is too long by itself is
    passed over; what is opened is closed, and what is not opened is not."""
    if _size(part) <= most:
        return part, 0
    lines = part.split("\n")
    ends = [end for line in lines if (end := _end_of(line))]
    room = most - _size(_here(len(lines))) - sum(_size(end) + 1 for end in ends)
    kept: list[str] = []
    is_open: list[str] = []  # how what is open is closed
    is_kept: list[bool] = []
    for line in lines:
        if is_open and line == is_open[-1]:  # there is room for it
            is_open.pop()
            if is_kept.pop():
                kept.append(line)
            continue
        fits = all(is_kept) and _size(line) + 1 <= room
        if fits:
            kept.append(line)
            room -= _size(line) + 1
        is_text = bool(is_open) and is_open[-1] != _CLOSES
        if not is_text and (end := _end_of(line)):
            is_open.append(end)
            is_kept.append(fits)
    count = len(lines) - len(kept)
    while kept and not kept[-1]:
        kept.pop()
    return "\n".join(kept) + _here(count) if kept else _here(count).lstrip(), count


def _here(lines: int) -> str:
    """In a line of its own: an empty one ends a table."""
    return f"\n\n… {_lines(lines)} left out here"


def _lines(count: int) -> str:
    return "1 line is" if count == 1 else f"{count:,} lines are"


def _end_of(line: str) -> str:
    """How what this line opens is closed; "": it opens nothing."""
    if line.startswith(_OPENS):
        return _CLOSES
    fence = _FENCE.match(line)
    return fence[0] if fence is not None else ""


def _size(text: str) -> int:
    return len(text.encode())
