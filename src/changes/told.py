"""Changes as people are told of them: how many, section by section, and for whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from .between import Change
from .written import listing

_TITLES = {"rate_limits": "rate limits"}


def counted(found: Sequence[Change]) -> str:
    """`3 changes, for alice, bob`"""
    count = f"{len(found)} change{'s' if len(found) != 1 else ''}"
    if any(change.everybody for change in found):
        return count
    whom = frozenset().union(*(change.whom for change in found))
    return f"{count}, for {listing(sorted(whom))}" if whom else f"{count}, for nobody"


def by_section(found: Sequence[Change]) -> Iterator[tuple[str, list[Change]]]:
    for section, those in groupby(found, key=lambda change: change.section):
        yield _TITLES.get(section, section), list(those)


def whom_of(change: Change) -> str:
    """ "" for those of whom the name tells it."""
    if change.everybody:
        return "everybody"
    if change.whom == {change.name}:
        return ""
    return listing(sorted(change.whom)) if change.whom else "nobody"


def is_one(change: Change) -> bool:
    """Is there one of it, so that its section is all of its name?"""
    return change.name == change.section


def plain(text: str) -> str:
    """Without what moves a terminal's cursor, or colours it."""
    return "".join(c if c.isprintable() else " " if c in "\r\n\t" else "�" for c in text)
