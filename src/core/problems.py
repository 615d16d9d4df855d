"""What is wrong with a configuration: the error that says all of it. Here, and not with the settings, for
those that only pass it on: reading a configuration takes a library that is slow to load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong in `file` at `line` (from 1; 0 where no line can be named): `field` is its path
    in that file (`pools[0].members[1].weight`, "" for the file as a whole), `wrong` says what is, and
    `right` what would be good instead."""

    file: str
    line: int
    field: str
    wrong: str
    right: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.field, f"{self.wrong}; {self.right}") if part)


class SettingsError(Exception):
    """A configuration that can't be used. `problems` holds all that was found, by file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = ordered(problems)
        super().__init__("\n".join(map(str, self.problems)))


def ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """By file and line, each only once."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.file, p.line, p.field, p.wrong)))
